"""Open a volume from whatever the caller has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brushfire.errors import VolumeError
from brushfire.volumes.array import is_array, open_arrays, open_npy
from brushfire.volumes.cache import Cache
from brushfire.volumes.ome_zarr import is_zarr, open_ome_zarr
from brushfire.volumes.tiff import SUFFIXES, open_tiff, open_tiff_folder
from brushfire.volumes.volume import Volume, check_voxel_size

if TYPE_CHECKING:
    from brushfire.geometry import Scale

FORMATS = "OME-Zarr (0.4, 0.5), TIFF, a folder of TIFF slices, .npy"


def open_volume(
    source: Any,
    *,
    axes: str | None = None,
    voxel_size: Scale | None = None,
    name: str | None = None,
    time: int | None = None,
    cache_bytes: int | None = None,
) -> Volume:
    """Open a volume for lazy reading.

    Parameters
    ----------
    source : path, array-like or sequence of array-likes
        An OME-Zarr store, a TIFF file, a folder of TIFF slices, a .npy file; an array, or the
        levels of a pyramid, finest first.
    axes : str, optional
        What the axes are, in the source's order, out of "tczyx", when the source does not say or
        says it wrong. An array without names is taken for (c)zyx.
    voxel_size : tuple of float, optional
        Micrometres z, y, x, instead of what the source says.
    name : str, optional
        Instead of the source's own.
    time : int, optional
        The time point to open where there are several.
    cache_bytes : int, optional
        What may be kept decoded for the next read, for all levels together, in a cache of its
        own. By default it shares one with the other volumes of this process: `stores.CACHE_BYTES`
        for chunks, and `cache.SEGMENT_BYTES` for each TIFF.

    Raises
    ------
    VolumeError
        For a source that does not exist, is damaged or is no volume.
    """
    if voxel_size is not None:
        voxel_size = check_voxel_size(voxel_size)
    if isinstance(source, str | os.PathLike):
        path = Path(os.path.abspath(Path(source).expanduser()))
        options = {"axes": axes, "voxel_size": voxel_size, "name": name}
        return _open_path(path, {**options, "cache": Cache(cache_bytes)}, time)
    arrays = [source] if is_array(source) else _levels_of(source)
    return open_arrays(arrays, axes=axes, voxel_size=voxel_size, name=name, time=time)


def describe(volume: Volume) -> str:
    """Return `Volume.summary` as lines of text."""
    rows = volume.summary()
    width = max(len(word) for word, _ in rows)
    return "\n".join(f"{word:<{width}}  {value}" for word, value in rows)


def _levels_of(source: Any) -> list[Any]:
    try:
        arrays = list(source)
    except TypeError:
        arrays = []
    if not arrays or not all(is_array(array) for array in arrays):
        raise VolumeError(
            "A volume is opened from a path, an array, or a list of arrays (its levels).",
            got=type(source).__name__,
            do="Give one of these.",
        )
    return arrays


def _open_path(path: Path, options: dict[str, Any], time: int | None) -> Volume:
    if not path.exists():
        raise VolumeError(
            "A volume is opened from a path that exists.",
            got=str(path),
            do="Check the spelling, and that the disk is connected.",
        )
    try:
        if path.is_dir():
            return _open_folder(path, options, time)
        # A file of a store stands for the store: it is what a file dialog lets one choose.
        if is_zarr(path.parent) and path.name in ("zarr.json", ".zattrs", ".zgroup"):
            return open_ome_zarr(path.parent, time=time, **options)
        if path.suffix.lower() in SUFFIXES:
            return open_tiff(path, time=time, **options)
        if path.suffix.lower() == ".npy":
            return open_npy(path, time=time, **options)
    except OSError as error:
        raise VolumeError(
            "A volume can be read.",
            got=f"{path} ({error.strerror or error})",
            do="Check its permissions, and that the disk is connected.",
        ) from error
    raise VolumeError(
        f"A volume has one of the formats {FORMATS}.",
        got=str(path),
        do="Convert it to OME-Zarr or TIFF, or open it in Python and give the array to brushfire.",
    )


def _open_folder(path: Path, options: dict[str, Any], time: int | None) -> Volume:
    if is_zarr(path):
        return open_ome_zarr(path, time=time, **options)
    files = [
        file
        for file in path.iterdir()
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
    ]
    if len(files) == 1:
        return open_tiff(files[0], time=time, **options)
    if files:
        return open_tiff_folder(path, files, time=time, **options)
    raise VolumeError(
        "A folder that is opened is an OME-Zarr store or holds TIFF slices.",
        got=str(path),
        do="Choose the store itself (NAME.ome.zarr) or the folder with the slices.",
    )
