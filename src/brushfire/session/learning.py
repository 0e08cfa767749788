"""Follow the engine's events and keep what a listener wants to know of learning."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from brushfire.engine import messages as m
from brushfire.learning.reports import Remembered
from brushfire.session.states import LearningState, ScorePoint

if TYPE_CHECKING:
    from brushfire.annotations import LabelStore
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
        self._loss: deque[tuple[int, float, float]] = deque(maxlen=HISTORY)
        self._scores: deque[ScorePoint] = deque(maxlen=HISTORY)

    def leave_repainted(self, labels: LabelStore) -> bool:
        """Drop doubts about strokes that are gone; return whether there were any."""
        strokes = labels.snapshot()
        left = tuple(one for one in self.state.doubts if one.still_painted(strokes))
        changed = left != self.state.doubts
        if changed:
            self.state = replace(self.state, doubts=left)
        return changed

    def take(self, event: m.Event) -> None:
        """Follow one event."""
        changes: dict[str, object] = {}
        match event:
            case m.PhaseChanged(phase, message):
                changes = {"phase": phase, "message": message}
            case m.Stepped(step, loss, rate, seconds):
                # After going back to an earlier model its steps are counted on.
                while self._loss and self._loss[-1][0] >= step:
                    self._loss.pop()
                self._loss.append((step, loss, seconds))
                changes = {"step": step, "steps_per_second": rate, "loss": tuple(self._loss)}
            case m.Evaluated(step, seconds, strokes, evaluation, verdict, doubts):
                while self._scores and self._scores[-1].step > step:
                    self._scores.pop()
                dice = {value: one for value, one in evaluation.dice.items() if one is not None}
                if dice:
                    self._scores.append(ScorePoint(step, seconds, strokes, dice))
                changes = {
                    "scores": tuple(self._scores),
                    "shown_dice": evaluation.mean,
                    "evaluation": evaluation,
                    "verdict": verdict,
                    "doubts": doubts,
                }
            case m.ModelShown(snapshot, mean, can_undo, annotations, evaluation, verdict):
                self.snapshot = snapshot
                self.newest = max(self.newest, snapshot.revision)
                changes = {
                    "shown_model": snapshot.revision,
                    "shown_dice": mean,
                    "can_undo": can_undo,
                    "seen_annotations": annotations,
                    "verdict": verdict,
                    "remembered": Remembered.from_metrics(snapshot.metrics.get("before")),
                    "evaluation": evaluation,
                }
            case m.HistoryChanged(can_undo):
                changes = {"can_undo": can_undo}
            case m.ModelForgotten():
                self.snapshot = None
                self._loss.clear()
                self._scores.clear()
                self.state = LearningState(phase=self.state.phase, device=self.state.device)
            case m.DeviceChosen(device):
                changes = {"device": device}
            case m.TurnEnded(error=error) if error is not None:
                changes = {"message": str(error)}
            case _:
                return
        if changes:
            self.state = replace(self.state, **changes)  # type: ignore[arg-type]
