"""The session's line to its engine: there when it is needed, and told what the last one knew."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from brushfire.engine import messages as m

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from brushfire.annotations import LabelStore
    from brushfire.engine import Engine
    from brushfire.networks.snapshot import ModelSnapshot

STROKES_SECONDS = 0.25
"""While somebody paints, the engine gets new strokes at most this often."""


class EngineLine:
    """Commands to the engine of one volume, and events from it.

    Parameters
    ----------
    make_engine : callable
        Makes an engine that is not started yet.
    labels : LabelStore
        Whose strokes it learns from.
    """

    def __init__(self, make_engine: Callable[[], Engine], labels: LabelStore) -> None:
        self._make = make_engine
        self._labels = labels
        self._engine: Engine | None = None
        self._sent_revision = 0
        self._sent_at = 0.0

    @property
    def open(self) -> bool:
        """Whether an engine listens."""
        return self._engine is not None and not self._engine.ended

    def connect(
        self,
        shown: ModelSnapshot | None,
        view: m.SetView | None,
        task: m.LearnToRestore | m.LearnToSegment | None = None,
    ) -> None:
        """Start an engine; tell it the strokes, the task, the model that is shown and the view."""
        self._engine = self._make()
        self._engine.start()
        self._sent_revision = 0
        self.send_strokes()
        if task is not None:
            self.send(task)
        if shown is not None:
            self.send(m.Restore(shown))
        if view is not None:
            self.send(view)

    def send(self, command: m.Command) -> None:
        """Hand in a command; nobody hears it while no engine listens."""
        if self._engine is not None:
            self._engine.send(command)

    def send_strokes(self) -> None:
        """Hand in the strokes, if there are new ones."""
        if self._labels.revision != self._sent_revision:
            self._sent_revision = self._labels.revision
            self._sent_at = time.monotonic()
            self.send(m.SetAnnotations(self._labels.snapshot()))

    def follow_strokes(self) -> None:
        """Hand in new strokes, not too often."""
        if time.monotonic() - self._sent_at >= STROKES_SECONDS:
            self.send_strokes()

    def events(self, until: float) -> Iterator[m.Event]:
        """Yield the events that wait, one by one, up to the time ``until`` (`time.monotonic`)."""
        while self._engine is not None and time.monotonic() < until:
            waiting = self._engine.drain(1)
            if not waiting:
                return
            yield waiting[0]

    def close(self) -> None:
        """End the engine and wait for it; what it said last still waits."""
        if self._engine is not None:
            self._engine.close()
