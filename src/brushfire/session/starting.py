"""Take over what was learned elsewhere: a model, its classes, what strokes taught it."""

from __future__ import annotations

import dataclasses
import re
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brushfire.annotations import next_class, open_annotations
from brushfire.errors import Cancelled, ModelError, ProjectError, SettingsError, VolumeError
from brushfire.learning.settings import check_patch
from brushfire.library import Library, bare_name, is_model_file
from brushfire.library.foreign import is_foreign, read_any
from brushfire.networks.snapshot import answers
from brushfire.project import SUFFIX, open_project
from brushfire.session.denoised import reopen_denoised
from brushfire.session.labels import collect_labels
from brushfire.session.memory import default_budget
from brushfire.session.opening import with_classes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from brushfire.annotations import LabelClass
    from brushfire.geometry import Scale
    from brushfire.jobs import Work
    from brushfire.learning.examples import Examples
    from brushfire.learning.patches import Patches
    from brushfire.learning.transfer.schedules import Schedule
    from brushfire.learning.transfer.strategies import StartSettings
    from brushfire.networks import ModelSnapshot, NetworkSettings, SegmentationModel
    from brushfire.project import Project
    from brushfire.session.session import Session
    from brushfire.volumes import Volume

_AUTOMATIC = re.compile(r"class \d+")
_ALIKE = 1.5  # ratio of pixel sizes up to which structures look alike
_PLACES = 3  # in the volume, where the halo of a model is measured
_SIDE = 320  # of the squares there, pixels


@dataclass(frozen=True)
class Lesson:
    """What was learned elsewhere, for a certain volume.

    Parameters
    ----------
    name : str
        Of the project or the model.
    classes : tuple of LabelClass
        Its classes.
    model : ModelSnapshot
        The model, with intensities normalised as in the volume that it is for.
    examples : Examples or None
        Labelled voxels as features, those included that it started with itself; None where a
        model came without any.
    patches : Patches or None
        Labelled crops of the same volumes, where it came with any.
    remark : str
        What may be in the way, if anything.
    schedule : str or None
        Which weights learn from then on, and when; None for what is set.
    """

    name: str
    classes: tuple[LabelClass, ...]
    model: ModelSnapshot
    examples: Examples | None
    patches: Patches | None = None
    remark: str = ""
    schedule: Schedule | None = None


@dataclass(frozen=True)
class _Learned:
    """What was learned elsewhere, as it is there; ``voxel_size`` is None where nobody knows."""

    name: str
    classes: tuple[LabelClass, ...]
    model: SegmentationModel
    examples: Examples | None
    patches: Patches | None
    voxel_size: Scale | None
    answers: bool = True
    denoised: bool = False


def find_start(place: str | Path) -> Path:
    """Return the project folder or model file that is meant, by its path or its library name.

    Raises
    ------
    StorageError
        If the library cannot be read.
    """
    path = Path(place)
    there = (path / "project.json").is_file() or (is_model_file(path) and path.exists())
    if isinstance(place, str) and place == path.name and not there:
        return Library().find(place) or path
    return path


def prepare_start(
    session: Session,
    place: str | Path,
    start: StartSettings | None,
    schedule: Schedule | None,
    *,
    replace: bool,
) -> tuple[Path, Work]:
    """Return what a session starts from, and the work of reading it, which gives a `Lesson`.

    Raises
    ------
    ProjectError
        It is the project that is open, or that one has learned something already.
    StorageError
        If the library cannot be read.
    """
    volume, confirmed, learning = session.segmented, session.confirmed, session.settings.learning
    denoised = session.denoised is not None
    assert volume is not None
    path = find_start(place)
    if session.project is not None and same_place(path, session.project.folder):
        raise ProjectError(
            "A project starts from another one.", got=path, do="Choose another project."
        )
    if session.model_revision is not None and not replace:
        raise ProjectError(
            "A project starts from what was learned elsewhere before it has learned anything.",
            got=f"one that shows model {session.model_revision}",
            do="Reset learning first: the strokes stay.",
        )

    def work(progress: Callable[[int, int], None], cancelled: Callable[[], bool]) -> Lesson:
        lesson = read_lesson(
            path,
            volume,
            confirmed=confirmed,
            denoised=denoised,
            start=start,
            progress=progress,
            cancelled=cancelled,
        )
        wanted = dataclasses.replace(learning, schedule=schedule or learning.schedule)
        check_patch(lesson.model.settings, wanted)
        return dataclasses.replace(lesson, schedule=schedule)

    return path, work


