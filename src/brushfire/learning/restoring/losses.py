"""Differences from a target where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

    from brushfire.learning.restoring.settings import Loss

_SIDE = 7  # pixels of a window of structural similarity, as scikit-image has it
_STRUCTURE = 0.84  # of the mix with absolute differences (Zhao, Gallo, Frosio & Kautz 2017)
_CONSTANTS = (0.01, 0.03)


def restoration_loss(found: Tensor, target: Tensor, weight: Tensor, kind: Loss) -> Tensor:
    """Return the mean difference of what was found from a target.

    Parameters
    ----------
    found, target : Tensor
        (images, outputs, y, x); the target of about unit spread, and finite.
    weight : Tensor
        As they are: 1 where the target counts, 0 where it does not.
    kind : {"mse", "l1", "ssim"}
        See `RestorationSettings`.

    Returns
    -------
    Tensor
        A number; 0, with zero gradients, where nothing counts.
    """
    count = weight.sum().clamp(min=1)
    apart = found - target
    if kind == "mse":
        return (apart.square() * weight).sum() / count
    absolute = (apart.abs() * weight).sum() / count
    if kind == "l1" or min(target.shape[2:]) < _SIDE:
        return absolute
    whole = _windows(weight) > 1 - 0.5 / _SIDE**2
    # What does not count must not show in a window either.
    seen = torch.where(weight > 0, found, target)
    ssim = similarity(seen, target, _range_of(target, weight))
    unlike = ((1 - ssim) * whole).sum() / whole.sum().clamp(min=1)
    return _STRUCTURE * unlike + (1 - _STRUCTURE) * absolute


def similarity(one: Tensor, other: Tensor, data_range: Tensor) -> Tensor:
    """Return the structural similarity of each whole window (Wang et al. 2004).

    Parameters
    ----------
    one, other : Tensor
        (images, channels, y, x), at least 7 pixels wide.
    data_range : Tensor
        From the lowest to the highest value that is expected.

    Returns
    -------
    Tensor
        (images, channels, y - 6, x - 6), at most 1.
    """
    mean_one, mean_other = _windows(one), _windows(other)
    spread_one = _windows(one.square()) - mean_one.square()
    spread_other = _windows(other.square()) - mean_other.square()
    common = _windows(one * other) - mean_one * mean_other
    first, second = ((share * data_range) ** 2 for share in _CONSTANTS)
    above = (2 * mean_one * mean_other + first) * (2 * common + second)
    below = (mean_one.square() + mean_other.square() + first) * (spread_one + spread_other + second)
    return above / below


def _windows(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, _SIDE, stride=1)


def _range_of(target: Tensor, weight: Tensor) -> Tensor:
    known = target[weight > 0]
    if known.numel() == 0:
        return target.new_ones(())
    return (known.max() - known.min()).clamp(min=1e-3)
