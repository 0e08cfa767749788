"""Values that a session tells its listeners; frozen, so that they can be kept and compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from psygnal import Signal, SignalGroup

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brushfire.engine.messages import Phase
    from brushfire.geometry import Box
    from brushfire.learning.doubts import Doubt
    from brushfire.learning.reports import (
        Calibration,
        Evaluation,
        Proportions,
        Remembered,
        Verdict,
    )
    from brushfire.learning.restoring import RestorationEvaluation


@dataclass(frozen=True, slots=True)
class ScorePoint:
    """How good the shown model was at one moment.

    Parameters
    ----------
    step : int
        Gradient steps so far.
    seconds : float
        How long it had learnt, pauses left out.
    strokes : int
        Connected stroke regions that there were.
    dice : dict
        Dice of each class that had one.
    decibels : float or None
        Of a model that restores: how near it comes to what it was not taught.
    """

    step: int
    seconds: float
    strokes: int
    dice: dict[int, float]
    decibels: float | None = None


@dataclass(frozen=True, slots=True)
class LearningState:
    """What learning does and how well.

    Parameters
    ----------
    phase : {"idle", "waiting", "fitting", "training", "resting", "paused"}
        "waiting" means started, but something is missing; ``message`` says what. "fitting"
        with a ``message`` waits for what is being fetched. "resting" means that no better
        model came for long: it goes on with the next stroke.
    step : int
        Gradient steps so far.
    steps_per_second : float
        Of the wall clock, smoothed.
    device : str
        Where the network runs.
    loss : tuple of (int, float, float)
        Step, training loss, and seconds of learning, the newest last; at most 2000 of them.
    scores : tuple of ScorePoint
        How good the shown model was, the newest last; at most 2000 of them.
    shown_model : int or None
        Revision of the model that predicts.
    shown_dice : float or None
        Its mean Dice on held-out strokes.
    evaluation : Evaluation or None
        How good it is, each class by itself; None before anything was measured.
    restoration : RestorationEvaluation or None
        How good a model is that restores; None before anything was measured.
    remembered : Remembered or None
        What the shown model still knows of what the project started from.
    verdict : Verdict or None
        Which kind of model it is, and why it is that one.
    doubts : tuple of Doubt
        Strokes that contradict the others.
    seen_annotations : int
        Revision of the newest strokes that it has seen.
    can_undo : bool
        Whether there is a model to go back to.
    message : str
        What is missing, or why learning ended.
    """

    phase: Phase = "idle"
    step: int = 0
    steps_per_second: float = 0.0
    device: str = "cpu"
    loss: tuple[tuple[int, float, float], ...] = ()
    scores: tuple[ScorePoint, ...] = ()
    shown_model: int | None = None
    shown_dice: float | None = None
    evaluation: Evaluation | None = None
    restoration: RestorationEvaluation | None = None
    verdict: Verdict | None = None
    remembered: Remembered | None = None
    doubts: tuple[Doubt, ...] = ()
    seen_annotations: int = 0
    can_undo: bool = False
    message: str = ""

    @property
    def running(self) -> bool:
        """Whether learning goes on, or would with the next stroke."""
        return self.phase in ("waiting", "fitting", "training", "resting")


@dataclass(frozen=True, slots=True)
class ProportionsState:
    """How common classes are, as far as was asked for.

    Parameters
    ----------
    model : int or None
        The model that was asked.
    proportions : Proportions or None
        What it tells; None before anything was asked, and where it cannot be told.
    calibration : Calibration or None
        What the last request did.
    problem : str
        Why the last request came to nothing, or "".
    """

    model: int | None = None
    proportions: Proportions | None = None
    calibration: Calibration | None = None
    problem: str = ""

    def completed(self, typed: Mapping[int, float]) -> dict[int, float]:
        """Return a share of each class: as typed, the others share what is left of one."""
        from brushfire.learning.calibrating import completed

        return {} if self.proportions is None else completed(typed, self.proportions.estimated)


@dataclass(frozen=True, slots=True)
class JobState:
    """A piece of background work that the user started.

    Parameters
    ----------
    id : int
        To cancel it by.
    kind : {"pyramid", "export", "start", "save", "worth", "distil", "restore", "denoised"}
        What it does.
    title : str
        What it does, for people.
    done, total : int
        How far it is; ``total`` is 0 while that is unknown.
    state : {"running", "finished", "cancelled", "failed"}
        Every job ends in one of the last three.
    message : str
        What it does now, or how it ended.
    path : str or None
        What it reads or writes; of a model that is saved its name in the library.
    """

    id: int
    kind: Literal["pyramid", "export", "start", "save", "worth", "distil", "restore", "denoised"]
    title: str
    done: int = 0
    total: int = 0
    state: Literal["running", "finished", "cancelled", "failed"] = "running"
    message: str = ""
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence for the user, with detail that can be copied into a report."""

    level: Literal["info", "warning", "error"]
    text: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class TileUpdate:
    """A box whose prediction changed, and the model that made it."""

    box: Box
    revision: int


class SessionEvents(SignalGroup):
    """What a session tells; always in the thread that calls `Session.process_events`."""

    volume_changed = Signal()
    classes_changed = Signal()
    active_class_changed = Signal(int)
    annotations_changed = Signal(int)
    learning_changed = Signal(object)
    model_changed = Signal(object)
    tiles_changed = Signal(tuple)
    predictions_reset = Signal()
    places_changed = Signal(tuple)
    library_changed = Signal(tuple)
    task_changed = Signal(str)
    segmented_changed = Signal()
    restoration_changed = Signal()
    restored_tiles_changed = Signal(tuple)
    restored_reset = Signal()
    edge_measured = Signal(object)
    residual_checked = Signal(object)
    network_appraised = Signal(object)
    proportions_changed = Signal(object)
    job_changed = Signal(object)
    status_changed = Signal(str)
    notified = Signal(object)
