"""Paint in the real window with and without training and streaming: stalls of the main thread."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from brushfire.samples import make_sparse_huge
from brushfire.session import Session
from reporting import note, parser, report
from window import Canvas, Heartbeat, draw, open_window, settle, take_brush, wait_until, wavy_line

SHAPE = (2160, 2560, 2560)


def paint_for(seconds: float, canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """Return the gaps of the heartbeat in milliseconds while strokes are drawn."""
    with Heartbeat() as heart:
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            draw(canvas, wavy_line(rng, canvas.size, length=30))
            settle(0.1)
    return np.array(heart.gaps)


def main() -> None:
    args = parser(__doc__).parse_args()
    rounds, seconds = (1, 6.0) if args.quick else (3, 15.0)
    shape = tuple(n // 4 for n in SHAPE) if args.quick else SHAPE
    rng = np.random.default_rng(0)
    gaps: dict[str, list[np.ndarray]] = {"without": [], "with": []}
    with tempfile.TemporaryDirectory() as folder:
        path = make_sparse_huge(Path(folder) / "huge.ome.zarr", shape=shape)
        session = Session(project_folder=Path(folder) / "p.brushfire")
        viewer, dock = open_window(session)
        dock.volume.open_path(str(path))
        assert wait_until(lambda: session.volume is not None, 30)
        session.confirm_volume()
        settle(1.0)
        canvas = Canvas(viewer)
        for value in (1, 2, 1, 2):
            take_brush(dock, value)
            draw(canvas, wavy_line(rng, canvas.size))
        session.start()
        assert wait_until(lambda: len(session.predictions) > 0, 60)
        for _ in range(rounds):
            session.pause()
            settle(3.0)
            gaps["without"].append(paint_for(seconds, canvas, rng))
            session.start()
            settle(1.0)
            gaps["with"].append(paint_for(seconds, canvas, rng))
        steps = session.learning.step
        viewer.close()
        session.close()
    figures: dict[str, float] = {"steps": steps}
    for name, parts in gaps.items():
        every = np.concatenate(parts)
        for q in (50, 95, 99):
            figures[f"{name}_p{q}_ms"] = float(np.percentile(every, q))
        # The median over rounds: one hiccup of the machine is not ours.
        figures[f"{name}_longest_ms"] = float(np.median([p.max() for p in parts]))
    figures["longest_beyond_ms"] = figures["with_longest_ms"] - figures["without_longest_ms"]
    for key, value in figures.items():
        note(args, f"{key:24} {value:8.1f}")
    report("ui_latency", figures, {"longest_beyond_ms": "< 100"})


if __name__ == "__main__":
    main()
