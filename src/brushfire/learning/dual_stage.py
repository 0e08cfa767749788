"""The second stage of training: how common classes are, learned by the last layer alone.

In the first stage every class teaches as much as any other, so that a rare one is learned at all.
What comes of it finds rare classes too often: it takes all for equally common. In the second, the
last layer alone learns how common they are, and what was learned before stays (Havaei et al.
2017). Where only that is to change, a shift of the biases does it at once.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from brushfire.errors import LearningError, ModelError
from brushfire.learning.convex import fit_any_scale
from brushfire.learning.fitting import head_inputs, index_table
from brushfire.learning.probe import probe
from brushfire.learning.proportions import estimate_proportions, probabilities_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brushfire.learning.probe import Site
    from brushfire.learning.sampler import Block, SlabCache
    from brushfire.networks.model import SegmentationModel

_PENALTY = 1e-4  # how stiff the last layer is: that of the first stage is a good start
_VOXELS = 60_000  # more make it slower, hardly better


def equal_proportions(model: SegmentationModel) -> dict[int, float]:
    """Return the same share for each class: what a model takes for true after the first stage."""
    return dict.fromkeys(model.classes, 1 / len(model.classes))


def proportions_of(
    model: SegmentationModel,
    slabs: Sequence[Block],
    prior: Mapping[int, float] | None = None,
) -> dict[int, float]:
    """Return how common classes are, as a model itself estimates it, without a label.

    Parameters
    ----------
    model : SegmentationModel
        Any weights.
    slabs : sequence of ndarray
        Intensities anywhere in the volume, (channels, slices, y, x).
    prior : mapping, optional
        The share of each class in what the model learnt from; by default all the same.
    """
    expected = _shares(model, equal_proportions(model) if prior is None else prior)
    found = estimate_proportions(probabilities_in(model, slabs), expected)
    return dict(zip(model.classes, found.tolist(), strict=True))


def calibrated(
    model: SegmentationModel,
    proportions: Mapping[int, float],
    *,
    prior: Mapping[int, float] | None = None,
) -> SegmentationModel:
    """Return a model that takes classes to be as common as they are known to be.

    That is Bayes' rule for other priors: the biases are shifted by the logarithm of their ratio.

    Parameters
    ----------
    model : SegmentationModel
        Stays as it is. A shift that it has already is replaced.
    proportions : mapping
        The share of each class in the volume, in any unit.
    prior : mapping, optional
        The share of each class in what the model learnt from; by default all the same.

    Raises
    ------
    LearningError
        If a class has no share above zero.
    """
    known = _shares(model, proportions)
    before = _shares(model, equal_proportions(model) if prior is None else prior)
    shift = (known / before).log()
    other = copy.deepcopy(model)
    other.prior_shift.copy_(shift - shift.mean())
    return other


def second_stage(
    model: SegmentationModel,
    cache: SlabCache,
    sites: Sequence[Site],
    proportions: Mapping[int, float],
) -> SegmentationModel:
    """Return a model whose last layer has learned how common classes are; all else is kept.

    The last layer sees the maps of labelled voxels, each class with the weight that it has in the
    volume. That is a convex problem, so that the answer is the one that gradient steps on patches
    as they come would end at, and takes seconds.

    Parameters
    ----------
    model : SegmentationModel
        Without features; stays as it is. Its halo is to be measured anew.
    cache : SlabCache
        Where intensities come from.
    sites : sequence of Site
        Where labels are, sparse or dense.
    proportions : mapping
        The share of each class in the volume, in any unit: counted where labels are dense, see
        `proportions_of` otherwise.

    Raises
    ------
    ModelError
        If the model has features: its layers do not know which class they correct.
    LearningError
        If a class has no share above zero, or no label.
    """
    if model.pixels is not None:
        raise ModelError(
            "The second stage is for a network whose last layer gives all classes.",
            got="one with features, whose layers are the same for every class",
            do="Calibrate it to the proportions instead, or learn without features.",
        )
    shares = _shares(model, proportions)
    values, target = _labelled(model, cache, sites)
    counts = torch.bincount(target, minlength=len(model.classes))
    if not bool(counts.all()):
        missing = [
            str(value)
            for value, count in zip(model.classes, counts.tolist(), strict=True)
            if not count
        ]
        raise LearningError(
            "The second stage needs labels of every class of the model.",
            got=f"none of class {', '.join(missing)}",
            do="Paint what is missing.",
        )
    other = copy.deepcopy(model)
    start = model.head_weight.detach(), model.head_bias.detach() + model.prior_shift
    each = shares / counts.double()
    weight, bias = fit_any_scale(values, target, each, start, penalty=_PENALTY)
    with torch.no_grad():
        other.head_weight.copy_(weight)
        other.head_bias.copy_(bias)
        other.prior_shift.zero_()
    return other


def _labelled(
    model: SegmentationModel, cache: SlabCache, sites: Sequence[Site]
) -> tuple[Tensor, Tensor]:
    """Return what the last layer sees at labels, (voxels, maps), and the index of their classes."""
    per_site = max(1, _VOXELS // max(len(sites), 1))
    table = index_table(model.classes)
    values, targets = [], []
    for site in sites:
        # One place after the other, thinned, so that there is never more than a part in memory.
        found, classes = probe(model, cache, [site], head_inputs(model))
        target = table[torch.from_numpy(classes.astype("int64"))]
        known = (target >= 0).nonzero()[:, 0]
        known = known[:: max(1, math.ceil(len(known) / per_site))]
        values.append(found[known.to(found.device)].cpu())
        targets.append(target[known])
    if not values:
        raise LearningError(
            "The second stage learns from labels.", got="none", do="Paint every class first."
        )
    return torch.cat(values).to(model.device), torch.cat(targets)


def _shares(model: SegmentationModel, proportions: Mapping[int, float]) -> Tensor:
    """Return the share of each class, (classes,), float64, summing to 1."""
    found = torch.tensor([float(proportions.get(value, 0)) for value in model.classes]).double()
    if not bool((found > 0).all()) or not bool(found.isfinite().all()):
        raise LearningError(
            "Each class of a model has a share of the volume above zero.",
            got={value: proportions.get(value) for value in model.classes},
            do="Give a small share to a class that is hardly there.",
        )
    return found / found.sum()
