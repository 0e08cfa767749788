"""Tiles of any kind in memory: sparse, under a byte budget, and seen as lazy arrays."""

from __future__ import annotations

from collections import OrderedDict
from math import prod
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np

from brushfire.errors import ModelError
from brushfire.geometry import Box, Grid, Triple, triple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import DTypeLike, NDArray

MAX_READ = 1 << 30


class AnyTile(Protocol):
    """One predicted core box: where it is, which model made it, and what it holds."""

    @property
    def index(self) -> Triple:
        """Grid index."""

    @property
    def box(self) -> Box:
        """The voxels it covers, level 0."""

    @property
    def revision(self) -> int:
        """The model that made it."""

    @property
    def nbytes(self) -> int:
        """Bytes held."""


T = TypeVar("T", bound=AnyTile)


class TileStore(Generic[T]):
    """The newest tile of every grid cell, oldest use dropped first when the budget is full.

    The session's thread owns it; other threads hand tiles to the session.

    Parameters
    ----------
    shape : tuple of int
        Voxels of the volume at level 0, z, y, x.
    tile : int
        Edge of a tile in y and x; tiles are one slice thick.
    budget_bytes : int
        Upper bound of the bytes held; at least one tile is always kept.
    """

    def __init__(self, shape: Triple, *, tile: int, budget_bytes: int) -> None:
        self.grid = Grid(shape, (1, tile, tile))
        self.revision = 0
        self.nbytes = 0
        self._budget = budget_bytes
        self._tiles: OrderedDict[Triple, T] = OrderedDict()

    @property
    def shape(self) -> Triple:
        """Voxels of the volume, z, y, x."""
        return self.grid.shape

    def put(self, tile: T) -> bool:
        """Keep ``tile`` unless the shown model already wrote there; return whether it was kept.

        Revisions are compared for being the shown one, not for being newer: after going back to
        an earlier model, that one's tiles are the fresh ones.
        """
        old = self._tiles.get(tile.index)
        if old is not None:
            if old.revision == self.revision != tile.revision:
                return False
            self.nbytes -= old.nbytes
        self._tiles[tile.index] = tile
        self._tiles.move_to_end(tile.index)
        self.nbytes += tile.nbytes
        self.limit(self._budget)
        return True

    def limit(self, budget_bytes: int) -> None:
        """Hold at most this much from now on, dropping what was not used for longest."""
        self._budget = budget_bytes
        while self.nbytes > budget_bytes and len(self._tiles) > 1:
            _, dropped = self._tiles.popitem(last=False)
            self.nbytes -= dropped.nbytes

    def _cells(self, voxel_bytes: int) -> int:
        """Return how many tiles with so many bytes a voxel the budget holds, at least one."""
        return max(1, self._budget // (prod(self.grid.cell) * voxel_bytes))

    def fresh(self) -> frozenset[Triple]:
        """Return the cells that the shown model made."""
        shown = self.revision
        return frozenset(i for i, tile in self._tiles.items() if tile.revision == shown)

    def touch(self, box: Box) -> None:
        """Mark the tiles that touch ``box`` as in use, so that others are dropped first."""
        for tile in list(self._touching(box)):
            self._tiles.move_to_end(tile.index)

    def __len__(self) -> int:
        return len(self._tiles)

    def clear(self) -> None:
        """Forget every tile."""
        self._tiles.clear()
        self.nbytes = 0

    def _touching(self, box: Box) -> Iterator[T]:
        first = self.grid.index_of(box.start)
        last = self.grid.index_of([max(b - 1, a) for a, b in zip(box.start, box.stop, strict=True)])
        cells = prod(b - a + 1 for a, b in zip(first, last, strict=True))
        if cells <= len(self._tiles):
            found = (self._tiles.get(index) for index in self.grid.indices(box))
            yield from (tile for tile in found if tile is not None)
        else:
            # A slice across z of a huge volume meets far more cells than there are tiles.
            yield from (tile for tile in self._tiles.values() if tile.box.intersect(box))

    def _read(
        self, box: Box, block_of: Callable[[T], NDArray[Any]], unknown: np.generic
    ) -> NDArray[Any]:
        """Return what the tiles hold of a box, and ``unknown``, of the same type, elsewhere."""
        out = np.full(box.shape, unknown, unknown.dtype)
        for tile in self._touching(box):
            common = tile.box.intersect(box)
            if common is not None:
                out[common.slices_in(box)] = block_of(tile)[common.slices_in(tile.box)]
        return out


class StoreView:
    """A lazy array over the store, as image and labels layers want it.

    Parameters
    ----------
    shape : tuple of int
        z, y, x.
    read : callable
        Maps a `Box` to an array of its shape.
    dtype : dtype
        Of that array.
    """

    ndim = 3

    def __init__(
        self,
        shape: Triple,
        read: Callable[[Box], NDArray[Any]],
        dtype: DTypeLike = np.uint8,
    ) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._read = read

    @property
    def size(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        keys = list(key) if isinstance(key, tuple) else [key]
        if Ellipsis in keys:
            at = keys.index(Ellipsis)
            keys[at : at + 1] = [slice(None)] * (3 - len(keys) + 1)
        keys += [slice(None)] * (3 - len(keys))
        start, stop, inner = [], [], []
        for k, n in zip(keys, self.shape, strict=True):
            a, b, local = _bounds(k, n)
            start.append(a)
            stop.append(b)
            inner.append(local)
        box = Box(triple(start), triple(stop))
        if box.size > MAX_READ:
            raise ModelError(
                f"At most {MAX_READ:,} voxels of predictions are read at once.",
                got=f"{box.size:,} voxels",
                do="Read a smaller box, show the prediction in 2D, or export it.",
            )
        block = self._read(box)
        result: NDArray[Any] = block[tuple(inner)]
        return result


def _bounds(key: Any, length: int) -> tuple[int, int, Any]:
    """Return the range that an index touches, and the index to apply inside that range."""
    if isinstance(key, slice):
        a, b, step = key.indices(length)
        if step < 1:
            raise IndexError("a prediction is read with steps of 1 or more")
        return a, max(a, b), slice(None, None, step)
    value = int(key)
    value += length if value < 0 else 0
    if not 0 <= value < length:
        raise IndexError(f"index {key} is outside 0 .. {length - 1}")
    return value, value + 1, 0
