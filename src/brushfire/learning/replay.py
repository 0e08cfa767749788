"""Crops of what was painted elsewhere: taken from its volume, and replayed in gradient steps."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from brushfire.errors import Cancelled
from brushfire.learning.patches import CROP_BYTES, Crop, Patches
from brushfire.learning.regions import StrokeRegions
from brushfire.learning.sampler import Patch, SlabCache, drop_edges, square_around, varied

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from brushfire.annotations import AnnotationSnapshot
    from brushfire.geometry import Box
    from brushfire.learning.runs import Labels
    from brushfire.learning.sampler import Block
    from brushfire.networks.model import SegmentationModel
    from brushfire.volumes import Volume

SHARE = 0.2
"""Of the stroke regions of a class that are asked for, where the model held none out itself."""

_MOST = 24  # crops of a class that are replayed
_ASKED = 8  # of a class that are asked for
_CACHE_BYTES = 64 << 20
_FARTHEST = 1e4  # standard deviations; half precision ends at six times that


def divided(metrics: Mapping[str, Any], labels: AnnotationSnapshot) -> StrokeRegions:
    """Return the strokes of a volume, those held out that are to be asked for.

    Parameters
    ----------
    metrics : mapping
        Of the model that learned them. What it held out itself is held out again, so that it is
        new to the layers of that model too.
    labels : AnnotationSnapshot
        The strokes.
    """
    regions = StrokeRegions(SHARE)
    seeds = metrics.get("held_out_regions")
    if isinstance(seeds, list) and seeds:
        regions.adopt(seeds)
    regions.update(labels)
    return regions


def collect_patches(
    model: SegmentationModel,
    volume: Volume,
    labels: AnnotationSnapshot,
    regions: StrokeRegions,
    *,
    side: int,
    cancelled: Callable[[], bool] = lambda: False,
) -> Patches | None:
    """Return crops of a volume around its strokes, as few as show them; None without a stroke.

    Parameters
    ----------
    model : SegmentationModel
        Says how many slices it sees and how intensities are normalised.
    volume : Volume
        What was painted.
    labels : AnnotationSnapshot
        Its strokes.
    regions : StrokeRegions
        Which of them are asked for: those that are held out.
    side : int
        Of a crop, pixels; less where the volume or the bound of a crop is smaller.
    cancelled : callable
        Asked at each crop.

    Raises
    ------
    Cancelled
        Soon after ``cancelled()`` is True.
    """
    planes = len(volume.channels) * model.settings.slices
    side = min(side, math.isqrt(CROP_BYTES // (2 * planes + 1)))
    cache = SlabCache(volume, model.context, _CACHE_BYTES)
    mean = model.intensity_mean.cpu().numpy()[:, None, None, None]
    std = model.intensity_std.cpu().numpy()[:, None, None, None]
    crops = []
    for asked in (False, True):
        for box, label in _cover(regions, labels, side, asked=asked):
            if cancelled():
                raise Cancelled
            block = np.clip((cache.read(box) - mean) / std, -_FARTHEST, _FARTHEST)
            crops.append(Crop(block.astype(np.float16), label, asked))
    return Patches(tuple(crops)).thinned() if crops else None


def _cover(
    regions: StrokeRegions, labels: AnnotationSnapshot, side: int, *, asked: bool
) -> list[tuple[Box, Labels]]:
    """Return squares that show each stroke once, as far as there may be so many, class by class."""
    points = regions.points(held=asked)
    rng = np.random.default_rng(0)
    left: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for z, part in points.items():
        for at in rng.permutation(len(part)):
            y, x = part.voxels[at]
            left[int(part.classes[at])].append((z, int(y), int(x)))
    shown: dict[int, list[Box]] = defaultdict(list)
    found: list[tuple[Box, Labels]] = []
    for value, voxels in sorted(left.items()):
        order = rng.permutation(len(voxels))
        count = 0
        for z, y, x in (voxels[at] for at in order):
            if count == (_ASKED if asked else _MOST):
                break
            if any(_inside(box, y, x) for box in shown[z]):
                continue
            box = square_around(z, (y, x), side, labels.shape)
            label = _labels_in(regions, labels, box, asked=asked)
            if asked:  # each label once
                for other in shown[z]:
                    common = other.intersect(box)
                    if common is not None:
                        label[common.slices_in(box)[1:]] = 0
            drop_edges(label, box, labels.shape)
            shown[z].append(box)
            if (label == value).any():
                found.append((box, label))
                count += 1
    return found


def _inside(box: Box, y: int, x: int) -> bool:
    return box.start[1] <= y < box.stop[1] and box.start[2] <= x < box.stop[2]


def _labels_in(
    regions: StrokeRegions, labels: AnnotationSnapshot, box: Box, *, asked: bool
) -> Labels:
    taught = regions.teaching_labels(box)
    if not asked:
        return taught
    return np.where(taught > 0, 0, labels.read(box)[0]).astype(np.uint8)


class Replay:
    """Draws from crops of other volumes so that every class is replayed equally often.

    Parameters
    ----------
    patches : Patches
        What may be learned.
    share : float
        Of gradient steps that replay, 0 to below 1.
    seed : int
        Decides everything.
    """

    def __init__(self, patches: Patches, share: float, seed: int) -> None:
        self._share = share
        self._rng = np.random.default_rng([seed, 1])
        self._crops = patches.crops
        self._holds = [frozenset(np.unique(crop.labels).tolist()) - {0} for crop in patches.crops]
        self.counts = patches.counts
        """Labelled pixels of each class."""

    def due(self, step: int, classes: Collection[int]) -> bool:
        """Whether a step, counted from 0, replays crops of some classes."""
        known = bool(self.counts.keys() & set(classes))
        return known and math.floor((step + 1) * self._share) > math.floor(step * self._share)

    def draw(
        self,
        count: int,
        side: int,
        model: SegmentationModel,
        *,
        vary: bool,
    ) -> list[Patch]:
        """Return patches of one size, with the intensities of the volume that a model is for.

        Parameters
        ----------
        count : int
            Patches.
        side : int
            Pixels in y and x; less where crops are smaller.
        model : SegmentationModel
            Its classes are drawn.
        vary : bool
            As for `PatchSampler.draw`.
        """
        first = self._crop(model.classes, None)
        mean = model.intensity_mean.cpu().numpy()[:, None, None, None]
        std = model.intensity_std.cpu().numpy()[:, None, None, None]
        shape = self._crops[first[0]].labels.shape
        chosen = [first, *(self._crop(model.classes, shape) for _ in range(count - 1))]
        patches = [self._patch(*one, side, mean, std) for one in chosen]
        return [varied(patch, self._rng) for patch in patches] if vary else patches

    def _crop(self, classes: Sequence[int], shape: tuple[int, ...] | None) -> tuple[int, int]:
        """Return the number of a crop, of a certain shape if any, and a class that it holds."""
        fit = [n for n, crop in enumerate(self._crops) if shape in (None, crop.labels.shape)]
        there = sorted(set(classes) & frozenset().union(*(self._holds[n] for n in fit)))
        value = there[int(self._rng.integers(len(there)))]
        holding = [n for n in fit if value in self._holds[n]]
        return holding[int(self._rng.integers(len(holding)))], value

    def _patch(self, number: int, value: int, side: int, mean: Block, std: Block) -> Patch:
        """Return a square of a crop that shows a class; all of it where it is no larger."""
        crop = self._crops[number]
        whole = (1, *crop.labels.shape)
        places = np.argwhere(crop.labels == value)
        middle = places[int(self._rng.integers(len(places)))]
        box = square_around(0, [int(at) for at in middle], side, whole)
        _, rows, columns = box.slices
        label = crop.labels[rows, columns].copy()
        drop_edges(label, box, whole)
        block = crop.intensities[..., rows, columns].astype(np.float32) * std + mean
        regions = np.full(label.shape, -1, np.int64)  # no fit leaves these strokes out
        return Patch(block, label, regions, (0, 0, 0, 0))
