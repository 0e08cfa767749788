"""Peak memory of a whole job on a sparse 2160x2560x2560 volume, with a budget of 1 GiB.

With --restore it learns to denoise that volume from hidden pixels, with a budget of 2 GiB, and also
tells how many voxels a second are restored and written.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from reporting import note, parser, peak_rss_mb, report, rss_mb

if TYPE_CHECKING:
    from brushfire.session import Session

HUGE = (2160, 2560, 2560)
BUDGET = 1 << 30
RESTORING_BUDGET = 2 << 30
WINDOW = 1024  # voxels a side that are looked at


def job(path: Path, folder: Path, *, quick: bool) -> dict[str, float]:
    """Open, paint, learn, look around and export; return MB of this process, which is fresh."""
    import torch  # noqa: F401  # its own memory is nobody's choice

    with_torch = rss_mb()
    import numpy as np

    from brushfire.geometry import Box
    from brushfire.session import Session

    figures = {"rss_with_torch_mb": with_torch}
    session = Session(folder / "huge.brushfire", memory_budget_bytes=BUDGET)
    session.open_volume(path)
    session.confirm_volume()
    depth, height, width = session.volume.shape
    window = min(WINDOW, height, width)
    middle = depth // 2
    y, x = (height - window) // 2, (width - window) // 2

    def seen(z: int) -> Box:
        return Box((z, y, x), (z + 1, y + window, x + window))

    strokes = np.zeros((1, window, window), np.uint8)
    for i, row in enumerate(range(20, window - 20, window // 12)):
        strokes[0, row : row + 6, 20:-20] = i % 2 + 1
    for z in range(middle, middle + 3):
        session.paint(seen(z), strokes)
    session.set_view(seen(middle))
    session.start()
    assert session.wait_for(lambda: session.learning.shown_model is not None, 120), session.status
    session.wait_for(lambda: False, 3 if quick else 20)
    figures["peak_learning_mb"] = peak_rss_mb() - with_torch

    for z in range(middle + 3, middle + (5 if quick else 11)):
        session.set_view(seen(z))
        inside = Box((z, y + 300, x + 300), (z + 1, y + 310, x + 310))
        shown = session.predictions.labels
        assert session.wait_for(lambda s=shown, b=inside: s[b.slices].any(), 60), session.status
    session.stop()
    session.wait_for(lambda: session.learning.phase == "idle", 60)
    figures["peak_streaming_mb"] = peak_rss_mb() - with_torch

    slices = 2 if quick else 4
    region = Box((middle, 0, 0), (middle + slices, height, width))
    for format, name in (("ome-zarr", "masks.ome.zarr"), ("tiff", "masks.tif")):
        number = session.export(folder / name, format=format, region=region)
        assert session.wait_for(lambda n=number: state(session, n) != "running", 900)
        assert state(session, number) == "finished", session.jobs
        figures[f"peak_{format.replace('-', '_')}_mb"] = peak_rss_mb() - with_torch
    session.close()
    figures["peak_rss_mb"] = peak_rss_mb()
    figures["growth_mb"] = peak_rss_mb() - with_torch
    return figures


def restoring_job(path: Path, folder: Path, *, quick: bool) -> dict[str, float]:
    """Open, learn to restore, and export some slices; return MB of this process, which is fresh."""
    import torch  # noqa: F401  # its own memory is nobody's choice

    with_torch = rss_mb()
    from brushfire.geometry import Box
    from brushfire.session import Session

    figures = {"rss_with_torch_mb": with_torch}
    session = Session(folder / "huge.brushfire", memory_budget_bytes=RESTORING_BUDGET)
    session.open_volume(path)
    session.confirm_volume()
    depth, height, width = session.volume.shape
    job = session.restore_from("blind")
    assert session.wait_for(lambda: state(session, job) != "running", 120)
    session.set_view(Box((depth // 2, 0, 0), (depth // 2 + 1, height, width)))
    session.start()
    assert session.wait_for(lambda: session.learning.shown_model is not None, 120), session.status
    session.wait_for(lambda: False, 3 if quick else 20)
    session.stop()
    session.wait_for(lambda: session.learning.phase == "idle", 60)
    figures["peak_learning_mb"] = peak_rss_mb() - with_torch
    slices = 1 if quick else 4
    region = Box((depth // 2, 0, 0), (depth // 2 + slices, height, width))
    for format, name in (("ome-zarr", "restored.ome.zarr"), ("tiff", "restored.tif")):
        began = time.monotonic()
        number = session.export(folder / name, format=format, region=region)
        assert session.wait_for(lambda n=number: state(session, n) != "running", 900)
        assert state(session, number) == "finished", session.jobs
        if format == "ome-zarr":  # the other one is written from the same prediction
            figures["voxels_per_second"] = region.size / (time.monotonic() - began)
        figures[f"peak_{format.replace('-', '_')}_mb"] = peak_rss_mb() - with_torch
    session.close()
    figures["growth_mb"] = peak_rss_mb() - with_torch
    return figures


def state(session: Session, number: int) -> str:
    """Return how far a job is."""
    return next(job.state for job in session.jobs if job.id == number)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--job", nargs=2, metavar=("VOLUME", "FOLDER"), help="for itself only")
    options.add_argument("--restore", action="store_true", help="denoise instead of segmenting")
    args = options.parse_args()
    if args.job:
        run = restoring_job if args.restore else job
        print(json.dumps(run(*map(Path, args.job), quick=args.quick)))
        return
    from brushfire.samples import make_sparse_huge

    shape = tuple(n // 2 for n in HUGE) if args.quick else HUGE
    with tempfile.TemporaryDirectory() as folder:
        path = make_sparse_huge(Path(folder) / "huge.ome.zarr", shape=shape)
        command = [sys.executable, __file__, "--job", str(path), folder]
        told = subprocess.run(
            command + ["--quick"] * args.quick + ["--restore"] * args.restore,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    figures = json.loads(told.stdout.splitlines()[-1])
    for name, value in figures.items():
        note(args, f"{name:20} {value:9.1f}")
    goal = "< 2048" if args.restore else "< 1024"
    report("memory_budget", figures, {"growth_mb": goal})


if __name__ == "__main__":
    main()
