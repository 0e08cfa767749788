"""What the layers see of one class: how likely it is at each pixel, and the image.

A network that sees one class at a time does the same for every class, however many there are, so
that its weights can be learned before the first stroke: that membranes go on, that specks are
noise, that bodies are full. Refining a map of probabilities by what lies around is auto-context
(Tu & Bai 2010).
"""

from __future__ import annotations

import torch
from torch import Tensor

from brushfire.networks.features import FeatureBank

GUIDE = 5  # first features of a channel: the image, and what it is at the finest scale
BANK = FeatureBank((1.0, 2.0, 4.0, 8.0))  # of margins: what is farther away, the layers pass on
INPUTS = BANK.per_channel + GUIDE
_MOST = 4.0  # margins, halved, beyond which a class is as good as certain


def margins(logits: Tensor) -> Tensor:
    """Return how far each class is ahead of all the others together, as a logit.

    Parameters
    ----------
    logits : Tensor
        (images, classes, height, width), of two classes or more.
    """
    classes = logits.shape[1]
    parts = []
    for index in range(classes):
        others = [other for other in range(classes) if other != index]
        parts.append(logits[:, index] - torch.logsumexp(logits[:, others], 1))
    return torch.stack(parts, 1)


def guide_of(raw: Tensor, channels: int, per_channel: int) -> Tensor:
    """Return the first features of the image, (images, 5, height, width), the mean of channels.

    Parameters
    ----------
    raw : Tensor
        What a feature bank returned, (images, channels * per_channel or more, height, width).
    channels, per_channel : int
        Of the features.
    """
    images, _, height, width = raw.shape
    by_channel = raw[:, : channels * per_channel].view(images, channels, -1, height, width)
    return by_channel[:, :, :GUIDE].mean(1)


def class_inputs(margin: Tensor, guide: Tensor) -> Tensor:
    """Return what the layers see of each class, before it is standardised.

    Parameters
    ----------
    margin : Tensor
        (images, classes, height, width), see `margins`.
    guide : Tensor
        (images, 5, height, width), see `guide_of`.

    Returns
    -------
    Tensor
        (images * classes, inputs, height, width).
    """
    images, classes, height, width = margin.shape
    one = (margin / 2).clamp(-_MOST, _MOST).view(images * classes, 1, height, width)
    seen = guide[:, None].expand(images, classes, GUIDE, height, width).flatten(0, 1)
    return torch.cat([BANK(one), seen], 1)
