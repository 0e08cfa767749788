"""Paint on a sparse 2160x2560x2560 label store with chunks of several shapes, side by side."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brushfire.annotations import LabelStore, open_annotations
from brushfire.annotations.store import CHUNK
from reporting import note, parser, report

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPE = (2160, 2560, 2560)
CHUNKS = {
    "1x512x512": (1, 512, 512),
    "1x256x256": (1, 256, 256),
    "4x256x256": (4, 256, 256),
    "16x256x256": (16, 256, 256),
}
BRUSH = 21
DABS_PER_MOVE = 8  # what napari makes of a quick mouse move with a brush of that size


def disk() -> np.ndarray:
    y, x = np.ogrid[:BRUSH, :BRUSH]
    return (y - BRUSH // 2) ** 2 + (x - BRUSH // 2) ** 2 <= (BRUSH / 2) ** 2


def dab(store: LabelStore, z: int, y: int, x: int, value: int, mask: np.ndarray) -> None:
    """Do what napari does for one dab: read the box, change it, write it back."""
    key = (slice(z, z + 1), slice(y, y + BRUSH), slice(x, x + BRUSH))
    region = np.asarray(store[key])
    region[0][mask] = value
    store[key] = region


def strokes(store: LabelStore, slices: np.ndarray, per_slice: int) -> None:
    rng = np.random.default_rng(0)
    mask = disk()
    for z in slices:
        for _ in range(per_slice):
            y, x = rng.integers(0, [SHAPE[1] - 400, SHAPE[2] - 400])
            angle, value = rng.random() * np.pi / 2, int(rng.integers(1, 4))
            for step in range(0, 370, 12):
                at = int(y + np.sin(angle) * step), int(x + np.cos(angle) * step)
                dab(store, int(z), *at, value, mask)


def median_ms(act: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        act()
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times)


def measure(store: LabelStore, slices: np.ndarray, repeats: int) -> dict[str, float]:
    rng = np.random.default_rng(1)
    mask = disk()
    z = int(slices[len(slices) // 2])

    def move() -> None:
        y, x = (int(value) for value in rng.integers(0, [SHAPE[1] - 200, SHAPE[2] - 200]))
        for step in range(DABS_PER_MOVE):
            dab(store, z, y + 9 * step, x + 9 * step, int(rng.integers(1, 4)), mask)

    def move_after_snapshot() -> None:
        store.snapshot()
        move()

    figures = {
        "move_ms": median_ms(move, 8 * repeats),
        "move_after_snapshot_ms": median_ms(move_after_snapshot, 8 * repeats),
        "snapshot_ms": median_ms(lambda: (dab(store, z, 9, 9, 1, mask), store.snapshot()), repeats),
        "xy_ms": median_ms(lambda: store[z], repeats),
        "empty_xy_ms": median_ms(lambda: store[z + 1], repeats),
        "xz_ms": median_ms(lambda: store[:, 1300], repeats),
        "yz_ms": median_ms(lambda: store[:, :, 1300], repeats),
    }
    plane = store[z : z + 1]
    plane[plane == 0] = 4
    before = store[z : z + 1]
    began = time.perf_counter()
    store[z : z + 1] = plane
    figures["fill_plane_ms"] = 1e3 * (time.perf_counter() - began)
    store[z : z + 1] = before
    return figures | {"memory_mb": store.memory_bytes / 1e6}


def journaled(slices: np.ndarray, repeats: int) -> dict[str, float]:
    """Measure the default with a journal, and how far behind the disk falls."""
    mask = disk()
    with tempfile.TemporaryDirectory() as folder:
        store = open_annotations(Path(folder), SHAPE)
        strokes(store, slices, 4)
        rng = np.random.default_rng(2)
        times, behind = [], []
        for _ in range(20 * repeats):
            y, x = (int(value) for value in rng.integers(0, 2300, 2))
            began = time.perf_counter()
            for step in range(DABS_PER_MOVE):
                dab(store, 7, y + 9 * step, x + 9 * step, int(rng.integers(1, 4)), mask)
            times.append(time.perf_counter() - began)
            behind.append(store.unsaved_seconds)
        began = time.perf_counter()
        store.flush(60)
        flush = time.perf_counter() - began
        began = time.perf_counter()
        store.checkpoint(60)
        checkpoint = time.perf_counter() - began
        store.close()
        began = time.perf_counter()
        open_annotations(Path(folder), SHAPE).close()
        opened = time.perf_counter() - began
    return {
        "journal_move_ms": 1e3 * statistics.median(times),
        "journal_move_p95_ms": 1e3 * statistics.quantiles(times, n=20)[-1],
        "journal_behind_max_s": max(behind),
        "journal_flush_s": flush,
        "checkpoint_s": checkpoint,
        "open_s": opened,
    }


def main() -> None:
    args = parser(__doc__).parse_args()
    count, per_slice, repeats = (12, 4, 5) if args.quick else (60, 10, 15)
    slices = np.linspace(20, SHAPE[0] - 20, count).astype(int)
    figures: dict[str, float] = {}
    for name, chunk in CHUNKS.items():
        store = LabelStore(SHAPE, chunk=chunk)
        strokes(store, slices, per_slice)
        found = measure(store, slices, repeats)
        note(args, f"{name:>11} " + "  ".join(f"{k} {v:.2f}" for k, v in found.items()))
        figures |= {f"{key}_{name}": value for key, value in found.items()}
    found = journaled(slices, repeats)
    note(args, "    journal " + "  ".join(f"{k} {v:.3f}" for k, v in found.items()))
    figures |= found
    chosen = "x".join(map(str, CHUNK))
    goals = {
        f"move_ms_{chosen}": "< 4",
        f"xy_ms_{chosen}": "< 10",
        f"xz_ms_{chosen}": "< 40",
        "journal_move_p95_ms": "< 12",
        "journal_behind_max_s": "< 1",
    }
    report("annotation_store", figures, goals)


if __name__ == "__main__":
    main()
