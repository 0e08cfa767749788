"""Fit what tells pixels by their features: the first answer, and the quick one to a new stroke."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from brushfire.learning.convex import class_weights, fit_any_scale, fit_linear
from brushfire.learning.growing import grow_trees
from brushfire.learning.losses import IGNORE
from brushfire.learning.probe import picked, probe
from brushfire.networks.architectures import MSD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brushfire.learning.probe import Compute, Site
    from brushfire.learning.sampler import SlabCache
    from brushfire.networks.model import SegmentationModel

COUNT_POWER = 0.5
"""Classes weigh by their count to the power of minus this."""

PENALTY = 1e-2
"""How stiff a fit is."""

_NOTED_SITES = 8  # whose maps say what layers are normalised by

_VOXELS = 8000  # of a fit: more make it slower, hardly better


def index_table(classes: Sequence[int]) -> Tensor:
    """Return a table from class value to index; 0 and unknown values are ignored."""
    table = torch.full((256,), IGNORE, dtype=torch.int64)
    table[torch.tensor(classes, dtype=torch.int64)] = torch.arange(len(classes))
    return table


def fit_pixels(
    model: SegmentationModel, raw: Tensor, classes: np.ndarray[Any, Any], *, trees: bool = True
) -> None:
    """Fit the kernel machine of a model, and grow its trees, from nothing.

    Parameters
    ----------
    model : SegmentationModel
        Its other parts stay as they are.
    raw : Tensor
        Features of labelled voxels, (voxels, inputs), as `SegmentationModel.raw_inputs` makes them.
    classes : ndarray
        (voxels,), class values.
    trees : bool
        Whether to grow trees; otherwise they have no say.
    """
    assert model.pixels is not None
    raw, known = _chosen(raw, classes)
    pixels, machine = model.pixels, model.pixels.machine
    pixels.look(raw)
    standard = pixels.standard(raw.t())
    start = torch.zeros_like(machine.weight), torch.zeros_like(machine.bias)
    target, weights = _target(known, model.classes)
    weight, bias = fit_linear(machine.terms(standard).t(), target, weights, start, penalty=PENALTY)
    machine.weight.copy_(weight)
    machine.bias.copy_(bias)
    if trees:
        grow_trees(pixels.trees, standard.t(), target)
    else:
        pixels.trees.votes.zero_()


def start_head(
    model: SegmentationModel, cache: SlabCache, sites: Sequence[Site], *, taught: bool = False
) -> None:
    """Fit the head of a model without features, and standardise its inputs.

    Of MS-D's maps it takes those that are the inputs themselves: random layers tell no more. Of
    other networks, and of layers that know something, it takes all that they have.

    Parameters
    ----------
    model : SegmentationModel
        Nothing was trained yet.
    cache, sites
        Where the strokes are.
    taught : bool
        Whether the layers have learned elsewhere, and how inputs are standardised with them.
    """
    if not taught:
        raw, classes = _chosen(*probe(model, cache, sites, picked(model.raw_inputs)))
        model.input_mean.copy_(raw.mean(0))
        model.input_std.copy_(raw.std(0, correction=0).clamp(min=1e-6))
        if model.settings.architecture == MSD:
            fit_head(model, (raw - model.input_mean) / model.input_std, classes)
            return
    note_normalisation(model, cache, sites)
    fit_head(model, *maps_at(model, cache, sites))


def note_normalisation(model: SegmentationModel, cache: SlabCache, sites: Sequence[Site]) -> None:
    """Let layers that are normalised by what was seen see the strokes, if they have seen nothing.

    Until then they pass values on at the scale of random weights, and a head that was fitted on
    those is far off as soon as gradient steps bring the maps to scale.

    Parameters
    ----------
    model : SegmentationModel
        Without features.
    cache, sites
        Where the strokes are.
    """
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    fresh = [
        module
        for module in model.layers.modules()
        if isinstance(module, kinds)
        and module.num_batches_tracked is not None
        and not bool(module.num_batches_tracked)
    ]
    if not fresh:
        return
    usual = [module.momentum for module in fresh]
    for module in fresh:
        module.train()
        module.momentum = None  # the mean of all that is seen
    maps_at(model, cache, sites[:_NOTED_SITES])
    for module, momentum in zip(fresh, usual, strict=True):
        module.eval()
        module.momentum = momentum


def maps_at(
    model: SegmentationModel, cache: SlabCache, sites: Sequence[Site]
) -> tuple[Tensor, Tensor]:
    """Return what the head of a model without features sees at strokes, and their classes.

    Returns
    -------
    Tensor, Tensor
        (voxels, maps), and class values (voxels,); as many voxels as a fit takes.
    """
    return _chosen(*probe(model, cache, sites, head_inputs(model)))


def head_inputs(model: SegmentationModel) -> Compute:
    """Return how to compute what the head of a model without features sees at some voxels."""
    return picked(lambda normalised: model.maps_of(model.raw_inputs(normalised)))


def fit_head(model: SegmentationModel, values: Tensor, classes: Tensor) -> None:
    """Fit the head of a model without features, a convex problem.

    Parameters
    ----------
    model : SegmentationModel
        Its layers stay as they are.
    values : Tensor
        (voxels, maps), of the first maps or all.
    classes : Tensor
        (voxels,), class values.
    """
    seen = values.shape[1]
    start = values.new_zeros(len(model.classes), seen), torch.zeros_like(model.head_bias)
    target, weights = _target(classes, model.classes)
    weight, bias = fit_any_scale(values, target, weights, start, penalty=PENALTY)
    with torch.no_grad():
        model.head_weight.zero_()
        model.head_weight[:, :seen] = weight
        model.head_bias.copy_(bias)


def _target(classes: Tensor, outputs: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the index of the class of each voxel, and a weight for each class."""
    target = index_table(outputs)[classes]
    return target, class_weights(torch.bincount(target, minlength=len(outputs)), COUNT_POWER)


def chosen_rows(classes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return which voxels a fit takes of those of ``classes``: so many, evenly over each class."""
    kept = []
    values_of = np.unique(classes)
    for value in values_of:
        found = np.flatnonzero(classes == value)
        step = max(1, round(len(found) * len(values_of) / _VOXELS))
        kept.append(found[::step])
    return np.concatenate(kept)


def rows_of(values: Tensor, rows: np.ndarray[Any, Any]) -> Tensor:
    """Return some rows of values, by number or by a mask."""
    return values[torch.from_numpy(rows).to(values.device)]


def with_also(
    values: Tensor,
    classes: np.ndarray[Any, Any],
    also: tuple[Tensor, np.ndarray[Any, Any]] | None,
) -> tuple[Tensor, np.ndarray[Any, Any]]:
    """Return voxels and further ones, (voxels, inputs) and (voxels,), the further ones last."""
    if also is None:
        return values, classes
    return torch.cat([values, also[0]]), np.concatenate([classes, also[1]])


def _chosen(values: Tensor, classes: np.ndarray[Any, Any]) -> tuple[Tensor, Tensor]:
    """Return the voxels that a fit takes, and their classes."""
    rows = chosen_rows(classes)
    return rows_of(values, rows), torch.from_numpy(classes[rows].astype(np.int64))
