"""A linear model fitted on labelled voxels: the first answer, and the quick one to a new stroke."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
    share = weights.double().cpu()[known]
    share = (share / share.sum())[:, None]
    hit = functional.one_hot(known, len(anchor)).double()
    split = anchor.numel()

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weight, bias = (
            torch.from_numpy(flat[:split]).view_as(anchor),
            torch.from_numpy(flat[split:]),
        )
        log_odds = functional.log_softmax(torch.addmm(bias, x, weight.t()), 1)
        moved = weight - anchor
        value = -(share * hit * log_odds).sum() + 0.5 * penalty * moved.square().sum()
        pull = share * (log_odds.exp() - hit)
        slope = torch.cat([(pull.t() @ x + penalty * moved).flatten(), pull.sum(0)])
        return float(value), slope.numpy()

    # Not torch's own L-BFGS: the first use of anything in torch.optim loads torch's compiler, two
    # seconds in which the window stands still.
    found = minimize(
        loss,
        torch.cat([begin.flatten(), start[1].detach().double().cpu()]).numpy(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _ITERATIONS, "maxcor": 20, "gtol": _TOLERANCE, "ftol": 1e-9},
    ).x
    weight, bias = torch.from_numpy(found[:split]).view_as(anchor), torch.from_numpy(found[split:])
    return weight.to(start[0]), bias.to(start[1])


def fit_any_scale(
    values: Tensor,
    target: Tensor,
    weights: Tensor,
    start: tuple[Tensor, Tensor],
    *,
    penalty: float,
) -> tuple[Tensor, Tensor]:
    """Return what `fit_linear` does, of values of any mean and spread: a penalty should not care.

    Parameters
    ----------
    values, target, weights, start, penalty
        As for `fit_linear`; the start, like the answer, is for the values as they are.
    """
    mean, std = values.mean(0), values.std(0, correction=0).clamp(min=1e-6)
    weight, bias = start
    begin = weight * std, bias + weight @ mean
    weight, bias = fit_linear((values - mean) / std, target, weights, begin, penalty=penalty)
    weight = weight / std
    return weight, bias - weight @ mean
