"""Give a project a model that was learned elsewhere."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from brushfire.annotations import next_class, open_annotations
from brushfire.cli.convert import OURS, read_model
from brushfire.cli.headless import project_of
from brushfire.errors import ModelError
from brushfire.project import open_project

if TYPE_CHECKING:
    from pathlib import Path

    from brushfire.networks import ModelSnapshot
    from brushfire.project import Project, ProjectState, VolumeReference


def adopt_model(place: Path, file: Path, *, axes: str | None, time: int | None) -> int:
    """Keep a model file in a project, as the model that is shown and learned on from.

    The project gets the model's network settings, and classes for values that it does not know.

    Parameters
    ----------
    place : Path
        A project folder, or the volume that the project belongs to.
    file : Path
        A model file of Brushfire.
    axes, time : optional
        How to read the volume.

    Returns
    -------
    int
        The revision under which the project keeps it.

    Raises
    ------
    ModelError
        The file holds no model, or one for another number of channels.
    ProjectError, AnnotationError, StorageError
        The folder is no project, in use elsewhere, or cannot be written.
    """
    project = open_project(project_of(place, axes, time))
    snapshot = read_model(file, OURS, {})
    _check_channels(snapshot, project.state.volume)
    # Whoever has the project open would write over its settings.
    with closing(open_annotations(project.folder, project.state.volume.shape)):
        kept = _with_revision(snapshot, max(project.models(), default=0) + 1, file.name)
        project.save_model(kept)
        project.save(_state_with(project, kept))
    project.log("model added", revision=kept.revision, file=str(file))
    return kept.revision


def _check_channels(snapshot: ModelSnapshot, volume: VolumeReference) -> None:
    from brushfire.volumes import open_volume

    if volume.source is None:
        return  # it was in memory only: opening the project will tell
    with closing(open_volume(volume.source, axes=volume.axes, time=volume.time)) as opened:
        if len(opened.channels) != snapshot.channels:
            raise ModelError(
                f"A model for this volume has {len(opened.channels)} channel(s).",
                got=f"one with {snapshot.channels}",
                do="Choose a model of such volumes; 'brushfire convert' takes --slices.",
            )


def _with_revision(snapshot: ModelSnapshot, revision: int, name: str) -> ModelSnapshot:
    """Return the model with nothing of what was measured of it elsewhere."""
    from brushfire.networks import SegmentationModel

    return SegmentationModel.from_snapshot(snapshot).snapshot(revision, {"imported_from": name})


def _state_with(project: Project, model: ModelSnapshot) -> ProjectState:
    state = project.state
    classes = state.classes
    for value in sorted(set(model.classes) - {one.value for one in classes}):
        classes = (*classes, replace(next_class(classes), value=value))
    return replace(
        state,
        classes=tuple(sorted(classes, key=lambda one: one.value)),
        settings=replace(state.settings, network=model.settings),
        shown_model=model.revision,
    )
