"""Volumes over arrays in memory, mapped files and anything that is indexed like an array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from brushfire.errors import VolumeError
from brushfire.volumes.axes import resolve_axes
from brushfire.volumes.sources import ArraySource, MappedArray
from brushfire.volumes.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from brushfire.geometry import Scale
    from brushfire.volumes.cache import Cache


def is_array(value: object) -> bool:
    """Whether ``value`` has what reading needs: a shape, a type and indexing."""
    return all(hasattr(value, word) for word in ("shape", "dtype", "__getitem__"))


def open_arrays(
    arrays: Sequence[Any],
    *,
    axes: str | None,
    voxel_size: Scale | None,
    name: str | None,
    time: int | None,
    source: str | None = None,
    format: str = "Array",
    cache: Cache | None = None,
) -> Volume:
    """Open one array-like, or several as the levels of a pyramid, finest first.

    Raises
    ------
    VolumeError
        For levels that do not get smaller, or axes or a type that make no volume.
    """
    levels: list[tuple[ArraySource, Scale]] = []
    for array in arrays:
        resolved = resolve_axes(array.shape, axes, time=time)
        axes = resolved.axes if axes is None else axes
        level = ArraySource(
            array,
            resolved,
            where=name or "the array",
            chunk=_chunk_of(array),
            fresh=isinstance(array, MappedArray),
        )
        full = levels[0][0].shape if levels else level.shape
        if level.shape[0] != full[0] or any(
            a > b for a, b in zip(level.shape[1:], full[1:], strict=True)
        ):
            raise VolumeError(
                "The levels of a pyramid are one image, finest first.",
                got=f"a level of shape {tuple(array.shape)} under {tuple(arrays[0].shape)}",
                do="Give the levels in order, or open one array.",
            )
        z, y, x = (a / b for a, b in zip(full[1:], level.shape[1:], strict=True))
        levels.append((level, (z, y, x)))
    return Volume(
        name=name or "volume",
        source=source,
        format=format,
        axes=resolved.axes,
        levels=levels,
        voxel_size=voxel_size,
        time=time if "t" in resolved.axes else None,
        cache=cache,
    )


def open_npy(
    path: Path,
    *,
    axes: str | None,
    voxel_size: Scale | None,
    name: str | None,
    time: int | None,
    cache: Cache,
) -> Volume:
    """Open a .npy file, mapped; objects in it are never unpickled.

    Raises
    ------
    VolumeError
        For a file that is no .npy file or is truncated.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            reader = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, fortran, dtype = reader(file)
            offset = file.tell()
    except ValueError as error:
        raise VolumeError(
            "A .npy file has NumPy's header.",
            got=f"{path}: {error}",
            do="Save the array again with numpy.save.",
        ) from error
    if dtype.hasobject:
        raise VolumeError(
            "The voxels of a volume are real numbers.",
            got=f"dtype {dtype} in {path}",
            do="Save the array again as numbers.",
        )
    array = MappedArray(path, shape, dtype, offset, "F" if fortran else "C")
    return open_arrays(
        [array],
        axes=axes,
        voxel_size=voxel_size,
        name=name or path.stem,
        time=time,
        source=str(path),
        format="NumPy",
        cache=cache,
    )


def _chunk_of(array: Any) -> tuple[int, ...] | None:
    """Return the chunk shape where the array-like tells it, as zarr and dask do."""
    chunks = getattr(array, "chunksize", None) or getattr(array, "chunks", None)
    if not isinstance(chunks, tuple) or len(chunks) != len(array.shape):
        return None
    return chunks if all(isinstance(n, int) for n in chunks) else None
