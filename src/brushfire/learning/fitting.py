"""Fit a model's convex part on strokes: the first answer, and the quick one to a new stroke."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from brushfire.learning.convex import class_weights, fit_linear
from brushfire.learning.losses import IGNORE
from brushfire.learning.probe import picked, probe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brushfire.learning.probe import Site
    from brushfire.learning.sampler import SlabCache
    from brushfire.networks.model import SegmentationModel

COUNT_POWER = 0.5
"""Classes weigh by their count to the power of minus this."""

PENALTY = 2e-2
"""How stiff a fit is."""

_VOXELS = 8000  # of a fit: more make it slower, hardly better


def index_table(classes: Sequence[int]) -> Tensor:
    """Return a table from class value to index; 0 and unknown values are ignored."""
    table = torch.full((256,), IGNORE, dtype=torch.int64)
    table[torch.tensor(classes, dtype=torch.int64)] = torch.arange(len(classes))
    return table


def fit_convex(model: SegmentationModel, raw: Tensor, classes: np.ndarray[Any, Any]) -> None:
    """Fit the convex part of a model, from nothing.

    Parameters
    ----------
    model : SegmentationModel
        Its other parts stay as they are.
    raw : Tensor
        Features of labelled voxels, (voxels, inputs), as `SegmentationModel.raw_inputs` makes them.
    classes : ndarray
        (voxels,), class values.
    """
    assert model.convex is not None
    raw, known = _chosen(raw, classes)
    model.convex.look(raw)
    values = model.convex.terms(raw.t()).t()
    start = torch.zeros_like(model.convex.weight), torch.zeros_like(model.convex.bias)
    weight, bias = _fit(values, known, model.classes, start)
    model.convex.weight.copy_(weight)
    model.convex.bias.copy_(bias)


def start_head(model: SegmentationModel, cache: SlabCache, sites: Sequence[Site]) -> None:
    """Fit the head of a model without a convex part on its inputs alone, and standardise them.

    Parameters
    ----------
    model : SegmentationModel
        Nothing was trained yet.
    cache, sites
        Where the strokes are.
    """
    raw, classes = _chosen(*probe(model, cache, sites, picked(model.raw_inputs)))
    model.input_mean.copy_(raw.mean(0))
    model.input_std.copy_(raw.std(0, correction=0).clamp(min=1e-6))
    values = (raw - model.input_mean) / model.input_std
    start = values.new_zeros(len(model.classes), model.inputs), torch.zeros_like(model.head_bias)
    weight, bias = _fit(values, classes, model.classes, start)
    with torch.no_grad():
        model.head_weight[:, : model.inputs] = weight
        model.head_bias.copy_(bias)


def feature_terms(
    model: SegmentationModel, cache: SlabCache, sites: Sequence[Site]
) -> tuple[Tensor, np.ndarray[Any, Any]]:
    """Return what a fit of the features alone is linear in.

    Returns
    -------
    values : Tensor
        (voxels, terms).
    classes : ndarray
        (voxels,), class values.
    """
    raw, classes = probe(model, cache, sites, picked(model.raw_inputs))
    if model.convex is None:
        return (raw - model.input_mean) / model.input_std, classes
    return model.convex.terms(raw.t()).t(), classes


def _fit(
    values: Tensor, classes: Tensor, outputs: Sequence[int], start: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    target = index_table(outputs)[classes]
    weights = class_weights(torch.bincount(target, minlength=len(outputs)), COUNT_POWER)
    return fit_linear(values, target, weights, start, penalty=PENALTY)


def _chosen(values: Tensor, classes: np.ndarray[Any, Any]) -> tuple[Tensor, Tensor]:
    """Return about `_VOXELS` of the voxels, evenly over each class, and their classes."""
    kept = []
    values_of = np.unique(classes)
    for value in values_of:
        found = np.flatnonzero(classes == value)
        step = max(1, round(len(found) * len(values_of) / _VOXELS))
        kept.append(found[::step])
    rows = np.concatenate(kept)
    chosen = torch.from_numpy(rows).to(values.device)
    return values[chosen], torch.from_numpy(classes[rows].astype(np.int64))
