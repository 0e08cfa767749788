"""Follow the engine's events and keep what a listener wants to know of learning."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from brushfire.engine import messages as m
from brushfire.session.states import LearningState

if TYPE_CHECKING:
    from brushfire.networks.snapshot import ModelSnapshot

HISTORY = 2000


class LearningRecord:
    """The learning state of one engine, rebuilt event by event.

    Parameters
    ----------
    device : str
        Where the network will run.
    snapshot : ModelSnapshot, optional
        The model that the engine is asked to show first.
    """

    def __init__(self, device: str, snapshot: ModelSnapshot | None = None) -> None:
        self.state = LearningState(device=device)
        self.snapshot = snapshot
        self.newest = snapshot.revision if snapshot else 0
        """The highest revision of any model so far."""
        self._loss: deque[tuple[int, float]] = deque(maxlen=HISTORY)
        self._dice: deque[tuple[int, dict[int, float]]] = deque(maxlen=HISTORY)

    def take(self, event: m.Event) -> None:
        """Follow one event."""
        changes: dict[str, object] = {}
        match event:
            case m.PhaseChanged(phase, message):
                changes = {"phase": phase, "message": message}
            case m.Stepped(step, loss, rate):
                # After going back to an earlier model its steps are counted on.
                while self._loss and self._loss[-1][0] >= step:
                    self._loss.pop()
                self._loss.append((step, loss))
                changes = {"step": step, "steps_per_second": rate, "loss": tuple(self._loss)}
            case m.Evaluated(step, dice):
                while self._dice and self._dice[-1][0] > step:
                    self._dice.pop()
                self._dice.append((step, dice))
                changes = {"dice": tuple(self._dice)}
            case m.ModelShown(snapshot, mean, can_undo, annotations):
                self.snapshot = snapshot
                self.newest = max(self.newest, snapshot.revision)
                changes = {
                    "shown_model": snapshot.revision,
                    "shown_dice": mean,
                    "can_undo": can_undo,
                    "seen_annotations": annotations,
                }
            case m.HistoryChanged(can_undo):
                changes = {"can_undo": can_undo}
            case m.ModelForgotten():
                self.snapshot = None
                self._loss.clear()
                self._dice.clear()
                self.state = LearningState(phase=self.state.phase, device=self.state.device)
            case m.DeviceChosen(device):
                changes = {"device": device}
            case m.TurnEnded(error=error) if error is not None:
                changes = {"message": str(error)}
            case _:
                return
        if changes:
            self.state = replace(self.state, **changes)  # type: ignore[arg-type]
