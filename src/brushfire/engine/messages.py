"""What goes into the engine and what comes out: plain, frozen, picklable values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from brushfire.annotations import AnnotationSnapshot
    from brushfire.geometry import Box, Triple
    from brushfire.learning.doubts import Doubt
    from brushfire.learning.examples import Examples
    from brushfire.learning.patches import Patches
    from brushfire.learning.places import Place
    from brushfire.learning.reports import (
        Calibration,
        Correction,
        Judged,
        Proportions,
        Verdict,
    )
    from brushfire.learning.restoring import RestorationSettings, Scan
    from brushfire.learning.settings import LearningSettings
    from brushfire.networks.settings import NetworkSettings
    from brushfire.networks.snapshot import ModelSnapshot
    from brushfire.prediction import RestoredTile, Tile
    from brushfire.volumes import Volume

Phase = Literal["idle", "waiting", "fitting", "training", "resting", "paused"]
Outcome = Literal["finished", "cancelled", "failed"]
Task = Literal["segment", "restore"]


class Command:
    """Something the session asks for."""


@dataclass(frozen=True, slots=True)
class SetAnnotations(Command):
    """Learn from this snapshot from now on; a newer one replaces an older one still waiting."""

    snapshot: AnnotationSnapshot


@dataclass(frozen=True, slots=True)
class SetView(Command):
    """Predict here first.

    Parameters
    ----------
    box : Box
        The visible voxels at level 0, one voxel thick along the axis that is sliced.
    revision : int
        The model that the sender shows; 0 for none.
    fresh : frozenset of tuple of int
        Tiles of that model that the sender has.
    room : int
        How many tiles the sender can hold.
    denoised : SetView or None
        The same of the denoised volume that is segmented, where its tiles are wanted too.
    """

    box: Box
    revision: int = 0
    fresh: frozenset[Triple] = frozenset()
    room: int = 1 << 30
    denoised: SetView | None = None


@dataclass(frozen=True, slots=True)
class Train(Command):
    """Start learning, or go on after a pause."""


@dataclass(frozen=True, slots=True)
class Pause(Command):
    """Keep network and optimiser, take no steps."""


@dataclass(frozen=True, slots=True)
class Stop(Command):
    """End the learning turn; the shown model stays."""


@dataclass(frozen=True, slots=True)
class Reset(Command):
    """Forget what was learned and start from random weights at the next `Train`."""


@dataclass(frozen=True, slots=True)
class UndoModel(Command):
    """Show the model that was shown before this one."""


@dataclass(frozen=True, slots=True)
class Restore(Command):
    """Show and go on from a stored model."""

    snapshot: ModelSnapshot


@dataclass(frozen=True, slots=True)
class Adopt(Command):
    """Show a model that was made of a shown one, and go on from it; `UndoModel` goes back.

    It may have another network, which is that of learning from then on.
    """

    model: ModelSnapshot


@dataclass(frozen=True, slots=True)
class Estimate(Command):
    """Tell how common classes are, as far as the shown model tells; see `ProportionsTold`."""


@dataclass(frozen=True, slots=True)
class Calibrate(Command):
    """Show a model in which classes are as common as they are known to be; see `ProportionsTold`.

    ``typed`` holds what the user gave, for some classes or all; later models are kept to it.
    """

    typed: dict[int, float]
    how: Correction


@dataclass(frozen=True, slots=True)
class Configure(Command):
    """Use other settings of the task; a network of another shape starts from random weights."""

    network: NetworkSettings
    learning: LearningSettings | RestorationSettings


@dataclass(frozen=True, slots=True)
class LearnToSegment(Command):
    """Tell classes apart from now on, as a new engine does; `TaskChanged` follows.

    A learning run ends, and no model is shown until one is restored or learned.

    Parameters
    ----------
    network, learning : NetworkSettings, LearningSettings
        Shape of the network and how it learns.
    revision : int
        Newest model revision in use.
    source : Volume or None
        What is segmented in place of the volume of the engine, on the same grid: what a model
        makes of it.
    restorer : int
        Revision of that model, which its tiles bear.
    """

    network: NetworkSettings
    learning: LearningSettings
    revision: int = 0
    source: Volume | None = None
    restorer: int = 0


@dataclass(frozen=True, slots=True)
class LearnToRestore(Command):
    """Restore ``source`` from now on, see `LearnToSegment`; strokes are left alone meanwhile.

    Views and tiles count its voxels, which need not be those of the volume that is segmented.
    Volumes are handed over as they are: an engine elsewhere would be told how to open them.

    Parameters
    ----------
    source : Volume
        What is restored; in the way "splits" its channels are reconstructions of parts of a scan.
    network, learning : NetworkSettings, RestorationSettings
        Shape of the network and how it learns.
    target : Volume or None
        What it should look like, in the way "pairs": all or a part of it, on the same grid.
    target_origin : tuple of int
        Voxel of the source, z, y, x, where the target begins.
    revision : int
        Newest model revision in use.
    others : tuple of Scan
        Further scans of a series, which are learned from as the source is.
    """

    source: Volume
    network: NetworkSettings
    learning: RestorationSettings
    target: Volume | None = None
    target_origin: Triple = (0, 0, 0)
    revision: int = 0
    others: tuple[Scan, ...] = ()


@dataclass(frozen=True, slots=True)
class Begin(Command):
    """Go on from a model of another volume, and learn its labelled voxels too.

    ``examples`` and ``patches`` are None where a model came without labels. A model that answers,
    see `answers`, is shown, as the next revision; the layers of another are what a new network
    begins with.
    """

    model: ModelSnapshot
    examples: Examples | None
    patches: Patches | None = None


@dataclass(frozen=True, slots=True)
class SetExamples(Command):
    """Learn these labels of other volumes beside the strokes, or none any more."""

    examples: Examples | None
    patches: Patches | None = None


@dataclass(frozen=True, slots=True)
class LimitMemory(Command):
    """Let the network take so many bytes for a tile, and as many for a training step."""

    network_bytes: int


@dataclass(frozen=True, slots=True)
class PredictRegion(Command):
    """Predict a whole region with ``model`` into ``folder``; may resume there.

    A model that restores has no ``classes``; it is read from ``source`` where one is named, which
    ``region`` then counts the voxels of.
    """

    job: int
    model: ModelSnapshot
    region: Box
    folder: Path
    key: str
    classes: tuple[tuple[int, str, str], ...] = ()
    source: Volume | None = None


@dataclass(frozen=True, slots=True)
class CancelRegion(Command):
    """End the region run ``job``; finished tiles stay on disk."""

    job: int


@dataclass(frozen=True, slots=True)
class Shutdown(Command):
    """End the thread."""


class Event:
    """Something that happened in the engine."""


@dataclass(frozen=True, slots=True)
class TaskChanged(Event):
    """What is learned and predicted from now on: events of learning after it are of this task."""

    task: Task


@dataclass(frozen=True, slots=True)
class PhaseChanged(Event):
    """What learning does now, and why it waits if it does."""

    phase: Phase
    message: str = ""


@dataclass(frozen=True, slots=True)
class Stepped(Event):
    """Gradient steps were taken."""

    step: int
    loss: float
    steps_per_second: float
    seconds: float = 0.0
    """How long it has learnt, pauses left out."""


@dataclass(frozen=True, slots=True)
class Evaluated(Event):
    """Candidates were measured: how good the model is that is shown now, and why it is that one.

    ``seconds`` is how long it has learnt, ``strokes`` counts connected stroke regions, ``doubts``
    are those that contradict the others.
    """

    step: int
    seconds: float
    strokes: int
    evaluation: Judged
    verdict: Verdict
    doubts: tuple[Doubt, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelShown(Event):
    """Tiles are predicted with this model from now on.

    ``annotations`` is the revision of the newest strokes that it has seen, ``evaluation`` what was
    measured when it was made.
    """

    snapshot: ModelSnapshot
    mean: float | None
    can_undo: bool
    annotations: int
    evaluation: Judged | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class HistoryChanged(Event):
    """Whether there is a model to go back to."""

    can_undo: bool


@dataclass(frozen=True, slots=True)
class ModelForgotten(Event):
    """There is no model any more."""


@dataclass(frozen=True, slots=True)
class NetworkTaken(Event):
    """Learning goes on with this network, which came with a model."""

    network: NetworkSettings


@dataclass(frozen=True, slots=True)
class ProportionsTold(Event):
    """The answer to `Estimate` and `Calibrate`.

    Parameters
    ----------
    proportions : Proportions or None
        By the model that is shown now; None where it cannot be told.
    calibration : Calibration or None
        What was done, if anything was asked for.
    error : Exception or None
        Why not. What was shown stays, and learning goes on.
    """

    proportions: Proportions | None
    calibration: Calibration | None = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class TilePredicted(Event):
    """One tile, of labels or of restored intensities; its revision says which model made it."""

    tile: Tile | RestoredTile


@dataclass(frozen=True, slots=True)
class PlacesFound(Event):
    """Where another stroke would teach most, the best place first: the end of a search.

    ``revision`` is that of the model it asked, ``annotations`` that of the strokes.
    """

    places: tuple[Place, ...]
    revision: int
    annotations: int


@dataclass(frozen=True, slots=True)
class RegionProgress(Event):
    """How far a region run is."""

    job: int
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class TurnEnded(Event):
    """The one terminal event of a turn.

    A turn is a learning run (from `Train` to `Stop`), a region run, the streaming of tiles that
    met an error, a search for places that found none (see `PlacesFound`), or the engine itself.
    """

    turn: Literal["learning", "region", "streaming", "places", "engine"]
    outcome: Outcome
    error: Exception | None = None
    job: int | None = None


@dataclass(frozen=True, slots=True)
class Told(Event):
    """A sentence for the user."""

    level: Literal["info", "warning", "error"]
    text: str


@dataclass(frozen=True, slots=True)
class DeviceChosen(Event):
    """Where the network runs, and why it changed if it did."""

    device: str
    why: str = field(default="")
