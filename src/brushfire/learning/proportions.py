"""Correct a model for the proportions of its strokes.

People paint about as much of a rare class as of a common one, so that a model learns that they
are equally common. Expectation-maximisation on unlabelled pixels (Saerens et al. 2002) estimates
how common they are in the volume; no label is needed. That goes wrong where classes look alike or
strokes lie where the model erred, and then it contradicts the strokes: it is believed only as far
as it does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brushfire.learning.sampler import Block
    from brushfire.networks.model import SegmentationModel

_ITERATIONS = 30
_STRENGTH = 0.35  # of the correction: the whole one costs the rare classes their overlap
_DOUBT = 0.05  # share of the strokes' proportions that stays: no class is ruled out
_PIXELS = 20_000
_SHARES = (1.0, 0.5, 0.25, 0.125)  # of the correction that are tried in turn
_LOSS = 0.007  # of the mean recall on strokes that a correction may cost


def estimate_proportions(probabilities: Tensor, prior: Tensor) -> Tensor:
    """Return the proportions of classes among pixels.

    Parameters
    ----------
    probabilities : Tensor
        (pixels, classes), by a model that takes the classes to be distributed as ``prior``.
    prior : Tensor
        (classes,), summing to 1.
    """
    found = prior
    for _ in range(_ITERATIONS):
        shifted = probabilities * (found / prior)
        found = (shifted / shifted.sum(1, keepdim=True)).mean(0)
    return found


def probabilities_in(model: SegmentationModel, slabs: Sequence[Block]) -> Tensor:
    """Return probabilities of pixels of slabs, (pixels, classes), as a model learnt to tell them.

    Without its shift; by its machine alone where it has one, since trees know strokes by heart.

    Parameters
    ----------
    model : SegmentationModel
        Any weights.
    slabs : sequence of ndarray
        Intensities, (channels, slices, y, x).
    """
    parts = []
    each = _PIXELS // max(len(slabs), 1)
    for slab in slabs:
        x = torch.from_numpy(slab).to(model.device).flatten(0, 1)[None]
        height, width = x.shape[2:]
        some = torch.arange(0, height * width, max(1, height * width // each), device=x.device)
        with torch.no_grad():
            logits = model.logits_at(model.normalise(x), some // width, some % width, machine=True)
        parts.append(logits.softmax(1).double().cpu())
    return torch.cat(parts)


def prior_shift(
    model: SegmentationModel,
    slabs: Sequence[Block],
    prior: Tensor,
    strokes: tuple[Tensor, Tensor],
) -> Tensor:
    """Return what to add to the logits of a model, (classes,).

    Parameters
    ----------
    model : SegmentationModel
        Any weights.
    slabs : sequence of ndarray
        Intensities anywhere in the volume, (channels, slices, y, x).
    prior : Tensor
        (classes,), the proportions that the model learnt from.
    strokes : tuple of Tensor
        What the model's machine makes of labelled voxels, logits (voxels, classes), and the index
        of the class of each (voxels,).
    """
    prior = prior.double().cpu()
    found = estimate_proportions(probabilities_in(model, slabs), prior)
    found = (1 - _DOUBT) * found + _DOUBT * prior
    shift = _STRENGTH * (found / prior).log()
    shift = (shift - shift.mean()).to(model.prior_shift)
    logits, target = strokes
    enough = mean_recall(logits, target) - _LOSS
    for share in _SHARES:
        if mean_recall(logits + share * shift, target) >= enough:
            return share * shift
    return torch.zeros_like(shift)


def mean_recall(logits: Tensor, target: Tensor) -> float:
    """Return the share of voxels that are found, the mean over the classes in ``target``."""
    right = (logits.argmax(1) == target).double()
    count = torch.bincount(target, minlength=logits.shape[1])
    found = torch.bincount(target, right, minlength=logits.shape[1])
    return float((found[count > 0] / count[count > 0]).mean())
