"""Take over what another project has learned: its model, its classes, what strokes taught it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from brushfire.annotations import next_class, open_annotations
from brushfire.errors import ModelError, VolumeError
from brushfire.project import open_project

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from brushfire.annotations import LabelClass
    from brushfire.learning.examples import Examples
    from brushfire.networks import ModelSnapshot, SegmentationModel
    from brushfire.project import Project
    from brushfire.volumes import Volume

_ALIKE = 1.5  # ratio of pixel sizes up to which structures look alike
_PLACES = 3  # in the volume, where the halo of a model is measured
_SIDE = 320  # of the squares there, pixels


@dataclass(frozen=True)
class Lesson:
    """What a project has learned, for a certain volume.

    Parameters
    ----------
    name : str
        Of the project.
    classes : tuple of LabelClass
        Its classes.
    model : ModelSnapshot
        The model that it shows, with intensities normalised as in the volume that it is for.
    examples : Examples
        Its labelled voxels as features, and those that it started with itself.
    remark : str
        What may be in the way, if anything.
    """

    name: str
    classes: tuple[LabelClass, ...]
    model: ModelSnapshot
    examples: Examples
    remark: str = ""


def read_lesson(folder: Path, volume: Volume, *, confirmed: bool) -> Lesson:
    """Return what a project has learned, for a volume.

    Parameters
    ----------
    folder : Path
        The project that has learned.
    volume : Volume
        The one that it is for.
    confirmed : bool
        Whether the user has confirmed how large its voxels are.

    Raises
    ------
    ModelError
        The project has no model, or one without features or for another number of channels.
    LearningError
        It has no strokes.
    VolumeError
        Its volume cannot be opened.
    ProjectError, AnnotationError, StorageError
        The folder is no project, in use elsewhere, or cannot be read.
    """
    project = open_project(folder)
    snapshot, examples = _learned(project)
    if snapshot.channels != len(volume.channels):
        raise ModelError(
            f"A model for this volume has {len(volume.channels)} channel(s).",
            got=f"one with {snapshot.channels}, in {folder}",
            do="Choose a project of such volumes.",
        )
    there = project.state.volume
    remark = ""
    if confirmed and there.confirmed:
        remark = _remark(volume.voxel_size[1], there.voxel_size[1])
    return Lesson(
        project.folder.stem, project.state.classes, _fitted(snapshot, volume), examples, remark
    )


def match_classes(
    mine: Sequence[LabelClass], theirs: Sequence[LabelClass], *, fresh: bool
) -> tuple[tuple[LabelClass, ...], Mapping[int, int]]:
    """Return classes with another project's among them, and the value of each of theirs there.

    Classes of the same name, whatever the case of its letters, are the same.

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
        alike = [c for c in classes if _same(c.name, one.name)]
        if not alike:
            made = next_class(classes, one.name, one.color)
            if one.value not in {c.value for c in classes}:
                made = replace(made, value=one.value)
            classes, alike = (*classes, made), [made]
        values[one.value] = alike[0].value
    return tuple(sorted(classes, key=lambda one: one.value)), values


def renumbered(lesson: Lesson, values: Mapping[int, int], revision: int) -> ModelSnapshot:
    """Return the model of a lesson with other class values, as a new revision."""
    from brushfire.networks import SegmentationModel

    model = SegmentationModel.from_snapshot(lesson.model)
    model.classes = tuple(values[value] for value in model.classes)
    said = f"It was learned in {lesson.name}. Paint where it is wrong; one class is enough."
    return model.snapshot(revision, {"started_from": lesson.name, "reason": said})


def _learned(project: Project) -> tuple[ModelSnapshot, Examples]:
    """Return the model that a project shows, and its strokes as features."""
    from brushfire.learning.rehearsal import collect_examples
    from brushfire.networks import SegmentationModel
    from brushfire.volumes import open_volume

    state, reference = project.state, project.state.volume
    if state.shown_model is None:
        raise ModelError(
            "A project starts from one that has learned.",
            got=f"{project.folder}, which has no model",
            do="Learn there first, or choose another.",
        )
    if reference.source is None:
        raise VolumeError(
            "What a project has learned is taken from its volume.",
            got=f"{project.folder}, whose volume was in memory only",
            do="Save that volume to a file, and learn there.",
        )
    snapshot = project.load_model(state.shown_model)
    with (
        closing(open_annotations(project.folder, reference.shape)) as labels,
        closing(
            open_volume(reference.source, axes=reference.axes, time=reference.time, cache_bytes=0)
        ) as volume,
    ):
        examples = collect_examples(
            SegmentationModel.from_snapshot(snapshot), volume, labels.snapshot()
        )
    before = project.load_examples()
    return snapshot, examples if before is None else examples.joined(before).thinned()


def _fitted(snapshot: ModelSnapshot, volume: Volume) -> ModelSnapshot:
    """Return a model with the intensities of a volume, and the halo that it needs there."""
    from brushfire.networks import SegmentationModel

    model = SegmentationModel.from_snapshot(snapshot)
    statistics = volume.statistics()
    model.normalise_by(statistics.mean, statistics.std)
    model.halo = halo_in(model, volume)
    return model.snapshot(snapshot.revision, snapshot.metrics)


def halo_in(model: SegmentationModel, volume: Volume) -> int:
    """Return the halo in pixels that is enough in the middle of slices all over a volume."""
    from brushfire.learning.sampler import square_around
    from brushfire.networks import measure_halo

    depth, *plane = volume.shape
    blocks = []
    for place in range(_PLACES):
        z = (2 * place + 1) * depth // (2 * _PLACES)
        box = square_around(z, [size // 2 for size in plane], _SIDE, volume.shape)
        blocks.append(volume.read_padded(box.grow((model.context, 0, 0))))
    return measure_halo(model, blocks)


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
