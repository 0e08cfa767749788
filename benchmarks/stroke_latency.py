"""Paint with the mouse on a volume of 2160 x 2560 x 2560: milliseconds of a move and an undo."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from brushfire.samples import make_sparse_huge
from brushfire.session import Session
from reporting import note, parser, report
from window import (
    Canvas,
    application,
    draw,
    open_window,
    settle,
    take_brush,
    wait_until,
    wavy_line,
)

SHAPE = (2160, 2560, 2560)
GOALS = {"move_median_ms": "< 12", "move_p95_ms": "< 25", "undo_median_ms": "< 30"}


def timed(act) -> float:
    """Return the milliseconds of ``act`` and of the redraw it asks for."""
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000


def main() -> None:
    args = parser(__doc__).parse_args()
    strokes = 12 if args.quick else 60
    rng = np.random.default_rng(0)
    moves: list[float] = []
    undos: list[float] = []
    slices: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        path = make_sparse_huge(Path(folder) / "huge.ome.zarr", shape=SHAPE)
        session = Session(project_folder=Path(folder) / "p.brushfire")
        viewer, dock = open_window(session)
        dock.volume.open_path(str(path))
        assert wait_until(lambda: session.volume is not None, 30)
        session.confirm_volume()
        settle(1.0)
        canvas = Canvas(viewer)
        layer = take_brush(dock, 1)
        draw(canvas, wavy_line(rng, canvas.size))  # the first one loads code
        for at in range(strokes):
            take_brush(dock, 1 + at % 2)
            moves += draw(canvas, wavy_line(rng, canvas.size))
            undos.append(timed(layer.undo))
            application().processEvents()
            layer.redo()
            if at % 4 == 3:
                z = int(rng.integers(SHAPE[0]))
                slices.append(timed(lambda z=z: dock.controller.go_to_slice(z)))
                settle(0.2)
        assert session.labels is not None
        voxels = sum(entry.voxels for entry in session.labels.counts().values())
        viewer.close()
        session.close()
    figures = {
        "moves": len(moves),
        "voxels": voxels,
        "move_median_ms": float(np.median(moves)),
        "move_p95_ms": float(np.percentile(moves, 95)),
        "move_longest_ms": max(moves),
        "undo_median_ms": float(np.median(undos)),
        "undo_p95_ms": float(np.percentile(undos, 95)),
        "slice_median_ms": float(np.median(slices)),
    }
    for key, value in figures.items():
        note(args, f"{key:24} {value:8.1f}")
    report("stroke_latency", figures, GOALS)


if __name__ == "__main__":
    main()
