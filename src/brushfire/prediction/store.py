"""Predicted tiles in memory, sparse and under a byte budget, with the model that made each."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brushfire.errors import ModelError
from brushfire.geometry import Box, Grid, Triple, triple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UInt8 = NDArray[np.uint8]

MAX_READ = 1 << 30

STALE = 128
"""Added to a class value where the tile was made by an older model than the shown one."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One predicted core box.

    Parameters
    ----------
    index : tuple of int
        Grid index.
    box : Box
        The voxels it covers, level 0.
    revision : int
        The model that made it.
    labels : ndarray of uint8, shape (z, y, x)
        Class values.
    classes : tuple of int
        Class values in the order of ``probabilities``.
    probabilities : ndarray of uint8, shape (classes, z, y, x)
        255 is probability 1.
    """

    index: Triple
    box: Box
    revision: int
    labels: UInt8
    classes: tuple[int, ...]
    probabilities: UInt8

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.labels.nbytes + self.probabilities.nbytes


class PredictionStore:
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
        self._tiles: OrderedDict[Triple, Tile] = OrderedDict()
        self._entropy = _entropy_table()

    @property
    def shape(self) -> Triple:
        """Voxels of the volume, z, y, x."""
        return self.grid.shape

    @property
    def labels(self) -> StoreView:
        """Class values, z, y, x: 0 where nothing is known, plus `STALE` where it is old."""
        return StoreView(self.shape, self._read_labels)

    def probability(self, value: int) -> StoreView:
        """Return the probability of class ``value``, uint8 with 255 for 1, 0 where unknown."""
        return StoreView(self.shape, lambda box: self._read(box, lambda t: _probability(t, value)))

    @property
    def uncertainty(self) -> StoreView:
        """Entropy of the class probabilities over that of even odds, uint8 with 255 for 1."""
        return StoreView(self.shape, lambda box: self._read(box, self._uncertainty))

    def put(self, tile: Tile) -> bool:
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

    def room(self, classes: int) -> int:
        """Return how many tiles of so many classes the budget holds, at least one."""
        z, y, x = self.grid.cell
        return max(1, self._budget // (z * y * x * (1 + classes)))

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

    def _touching(self, box: Box) -> Iterator[Tile]:
        first = self.grid.index_of(box.start)
        last = self.grid.index_of([max(b - 1, a) for a, b in zip(box.start, box.stop, strict=True)])
        cells = prod(b - a + 1 for a, b in zip(first, last, strict=True))
        if cells <= len(self._tiles):
            found = (self._tiles.get(index) for index in self.grid.indices(box))
            yield from (tile for tile in found if tile is not None)
        else:
            # A slice across z of a huge volume meets far more cells than there are tiles.
            yield from (tile for tile in self._tiles.values() if tile.box.intersect(box))

    def _read(self, box: Box, block_of: Callable[[Tile], UInt8]) -> UInt8:
        out = np.zeros(box.shape, np.uint8)
        for tile in self._touching(box):
            common = tile.box.intersect(box)
            if common is not None:
                out[common.slices_in(box)] = block_of(tile)[common.slices_in(tile.box)]
        return out

    def _read_labels(self, box: Box) -> UInt8:
        return self._read(
            box,
            lambda tile: tile.labels if tile.revision == self.revision else tile.labels + STALE,
        )

    def _uncertainty(self, tile: Tile) -> UInt8:
        if len(tile.classes) < 2:
            return np.zeros(tile.labels.shape, np.uint8)
        bits: NDArray[np.float32] = self._entropy[tile.probabilities].sum(axis=0)
        scaled: UInt8 = np.minimum(bits * (255 / np.log(len(tile.classes))), 255).astype(np.uint8)
        return scaled


class StoreView:
    """A lazy array over the store, as image and labels layers want it.

    Parameters
    ----------
    shape : tuple of int
        z, y, x.
    read : callable
        Maps a `Box` to a uint8 array of its shape.
    """

    dtype = np.dtype(np.uint8)
    ndim = 3

    def __init__(self, shape: Triple, read: Callable[[Box], UInt8]) -> None:
        self.shape = shape
        self._read = read

    @property
    def size(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> UInt8:
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
        result: UInt8 = block[tuple(inner)]
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


def _probability(tile: Tile, value: int) -> UInt8:
    if value not in tile.classes:
        return np.zeros(tile.labels.shape, np.uint8)
    found: UInt8 = tile.probabilities[tile.classes.index(value)]
    return found


def _entropy_table() -> NDArray[np.float32]:
    p = np.arange(256, dtype=np.float32) / 255
    with np.errstate(divide="ignore", invalid="ignore"):
        table: NDArray[np.float32] = np.where(p > 0, -p * np.log(p), 0).astype(np.float32)
    return table
