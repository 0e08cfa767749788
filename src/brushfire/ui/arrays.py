"""What stands between napari's layers and our stores: planes pass, whole volumes do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from brushfire.errors import AnnotationError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

WHOLE_LIMIT = 1 << 26
"""Voxels that napari may read at once without being refused."""


class PlaneArray:
    """A z, y, x array-like for a single-scale layer, which never reads a huge volume whole.

    napari reads everything in a few places: 3D display, duplicate, convert type, save. Reads of
    more than `WHOLE_LIMIT` voxels by index return one empty voxel, because an error in the middle
    of napari's slicing would leave the viewer half updated; the guards hide such layers before
    that. Conversions and copies raise a sentence.

    Parameters
    ----------
    source : object
        ``shape``, ``dtype`` and ``__getitem__``, and ``__setitem__`` where it is painted.
    what : str
        What it holds, as the subject of a sentence: "The strokes".
    """

    ndim = 3

    def __init__(self, source: Any, what: str) -> None:
        self.source = source
        self.what = what
        self.shape: tuple[int, int, int] = tuple(source.shape)
        self.dtype = np.dtype(source.dtype)

    @property
    def size(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes that a plain array of this shape would take."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        if self._asks_for_all(key):
            return np.zeros((1, 1, 1), self.dtype)
        found: NDArray[Any] = self.source[key]
        return found

    def __setitem__(self, key: Any, value: Any) -> None:
        self.source[key] = value

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        raise self._refusal()

    def __deepcopy__(self, memo: dict[int, object]) -> PlaneArray:
        raise self._refusal()

    def astype(self, dtype: DTypeLike, copy: bool = True) -> NDArray[Any]:
        """Refuse: a converted copy would hold the whole volume in memory."""
        raise self._refusal()

    def _asks_for_all(self, key: Any) -> bool:
        if self.size <= WHOLE_LIMIT:
            return False
        keys = key if isinstance(key, tuple) else (key,)
        return all((isinstance(k, slice) and k == slice(None)) or k is Ellipsis for k in keys)

    def _refusal(self) -> AnnotationError:
        return AnnotationError(
            f"{self.what} are kept in pieces and are not copied or converted as a whole.",
            got=f"a request for all {self.size:,} voxels",
            do="Use Export in the Result step, or read a part by index.",
        )
