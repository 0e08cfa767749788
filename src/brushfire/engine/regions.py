"""Whole regions into stores on disk, one tile at a time, so that other work fits between."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from brushfire.engine.messages import Event, PredictRegion, RegionProgress, TurnEnded
from brushfire.networks.rebuilding import model_of
from brushfire.prediction.run import RegionRun
from brushfire.prediction.tile import labels_of, predict_box

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from brushfire.engine.messages import Outcome
    from brushfire.geometry import Box, Triple
    from brushfire.volumes import Volume

_REPORT_SECONDS = 0.2


class Regions:
    """Region runs in the order in which they were asked for, each with the model it names.

    Parameters
    ----------
    volume : Volume
        Where to read, unless a command names another.
    device : str
        Where to predict.
    emit : callable
        Takes each event.
    """

    def __init__(self, volume: Volume, device: str, emit: Callable[[Event], None]) -> None:
        self._volume = volume
        self._device = device
        self._emit = emit
        self._waiting: deque[PredictRegion] = deque()
        self._current: _Run | None = None
        self._starting: PredictRegion | None = None

    @property
    def busy(self) -> bool:
        """Whether a region is unfinished."""
        return self._current is not None or bool(self._waiting)

    def add(self, command: PredictRegion) -> None:
        """Queue a region."""
        self._waiting.append(command)

    def work(self, budget_bytes: int) -> None:
        """Begin a run, predict its next tile, or end it; may be called again after a failure.

        Parameters
        ----------
        budget_bytes : int
            Memory that the network may take for a tile.
        """
        if self._current is None:
            self._starting = self._waiting.popleft()
            self._current = _Run(self._starting, self._volume, self._device)
            self._starting = None
        elif self._current.step(budget_bytes):
            self._end("finished")
            return
        if time.monotonic() - self._current.reported > _REPORT_SECONDS:
            self._report(self._current)

    def move(self, device: str) -> None:
        """Predict on another device from now on."""
        self._device = device
        if self._current is not None:
            self._current.move(device)
        elif self._starting is not None:
            self._waiting.appendleft(self._starting)
            self._starting = None

    def cancel(self, job: int) -> None:
        """End the run of ``job``, waiting or under way."""
        for command in [c for c in self._waiting if c.job == job]:
            self._waiting.remove(command)
            self._emit(TurnEnded("region", "cancelled", job=job))
        if self._current is not None and self._current.job == job:
            self._end("cancelled")

    def end_all(self, outcome: Outcome, error: Exception | None = None) -> None:
        """End every run."""
        self._end(outcome, error)
        while self._waiting:
            self._emit(TurnEnded("region", outcome, error, self._waiting.popleft().job))

    def fail(self, error: Exception) -> None:
        """End the run that met ``error``."""
        self._end("failed", error)

    def _end(self, outcome: Outcome, error: Exception | None = None) -> None:
        run, starting = self._current, self._starting
        self._current = self._starting = None
        if run is not None:
            self._report(run)
            # What closing could still tell is told when the files are opened to be written out.
            with suppress(OSError):
                run.close()
            self._emit(TurnEnded("region", outcome, error, run.job))
        elif starting is not None:
            self._emit(TurnEnded("region", outcome, error, starting.job))

    def _report(self, run: _Run) -> None:
        run.reported = time.monotonic()
        self._emit(RegionProgress(run.job, run.done, run.total))


class _Run:
    """The run under way: its files, its model, and the tile it is at."""

    def __init__(self, command: PredictRegion, volume: Volume, device: str) -> None:
        self.job = command.job
        self.reported = float("-inf")
        self._snapshot = command.model
        self._volume = command.source or volume
        self._model = model_of(command.model, device)
        self._files = RegionRun(
            command.folder,
            command.region,
            key=command.key,
            classes=command.classes,
            restored=command.model.settings.restored,
        )
        self._pending: Iterator[tuple[Triple, Box]] = self._files.pending()
        self._item: tuple[Triple, Box] | None = None

    @property
    def done(self) -> int:
        return self._files.done

    @property
    def total(self) -> int:
        return self._files.total

    def step(self, budget_bytes: int) -> bool:
        """Predict and store a tile; True when there is none left."""
        # A tile that failed is tried again: it leaves the list once it is on disk.
        if self._item is None:
            self._item = next(self._pending, None)
        if self._item is None:
            assert self.done == self.total
            return True
        index, box = self._item
        found = predict_box(self._model, self._volume, box, budget_bytes=budget_bytes)
        restores = bool(self._snapshot.settings.restored)
        self._files.write(index, found if restores else labels_of(found, self._model.classes))
        self._item = None
        return False

    def move(self, device: str) -> None:
        self._model = model_of(self._snapshot, device)

    def close(self) -> None:
        self._files.close()
