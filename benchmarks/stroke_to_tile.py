"""From strokes to tiles in the real window: the first tile, and the first that saw a stroke."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from brushfire.samples import make_sparse_huge, sample_volume_path
from brushfire.session import Session
from reporting import note, parser, report
from window import Canvas, draw, open_window, settle, take_brush, wait_until, wavy_line

HUGE = (2160, 2560, 2560)


def measure(path: Path, repeats: int, seed: int) -> tuple[float, list[float]]:
    """Return seconds to the first tile, and to the first tile that has seen each new stroke."""
    session = Session(autosave=False, seed=seed)
    viewer, dock = open_window(session)
    dock.volume.open_path(str(path))
    assert wait_until(lambda: session.volume is not None, 30)
    session.confirm_volume()
    settle(1.0)
    shown: list[int] = []
    session.events.tiles_changed.connect(lambda tiles: shown.append(tiles[-1].revision))
    session.start()
    rng = np.random.default_rng(seed)
    canvas = Canvas(viewer)
    began = time.perf_counter()
    for value in (1, 2):
        take_brush(dock, value)
        draw(canvas, wavy_line(rng, canvas.size, length=15))
    assert wait_until(lambda: bool(shown), 60), session.status
    first = time.perf_counter() - began

    later = []
    for repeat in range(repeats):
        settle(4.0)
        take_brush(dock, repeat % 2 + 1)
        draw(canvas, wavy_line(rng, canvas.size, length=15))
        stroke, began = session.labels.revision, time.perf_counter()
        shown.clear()

        def seen(stroke: int = stroke) -> bool:
            state = session.learning
            return state.seen_annotations >= stroke and state.shown_model in shown

        if wait_until(seen, 60):
            later.append(time.perf_counter() - began)
        else:
            later.append(60.0)
    viewer.close()
    session.close()
    return first, later


def main() -> None:
    args = parser(__doc__).parse_args()
    repeats = 2 if args.quick else 6
    figures, goals = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        paths = {"foam": sample_volume_path()}
        if not args.quick:
            paths["huge"] = make_sparse_huge(Path(folder) / "huge.ome.zarr", shape=HUGE)
        for name, path in paths.items():
            runs = [measure(path, repeats, seed) for seed in range(1 if args.quick else 3)]
            figures[f"{name}_first_tile_s"] = statistics.median(first for first, _ in runs)
            again = [s for _, later in runs for s in later]
            figures[f"{name}_new_stroke_tile_s"] = statistics.median(again)
            figures[f"{name}_new_stroke_tile_worst_s"] = max(again)
            goals[f"{name}_first_tile_s"] = goals[f"{name}_new_stroke_tile_s"] = "< 5"
    for key, value in figures.items():
        note(args, f"{key:32} {value:7.2f}")
    report("stroke_to_tile", figures, goals)


if __name__ == "__main__":
    main()
