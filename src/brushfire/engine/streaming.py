"""Predict what the user sees, with the model shown now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from brushfire.engine.messages import Event, TilePredicted
from brushfire.networks.rebuilding import model_of
from brushfire.prediction import RestoredTile, TilePlan
from brushfire.prediction.tile import predict_tile

if TYPE_CHECKING:
    from collections.abc import Callable

    from brushfire.engine.messages import SetView
    from brushfire.geometry import Box, Grid, Triple
    from brushfire.networks.model import SegmentationModel
    from brushfire.networks.restoration import RestorationModel
    from brushfire.networks.snapshot import ModelSnapshot
    from brushfire.prediction import Tile
    from brushfire.volumes import Volume


class Streamer:
    """Visible tiles first, then those around them, each once for a model and a view.

    Parameters
    ----------
    volume : Volume
        Where to read.
    grid : Grid
        The tiles of the volume.
    emit : callable
        Takes each event.
    """

    def __init__(self, volume: Volume, grid: Grid, emit: Callable[[Event], None]) -> None:
        self.visible_seconds = 0.0
        """Time that the visible tiles of this model and view have taken so far."""
        self._volume = volume
        self._grid = grid
        self._emit = emit
        self._model: SegmentationModel | RestorationModel | None = None
        self._as_read = False
        self._revision = 0
        self._asked: SetView | None = None
        self._plan: TilePlan | None = None
        self._made: set[Triple] = set()

    @property
    def wants_visible(self) -> bool:
        """Whether a visible tile is missing or stale."""
        return self._able and self._plan is not None and self._plan.visible_left > 0

    @property
    def wants_beyond(self) -> bool:
        """Whether a tile out of sight may be missing or stale."""
        return self._able and self._plan is not None and self._plan.beyond_left

    @property
    def _able(self) -> bool:
        return self._as_read or self._model is not None

    def set_view(self, asked: SetView) -> None:
        """Plan for another view."""
        self._asked = asked
        if asked.revision == self._revision:
            # The sender knows better than we do: it may have dropped some that we made. Of a
            # sender that has not heard of this model yet, nothing is fresh but what we made.
            self._made = set(asked.fresh)
        self._replan()

    def set_model(self, snapshot: ModelSnapshot | None, device: str) -> None:
        """Predict with another model: every tile of the view is wanted again."""
        # Made first: where that fails, the network before goes on under its own number.
        model = model_of(snapshot, device) if snapshot else None
        self._model, self._revision = model, snapshot.revision if snapshot else 0
        self._made = set()
        self._replan()

    def show_as_read(self, revision: int) -> None:
        """Stream the voxels of the volume themselves, which a model restores as they are read."""
        self._as_read, self._revision = True, revision
        self._made = set()
        self._replan()

    def predict_visible(self, budget_bytes: int) -> None:
        """Predict the next visible tile in so much memory."""
        index = self._plan.next_visible() if self._plan else None
        if index is not None:
            began = time.monotonic()
            self._predict(index, budget_bytes)
            self.visible_seconds += time.monotonic() - began

    def predict_beyond(self, budget_bytes: int) -> None:
        """Predict the next tile that is out of sight, if one is wanted, in so much memory."""
        index = self._plan.next_beyond() if self._plan else None
        if index is not None:
            self._predict(index, budget_bytes)

    def give_up(self) -> None:
        """Predict nothing more until the view or the model changes."""
        self._plan = None

    def _replan(self) -> None:
        self.visible_seconds = 0.0
        self._plan = None
        if self._asked is not None:
            self._plan = TilePlan(
                self._grid, self._asked.box, frozenset(self._made), room=self._asked.room
            )

    def _predict(self, index: Triple, budget_bytes: int) -> None:
        tile = self._tile(index, self._grid.box(index), budget_bytes)
        self._made.add(index)
        self._emit(TilePredicted(tile))

    def _tile(self, index: Triple, core: Box, budget_bytes: int) -> Tile | RestoredTile:
        if self._as_read:
            return RestoredTile(index, core, self._revision, self._volume.read(core))
        assert self._model is not None
        return predict_tile(
            self._model, self._volume, index, core, self._revision, budget_bytes=budget_bytes
        )
