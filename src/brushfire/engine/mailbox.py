"""Two queues between the engine and its session: commands in, events out, both bounded."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from brushfire.engine.messages import (
    Command,
    Event,
    RegionProgress,
    SetAnnotations,
    SetView,
    Shutdown,
    Stepped,
    TilePredicted,
)

if TYPE_CHECKING:
    from collections.abc import Callable

UNREAD = 1000
"""From this many waiting events on, rows of steps or progress are reduced to their newest."""

_LATEST_WINS = (SetAnnotations, SetView)


class Inbox:
    """Commands in order. Of strokes and views only the newest waits: older ones are moot."""

    def __init__(self) -> None:
        self._commands: deque[Command] = deque()
        self._changed = threading.Condition()
        self._urgent = False

    def put(self, command: Command) -> None:
        """Add a command; never blocks."""
        with self._changed:
            if isinstance(command, _LATEST_WINS):
                kept = [c for c in self._commands if type(c) is not type(command)]
                self._commands = deque(kept)
            if isinstance(command, Shutdown):
                self._commands.clear()
                self._urgent = True
            self._commands.append(command)
            self._changed.notify()

    def take(self, *, wait: float | None) -> list[Command]:
        """Return all waiting commands; with ``wait`` seconds (None: for ever) for the first."""
        with self._changed:
            if not self._commands and wait != 0:
                self._changed.wait(wait)
            commands = list(self._commands)
            self._commands.clear()
            return commands

    @property
    def urgent(self) -> bool:
        """Whether shutdown was asked for: whatever runs should end now."""
        return self._urgent


class Outbox:
    """Events in order, with a bound on the bytes of tiles that nobody has fetched yet.

    Parameters
    ----------
    budget_bytes : int
        The engine waits once this much is on its way.
    give_up : callable
        Asked while waiting: True lets the engine go on, so that shutdown never hangs.
    """

    def __init__(self, budget_bytes: int, give_up: Callable[[], bool]) -> None:
        self._budget = budget_bytes
        self._give_up = give_up
        self._events: deque[Event] = deque()
        self._nbytes = 0
        self._changed = threading.Condition()

    def put(self, event: Event) -> None:
        """Add an event; waits while the bound is exceeded."""
        with self._changed:
            if isinstance(event, TilePredicted):
                while self._nbytes > self._budget and not self._give_up():
                    self._changed.wait(0.05)
                self._nbytes += event.tile.nbytes
            elif len(self._events) > UNREAD and _replaces(event, self._events[-1]):
                # Nobody has been fetching for long: of a row of alike only the newest matters.
                self._events.pop()
            self._events.append(event)
            self._changed.notify_all()

    def drain(self, limit: int, wait: float = 0.0) -> list[Event]:
        """Return up to ``limit`` events, oldest first; wait up to ``wait`` seconds for one."""
        with self._changed:
            if wait and not self._events:
                self._changed.wait(wait)
            events = [self._events.popleft() for _ in range(min(limit, len(self._events)))]
            self._nbytes -= sum(e.tile.nbytes for e in events if isinstance(e, TilePredicted))
            self._changed.notify_all()
            return events


def _replaces(event: Event, before: Event) -> bool:
    """Whether ``event`` says all that ``before`` did."""
    if isinstance(event, RegionProgress) and isinstance(before, RegionProgress):
        return event.job == before.job
    return isinstance(event, Stepped) and isinstance(before, Stepped)
