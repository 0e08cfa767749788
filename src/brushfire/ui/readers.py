"""Volumes and samples for napari's File menu and drag and drop."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEventLoop, QTimer

from brushfire.ui.layers import image_tuples
from brushfire.volumes import open_volume

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    LayerTuples = list[tuple[Any, dict[str, Any], str]]

POLL_MS = 20
TIFF = (".tif", ".tiff", ".btf")


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], LayerTuples] | None:
    """Return a reader where ``path`` looks like a volume of ours, else None.

    Parameters
    ----------
    path : str or sequence of str
        A Zarr store, a TIFF file, or a folder of TIFFs; several paths are not one volume.
    """
    if not isinstance(path, str):
        if len(path) != 1:
            return None
        path = path[0]
    place = Path(path)
    if place.suffix.lower() in TIFF and place.is_file():
        return read
    if place.is_dir() and (_is_zarr(place) or _holds_tiffs(place)):
        return read
    return None


def read(path: str | Sequence[str]) -> LayerTuples:
    """Open a volume lazily as image layers, one for each channel.

    The layers say in their metadata where they came from, so that the Brushfire panel can go on
    with them.

    Raises
    ------
    VolumeError
        If it is no volume; napari shows the sentence.
    """
    place = Path(path if isinstance(path, str) else path[0])
    return image_tuples(open_volume(place), {"source": str(place)})


def open_sample() -> LayerTuples:
    """Return the foam sample; the first time it is made, which takes a few seconds."""
    return read(str(sample_path()))


def sample_path() -> Path:
    """Return the folder of the foam sample, making it first where it did not come with the code.

    The window stays alive meanwhile: a thread makes it while Qt's events go on.
    """
    # Making it needs scikit-image, which takes a second to load and is not needed to start.
    from brushfire.samples import sample_volume_path

    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(sample_volume_path)
        loop, timer = QEventLoop(), QTimer()
        timer.timeout.connect(lambda: loop.quit() if made.done() else None)
        timer.start(POLL_MS)
        if not made.done():
            loop.exec()
        timer.stop()
        return made.result()


def _is_zarr(place: Path) -> bool:
    return place.suffix == ".zarr" or any(
        (place / name).exists() for name in ("zarr.json", ".zattrs", ".zgroup", ".zarray")
    )


def _holds_tiffs(place: Path) -> bool:
    # A folder may hold a hundred thousand slices; the first few names tell.
    for at, entry in enumerate(place.iterdir()):
        if entry.suffix.lower() in TIFF:
            return True
        if at > 100:
            break
    return False
