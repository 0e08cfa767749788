"""Where the voxels of one level come from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from brushfire.errors import VolumeError
from brushfire.geometry import Triple, triple
from brushfire.volumes.axes import AxisMap, check_dtype

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from brushfire.geometry import Box


class LevelSource(Protocol):
    """One level of a volume: any thread may read, and a read touches just what it needs."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Voxels along channel, z, y, x."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of what `read` returns."""

    @property
    def chunk(self) -> Triple:
        """Voxels z, y, x that are decoded together: the smallest block worth reading."""

    def read(self, channels: slice, box: Box) -> NDArray[Any]:
        """Return channel, z, y, x of ``box``, which lies inside."""


class ArraySource:
    """A level behind anything with ``shape``, ``dtype`` and basic indexing.

    Parameters
    ----------
    array : array-like
        NumPy array, tensorstore, dask array, `MappedArray` and the like; it is indexed with
        integers and slices of step 1 only, and what comes back is converted by ``numpy.asarray``.
    axes : AxisMap
        What the array's axes are.
    where : str
        Named in errors.
    chunk : tuple of int, optional
        In the array's own axes.
    fresh : bool
        Whether indexing gives new memory each time; otherwise it is copied, so that no reader can
        change the caller's array.
    """

    def __init__(
        self,
        array: Any,
        axes: AxisMap,
        *,
        where: str,
        chunk: Sequence[int] | None = None,
        fresh: bool = False,
    ) -> None:
        self._array = array
        self._axes = axes
        self._where = where
        self._fresh = fresh
        self.shape = axes.shape
        # tensorstore has types of its own.
        self.dtype = check_dtype(np.dtype(getattr(array.dtype, "numpy_dtype", array.dtype)))
        sizes = dict(zip(axes.axes, chunk, strict=True)) if chunk else {}
        self.chunk = triple([sizes.get(a, 1) for a in "zyx"]) if chunk else (1, 64, 64)

    def read(self, channels: slice, box: Box) -> NDArray[Any]:
        """Return channel, z, y, x of ``box``, in memory of its own."""
        try:
            block = np.asarray(self._array[self._axes.index(channels, box)])
        except (OSError, ValueError, RuntimeError) as error:
            raise VolumeError(
                "What is stored can be read and decoded.",
                got=f"{_first_line(error)} (at {box} of {self._where})",
                do="Check that the file is complete and that its disk is still there, then open "
                "it again.",
            ) from error
        return self._axes.arrange(block).astype(self.dtype, copy=not self._fresh)


class MappedArray:
    """A C- or F-ordered array in a file, mapped anew for each read.

    A map that stays open would count every page ever read as memory of this process; one that
    lives for a single read gives them back, needs no lock and holds no file open.

    Parameters
    ----------
    path : Path
        The file.
    shape : sequence of int
        Shape of the array.
    dtype : numpy.dtype
        Type on disk, with its byte order.
    offset : int
        Bytes before the first element.
    order : str
        "C" or "F".
    """

    def __init__(
        self,
        path: Path,
        shape: Sequence[int],
        dtype: np.dtype[Any],
        offset: int,
        order: str = "C",
    ) -> None:
        self.path, self.dtype, self.offset, self.order = path, dtype, offset, order
        self.shape = tuple(int(n) for n in shape)
        self.ndim = len(self.shape)
        need = offset + math.prod(self.shape) * dtype.itemsize
        have = path.stat().st_size
        if have < need:
            raise truncated(path, have, need)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        whole: Any = np.memmap(
            self.path,
            dtype=self.dtype,
            mode="r",
            offset=self.offset,
            shape=self.shape,
            order="F" if self.order == "F" else "C",
        )
        return np.array(whole[key])


def truncated(path: Path, have: int, need: int) -> VolumeError:
    """Return the error for a file that ends before its data do."""
    return VolumeError(
        "A file holds all the data that its header promises.",
        got=f"{path} with {have} of at least {need} bytes",
        do="The file is truncated: copy or export it again.",
    )


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
