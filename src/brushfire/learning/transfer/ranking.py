"""Which start fits: how well what its layers see tells the first strokes apart.

A linear fit on the maps of a network, asked for strokes that it was not taught, takes a moment, and
says without training how much of what tells the classes is there already.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from brushfire.learning.crossvalidation import cross_validate
from brushfire.learning.evaluation import regions_of
from brushfire.learning.gate import interval_of_gain, mean_dice
from brushfire.learning.probe import find_sites, picked, probe
from brushfire.learning.regions import StrokeRegions
from brushfire.learning.sampler import SlabCache
from brushfire.networks.model import SegmentationModel
from brushfire.networks.settings import NetworkSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from brushfire.annotations import AnnotationSnapshot
    from brushfire.learning.gate import Answers, Interval
    from brushfire.volumes import Volume

_PIXELS = 1_000_000  # whose maps are computed for one start: about a second
_CACHE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class StartScore:
    """How well a start tells strokes that it was not taught.

    Parameters
    ----------
    dice : float
        Mean over classes.
    gain : tuple of float or None
        Ends between which its Dice less that of no start lies with 90 % certainty; None where the
        strokes are too few to tell.
    """

    dice: float
    gain: Interval | None


class StartScores:
    """Scores of starts on the strokes of a volume.

    Parameters
    ----------
    volume : Volume
        What is open.
    labels : AnnotationSnapshot
        Its strokes.
    """

    def __init__(self, volume: Volume, labels: AnnotationSnapshot) -> None:
        self._volume = volume
        regions = StrokeRegions(0.0)
        regions.update(labels)
        points = regions.points(held=False)
        rng = np.random.default_rng(0)
        self._sites = find_sites(points, volume.shape, budget=_PIXELS, rng=rng)
        self._classes = tuple(sorted(regions.counts(held=False)))
        nothing = SegmentationModel(NetworkSettings(), len(volume.channels), (1, 2))
        self._scratch = self._answers(nothing)

    @property
    def scratch(self) -> float | None:
        """Mean Dice of a network that has learned nothing, see `of`."""
        return None if self._scratch is None else float(mean_dice(self._scratch))

    def of(self, model: SegmentationModel) -> StartScore | None:
        """Return how linear fits do on strokes that they were not taught.

        Parameters
        ----------
        model : SegmentationModel
            What is to start from; its classes do not matter. Intensities are normalised as in the
            volume.

        Returns
        -------
        StartScore or None
            None where no class has two strokes, or the model is for other channels.
        """
        found = self._answers(model)
        if found is None or self._scratch is None:
            return None
        return StartScore(float(mean_dice(found)), interval_of_gain(found, self._scratch))

    def _answers(self, model: SegmentationModel) -> Answers | None:
        if len(self._classes) < 2 or model.channels != len(self._volume.channels):
            return None
        statistics = self._volume.statistics()
        model.normalise_by(statistics.mean, statistics.std)
        cache = SlabCache(self._volume, model.context, _CACHE_BYTES)
        values, classes = probe(model, cache, self._sites, picked(partial(_maps_of, model)))
        lift = _lift(model, values)
        return cross_validate(values, classes, regions_of(self._sites), self._classes, lift=lift)


def _maps_of(model: SegmentationModel, normalised: Tensor) -> Tensor:
    """Return what the last layer of a model sees; with features, these and what the model says."""
    raw = model.raw_inputs(normalised)
    if model.pixels is None:
        return model.maps_of(raw)
    return torch.cat((raw, model.logits_of(raw)), 1)


def _lift(model: SegmentationModel, values: Tensor) -> Callable[[Tensor], Tensor]:
    """Return how maps become terms of about unit spread, as these values tell."""
    features = 0 if model.pixels is None else model.inputs
    if model.pixels is not None:
        model.pixels.look(values[:, :features])  # the same terms, whatever it was fitted on
    mean = values[:, features:].mean(0)
    std = values[:, features:].std(0, correction=0).clamp(min=1e-6)

    def lift(some: Tensor) -> Tensor:
        standard = (some[:, features:] - mean) / std
        if not features:
            return standard
        return torch.cat((model.terms(some[:, :features]), standard), 1)

    return lift