def read_lesson(
    place: Path,
    volume: Volume,
    *,
    confirmed: bool,
    denoised: bool = False,
    start: StartSettings | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Lesson:
    """Return what was learned elsewhere, for a volume.

    Parameters
    ----------
    place : Path
        The project that has learned, or a model file.
    volume : Volume
        The one that it is for.
    confirmed : bool
        Whether the user has confirmed how large its voxels are.
    denoised : bool
        Whether it is a denoised one.
    start : StartSettings, optional
        Which weights are taken over; all by default.
    progress, cancelled : callable
        As in `brushfire.jobs.Jobs.start`.

    Raises
    ------
    Cancelled
        Soon after ``cancelled()`` is True.
    SettingsError
        That way to start cannot work for the network.
    ModelError
        There is no model, or one with fewer than two of its project's classes; or the file is
        none, damaged, or of a newer version.
    VolumeError
        Its volume cannot be opened, or has changed.
    ProjectError, AnnotationError, StorageError
        The folder is no project, in use elsewhere, or cannot be read.
    """
    from brushfire.learning.transfer.strategies import STRATEGIES, StartSettings
    from brushfire.learning.transfer.weights import started

    start = start or StartSettings()
    if is_model_file(place) or place.is_file() or is_foreign(place):
        learned = _learned_of(place)
    else:
        learned = _learned_in(place, progress, cancelled)
    name, statistics = learned.name, volume.statistics()
    model, taken = started(
        learned.model,
        start,
        channels=len(volume.channels),
        classes=learned.model.classes,
        mean=statistics.mean,
        std=statistics.std,
    )
    complete = learned.answers and len(taken.classes) == len(model.classes)
    examples = learned.examples
    if examples is not None:  # they may be of other channels
        examples = examples.for_inputs(model.inputs)
    if complete:
        model.halo = halo_in(model, volume, cancelled=cancelled)
    remarks = [taken.remark]
    if confirmed and learned.voxel_size is not None:
        remarks.append(_remark(volume.voxel_size[1], learned.voxel_size[1]))
    if learned.denoised and not denoised:
        remarks.append("It learned on a denoised volume: denoise this one too, and segment that.")
    patches = learned.patches
    if patches is not None and not patches.fits(model.settings, model.channels):
        patches = None
    more = "Paint where it is wrong; one class is enough."
    if examples is None and (patches is None or model.settings.features):
        more = "To learn on, paint strokes of two classes."
    said = f"It was learned in {name}. {more}"
    how = STRATEGIES[start.weights][0]
    about = {"started_from": name, "start": how, "answers": complete, "reason": said}
    kept = model.snapshot(0, about)
    remark = " ".join(text for text in remarks if text)
    return Lesson(name, learned.classes, kept, examples, patches, remark)


def _learned_of(path: Path) -> _Learned:
    """Return what a model file holds."""
    from brushfire.networks import SegmentationModel

    file, _ = read_any(path)
    classes, data = file.card.classes, file.card.data
    model = part_of(SegmentationModel.from_snapshot(file.model), classes, path)
    examples = None if file.examples is None else file.examples.thinned()
    size = None if data is None else data.voxel_size
    patches = file.patches and file.patches.of(model.classes)
    known = answers(file.model)
    return _Learned(
        bare_name(path), classes, model, examples or None, patches, size, known,
        denoised=bool(file.model.metrics.get("denoised")),
    )  # fmt: skip


def _learned_in(
    folder: Path,
    progress: Callable[[int, int], None],
    cancelled: Callable[[], bool],
) -> _Learned:
    """Return what a project has learned, its labels taken from its volume."""
    from brushfire.volumes import open_volume

    if not folder.exists() and folder.suffix != SUFFIX:
        kept = ", ".join(one.name for one in Library().entries()) or "nothing yet"
        raise ModelError(
            "A start is a project, a model file, or a name in the library.",
            got=f"{folder}, which is not there; the library holds {kept}",
            do="Choose one that is.",
        )
    reference = open_project(folder).state.volume
    if reference.source is None:
        raise VolumeError(
            "What a project has learned is taken from its volume.",
            got=f"{folder}, whose volume was in memory only",
            do="Save that volume to a file, and learn there.",
        )
    with (
        closing(open_annotations(folder, reference.shape)) as labels,
        closing(
            open_volume(reference.source, axes=reference.axes, time=reference.time, cache_bytes=0)
        ) as source,
    ):
        project = open_project(folder)  # as it is while nobody else can change it
        if source.fingerprint != reference.fingerprint:
            raise VolumeError(
                "What a project has learned is taken from the volume that was painted.",
                got=f"{reference.source}, which has changed since",
                do="Put that file back, or learn there again.",
            )
        classes = with_classes_of(project.state.classes, labels)
        model, metrics = _model_of(project, classes)
        before = project.load_examples(), project.load_patches()
        denoised = reopen_denoised(source, project, device="cpu", budget_bytes=default_budget())
        seen = source if denoised is None else denoised.volume
        examples, patches = collect_labels(
            model, seen, labels.snapshot(), *before, metrics=metrics,
            side=project.state.settings.learning.patch, progress=progress, cancelled=cancelled,
        )  # fmt: skip
    size = reference.voxel_size if reference.confirmed else None
    known = denoised is not None
    return _Learned(project.folder.stem, classes, model, examples, patches, size, denoised=known)


def _model_of(
    project: Project, classes: Sequence[LabelClass]
) -> tuple[SegmentationModel, dict[str, Any]]:
    """Return the model that a project shows, with those of its classes that there still are.

    And its metrics.
    """
    from brushfire.networks import SegmentationModel

    if project.state.shown_model is None:
        raise ModelError(
            "A project starts from one that has learned.",
            got=f"{project.folder}, which has no model",
            do="Learn there first, or choose another.",
        )
    snapshot = project.load_model(project.state.shown_model)
    model = part_of(SegmentationModel.from_snapshot(snapshot), classes, project.folder)
    return model, snapshot.metrics


def part_of(
    model: SegmentationModel, classes: Sequence[LabelClass], place: object
) -> SegmentationModel:
    """Return a model with those of its classes that there still are.

    Raises
    ------
    ModelError
        If there are fewer than two.
    """
    known = [value for value in model.classes if value in {one.value for one in classes}]
    if len(known) < 2:
        raise ModelError(
            "A model tells at least two classes of its project.",
            got=f"one that tells {len(known)} of them, in {place}",
            do="Learn there again, or choose another.",
        )
    return model if len(known) == len(model.classes) else model.with_classes(known)


def check_start(network: NetworkSettings, before: NetworkSettings) -> None:
    """Check that another network can learn from what a project started with.

    Raises
    ------
    SettingsError
        If it sees other inputs than the one before.
    """
    if (network.slices, network.features) != (before.slices, before.features):
        seen = "multi-scale input" if before.features else "intensities only"
        raise SettingsError(
            "What a project started with is of use to networks that see the same.",
            got=f"another number of slices than {before.slices}, or another input than {seen}",
            do="Choose those, or press Reset first, which forgets the start and keeps the strokes.",
        )


def match_classes(
    mine: Sequence[LabelClass], theirs: Sequence[LabelClass], *, fresh: bool
) -> tuple[tuple[LabelClass, ...], Mapping[int, int]]:
    """Return classes with another project's among them, and the value of each of theirs there.

    Classes of the same name, whatever the case of its letters, are the same; but names that nobody
    chose, such as "Class 2", say nothing.

    Parameters
    ----------
    mine, theirs : sequence of LabelClass
        The classes of both projects.
    fresh : bool
        Whether mine are those that every project begins with, and are given up for theirs.
    """
    classes = () if fresh else tuple(mine)
    values = {}
    for one in theirs:
        chosen = fresh or not _AUTOMATIC.fullmatch(one.name.strip().casefold())
        alike = [c for c in classes if chosen and _same(c.name, one.name)]
        if not alike:
            free = one.color.lower() not in {c.color.lower() for c in classes}
            made = next_class(classes, one.name if chosen else None, one.color if free else None)
            if one.value not in {c.value for c in classes}:
                made = replace(made, value=one.value)
            classes, alike = (*classes, made), [made]
        values[one.value] = alike[0].value
    return tuple(sorted(classes, key=lambda one: one.value)), values


def halo_in(
    model: SegmentationModel, volume: Volume, *, cancelled: Callable[[], bool] = lambda: False
) -> int:
    """Return the halo in pixels that is enough in the middle of slices all over a volume."""
    from brushfire.learning.sampler import square_around
    from brushfire.networks import measure_halo

    depth, *plane = volume.shape
    found = []
    for place in range(_PLACES):
        if cancelled():
            raise Cancelled
        z = (2 * place + 1) * depth // (2 * _PLACES)
        box = square_around(z, [size // 2 for size in plane], _SIDE, volume.shape)
        block = volume.read_padded(box.grow((model.context, 0, 0)))
        found.append(measure_halo(model, [block]))
    return max(found)


def same_place(one: Path, other: Path) -> bool:
    """Whether two paths lead to the same file or folder."""
    return one.absolute() == other.absolute() or (one.exists() and one.samefile(other))


def _same(name: str, other: str) -> bool:
    return name.strip().casefold() == other.strip().casefold()


def _remark(here: float, there: float) -> str:
    """Say what may be in the way of a start, if anything; sizes of pixels in micrometres."""
    if 1 / _ALIKE <= here / there <= _ALIKE:
        return ""
    return (
        f"Pixels are {here:.4g} µm here and {there:.4g} µm there: what was learned knows"
        " structures of another size in pixels."
    )
