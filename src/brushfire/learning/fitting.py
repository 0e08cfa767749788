"""Fit a model's head on strokes: the first answer, and the quick one to a new stroke."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

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

USUAL_PENALTY = 1e-2
"""How stiff a fit is without held-out strokes to choose by."""

_PENALTIES = (1e-1, 1e-2, 1e-3)  # from stiff to free, each fit starts at the one before
_NEAR_BEST = 1.15  # times the least loss: the stiffest such fit is taken, strokes are few
_REFIT_PENALTY = 1e-2
_VOXELS = 8000  # of a fit: more make it slower, hardly better
_QUANTILES = (0.2, 0.5, 0.8)  # where the knots are put


def index_table(classes: Sequence[int]) -> Tensor:
    """Return a table from class value to index; 0 and unknown values are ignored."""
    table = torch.full((256,), IGNORE, dtype=torch.int64)
    table[torch.tensor(classes, dtype=torch.int64)] = torch.arange(len(classes))
    return table


def fit_first(
    model: SegmentationModel,
    cache: SlabCache,
    sites: Sequence[Site],
    held_sites: Sequence[Site],
) -> None:
    """Fit the head on the inputs alone, and freeze how inputs are standardised and bent.

    How stiff the fit is, is chosen on held-out strokes where every class has some.
    """
    raw, classes = _chosen(*probe(model, cache, sites, picked(model.raw_inputs)))
    model.input_mean.copy_(raw.mean(0))
    model.input_std.copy_(raw.std(0, correction=0).clamp(min=1e-6))
    inputs = (raw - model.input_mean) / model.input_std
    if len(model.knots):
        model.knots.copy_(torch.quantile(inputs, inputs.new_tensor(_QUANTILES), dim=0))
    target = index_table(model.classes)[classes]
    weights = _weights(target, len(model.classes))
    judge = _Judge(model, cache, held_sites)
    penalties = _PENALTIES if judge.able else (USUAL_PENALTY,)
    values = _first_terms(model, inputs)
    start = values.new_zeros(len(model.classes), values.shape[1])
    fits = []
    weight, bias = start, model.head_bias.detach() * 0
    for penalty in penalties:
        weight, bias = fit_linear(
            values, target, weights, (start, bias), penalty=penalty, first=weight
        )
        fits.append((judge.loss(weight, bias), weight, bias))
    enough = _NEAR_BEST * min(loss for loss, *_ in fits)
    _, weight, bias = next(fit for fit in fits if fit[0] <= enough)
    with torch.no_grad():
        model.head_weight.zero_()
        model.head_weight[:, : model.inputs] = weight[:, : model.inputs]
        model.head_weight[:, model.layers.maps :] = weight[:, model.inputs :]
        model.head_bias.copy_(bias)


def refit(
    model: SegmentationModel,
    fitted: tuple[Tensor, Tensor],
    cache: SlabCache,
    sites: Sequence[Site],
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return two heads that agree with the strokes at the sites.

    Parameters
    ----------
    model : SegmentationModel
        A network in training.
    fitted : tuple of Tensor
        Weights and biases of a head that was fitted on the features alone.
    cache, sites
        Where the strokes are.

    Returns
    -------
    tuple of two heads
        The one nearest to the model's, and the one nearest to the fitted one that leaves the maps
        out as well.
    """
    values, classes = _chosen(*probe(model, cache, sites, model.terms_at))
    target = index_table(model.classes)[classes]
    weights = _weights(target, len(model.classes))
    start = (model.head_weight.detach(), model.head_bias.detach())
    trained = fit_linear(values, target, weights, start, penalty=_REFIT_PENALTY)
    values[:, model.inputs : model.layers.maps] = 0
    return trained, fit_linear(values, target, weights, fitted, penalty=_REFIT_PENALTY)


def feature_terms(
    model: SegmentationModel, cache: SlabCache, sites: Sequence[Site]
) -> tuple[Tensor, np.ndarray[Any, Any]]:
    """Return what a fitted head is linear in, without computing the network's layers.

    Returns
    -------
    values : Tensor
        (voxels, terms): the inputs, and the inputs bent at each knot.
    classes : ndarray
        (voxels,), class values.
    """
    raw, classes = probe(model, cache, sites, picked(model.raw_inputs))
    return _first_terms(model, (raw - model.input_mean) / model.input_std), classes


def feature_head(model: SegmentationModel) -> Tensor | None:
    """Return the weights of a head for `feature_terms`; None where it looks at maps as well."""
    inputs, maps = model.inputs, model.layers.maps
    if bool((model.head_weight[:, inputs:maps] != 0).any()):
        return None
    weight = model.head_weight.detach()
    return torch.cat([weight[:, :inputs], weight[:, maps:]], 1)


def _first_terms(model: SegmentationModel, inputs: Tensor) -> Tensor:
    """Return the inputs and what becomes of them at the knots, (voxels, terms)."""
    rows = inputs.t()
    return torch.cat([rows, *model.bent(rows)]).t().contiguous()


def _weights(target: Tensor, classes: int) -> Tensor:
    return class_weights(torch.bincount(target, minlength=classes), COUNT_POWER)


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


class _Judge:
    """Held-out strokes that choose among fits, if every class has some."""

    def __init__(self, model: SegmentationModel, cache: SlabCache, sites: Sequence[Site]) -> None:
        present = {int(value) for site in sites for value in np.unique(site.classes)}
        self.able = present >= set(model.classes)
        if not self.able:
            return
        raw, classes = _chosen(*probe(model, cache, sites, picked(model.raw_inputs)))
        self._values = _first_terms(model, (raw - model.input_mean) / model.input_std)
        self._target = index_table(model.classes)[classes].to(raw.device)
        weights = class_weights(torch.bincount(self._target), 1.0)
        self._weights = weights.to(raw)

    def loss(self, weight: Tensor, bias: Tensor) -> float:
        """Return the cross-entropy, all classes alike."""
        if not self.able:
            return 0.0
        logits = torch.addmm(bias, self._values, weight.t())
        return float(functional.cross_entropy(logits, self._target, self._weights))
