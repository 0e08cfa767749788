"""Correct a model for the proportions of its strokes.

People paint about as much of a rare class as of a common one, so that a model learns that they
are equally common. Expectation-maximisation on unlabelled pixels (Saerens et al. 2002) estimates
how common they are in the volume; no label is needed.
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
_STRENGTH = 0.5  # of the correction: the whole one costs the rare classes their overlap
_DOUBT = 0.05  # share of the strokes' proportions that stays: no class is ruled out
_PIXELS = 20_000


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


def prior_shift(model: SegmentationModel, slabs: Sequence[Block], prior: Tensor) -> Tensor:
    """Return what to add to the logits of a model, (classes,).

    Parameters
    ----------
    model : SegmentationModel
        Any weights.
    slabs : sequence of ndarray
        Intensities anywhere in the volume, (channels, slices, y, x).
    prior : Tensor
        (classes,), the proportions that the model learnt from.
    """
    parts = []
    each = _PIXELS // max(len(slabs), 1)
    for slab in slabs:
        x = torch.from_numpy(slab).to(model.device).flatten(0, 1)[None]
        height, width = x.shape[2:]
        some = torch.arange(0, height * width, max(1, height * width // each), device=x.device)
        with torch.no_grad():
            logits = model.logits_at(model.normalise(x), some // width, some % width)
        parts.append(logits.softmax(1).double().cpu())
    prior = prior.double().cpu()
    found = estimate_proportions(torch.cat(parts), prior)
    found = (1 - _DOUBT) * found + _DOUBT * prior
    shift = _STRENGTH * (found / prior).log()
    return (shift - shift.mean()).to(model.prior_shift)
