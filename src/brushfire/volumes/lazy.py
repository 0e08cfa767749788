"""A zyx array that reads only what is looked at."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from brushfire.errors import VolumeError
from brushfire.geometry import Box, Triple, triple

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike, NDArray


class LazyView:
    """One channel of one level as an array-like with axes z, y, x.

    Slices on all axes give another view and read nothing; an integer on any axis, or
    ``numpy.asarray``, reads. That is what viewers need: napari cuts ``view[:, y0:y1, x0:x1]`` and
    picks the slice afterwards, which would read whole columns of an array that reads at once.

    Parameters
    ----------
    read : callable
        From a `Box` to the voxels z, y, x in it.
    dtype : numpy.dtype
        Type of the voxels.
    ranges : tuple of range
        The part of the level that is viewed, one range for each of z, y, x.
    """

    ndim = 3

    def __init__(
        self,
        read: Callable[[Box], NDArray[Any]],
        dtype: np.dtype[Any],
        ranges: tuple[range, range, range],
    ) -> None:
        self._read = read
        self._ranges = ranges
        self.dtype = dtype

    @property
    def shape(self) -> Triple:
        """Voxels along z, y, x."""
        return triple([len(r) for r in self._ranges])

    @property
    def size(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that reading all of it would take."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self._ranges[0])

    def __repr__(self) -> str:
        return f"<LazyView {self.shape} {self.dtype}>"

    def __getitem__(self, key: Any) -> Any:
        index = _full_key(key)
        if all(isinstance(part, slice) for part in index):
            z, y, x = (r[part] for r, part in zip(self._ranges, index, strict=True))
            return LazyView(self._read, self.dtype, (z, y, x))
        # A range raises IndexError past its end by itself, which ends iteration as for any array.
        z, y, x = (
            r[part] if isinstance(part, slice) else range(r[part], r[part] + 1)
            for r, part in zip(self._ranges, index, strict=True)
        )
        block = _read_ranges(self._read, (z, y, x), self.dtype)
        return block[tuple(slice(None) if isinstance(part, slice) else 0 for part in index)]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("a lazy view has no memory to share: it is read each time")
        return _read_ranges(self._read, self._ranges, self.dtype).astype(
            self.dtype if dtype is None else dtype, copy=False
        )


def _full_key(key: Any) -> tuple[Any, Any, Any]:
    """Return an integer or slice for each of the three axes."""
    parts = list(key) if isinstance(key, tuple) else [key]
    if any(part is Ellipsis for part in parts):
        at = next(i for i, part in enumerate(parts) if part is Ellipsis)
        parts[at : at + 1] = [slice(None)] * (4 - len(parts))
    parts += [slice(None)] * (3 - len(parts))
    if len(parts) > 3:
        raise IndexError(f"too many indices: a volume has the axes z, y, x, got {key!r}")
    if not all(isinstance(part, slice | SupportsIndex) for part in parts) or any(
        isinstance(part, bool | np.ndarray) for part in parts
    ):
        raise VolumeError(
            "A lazy view is indexed with integers and slices.",
            got=repr(key),
            do="Read a block first, with numpy.asarray(view[z0:z1, y0:y1, x0:x1]).",
        )
    z, y, x = (part if isinstance(part, slice) else part.__index__() for part in parts)
    return z, y, x


def _read_ranges(
    read: Callable[[Box], NDArray[Any]], ranges: tuple[range, range, range], dtype: np.dtype[Any]
) -> NDArray[Any]:
    if not all(ranges):
        return np.empty([len(r) for r in ranges], dtype)
    z = ranges[0]
    if len(z) > 1 and abs(z.step) > 1:
        # Slices between the wanted ones are not read.
        planes = [_read_ranges(read, (range(k, k + 1), *ranges[1:]), dtype) for k in z]
        return np.concatenate(planes)
    start = triple([min(r[0], r[-1]) for r in ranges])
    stop = triple([max(r[0], r[-1]) + 1 for r in ranges])
    steps = tuple(slice(None, None, r.step if len(r) > 1 else 1) for r in ranges)
    return read(Box(start, stop))[steps]
