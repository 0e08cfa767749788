"""Decide what learning does next: wait, fit, step, propose; and say what came of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from brushfire.engine.messages import (
    Evaluated,
    Event,
    HistoryChanged,
    ModelForgotten,
    ModelShown,
    Phase,
    PhaseChanged,
    Stepped,
    TurnEnded,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from brushfire.annotations import AnnotationSnapshot
    from brushfire.engine.messages import Outcome
    from brushfire.learning.learner import Learner
    from brushfire.networks.snapshot import ModelSnapshot

PROPOSE_SECONDS = 3.0
"""A new model is proposed at most this often, so that its tiles have time to appear."""

REFIT_SECONDS = 1.0
"""The last layer follows new strokes at most this often."""

REFIT_SHARE = 2
"""Steps get this many times as long as the last refit took before the next one."""


class Coach:
    """One learner and what it is doing.

    Parameters
    ----------
    make_learner : callable
        Makes the learner when it is first needed; what it raises ends the learning turn.
    emit : callable
        Takes each event.
    """

    def __init__(self, make_learner: Callable[[], Learner], emit: Callable[[Event], None]) -> None:
        self.phase: Phase = "idle"
        self._make = make_learner
        self._emit = emit
        self._learner: Learner | None = None
        self._newest: AnnotationSnapshot | None = None
        self._seen = 0
        self._message = ""
        self._fit_due = False
        self._next_fit_at = self._proposed_at = float("-inf")
        self._rate = _Rate()

    @property
    def working(self) -> bool:
        """Whether there is a step to take or strokes to take up."""
        return self.phase in ("fitting", "training")

    # -- intentions --------------------------------------------------------------------------

    def set_annotations(self, snapshot: AnnotationSnapshot) -> None:
        """Take note of new strokes; they join at the next piece of work."""
        self._newest = snapshot
        if self.phase != "idle":
            self._take_up_strokes()

    def train(self) -> None:
        """Start or go on."""
        if self.phase == "idle":
            self._fit_due = True
        if self.phase in ("idle", "paused"):
            self._rate.restart()
            self._enter("waiting")
            self._take_up_strokes()

    def pause(self) -> None:
        """Keep everything, do nothing."""
        if self.phase not in ("idle", "paused"):
            self._enter("paused")

    def stop(self, outcome: Outcome = "finished", error: Exception | None = None) -> None:
        """End the learning turn; a turn that never began has no end."""
        if self.phase != "idle":
            self._enter("idle")
            self._emit(TurnEnded("learning", outcome, error))

    def reset(self) -> None:
        """Forget the weights."""
        self.stop("cancelled")
        self._learner = None
        self._emit(ModelForgotten())

    def replace(self, make_learner: Callable[[], Learner], *, keep_models: bool) -> None:
        """Use another learner from now on; a learning turn goes on with it.

        Parameters
        ----------
        make_learner : callable
            As in the constructor.
        keep_models : bool
            Whether it goes on from the models of the learner before, or from random weights.
        """
        models = self._learner.history if keep_models and self._learner else ()
        self._make, self._learner = make_learner, None
        self._fit_due = True
        if models:
            self._learner = self._new_learner(models)
        self._emit(HistoryChanged(len(models) > 1))
        if self.working or self.phase == "waiting":
            self._enter("waiting")
            self._take_up_strokes()

    def undo(self) -> ModelSnapshot | None:
        """Go back to the model shown before; None where there is none."""
        return self._learner.undo() if self._learner else None

    def restore(self, snapshot: ModelSnapshot) -> None:
        """Go on from a stored model."""
        self._learner = self._new_learner((snapshot,))

    def shrink(self) -> bool:
        """Halve the work of a step after running out of memory; False where it cannot be less."""
        return self._learner is not None and self._learner.shrink()

    def shown(self, snapshot: ModelSnapshot, mean: float | None = None) -> None:
        """Say which model is shown now."""
        can_undo = self._learner.can_undo if self._learner else False
        seen = snapshot.metrics.get("annotations", 0)
        self._emit(ModelShown(snapshot, mean, can_undo, seen))

    # -- work --------------------------------------------------------------------------------

    def work(self, visible_seconds: float = 0.0) -> ModelSnapshot | None:
        """Do one piece of work; return a model that is to be shown from now on, if any.

        Parameters
        ----------
        visible_seconds : float
            What the visible tiles of the shown model have cost.
        """
        learner = self._ensure()
        now = time.monotonic()
        if self._fit_due and now >= self._next_fit_at:
            self._enter("fitting")
            learner.fit()
            self._fit_due = False
            proposed = self._propose(learner)
            # Somebody who paints on and on must not keep the network from learning.
            ended = time.monotonic()
            self._next_fit_at = ended + max(REFIT_SECONDS, REFIT_SHARE * (ended - now))
            return proposed
        self._enter("training")
        report = learner.step()
        self._emit(Stepped(report.step, report.loss, self._rate.tick()))
        # Predicting what is visible must not take more than half of the time.
        if time.monotonic() - self._proposed_at >= max(PROPOSE_SECONDS, 2 * visible_seconds):
            return self._propose(learner)
        return None

    def _propose(self, learner: Learner) -> ModelSnapshot | None:
        proposal = learner.propose()
        self._proposed_at = time.monotonic()
        self._rate.skip()
        dice = {c: d for c, d in proposal.evaluation.dice.items() if d is not None}
        self._emit(Evaluated(learner.step_count, dice))
        if proposal.snapshot is not None:
            self.shown(proposal.snapshot, proposal.evaluation.mean)
        return proposal.snapshot

    def _take_up_strokes(self) -> None:
        learner = self._ensure()
        if self._newest is not None and self._newest.revision != self._seen:
            learner.set_annotations(self._newest)
            self._seen = self._newest.revision
            self._fit_due = True
        if self.phase == "paused":
            return
        missing = learner.ready
        if missing is not None:
            self._enter("waiting", missing)
        elif self.phase == "waiting":
            self._enter("fitting" if self._fit_due else "training")

    def _ensure(self) -> Learner:
        if self._learner is None:
            self._learner = self._new_learner(())
        return self._learner

    def _new_learner(self, models: Sequence[ModelSnapshot]) -> Learner:
        learner = self._make()
        # Models before strokes: they name the strokes that they have never seen.
        if models:
            learner.restore(models)
        self._seen = 0
        if self._newest is not None:
            learner.set_annotations(self._newest)
            self._seen = self._newest.revision
        return learner

    def _enter(self, phase: Phase, message: str = "") -> None:
        if (phase, message) != (self.phase, self._message):
            self.phase, self._message = phase, message
            self._emit(PhaseChanged(phase, message))


class _Rate:
    """Steps per second of the wall clock, smoothed over about twenty steps."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._seconds: float | None = None

    def restart(self) -> None:
        self._last = self._seconds = None

    def skip(self) -> None:
        """Leave out what was no step."""
        self._last = time.monotonic()

    def tick(self) -> float:
        now = time.monotonic()
        if self._last is not None:
            took = now - self._last
            kept = took if self._seconds is None else 0.95 * self._seconds + 0.05 * took
            self._seconds = kept
        self._last = now
        return 1 / self._seconds if self._seconds else 0.0
