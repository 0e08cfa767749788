"""What a model still knows of what it started from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from brushfire.learning.evaluation import answers_of
from brushfire.learning.fitting import fit_pixels
from brushfire.learning.gate import mean_dice
from brushfire.learning.reports import Remembered
from brushfire.networks.model import SegmentationModel
from brushfire.networks.snapshot import answers

if TYPE_CHECKING:
    from collections.abc import Callable

    from brushfire.learning.examples import Examples
    from brushfire.learning.patches import Patches
    from brushfire.networks.snapshot import ModelSnapshot

SHARE = 5
"""One of so many labelled voxels of other volumes is not learned from, but asked for, where no
crops came along."""


class Memory:
    """Asks models for labels of other volumes that nothing has learned here.

    With crops the whole model is asked. Without, what tells pixels by their features: single voxels
    have no surroundings, and a model with other features, or none, is not asked.

    Parameters
    ----------
    voxels : Examples or None
        Voxels that nothing learns from; asked where there are no crops.
    crops : Patches or None
        Crops that nothing learns from.
    start : ModelSnapshot or None
        What the project started from.
    taught : Examples or None
        Voxels that fits learn. What tells pixels by their features in the start may know by heart
        what is asked; so it is asked with a fit of these instead, or not at all.
    trees : bool
        Whether trees have a say in fits.
    """

    def __init__(
        self,
        voxels: Examples | None,
        crops: Patches | None,
        start: ModelSnapshot | None,
        taught: Examples | None = None,
        *,
        trees: bool = True,
    ) -> None:
        self._voxels, self._crops = voxels, crops
        self._taught, self._trees = taught, trees
        self._start = start if start is not None and answers(start) else None
        self._there: tuple[float | None] | None = None
        self._here: tuple[int, float] | None = None

    def ask(self, model: SegmentationModel) -> Remembered | None:
        """Return what a model knows of them; None where it cannot be asked."""
        now, asked = self._dice(model)
        if now is None:
            return None
        if self._there is None:  # asked once
            start = self._unknowing(model.device)
            self._there = (None if start is None else self._dice(start)[0],)
        return Remembered(now, self._there[0], asked, whole=self._crops is not None)

    def start_here(
        self, version: int, measure: Callable[[SegmentationModel], float]
    ) -> float | None:
        """Return what the start reaches on held-out strokes of the volume that is open.

        Parameters
        ----------
        version : int
            Of the strokes; they are measured once.
        measure : callable
            Returns the mean Dice of a model on them.
        """
        if self._start is None:
            return None
        if self._here is None or self._here[0] != version:
            self._here = version, measure(SegmentationModel.from_snapshot(self._start))
        return self._here[1]

    def _unknowing(self, device: torch.device) -> SegmentationModel | None:
        """Return the start as it is without what is asked; None where that cannot be known."""
        if self._start is None:
            return None
        start = SegmentationModel.from_snapshot(self._start, device)
        if start.pixels is None:
            return start
        known = None if self._taught is None else self._taught.of(start.classes)
        if known is None or known.features.shape[1] != start.inputs:
            return None
        if set(known.counts) != set(start.classes):
            return None
        features = torch.from_numpy(known.features).to(device)
        fit_pixels(start, features, known.classes, trees=self._trees)
        return start

    def _dice(self, model: SegmentationModel) -> tuple[float | None, int]:
        """Return the mean Dice of a model, and how many voxels were asked."""
        if self._crops is not None:
            return _dice_on(self._crops, model)
        kept = None if self._voxels is None else self._voxels.of(model.classes)
        if (
            kept is None
            or model.pixels is None
            or model.inputs != kept.features.shape[1]
            or not len(kept)
        ):
            return None, 0
        with torch.no_grad():
            raw = torch.from_numpy(kept.features).to(model.device)
            logits = model.pixels(raw.t()[None])[0].t()
        each = np.arange(len(kept))  # every voxel is an observation of its own
        found = answers_of(logits, model.classes, kept.classes, each, model.classes)
        return float(mean_dice(found)), len(kept)


def _dice_on(patches: Patches, model: SegmentationModel) -> tuple[float | None, int]:
    """Return the mean Dice of a model on labelled pixels of crops, and how many there are."""
    known = patches.of(model.classes)
    if known is None or not known.fits(model.settings, model.channels):
        return None, 0
    logits, truth, crops = [], [], []
    with torch.no_grad():
        for number, crop in enumerate(known.crops):
            rows, columns = np.nonzero(crop.labels)
            x = torch.from_numpy(crop.intensities.astype(np.float32)).to(model.device)
            at = (torch.from_numpy(places).to(model.device) for places in (rows, columns))
            logits.append(model.logits_at(x.flatten(0, 1)[None], *at))
            truth.append(crop.labels[rows, columns])
            crops.append(np.full(len(rows), number))
    classes = np.concatenate(truth)
    # The labels of a class in a crop are one observation.
    each = (256 * np.concatenate(crops) + classes).astype(np.int64)
    found = answers_of(torch.cat(logits), model.classes, classes, each, model.classes)
    return float(mean_dice(found)), len(classes)
