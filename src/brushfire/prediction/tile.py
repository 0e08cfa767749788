"""Predict one tile: the box is read with its halo, and the core comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from brushfire.geometry import Box, Triple
from brushfire.networks.restoration import RestorationModel
from brushfire.prediction.store import RestoredTile, Tile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from brushfire.networks.model import SegmentationModel
    from brushfire.volumes import Volume

    Model = SegmentationModel | RestorationModel


def read_box(model: Model, core: Box, shape: Triple) -> Box:
    """Return what must be read to predict ``core``.

    What lies around is clipped at the volume's own borders in y and x, where the network pads as
    it does for a whole slice; in z the box may stick out, and the volume reflects there.

    Parameters
    ----------
    model : SegmentationModel or RestorationModel
        Knows what it needs around.
    core : Box
        What the tile writes, level 0.
    shape : tuple of int
        The volume, z, y, x.
    """
    grown = model.surroundings(core).grow((model.context, 0, 0))
    inside = grown.clip(shape)
    return Box(
        (grown.start[0], inside.start[1], inside.start[2]),
        (grown.stop[0], inside.stop[1], inside.stop[2]),
    )


def predict_box(
    model: Model, volume: Volume, core: Box, *, budget_bytes: int
) -> NDArray[np.float32]:
    """Return the class probabilities, or the restored intensities, of ``core``.

    Parameters
    ----------
    model : SegmentationModel or RestorationModel
        The network with its frozen normalisation.
    volume : Volume
        Where to read.
    core : Box
        The voxels wanted, level 0.
    budget_bytes : int
        Memory that the network may take.

    Returns
    -------
    ndarray of float32, shape (classes or restored channels, z, y, x)
    """
    outer = read_box(model, core, volume.shape)
    ask = model.restore if isinstance(model, RestorationModel) else model.probabilities
    return ask(
        volume.read_padded(outer),
        wanted=core.slices_in(outer)[1:],
        origin=(outer.start[1], outer.start[2]),
        budget_bytes=budget_bytes,
    )


def predict_tile(
    model: Model,
    volume: Volume,
    index: Triple,
    core: Box,
    revision: int,
    *,
    budget_bytes: int,
) -> Tile | RestoredTile:
    """Predict one tile; probabilities are quantised for display and storage."""
    found = predict_box(model, volume, core, budget_bytes=budget_bytes)
    if isinstance(model, RestorationModel):
        return RestoredTile(index, core, revision, found)
    return Tile(
        index=index,
        box=core,
        revision=revision,
        labels=labels_of(found, model.classes),
        classes=model.classes,
        probabilities=np.rint(found * 255).astype(np.uint8),
    )


def labels_of(probabilities: NDArray[np.float32], classes: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the most probable class value of every voxel, shape (z, y, x)."""
    values = np.asarray(classes, dtype=np.uint8)
    result: NDArray[np.uint8] = values[np.argmax(probabilities, axis=0)]
    return result
