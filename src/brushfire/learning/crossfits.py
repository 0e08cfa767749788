"""Fits that do not know some strokes, so that layers learn from them what fits make of the unknown.

A fit is nearly always right where it was taught. Layers that learn beside it there would learn
that nothing is to be corrected, or make it surer of itself than it should be.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from brushfire.learning.fitting import chosen_rows, fit_pixels
from brushfire.learning.runs import parts_of_regions

if TYPE_CHECKING:
    from torch import Tensor

    from brushfire.learning.regions import Labels
    from brushfire.learning.runs import Integers
    from brushfire.networks.model import SegmentationModel
    from brushfire.networks.pixel_head import PixelHead

_PARTS = 3


class CrossFits:
    """As many fits as there are parts of the strokes, each on all parts but one.

    Parameters
    ----------
    model : SegmentationModel
        With features; not changed.
    raw : Tensor
        Features of labelled voxels, (voxels, inputs).
    classes, regions : ndarray
        (voxels,), class value and region of each voxel.

    Attributes
    ----------
    taught : tuple
        Features and classes of the voxels that all fits together are taught.
    """

    def __init__(
        self, model: SegmentationModel, raw: Tensor, classes: Labels, regions: Integers
    ) -> None:
        assert model.pixels is not None
        self._model, self._whole = copy.deepcopy(model), model.pixels
        rows = chosen_rows(classes)
        self.taught = raw[torch.from_numpy(rows).to(raw.device)], classes[rows]
        self._regions = regions[rows]
        self._parts = parts_of_regions(classes[rows], self._regions, _PARTS)
        self._numbers, first = np.unique(self._regions, return_index=True)
        self._of_region = self._parts[first]
        self._heads: dict[int, PixelHead] = {}
        self._others: tuple[Tensor, Labels, Integers] | None = None

    def ask_too(self, raw: Tensor, classes: Labels, regions: Integers) -> None:
        """Let `answers` tell what the model makes of voxels that it does not know either.

        Parameters
        ----------
        raw, classes, regions
            As in the constructor.
        """
        rows = chosen_rows(classes)
        chosen = raw[torch.from_numpy(rows).to(raw.device)]
        self._others = self._chances(self._whole, chosen), classes[rows], regions[rows]

    @property
    def classes(self) -> tuple[int, ...]:
        """Class values that the fits know, in order."""
        return self._model.classes

    @property
    def complete(self) -> bool:
        """Whether all fits were made."""
        return set(self._heads) >= set(self._parts[self._parts >= 0].tolist())

    def answers(self) -> tuple[np.ndarray[Any, Any], Labels, Integers]:
        """Return what fits make of the voxels that they do not know.

        Returns
        -------
        chances : ndarray
            (voxels, classes), probabilities.
        classes, regions : ndarray
            (voxels,), what was painted, and the region of each voxel.
        """
        raw, classes = self.taught
        nothing = torch.zeros(0, len(self.classes)), classes[:0], self._regions[:0]
        found = [nothing if self._others is None else self._others]
        for part in np.unique(self._parts[self._parts >= 0]):
            mine = self._parts == part
            chosen = raw[torch.from_numpy(mine).to(raw.device)]
            told = self._chances(self.without(int(part)), chosen)
            found.append((told, classes[mine], self._regions[mine]))
        chances, painted, regions = zip(*found, strict=True)
        return torch.cat(chances).numpy(), np.concatenate(painted), np.concatenate(regions)

    @staticmethod
    def _chances(head: PixelHead, raw: Tensor) -> Tensor:
        """Return probabilities, (voxels, classes), of features (voxels, inputs)."""
        logits: Tensor = head(raw.t()[None])[0]
        return logits.softmax(0).t().cpu()

    def parts(self, regions: Integers) -> Integers:
        """Return which part each region is in; -1 for those that every fit knows, or none."""
        places = np.searchsorted(self._numbers, regions).clip(max=len(self._numbers) - 1)
        known = self._numbers[places] == regions
        return np.where(known, self._of_region[places], -1)

    def without(self, part: int) -> PixelHead:
        """Return what was fitted on all parts but this one."""
        if part not in self._heads:
            raw, classes = self.taught
            others = self._parts != part
            fit_pixels(self._model, raw[torch.from_numpy(others).to(raw.device)], classes[others])
            assert self._model.pixels is not None
            self._heads[part] = copy.deepcopy(self._model.pixels)
        return self._heads[part]
