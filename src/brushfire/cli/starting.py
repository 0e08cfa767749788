"""Start a project from what another project has learned."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from brushfire.annotations import next_class, open_annotations
from brushfire.cli.adopt import fitted, state_with
from brushfire.cli.headless import project_of
from brushfire.errors import ModelError, ProjectError, VolumeError
from brushfire.learning.settings import check_patch
from brushfire.project import SUFFIX, default_folder, open_project

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brushfire.annotations import LabelClass
    from brushfire.learning.examples import Examples
    from brushfire.networks import ModelSnapshot
    from brushfire.project import Project

_ALIKE = 1.5  # ratio of pixel sizes up to which structures look alike


@dataclass(frozen=True)
class Start:
    """What a project was started from.

    ``revision`` is that of its model, ``classes`` maps names to class values there, ``voxels``
    counts the labelled voxels that it learns from beside its own strokes, and ``remark`` says
    what may be in the way.
    """

    folder: Path
    revision: int
    classes: dict[str, int]
    voxels: int
    remark: str = ""


def start_project(place: Path, source: Path, *, axes: str | None, time: int | None) -> Start:
    """Let a project show another's model, and learn from its strokes beside its own.

    Classes are matched by name. The other's stay as they are where the project has neither strokes
    nor names of its own; otherwise those it lacks are added.

    Parameters
    ----------
    place : Path
        A project folder, or a volume, which gets a project if it has none.
    source : Path
        The project that has learned, or its volume.
    axes, time : optional
        How to read the volume.

    Raises
    ------
    ModelError
        The other project has no model, or one for another number of channels or without features.
    LearningError
        It has no strokes.
    SettingsError
        A dilation of its model is as large as the project's training patches.
    VolumeError
        A volume cannot be opened.
    ProjectError, AnnotationError, StorageError
        A folder is no project, in use elsewhere, or cannot be written.
    """
    theirs = open_project(project_of(source, None, None))
    folder = _made(place, axes, time)
    if folder.resolve() == theirs.folder.resolve():
        raise ProjectError(
            "A project starts from another one.", got=folder, do="Name two different projects."
        )
    snapshot, examples = _learned(theirs)
    with closing(open_annotations(folder, open_project(folder).state.volume.shape)) as labels:
        project = open_project(folder)
        check_patch(snapshot.settings, project.state.settings.learning)
        model = fitted(snapshot, project.state.volume, normalise=True)
        classes, values = _matched(project, theirs, painted=bool(labels.counts()))
        model.classes = tuple(values[value] for value in model.classes)
        revision = max(project.models(), default=0) + 1
        kept = model.snapshot(revision, {"started_from": theirs.folder.name})
        project.save_examples(examples.renumbered(values))
        project.save_model(kept)
        project.save(replace(project.state, classes=classes))
        project.save(state_with(project, kept))
    project.log("started", source=str(theirs.folder), revision=revision, voxels=len(examples))
    names = {one.value: one.name for one in classes}
    found = {names[value]: value for value in sorted(model.classes)}
    return Start(folder, revision, found, len(examples), _remark(project, theirs))


def _made(place: Path, axes: str | None, time: int | None) -> Path:
    """Return the project folder of a place; a volume gets one where it has none."""
    from brushfire.session import Session
    from brushfire.volumes import open_volume

    if place.suffix == SUFFIX or (place / "project.json").is_file():
        return open_project(place).folder
    with closing(open_volume(place, axes=axes, time=time)) as volume:
        folder = default_folder(volume)
    if not (folder / "project.json").is_file():
        session = Session(folder, suggest=False)
        try:
            session.open_volume(place, axes=axes, time=time)
        finally:
            session.close()
    return folder


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
            do="Run 'brushfire train' on that one first, or choose another.",
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
        closing(open_volume(reference.source, axes=reference.axes, time=reference.time)) as volume,
    ):
        examples = collect_examples(
            SegmentationModel.from_snapshot(snapshot), volume, labels.snapshot()
        )
    before = project.load_examples()
    return snapshot, examples if before is None else examples.joined(before).thinned()


def _matched(
    project: Project, theirs: Project, *, painted: bool
) -> tuple[tuple[LabelClass, ...], Mapping[int, int]]:
    """Return a project's classes with another's among them, and its value for each of theirs."""
    mine = project.state.classes
    first = next_class(())
    if not painted and not project.models() and mine == (first, next_class((first,))):
        mine = ()
    values = {}
    for one in theirs.state.classes:
        alike = [c for c in mine if c.name.strip().casefold() == one.name.strip().casefold()]
        if not alike:
            made = next_class(mine, one.name, one.color)
            if one.value not in {c.value for c in mine}:
                made = replace(made, value=one.value)
            mine, alike = (*mine, made), [made]
        values[one.value] = alike[0].value
    return tuple(sorted(mine, key=lambda one: one.value)), values


def _remark(project: Project, theirs: Project) -> str:
    """Say what may be in the way of a start, if anything."""
    here, there = project.state.volume, theirs.state.volume
    if not (here.confirmed and there.confirmed):
        return ""  # a size that nobody confirmed may be anything
    mine, other = here.voxel_size[1], there.voxel_size[1]
    ratio = mine / other
    if 1 / _ALIKE <= ratio <= _ALIKE:
        return ""
    return (
        f"Pixels are {mine:.4g} µm here and {other:.4g} µm there: what was learned knows"
        " structures of another size in pixels."
    )
