"""Follow the engine's events and keep what a listener wants to know of learning."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from brushfire.engine import messages as m
from brushfire.learning.reports import Evaluation, Remembered
from brushfire.session.states import LearningState, ScorePoint

if TYPE_CHECKING:
    from brushfire.annotations import LabelStore
    from brushfire.learning.reports import Judged
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
                point = _point(step, seconds, strokes, evaluation)
                if point is not None:
                    self._scores.append(point)
                changes = {
                    "scores": tuple(self._scores),
                    **_scored(evaluation),
                    "verdict": verdict,
                    "doubts": doubts,
                }
            case m.ModelShown(snapshot, mean, can_undo, annotations, evaluation, verdict):
                self.snapshot = snapshot
                self.newest = max(self.newest, snapshot.revision)
                changes = {
                    "shown_model": snapshot.revision,
                    "can_undo": can_undo,
                    "seen_annotations": annotations,
                    "verdict": verdict,
                    "remembered": Remembered.from_metrics(snapshot.metrics.get("before")),
                    # None of the model before is left over where this one was not measured.
                    "evaluation": None,
                    "restoration": None,
                    **({} if evaluation is None else _scored(evaluation)),
                    "shown_dice": mean,
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


def _scored(found: Judged) -> dict[str, object]:
    """Return what the state says of a model that was measured, of either kind."""
    if isinstance(found, Evaluation):
        return {"shown_dice": found.mean, "evaluation": found}
    return {"restoration": found}


def _point(step: int, seconds: float, strokes: int, found: Judged) -> ScorePoint | None:
    if not isinstance(found, Evaluation):
        return ScorePoint(step, seconds, strokes, {}, found.score)
    dice = {value: one for value, one in found.dice.items() if one is not None}
    return ScorePoint(step, seconds, strokes, dice) if dice else None
