"""What a model still knows of what it started from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from brushfire.learning.evaluation import answers_of
from brushfire.learning.fitting import fit_pixels
from brushfire.learning.gate import compare, mean_dice
from brushfire.learning.reports import FORGOT, Remembered
from brushfire.networks.model import SegmentationModel
from brushfire.networks.snapshot import answers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from brushfire.learning.examples import Examples
    from brushfire.learning.gate import Answers
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
        self._there: tuple[tuple[int, ...], Answers | None] | None = None
        self._here: tuple[int, float] | None = None

    def ask(self, model: SegmentationModel) -> Remembered | None:
        """Return what a model knows of them; None where it cannot be asked."""
        now = self._answers(model, model.classes)
        if now is None:
            return None
        before = self._start_there(model)
        known = Remembered(float(mean_dice(now)), None, now.voxels, whole=self._crops is not None)
        if before is None:
            return known
        margin = max(FORGOT, compare(before, now).margin)
        return replace(known, at_start=float(mean_dice(before)), margin=margin)

    def _start_there(self, model: SegmentationModel) -> Answers | None:
        """Return what the start answers, with columns for the classes of a model; asked once."""
        if self._there is None or self._there[0] != model.classes:
            start = self._unknowing(model.device)
            found = None if start is None else self._answers(start, model.classes)
            self._there = model.classes, found
        return self._there[1]

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

    def _answers(self, model: SegmentationModel, classes: Sequence[int]) -> Answers | None:
        """Return what a model answers, with columns for some classes; None if it is not asked."""
        if self._crops is not None:
            return _answers_on(self._crops, model, classes)
        kept = None if self._voxels is None else self._voxels.of(model.classes)
        if (
            kept is None
            or model.pixels is None
            or model.inputs != kept.features.shape[1]
            or not len(kept)
        ):
            return None
        with torch.no_grad():
            raw = torch.from_numpy(kept.features).to(model.device)
            logits = model.pixels(raw.t()[None])[0].t()
        each = np.arange(len(kept))  # every voxel is an observation of its own
        return answers_of(logits, model.classes, kept.classes, each, classes)


def _answers_on(
    patches: Patches, model: SegmentationModel, columns: Sequence[int]
) -> Answers | None:
    """Return what a model answers at labelled pixels of crops."""
    if not patches.fits(model.settings, model.channels):
        return None
    logits, truth, each = [], [], []
    with torch.no_grad():
        for number, crop in enumerate(patches.crops):
            at = np.nonzero(np.isin(crop.labels, model.classes))
            if not len(at[0]):
                continue
            x = torch.from_numpy(crop.intensities.astype(np.float32)).to(model.device)
            rows, places = (torch.from_numpy(part).to(model.device) for part in at)
            logits.append(model.logits_at(x.flatten(0, 1)[None], rows, places))
            truth.append(crop.labels[at])
            # The labels of a class in a crop are one observation.
            each.append(256 * number + crop.labels[at].astype(np.int64))
    if not truth:
        return None
    regions = np.concatenate(each)
    return answers_of(torch.cat(logits), model.classes, np.concatenate(truth), regions, columns)
