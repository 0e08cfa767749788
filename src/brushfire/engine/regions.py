"""Whole regions into stores on disk, one tile at a time, so that other work fits between."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from brushfire.engine.messages import Event, PredictRegion, RegionProgress, TurnEnded
from brushfire.prediction.run import RegionRun
from brushfire.prediction.tile import labels_of, predict_box

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from brushfire.engine.messages import Outcome
    from brushfire.geometry import Box, Triple
    from brushfire.networks.model import SegmentationModel
    from brushfire.volumes import Volume

_REPORT_SECONDS = 0.2


class Regions:
    """Region runs in the order in which they were asked for.

    Each keeps the model it was started with, so that one mask never mixes two models.

    Parameters
    ----------
    volume : Volume
        Where to read.
    emit : callable
        Takes each event.
    """

    def __init__(self, volume: Volume, emit: Callable[[Event], None]) -> None:
        self._volume = volume
        self._emit = emit
        self._waiting: deque[tuple[PredictRegion, SegmentationModel]] = deque()
        self._current: PredictRegion | None = None
        self._model: SegmentationModel | None = None
        self._run: RegionRun | None = None
        self._pending: Iterator[tuple[Triple, Box]] = iter(())
        self._reported = 0.0

    @property
    def busy(self) -> bool:
        """Whether a region is unfinished."""
        return self._current is not None or bool(self._waiting)

    def add(self, command: PredictRegion, model: SegmentationModel) -> None:
        """Queue a region for the model shown now."""
        self._waiting.append((command, model))

    def work(self) -> None:
        """Predict the next tile, or begin or end a run."""
        if self._current is None:
            self._current, self._model = self._waiting.popleft()
            self._begin(self._current)
        assert self._run is not None
        assert self._model is not None
        item = next(self._pending, None)
        if item is None:
            self._end("finished")
            return
        index, box = item
        probabilities = predict_box(self._model, self._volume, box)
        self._run.write(index, labels_of(probabilities, self._model.classes))
        if time.monotonic() - self._reported > _REPORT_SECONDS:
            self._report()

    def cancel(self, job: int) -> None:
        """End the run of ``job``, waiting or under way."""
        for entry in [e for e in self._waiting if e[0].job == job]:
            self._waiting.remove(entry)
            self._emit(TurnEnded("region", "cancelled", job=job))
        if self._current is not None and self._current.job == job:
            self._end("cancelled")

    def cancel_all(self) -> None:
        """End every run."""
        jobs = [command.job for command, _ in self._waiting]
        for job in jobs + ([self._current.job] if self._current else []):
            self.cancel(job)

    def fail(self, error: Exception) -> None:
        """End the current run with ``error``."""
        self._end("failed", error)

    def _begin(self, command: PredictRegion) -> None:
        self._run = RegionRun(
            command.folder,
            command.region,
            key=command.key,
            voxel_size=self._volume.voxel_size,
            classes=command.classes,
        )
        self._pending = self._run.pending()
        self._report()

    def _end(self, outcome: Outcome, error: Exception | None = None) -> None:
        job = self._current.job if self._current else None
        if self._run is not None:
            self._report()
            self._run.close()
        self._current, self._run, self._model, self._pending = None, None, None, iter(())
        self._emit(TurnEnded("region", outcome, error, job))

    def _report(self) -> None:
        if self._run is not None and self._current is not None:
            self._reported = time.monotonic()
            self._emit(RegionProgress(self._current.job, self._run.done, self._run.total))
