"""Give a project a model that was learned elsewhere."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from brushfire.annotations import next_class, open_annotations
from brushfire.cli.headless import project_of
from brushfire.errors import ModelError
from brushfire.learning.settings import check_patch
from brushfire.library import read_model_file
from brushfire.project import open_project
from brushfire.session.starting import halo_in

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from brushfire.annotations import LabelClass
    from brushfire.networks import ModelSnapshot, SegmentationModel
    from brushfire.project import Project, ProjectState, VolumeReference


def adopt_model(place: Path, file: Path, *, axes: str | None, time: int | None) -> int:
    """Keep a model file in a project, as the model that is shown and learned on from.

    The project gets the model's network settings, and classes for values that it does not know.

    Parameters
    ----------
    place : Path
        A project folder, or the volume that the project belongs to.
    file : Path
        A model file: a folder or zip with a card, or safetensors of Brushfire.
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
    SettingsError
        A dilation of the model is as large as the project's training patches.
    VolumeError
        The project's volume cannot be opened.
    ProjectError, AnnotationError, StorageError
        The folder is no project, in use elsewhere, or cannot be written.
    """
    folder = project_of(place, axes, time)
    found = read_model_file(file)
    snapshot = found.model
    about = {"imported_from": file.name}
    # Whoever has the project open would write over its settings; read what they left.
    with closing(open_annotations(folder, open_project(folder).state.volume.shape)):
        project = open_project(folder)
        check_patch(snapshot.settings, project.state.settings.learning)
        revision = max(project.models(), default=0) + 1
        kept = _fitted(snapshot, project.state.volume).snapshot(revision, about)
        project.save_model(kept)
        project.save(state_with(project, kept, found.card.classes))
    project.log("model added", revision=kept.revision, file=str(file))
    return kept.revision


def _fitted(snapshot: ModelSnapshot, reference: VolumeReference) -> SegmentationModel:
    """Return the model with the halo that it needs on a volume."""
    from brushfire.networks import SegmentationModel
    from brushfire.volumes import open_volume

    model = SegmentationModel.from_snapshot(snapshot)
    if reference.source is None:
        return model  # the volume was in memory only: opening the project will tell
    with closing(open_volume(reference.source, axes=reference.axes, time=reference.time)) as volume:
        if len(volume.channels) != model.channels:
            raise ModelError(
                f"A model for this volume has {len(volume.channels)} channel(s).",
                got=f"one with {model.channels}",
                do="Choose a model of such volumes; 'brushfire convert' takes --slices.",
            )
        model.halo = halo_in(model, volume)
    return model


def state_with(
    project: Project, model: ModelSnapshot, named: Sequence[LabelClass] = ()
) -> ProjectState:
    """Return a project's state with a model that is shown from now on, and its classes."""
    state = project.state
    classes = state.classes
    known = {one.value for one in classes}
    for one in sorted(named, key=lambda one: one.value):
        if one.value not in known:
            taken = {other.name.strip().casefold() for other in classes}
            free = one.name.strip().casefold() not in taken
            made = next_class(classes, one.name if free else None)
            classes = (*classes, replace(made, value=one.value))
    return replace(
        state,
        classes=tuple(sorted(classes, key=lambda one: one.value)),
        settings=replace(state.settings, network=model.settings),
        shown_model=model.revision,
    )
