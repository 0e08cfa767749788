"""Decide what learning does next: wait, fit, step, propose; and say what came of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
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
from brushfire.errors import ModelError
from brushfire.learning import reasons
from brushfire.learning.learner import Learner
from brushfire.learning.reports import Verdict, read_evaluation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from brushfire.annotations import AnnotationSnapshot
    from brushfire.engine.messages import Outcome
    from brushfire.learning.pupil import Pupil
    from brushfire.learning.reports import Calibration, Correction, Judged, Proportions
    from brushfire.networks.settings import NetworkSettings
    from brushfire.networks.snapshot import ModelSnapshot

PROPOSE_SECONDS = 3.0
"""A new model is proposed at most this often, so that its tiles have time to appear."""

REFIT_SECONDS = 1.0
"""The last layer follows new strokes at most this often."""

REFIT_SHARE = 2
"""Steps get this many times as long as the last refit took before the next one."""


_AWAITED_SECONDS = 0.2


@dataclass
class _Pupil:
    """A learner, and what is known of this one only."""

    learner: Pupil
    fitted: bool
    """Whether it has weights that a fit or a stored model gave it."""
    seen: AnnotationSnapshot | None = None
    fit_due: bool = True
    next_fit_at: float = float("-inf")
    proposed_at: float = float("-inf")


class Coach:
    """One learner and what it is doing.

    Parameters
    ----------
    make_learner : callable
        Makes the learner when it is first needed; what it raises ends the learning turn.
    network : NetworkSettings
        Of that learner.
    emit : callable
        Takes each event.
    """

    def __init__(
        self,
        make_learner: Callable[[], Pupil],
        network: NetworkSettings,
        emit: Callable[[Event], None],
    ) -> None:
        self.phase: Phase = "idle"
        self._make, self._network = make_learner, network
        self._emit = emit
        self._pupil: _Pupil | None = None
        self._models: tuple[ModelSnapshot, ...] = ()
        self._before: tuple[ModelSnapshot, ...] = ()  # of other networks, to go back to
        self._newest: AnnotationSnapshot | None = None
        self._message = ""
        self._look = False
        self._verdict: Verdict | None = None
        self._evaluation: Judged | None = None
        self._rate = _Rate()

    @property
    def working(self) -> bool:
        """Whether there is a step to take or strokes to look at."""
        resting = self.phase in ("waiting", "resting")
        busy = self.phase in ("fitting", "training")
        return (busy and not self._awaited) or (resting and self._look)

    @property
    def due_in(self) -> float | None:
        """Seconds until to look again for what is waited for; None where nothing is."""
        return _AWAITED_SECONDS if self.phase == "fitting" and self._awaited else None

    @property
    def _awaited(self) -> str:
        """What a first fit waits for, which comes by itself, or ""."""
        pupil = self._pupil
        return "" if pupil is None or pupil.fitted else pupil.learner.awaited

    @property
    def can_undo(self) -> bool:
        """Whether there is a model before the shown one."""
        return self._has_earlier or bool(self._before)

    @property
    def _has_earlier(self) -> bool:
        """Whether there is one of the same network."""
        return self._pupil.learner.can_undo if self._pupil else len(self._kept) > 1

    @property
    def _kept(self) -> tuple[ModelSnapshot, ...]:
        """The models that a new learner of these settings goes on from."""
        return tuple(model for model in self._models if model.settings == self._network)

    # -- intentions --------------------------------------------------------------------------

    def set_annotations(self, snapshot: AnnotationSnapshot) -> None:
        """Take note of new strokes; they join at the next piece of work."""
        self._newest = snapshot
        self._look = True

    def train(self) -> None:
        """Start or go on."""
        if self.phase == "idle" and self._pupil is not None:
            self._pupil.fit_due = True
        if self.phase in ("idle", "paused"):
            self._rate.restart()
            self._look = True
            self._enter("waiting")

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
        self._pupil, self._models, self._before = None, (), ()
        self._emit(ModelForgotten())

    def replace(self, make_learner: Callable[[], Pupil], network: NetworkSettings) -> None:
        """Use another learner from now on; a learning turn goes on with it.

        It goes on from the models of the learner before where its network is the same, otherwise
        from random weights; those models are kept until it has one of its own.

        Parameters
        ----------
        make_learner, network
            As in the constructor.
        """
        if self._pupil is not None:
            self._models = self._pupil.learner.history or self._models
        if network != self._network:
            self._before = ()
        self._make, self._network, self._pupil = make_learner, network, None
        self._emit(HistoryChanged(self.can_undo))
        self._begin_again()

    def adopt(self, snapshot: ModelSnapshot) -> None:
        """Go on from a model that was made of a shown one; its network is learned from now on."""
        models = self._pupil.learner.history if self._pupil else ()
        self._before = (*self._before, *(models or self._models))
        self._network, self._models, self._pupil = snapshot.settings, (snapshot,), None
        self._tell_of(snapshot, reasons.restored(snapshot))
        self._begin_again()

    def undo(self) -> ModelSnapshot | None:
        """Go back to the model shown before, which may have another network; None if none is."""
        snapshot: ModelSnapshot | None = None
        if self._has_earlier:
            snapshot = self._get().learner.undo()
            if self.phase == "resting":
                self._enter("training")
        elif self._before:
            snapshot = self._before[-1]
            self._network, self._pupil = snapshot.settings, None
            at = len(self._before)
            while at and self._before[at - 1].settings == self._network:
                at -= 1
            self._before, self._models = self._before[:at], self._before[at:]
            self._begin_again()
        if snapshot is not None:
            self._tell_of(snapshot, reasons.went_back(snapshot))
        return snapshot

    def proportions(self) -> Proportions:
        """Return how common classes are, as far as the shown model tells.

        Raises
        ------
        BrushfireError
            As `Learner.proportions`.
        """
        return self._segmenting().proportions()

    def calibrate(
        self, typed: Mapping[int, float], how: Correction
    ) -> tuple[ModelSnapshot, Calibration]:
        """Return a model in the proportions that are known, which is shown, and what was done.

        Raises
        ------
        BrushfireError
            As `Learner.calibrate`; nothing has changed.
        """
        snapshot, told = self._segmenting().calibrate(typed, how)
        self._tell_of(snapshot, reasons.restored(snapshot))
        return snapshot, told

    def _segmenting(self) -> Learner:
        learner = self._get().learner
        if not isinstance(learner, Learner):
            raise ModelError(
                "How common classes are is asked of a model that tells classes apart.",
                got="one that restores intensities",
                do="Go back to segmenting first.",
            )
        return learner

    def _tell_of(self, snapshot: ModelSnapshot, verdict: Verdict) -> None:
        self._verdict = verdict
        self._evaluation = read_evaluation(snapshot.metrics)

    def _begin_again(self) -> None:
        """Go on with another learner, if learning goes on."""
        if self.phase not in ("idle", "paused"):
            self._look = True
            self._enter("waiting")

    def change_task(
        self,
        make_learner: Callable[[], Pupil],
        network: NetworkSettings,
        strokes: AnnotationSnapshot | None,
    ) -> None:
        """Learn something else, from the next `train` on; nothing that was learned is kept.

        Parameters
        ----------
        make_learner, network
            As in the constructor.
        strokes : AnnotationSnapshot or None
            What it is learned from, where that is strokes.
        """
        self.stop("cancelled")
        self._make, self._network, self._newest = make_learner, network, strokes
        self._pupil, self._models, self._before = None, (), ()
        self._verdict = self._evaluation = None

    def restore(self, snapshot: ModelSnapshot) -> None:
        """Go on from a stored model, when learning goes on."""
        self._pupil, self._models, self._before = None, (snapshot,), ()
        if self.phase == "resting":
            self._look = True
        self._tell_of(snapshot, reasons.restored(snapshot))

    def shrink(self) -> bool:
        """Halve the work of a step after running out of memory; False where it cannot be less."""
        return self._pupil is not None and self._pupil.learner.shrink()

    def limit(self, step_bytes: int) -> None:
        """Change the memory that a step may take; a learner that is made later is told itself."""
        if self._pupil is not None:
            self._pupil.learner.limit(step_bytes)

    def shown(self, snapshot: ModelSnapshot) -> None:
        """Say which model is shown now."""
        mean, seen = snapshot.metrics.get("mean_dice"), snapshot.metrics.get("annotations", 0)
        self._emit(
            ModelShown(
                snapshot,
                mean,
                self.can_undo,
                seen,
                self._evaluation,
                self._verdict or reasons.restored(snapshot),
            )
        )

    # -- work --------------------------------------------------------------------------------

    def work(self, visible_seconds: float = 0.0) -> ModelSnapshot | None:
        """Do one piece of work; return a model that is to be shown from now on, if any.

        Parameters
        ----------
        visible_seconds : float
            What the visible tiles of the shown model have cost.
        """
        pupil = self._get()
        if self._look:
            self._take_up_strokes(pupil)
            return None
        if not pupil.fitted:
            pupil.learner.fetch()
            awaited = self._awaited
            self._enter("fitting", awaited)
            if awaited:
                return None
        now = time.monotonic()
        if not pupil.fitted or (pupil.fit_due and now >= pupil.next_fit_at):
            return self._fit(pupil, now)
        report = pupil.learner.step()
        rate = self._rate.tick()
        self._emit(Stepped(report.step, report.loss, rate, pupil.learner.seconds))
        # Predicting what is visible must not take more than half of the time.
        if time.monotonic() - pupil.proposed_at >= max(PROPOSE_SECONDS, 2 * visible_seconds):
            snapshot = self._propose(pupil)
            if pupil.learner.settled and not pupil.fit_due:
                self._enter("resting")
            return snapshot
        return None

    def _fit(self, pupil: _Pupil, now: float) -> ModelSnapshot | None:
        pupil.learner.fit()
        pupil.fitted, pupil.fit_due = True, False
        self._enter("training")
        proposed = self._propose(pupil)
        # Somebody who paints on and on must not keep the network from learning.
        ended = time.monotonic()
        pupil.next_fit_at = ended + max(REFIT_SECONDS, REFIT_SHARE * (ended - now))
        return proposed

    def _propose(self, pupil: _Pupil) -> ModelSnapshot | None:
        learner = pupil.learner
        proposal = learner.propose()
        pupil.proposed_at = time.monotonic()
        self._rate.skip()
        self._verdict, self._evaluation = proposal.verdict, proposal.now
        self._emit(
            Evaluated(
                learner.step_count,
                learner.seconds,
                learner.stroke_count,
                proposal.now,
                proposal.verdict,
                proposal.doubts,
            )
        )
        return proposal.snapshot

    def _take_up_strokes(self, pupil: _Pupil) -> None:
        if self._newest is not None and self._newest is not pupil.seen:
            pupil.learner.set_annotations(self._newest)
            pupil.seen = self._newest
            pupil.fit_due = True
        self._look = False
        missing = pupil.learner.ready
        if missing is not None:
            self._enter("waiting", missing)
        else:
            self._enter("training" if pupil.fitted else "fitting", self._awaited)

    def _get(self) -> _Pupil:
        """Return the learner; make it, from the models that are kept, where there is none."""
        if self._pupil is None:
            learner, kept = self._make(), self._kept
            # Models before strokes: they name the strokes that they have never seen.
            if kept:
                learner.restore(kept)
            if self._newest is not None:
                learner.set_annotations(self._newest)
            self._pupil = _Pupil(learner, fitted=bool(kept), seen=self._newest)
        return self._pupil

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
