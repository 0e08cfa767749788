"""Predicted tiles in memory, with the model that made each: of labels, and of intensities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from brushfire.prediction.tiles import StoreView, TileStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from brushfire.geometry import Box, Triple

UInt8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]

_UNKNOWN = np.uint8(0)
_NOT_RESTORED = np.float32(np.nan)

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


@dataclass(frozen=True, slots=True)
class RestoredTile:
    """One restored core box.

    Parameters
    ----------
    index : tuple of int
        Grid index.
    box : Box
        The voxels it covers, level 0.
    revision : int
        The model that made it.
    values : ndarray of float32, shape (outputs, z, y, x)
        Restored intensities, in the units of what was learned from.
    """

    index: Triple
    box: Box
    revision: int
    values: Float32

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.values.nbytes


class PredictionStore(TileStore[Tile]):
    """The newest label tile of every grid cell, see `TileStore`."""

    def __init__(self, shape: Triple, *, tile: int, budget_bytes: int) -> None:
        super().__init__(shape, tile=tile, budget_bytes=budget_bytes)
        self._entropy = _entropy_table()

    @property
    def labels(self) -> StoreView:
        """Class values, z, y, x: 0 where nothing is known, plus `STALE` where it is old."""
        return self._view(
            lambda tile: tile.labels if tile.revision == self.revision else tile.labels + STALE
        )

    def probability(self, value: int) -> StoreView:
        """Return the probability of class ``value``, uint8 with 255 for 1, 0 where unknown."""
        return self._view(lambda tile: _probability(tile, value))

    @property
    def uncertainty(self) -> StoreView:
        """Entropy of the class probabilities over that of even odds, uint8 with 255 for 1."""
        return self._view(self._uncertainty)

    def room(self, classes: int) -> int:
        """Return how many tiles of so many classes the budget holds, at least one."""
        return self._cells(1 + classes)

    def _view(self, block_of: Callable[[Tile], UInt8]) -> StoreView:
        return StoreView(self.shape, lambda box: self._read(box, block_of, _UNKNOWN))

    def _uncertainty(self, tile: Tile) -> UInt8:
        if len(tile.classes) < 2:
            return np.zeros(tile.labels.shape, np.uint8)
        bits: Float32 = self._entropy[tile.probabilities].sum(axis=0)
        scaled: UInt8 = np.minimum(bits * (255 / np.log(len(tile.classes))), 255).astype(np.uint8)
        return scaled


class RestoredStore(TileStore[RestoredTile]):
    """The newest restored tile of every grid cell, see `TileStore`."""

    def channel(self, output: int = 0) -> StoreView:
        """Return one restored channel, z, y, x, float32.

        Not a number where nothing is known: viewers draw that transparent, so that what was to be
        restored is seen there; any number would be taken for an intensity.
        """
        return StoreView(
            self.shape,
            lambda box: self._read(box, lambda tile: tile.values[output], _NOT_RESTORED),
            np.float32,
        )

    def room(self, outputs: int) -> int:
        """Return how many tiles of so many channels the budget holds, at least one."""
        return self._cells(_NOT_RESTORED.itemsize * outputs)


def _probability(tile: Tile, value: int) -> UInt8:
    if value not in tile.classes:
        return np.zeros(tile.labels.shape, np.uint8)
    found: UInt8 = tile.probabilities[tile.classes.index(value)]
    return found


def _entropy_table() -> Float32:
    p = np.arange(256, dtype=np.float32) / 255
    with np.errstate(divide="ignore", invalid="ignore"):
        table: Float32 = np.where(p > 0, -p * np.log(p), 0).astype(np.float32)
    return table
