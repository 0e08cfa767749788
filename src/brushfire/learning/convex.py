"""A linear model fitted on labelled voxels: the first answer, and the quick one to a new stroke."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

_ITERATIONS = 60
_TOLERANCE = 1e-4


def class_weights(counts: Tensor, power: float) -> Tensor:
    """Return a weight for each class, ``counts ** -power``, so that the mean voxel weighs 1.

    Parameters
    ----------
    counts : Tensor
        (classes,), labelled voxels.
    power : float
        0 leaves all voxels equal, 1 makes all classes equal.
    """
    weights = counts.clamp(min=1).double() ** -power
    return weights * counts.sum() / (weights * counts).sum()


def fit_linear(
    values: Tensor,
    target: Tensor,
    weights: Tensor,
    start: tuple[Tensor, Tensor],
    *,
    penalty: float,
    first: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the multinomial logistic regression nearest to where it started.

    Minimises the weighted mean cross-entropy plus ``penalty / 2`` times the squared distance of
    the weights (not of the biases) from ``start``; convex, so that the answer is unique.

    Parameters
    ----------
    values : Tensor
        (voxels, inputs), each of about unit spread.
    target : Tensor
        (voxels,), the index of the class.
    weights : Tensor
        (classes,), of each class.
    start : tuple of Tensor
        Weights (classes, inputs) and biases (classes,).
    penalty : float
        Above 0.
    first : Tensor, optional
        Weights to begin the search from, if not those of ``start``; the answer is the same.

    Returns
    -------
    tuple of Tensor
        Weights and biases, of the type of ``start``.
    """
    x = values.detach().double().cpu()
    known = target.cpu()
    anchor = start[0].detach().double().cpu()
    begin = anchor if first is None else first.detach().double().cpu()
    weight = begin.clone().requires_grad_(True)
    bias = start[1].detach().double().cpu().clone().requires_grad_(True)
    per_class = weights.double().cpu()
    optimiser = torch.optim.LBFGS(
        [weight, bias],
        max_iter=_ITERATIONS,
        tolerance_grad=_TOLERANCE,
        tolerance_change=1e-7,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        logits = torch.addmm(bias, x, weight.t())
        value = functional.cross_entropy(logits, known, per_class)
        value = value + 0.5 * penalty * (weight - anchor).square().sum()
        torch.autograd.backward(value)
        return value

    step: Callable[[Callable[[], Tensor]], object] = optimiser.step
    step(loss)
    return weight.detach().to(start[0]), bias.detach().to(start[1])
