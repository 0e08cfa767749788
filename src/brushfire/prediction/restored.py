"""A volume as a model restores it, computed where it is read: to look at, or to learn from."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from brushfire.geometry import Box, Grid, Triple
from brushfire.prediction.tile import predict_box
from brushfire.volumes import Volume
from brushfire.volumes.cache import SegmentCache

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from brushfire.networks.restoration import RestorationModel
    from brushfire.volumes import Statistics

TILE = 256
"""Edge of what is restored at once, voxels."""


def restored_volume(
    volume: Volume,
    model: RestorationModel,
    *,
    cache_bytes: int,
    budget_bytes: int,
    channels: Sequence[str] | None = None,
    statistics: Statistics | None = None,
    fingerprint: str | None = None,
) -> Volume:
    """Return a volume whose voxels are those that a model makes of another's.

    Whoever reads it, a network that segments for one, restores just what it reads. Each voxel is
    the same whichever box it is read with, up to the tolerance of tiles. Only level 0 is there.

    Parameters
    ----------
    volume : Volume
        What is restored.
    model : RestorationModel
        What restores it; nobody else may change it from then on.
    cache_bytes : int
        What may be kept of what was restored last.
    budget_bytes : int
        Memory that the network may take.
    channels : sequence of str, optional
        A name for each restored channel.
    statistics, fingerprint : optional
        As of `Volume`: to measure them restores a sample.
    """
    source = RestoredSource(volume, model, cache_bytes=cache_bytes, budget_bytes=budget_bytes)
    return Volume(
        name=f"{volume.name}, restored",
        source=None,
        format=volume.format,
        axes="czyx",
        levels=[(source, (1.0, 1.0, 1.0))],
        voxel_size=volume.voxel_size if volume.voxel_size_known else None,
        channels=channels,
        time=volume.time,
        cache=volume.cache,
        statistics=statistics,
        fingerprint=fingerprint,
    )


class RestoredSource:
    """A level that is computed tile by tile, see `restored_volume`."""

    def __init__(
        self, volume: Volume, model: RestorationModel, *, cache_bytes: int, budget_bytes: int
    ) -> None:
        self._volume, self._model, self._budget = volume, model, budget_bytes
        self.shape = (model.outputs, *volume.shape)
        self.dtype: np.dtype[Any] = np.dtype(np.float32)
        _, height, width = volume.shape
        self.chunk: Triple = (1, min(TILE, height), min(TILE, width))
        self._grid = Grid(volume.shape, self.chunk)
        self._kept = SegmentCache(cache_bytes)
        # One network at a time, so that the memory of one is the memory of all.
        self._turn = threading.Lock()

    def read(self, channels: slice, box: Box) -> NDArray[np.float32]:
        """Return channel, z, y, x of ``box``; any thread may call it."""
        count = len(range(*channels.indices(self.shape[0])))
        out = np.empty((count, *box.shape), np.float32)
        for index in self._grid.indices(box):
            cell = self._grid.box(index)
            common = cell.intersect(box)
            assert common is not None
            tile = self._tile(index, cell)[channels]
            out[(slice(None), *common.slices_in(box))] = tile[
                (slice(None), *common.slices_in(cell))
            ]
        return out

    def _tile(self, index: Triple, cell: Box) -> NDArray[Any]:
        with self._turn:
            kept = self._kept.get(index)
            if kept is not None:
                return kept[0]
            found = predict_box(self._model, self._volume, cell, budget_bytes=self._budget)
            self._kept.put(index, (found, cell.start))
        return found
