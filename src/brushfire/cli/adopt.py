"""Give a project a model that was learned elsewhere."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from brushfire.annotations import next_class, open_annotations
from brushfire.cli.convert import OURS, read_model
from brushfire.cli.headless import project_of
from brushfire.errors import ModelError
from brushfire.learning.settings import check_patch
from brushfire.project import open_project

if TYPE_CHECKING:
    from pathlib import Path

    from brushfire.networks import ModelSnapshot, SegmentationModel
    from brushfire.project import Project, ProjectState, VolumeReference
    from brushfire.volumes import Volume

_PLACES = 3  # in the volume, where its halo is measured
_SIDE = 320  # of the squares there, pixels


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
    SettingsError
        A dilation of the model is as large as the project's training patches.
    VolumeError
        The project's volume cannot be opened.
    ProjectError, AnnotationError, StorageError
        The folder is no project, in use elsewhere, or cannot be written.
    """
    folder = project_of(place, axes, time)
    snapshot = read_model(file, OURS, {})
    about = {"imported_from": file.name}
    # Whoever has the project open would write over its settings; read what they left.
    with closing(open_annotations(folder, open_project(folder).state.volume.shape)):
        project = open_project(folder)
        check_patch(snapshot.settings, project.state.settings.learning)
        revision = max(project.models(), default=0) + 1
        kept = fitted(snapshot, project.state.volume).snapshot(revision, about)
        project.save_model(kept)
        project.save(state_with(project, kept))
    project.log("model added", revision=kept.revision, file=str(file))
    return kept.revision


def fitted(
    snapshot: ModelSnapshot, reference: VolumeReference, *, normalise: bool = False
) -> SegmentationModel:
    """Return the model with the halo that it needs on a volume.

    Parameters
    ----------
    snapshot : ModelSnapshot
        The model.
    reference : VolumeReference
        What a project notes of its volume.
    normalise : bool
        Whether intensities are normalised by those of this volume instead of as the model did.

    Raises
    ------
    ModelError
        If the volume has another number of channels, or the weights are damaged.
    VolumeError
        If the volume cannot be opened.
    """
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
        if normalise:
            statistics = volume.statistics()
            model.normalise_by(statistics.mean, statistics.std)
        model.halo = _halo(model, volume)
    return model


def _halo(model: SegmentationModel, volume: Volume) -> int:
    """Return the halo that is enough in the middle of slices all over a volume."""
    from brushfire.learning.sampler import square_around
    from brushfire.networks import measure_halo

    depth, *plane = volume.shape
    blocks = []
    for place in range(_PLACES):
        z = (2 * place + 1) * depth // (2 * _PLACES)
        box = square_around(z, [size // 2 for size in plane], _SIDE, volume.shape)
        blocks.append(volume.read_padded(box.grow((model.context, 0, 0))))
    return measure_halo(model, blocks)


def state_with(project: Project, model: ModelSnapshot) -> ProjectState:
    """Return the state of a project that shows a model, with classes for values that it lacks."""
    state = project.state
    classes = state.classes
    for value in sorted(set(model.classes) - {one.value for one in classes}):
        taken = {one.name.casefold() for one in classes}
        name = f"Class {value}"
        made = next_class(classes, None if name.casefold() in taken else name)
        classes = (*classes, replace(made, value=value))
    return replace(
        state,
        classes=tuple(sorted(classes, key=lambda one: one.value)),
        settings=replace(state.settings, network=model.settings),
        shown_model=model.revision,
    )
