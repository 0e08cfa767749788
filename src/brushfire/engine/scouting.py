"""Look for places where another stroke would teach most, when nothing more urgent is left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from brushfire.engine.messages import Event, PlacesFound, TurnEnded
from brushfire.learning.places import PlaceSearch
from brushfire.networks.model import SegmentationModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from brushfire.annotations import AnnotationSnapshot
    from brushfire.engine.messages import Outcome
    from brushfire.networks.snapshot import ModelSnapshot
    from brushfire.volumes import Volume

SEARCH_SECONDS = 5.0
"""A search begins so long after the last one at the earliest."""

REST_SECONDS = 1.5
"""Nor does it begin while somebody paints, that is so long after new strokes."""

_EARLIER = 15  # models before the shown one among which two are chosen to be asked, too

Question = tuple[int, int]  # revisions of the shown model and of the strokes


class Scout:
    """One search for places at a time, for the shown model and the newest strokes.

    A search ends in `PlacesFound`, or in `TurnEnded` where it failed or was dropped. It is dropped
    when its model is forgotten or gone back on. While learning goes on there is a newer model every
    few seconds, sooner than a search is done on a slow machine: then it goes on with the model
    that it began with and says so, since places of the model before are better than none. What
    was painted meanwhile is left out in the end.

    Parameters
    ----------
    volume : Volume
        Where to look.
    emit : callable
        Takes each event.
    seed : int
        Chooses where to look.
    wanted : bool
        False where nobody would look at what is found: then nothing is ever due.
    """

    def __init__(
        self,
        volume: Volume,
        emit: Callable[[Event], None],
        *,
        seed: int = 0,
        wanted: bool = True,
    ) -> None:
        self._volume = volume
        self._emit = emit
        self._seed = seed
        self._wanted = wanted
        self._device = "cpu"
        self._shown: tuple[ModelSnapshot, ...] = ()  # the shown one, then those before it
        self._strokes: AnnotationSnapshot | None = None
        self._search: PlaceSearch | None = None
        self._asked: Question | None = None
        self._failed: int | None = None
        self._not_before = float("-inf")

    def set_model(self, snapshot: ModelSnapshot | None, device: str) -> None:
        """Look for places of this model from now on; None where there is none any more."""
        before = self._shown[0] if self._shown else None
        newer = snapshot and before and snapshot.revision > before.revision
        if not newer or device != self._device:
            self.end("cancelled")
            self._asked = None
        self._device = device
        if snapshot is None:
            self._shown = ()
        else:
            earlier = [model for model in self._shown if model.revision < snapshot.revision]
            self._shown = (snapshot, *earlier[:_EARLIER])

    def set_annotations(self, snapshot: AnnotationSnapshot) -> None:
        """Take note of new strokes."""
        self._strokes = snapshot
        self._rest(REST_SECONDS)

    def due_in(self) -> float | None:
        """Return the seconds until there is something to do; None where nothing is to come."""
        if self._search is not None:
            return 0.0
        strokes = self._strokes
        if not self._wanted or not self._shown or strokes is None or not strokes.slices():
            return None
        # What could not be read is not tried again for each new model.
        if self._question(strokes) == self._asked or strokes.revision == self._failed:
            return None
        return max(0.0, self._not_before - time.monotonic())

    def work(self, budget_bytes: int) -> None:
        """Begin a search or look at one window more.

        Parameters
        ----------
        budget_bytes : int
            Memory that the network may take.
        """
        if self._search is None:
            self._begin()
        elif self._search.step(budget_bytes):
            assert self._asked is not None
            revision, annotations = self._asked
            found = self._search.places(self._strokes)
            self._search = None
            self._rest(SEARCH_SECONDS)
            self._emit(PlacesFound(found, revision, annotations))

    def end(self, outcome: Outcome, error: Exception | None = None) -> None:
        """End the search under way, if there is one."""
        if self._search is not None:
            self._search = None
            self._emit(TurnEnded("places", outcome, error))

    def fail(self, error: Exception) -> None:
        """End the search that met ``error``; the next one comes with new strokes."""
        self._search = None
        self._failed = self._strokes.revision if self._strokes else None
        self._emit(TurnEnded("places", "failed", error))

    def _begin(self) -> None:
        assert self._strokes is not None
        self._asked = self._question(self._strokes)
        models = [SegmentationModel.from_snapshot(one, self._device) for one in self._committee()]
        self._search = PlaceSearch(self._volume, models, self._strokes, seed=self._seed)

    def _committee(self) -> list[ModelSnapshot]:
        """Return the shown model and two before it that learnt from the same strokes.

        The oldest such one and one half way: neighbours differ by a few seconds of learning only.
        """
        first = self._shown[0]

        def alike(model: ModelSnapshot) -> bool:
            # One that has not seen the newest strokes differs where they were painted.
            same = (model.settings, model.classes) == (first.settings, first.classes)
            key = "annotations"
            return same and model.metrics.get(key) == first.metrics.get(key)

        same = [model for model in self._shown if alike(model)]
        return [same[at] for at in sorted({0, len(same) // 2, len(same) - 1})]

    def _question(self, strokes: AnnotationSnapshot) -> Question:
        return self._shown[0].revision, strokes.revision

    def _rest(self, seconds: float) -> None:
        self._not_before = max(self._not_before, time.monotonic() + seconds)
