"""From strokes to tiles in the real window: the first tile, and the first that saw a stroke."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from brushfire.samples import make_sparse_huge, sample_volume_path
from brushfire.session import Session
from reporting import note, parser, report
from window import Canvas, Painter, open_window, settle, wait_until

HUGE = (2160, 2560, 2560)
LONGEST = 20.0


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
    painter = Painter(viewer, dock, Canvas(viewer), seed)
    began = time.perf_counter()
    for value in (1, 2):
        painter.stroke(value)
    assert wait_until(lambda: bool(shown), 60), session.status
    first = time.perf_counter() - began

    later = []
    for repeat in range(repeats):
        settle(4.0)
        painter.stroke(repeat % 2 + 1)
        stroke, began = session.labels.revision, time.perf_counter()
        shown.clear()

        def seen(stroke: int = stroke) -> bool:
            state = session.learning
            return state.seen_annotations >= stroke and state.shown_model in shown

        # A model that is worse on the held-out strokes is not shown: that is waited out.
        wait_until(seen, LONGEST)
        later.append(time.perf_counter() - began)
    viewer.close()
    session.close()
    return first, later


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--volumes", nargs="+", type=Path, default=[], help="of your own instead")
    args = options.parse_args()
    repeats = 2 if args.quick else 5
    figures, goals = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        paths = {path.stem: path for path in args.volumes} or {"foam": sample_volume_path()}
        if not args.quick and not args.volumes:
            paths["huge"] = make_sparse_huge(Path(folder) / "huge.ome.zarr", shape=HUGE)
        for name, path in paths.items():
            runs = [measure(path, repeats, seed) for seed in range(1 if args.quick else 2)]
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
