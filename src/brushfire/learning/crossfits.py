"""Fits that do not know some strokes, so that layers learn from them what fits make of the unknown.

A fit is nearly always right where it was taught. Layers that learn beside it there would learn
that nothing is to be corrected, or make it surer of itself than it should be.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from brushfire.learning.fitting import chosen_rows, fit_pixels, rows_of, with_also
from brushfire.learning.runs import parts_of_regions

if TYPE_CHECKING:
    from torch import Tensor

    from brushfire.learning.regions import Labels
    from brushfire.learning.runs import Integers
    from brushfire.networks.model import SegmentationModel
    from brushfire.networks.pixel_head import PixelHead

_PARTS = 3


class Told(NamedTuple):
    """What fits make of voxels that they do not know.

    ``chances`` are probabilities (voxels, classes), ``classes`` (voxels,) what was painted,
    ``regions`` (voxels,) the region and ``places`` (voxels, 3) z, y, x of each.
    """

    chances: np.ndarray[Any, Any]
    classes: Labels
    regions: Integers
    places: Integers


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
    places : ndarray
        (voxels, 3), z, y, x of each.
    also : tuple, optional
        Features and classes of further voxels, which every fit is taught and none is asked for.
    trees : bool
        Whether fits have trees.

    Attributes
    ----------
    taught : tuple
        Features and classes of the voxels that all fits together are taught.
    """

    def __init__(
        self,
        model: SegmentationModel,
        raw: Tensor,
        classes: Labels,
        regions: Integers,
        places: Integers,
        *,
        also: tuple[Tensor, Labels] | None = None,
        trees: bool = True,
    ) -> None:
        assert model.pixels is not None
        self._also = also
        self._model, self._whole = copy.deepcopy(model), model.pixels
        rows = chosen_rows(classes)
        self.taught = rows_of(raw, rows), classes[rows]
        self._regions, self._places, self._trees = regions[rows], places[rows], trees
        self._parts = parts_of_regions(classes[rows], self._regions, _PARTS)
        self._numbers, first = np.unique(self._regions, return_index=True)
        self._of_region = self._parts[first]
        self._heads: dict[int, PixelHead] = {}
        self._others: Told | None = None

    def ask_too(self, raw: Tensor, classes: Labels, regions: Integers, places: Integers) -> None:
        """Let `answers` tell what the model makes of voxels that it does not know either.

        Parameters
        ----------
        raw, classes, regions, places
            As in the constructor.
        """
        rows = chosen_rows(classes)
        chosen = rows_of(raw, rows)
        chances = self._chances(self._whole, chosen)
        self._others = Told(chances, classes[rows], regions[rows], places[rows])

    @property
    def classes(self) -> tuple[int, ...]:
        """Class values that the fits know, in order."""
        return self._model.classes

    @property
    def complete(self) -> bool:
        """Whether all fits were made."""
        return set(self._heads) >= set(self._parts[self._parts >= 0].tolist())

    def make(self) -> None:
        """Make all fits that were not made yet; otherwise each is made when it is asked for."""
        for part in np.unique(self._parts[self._parts >= 0]):
            self.without(int(part))

    def answers(self) -> Told:
        """Return what fits make of the voxels that they do not know."""
        raw, classes = self.taught
        found = [] if self._others is None else [self._others]
        for part in np.unique(self._parts[self._parts >= 0]):
            mine = self._parts == part
            chosen = rows_of(raw, mine)
            chances = self._chances(self.without(int(part)), chosen)
            found.append(Told(chances, classes[mine], self._regions[mine], self._places[mine]))
        if not found:
            nothing = self._chances(self._whole, raw[:0])
            return Told(nothing, classes[:0], self._regions[:0], self._places[:0])
        return Told(*(np.concatenate(parts) for parts in zip(*found, strict=True)))

    @staticmethod
    def _chances(head: PixelHead, raw: Tensor) -> np.ndarray[Any, Any]:
        """Return probabilities, (voxels, classes), of features (voxels, inputs)."""
        found: np.ndarray[Any, Any] = head(raw.t()[None])[0].softmax(0).t().cpu().numpy()
        return found

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
            chosen = rows_of(raw, others)
            told = with_also(chosen, classes[others], self._also)
            fit_pixels(self._model, *told, trees=self._trees)
            assert self._model.pixels is not None
            self._heads[part] = copy.deepcopy(self._model.pixels)
        return self._heads[part]
