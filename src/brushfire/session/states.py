"""Values that a session tells its listeners; frozen, so that they can be kept and compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from psygnal import Signal, SignalGroup

if TYPE_CHECKING:
    from brushfire.engine.messages import Phase
    from brushfire.geometry import Box


@dataclass(frozen=True, slots=True)
class LearningState:
    """What learning does and how well.

    Parameters
    ----------
    phase : {"idle", "waiting", "fitting", "training", "paused"}
        "waiting" means started, but something is missing; ``message`` says what.
    step : int
        Gradient steps so far.
    steps_per_second : float
        Of the wall clock, smoothed.
    device : str
        Where the network runs.
    loss : tuple of (int, float)
        Step and training loss, the newest last; at most 2000 of them.
    dice : tuple of (int, dict)
        Step, and the Dice on held-out strokes of each class that has any, the newest last.
    shown_model : int or None
        Revision of the model that predicts.
    shown_dice : float or None
        Its mean Dice on held-out strokes.
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
    loss: tuple[tuple[int, float], ...] = ()
    dice: tuple[tuple[int, dict[int, float]], ...] = ()
    shown_model: int | None = None
    shown_dice: float | None = None
    seen_annotations: int = 0
    can_undo: bool = False
    message: str = ""


@dataclass(frozen=True, slots=True)
class JobState:
    """A piece of background work that the user started.

    Parameters
    ----------
    id : int
        To cancel it by.
    kind : {"pyramid", "export"}
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
        What it writes.
    """

    id: int
    kind: Literal["pyramid", "export"]
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
    job_changed = Signal(object)
    status_changed = Signal(str)
    notified = Signal(object)
