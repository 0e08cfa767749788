"""Resolve what opening a volume means: which project, which strokes, which settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from brushfire.annotations import next_class, open_annotations
from brushfire.errors import BrushfireError, ProjectError
from brushfire.learning.settings import LearningSettings
from brushfire.networks.settings import suggest_settings
from brushfire.project import (
    ProjectState,
    Settings,
    VolumeReference,
    create_project,
    open_project,
)
from brushfire.session.memory import shares
from brushfire.volumes import find_pyramid, open_volume

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from brushfire.annotations import LabelClass, LabelStore
    from brushfire.learning.examples import Examples
    from brushfire.learning.patches import Patches
    from brushfire.networks.settings import NetworkSettings
    from brushfire.networks.snapshot import ModelSnapshot
    from brushfire.project import Project
    from brushfire.volumes import Volume

TILE = 256
"""Edge of a streamed tile, voxels."""


@dataclass(frozen=True, slots=True)
class Opening:
    """Everything that belongs to one volume, checked and open.

    Parameters
    ----------
    volume : Volume
        With the pyramid built for it earlier, where there is one.
    project : Project or None
        None where nothing is kept on disk.
    labels : LabelStore
        The strokes made earlier.
    state : ProjectState
        Classes and settings.
    model : ModelSnapshot or None
        The model that was shown last.
    examples : Examples or None
        Labelled voxels that the project started from.
    patches : Patches or None
        Labelled crops that came with them.
    weights : ModelSnapshot or None
        What a new network begins with.
    warnings : tuple of str
        What could not be read back.
    """

    volume: Volume
    project: Project | None
    labels: LabelStore
    state: ProjectState
    model: ModelSnapshot | None = None
    examples: Examples | None = None
    patches: Patches | None = None
    weights: ModelSnapshot | None = None
    warnings: tuple[str, ...] = ()


def check_opening(volume: Volume, folder: Path | None) -> None:
    """Check what can be known before anything is opened or made.

    Parameters
    ----------
    volume : Volume
        As opened.
    folder : Path or None
        The project folder, if there is one.

    Raises
    ------
    VolumeError, ProjectError
        There is nothing to learn from, or the project is damaged or another volume's.
    """
    volume.statistics()  # says in a sentence when there is nothing to learn from
    if folder is not None and (folder / "project.json").exists():
        _matching_project(volume, folder)


def resolve_opening(volume: Volume, folder: Path | None, *, budget_bytes: int) -> Opening:
    """Open or make what belongs to ``volume``, see `check_opening`.

    Parameters
    ----------
    volume : Volume
        As opened.
    folder : Path or None
        Project folder; None keeps nothing on disk.
    budget_bytes : int
        Memory budget of a new project.

    Raises
    ------
    ProjectError, AnnotationError, StorageError
        The folder cannot be used, or another process uses it.
    """
    if folder is None:
        state = _fresh_state(volume, budget_bytes)
        return Opening(volume, None, open_annotations(None, volume.shape), state)
    if (folder / "project.json").exists():
        project = _matching_project(volume, folder)
        models = [project.state.shown_model] if project.state.shown_model is not None else []
    else:
        # Strokes and models may be there all the same: then their settings were damaged.
        project = create_project(folder, _fresh_state(volume, budget_bytes))
        models = list(project.models())
    noted = project.state.volume
    if noted.confirmed and noted.voxel_size != volume.voxel_size:
        volume = volume.with_voxel_size(noted.voxel_size)
    volume = find_pyramid(volume, folder / "pyramid") or volume
    model, warning = _last_model(project, models)
    start, doubt = _start_of(project)
    labels = open_annotations(folder, volume.shape)  # last: from here on the folder is locked
    classes = with_classes_of(project.state.classes, labels)
    warnings = tuple(text for text in (labels.recovery, warning, doubt) if text)
    state = replace(project.state, classes=classes)
    return Opening(volume, project, labels, state, model, *start, warnings)


def reference(volume: Volume, *, confirmed: bool = False) -> VolumeReference:
    """Return what a project notes of its volume, to find and recognise it again."""
    return VolumeReference(
        source=volume.source,
        fingerprint=volume.fingerprint,
        axes=volume.axes,
        voxel_size=volume.voxel_size,
        shape=volume.shape,
        dtype=str(volume.dtype),
        time=volume.time,
        confirmed=confirmed,
    )


def open_reference(noted: VolumeReference, cache_bytes: int) -> Volume:
    """Open a volume that a project noted, as it was read then.

    Raises
    ------
    VolumeError
        It is gone, or cannot be read.
    """
    return open_volume(
        noted.source,
        axes=noted.axes,
        voxel_size=noted.voxel_size,
        time=noted.time,
        cache_bytes=cache_bytes,
    )


def suggest_network(volume: Volume) -> NetworkSettings:
    """Return the network that a project of this volume starts with."""
    return suggest_settings(volume.shape, volume.spacing())


def _matching_project(volume: Volume, folder: Path) -> Project:
    project = open_project(folder)
    if project.state.volume.fingerprint != volume.fingerprint:
        raise ProjectError(
            "A project belongs to one volume.",
            got=f"{folder} was made for another volume than {volume.name}",
            do="Choose another project folder for this volume.",
        )
    return project


def with_classes_of(classes: tuple[LabelClass, ...], labels: LabelStore) -> tuple[LabelClass, ...]:
    """Return the classes and those that strokes have beyond them: no stroke is without a class."""
    names = {one.value for one in classes}
    for value in sorted(set(labels.counts()) - names):
        made = next_class(classes)
        classes = (*classes, replace(made, value=value))
    return tuple(sorted(classes, key=lambda one: one.value))


def _last_model(
    project: Project, revisions: Sequence[int]
) -> tuple[ModelSnapshot | None, str | None]:
    """Return the model that was shown last, or why it cannot be shown again."""
    if not revisions:
        return None, None
    try:
        return project.load_model(max(revisions)), None
    except BrushfireError as error:
        return None, f"The last model cannot be shown: start learning to get a new one. {error}"


def _start_of(
    project: Project,
) -> tuple[tuple[Examples | None, Patches | None, ModelSnapshot | None], str | None]:
    """Return what a project started from, and why some of it cannot be learned from."""
    try:
        examples, weights = project.load_examples(), project.load_weights()
    except BrushfireError as error:
        lost = f"Learning goes on without what the project started from. {error}"
        return (None, None, None), lost
    try:
        return (examples, project.load_patches(), weights), None
    except BrushfireError as error:
        lost = f"Learning goes on without crops of what the project started from. {error}"
        return (examples, None, weights), lost


def first_classes() -> tuple[LabelClass, ...]:
    """Return the classes that every project begins with."""
    first = next_class(())
    return first, next_class((first,))


def _fresh_state(volume: Volume, budget_bytes: int) -> ProjectState:
    return ProjectState(
        volume=reference(volume),
        classes=first_classes(),
        settings=Settings(
            network=suggest_network(volume),
            learning=LearningSettings(cache_bytes=shares(budget_bytes).learning),
            memory_budget_bytes=budget_bytes,
            tile=TILE,
        ),
        shown_model=None,
    )
