"""Losses on labelled voxels only."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

IGNORE = -1


def segmentation_loss(
    logits: Tensor,
    target: Tensor,
    weights: Tensor,
    *,
    smoothing: float = 0.0,
    dice_weight: float = 0.5,
) -> Tensor:
    """Return class-weighted cross-entropy plus soft Dice, over labelled voxels only.

    Parameters
    ----------
    logits : Tensor
        (images, classes, height, width).
    target : Tensor
        (images, height, width), the index of the class, or -1 where nothing is known.
    weights : Tensor
        (classes,), of each class in the cross-entropy.
    smoothing : float
        Share of each label that is spread over all classes.
    dice_weight : float
        Weight of soft Dice, averaged over the classes that ``target`` holds.

    Returns
    -------
    Tensor
        A number; 0, with zero gradients, where nothing is labelled.
    """
    labelled = target != IGNORE
    chosen = logits.movedim(1, -1)[labelled]
    known = target[labelled]
    if len(known) == 0:
        return logits.sum() * 0
    entropy = functional.cross_entropy(chosen, known, weights, label_smoothing=smoothing)
    if dice_weight == 0:
        return entropy
    return entropy + dice_weight * soft_dice_loss(chosen.softmax(1), known)


def consistency_loss(logits: Tensor, target: Tensor, teacher: Tensor) -> Tensor:
    """Return how far a network is from its teacher where nothing is labelled.

    Parameters
    ----------
    logits : Tensor
        Of the network, (images, classes, height, width).
    target : Tensor
        (images, height, width), -1 where nothing is labelled.
    teacher : Tensor
        Logits of the teacher, as ``logits``.

    Returns
    -------
    Tensor
        The mean Kullback-Leibler divergence from the teacher's probabilities; at least 0.
    """
    apart = functional.kl_div(
        logits.log_softmax(1), teacher.log_softmax(1), reduction="none", log_target=True
    ).sum(1)
    unknown = (target == IGNORE).to(apart)
    return (apart * unknown).sum() / unknown.sum().clamp(min=1)


def soft_dice_loss(probabilities: Tensor, target: Tensor) -> Tensor:
    """Return 1 minus soft Dice, the mean over the classes in ``target``.

    Parameters
    ----------
    probabilities : Tensor
        (voxels, classes).
    target : Tensor
        (voxels,), the index of the class.
    """
    truth = functional.one_hot(target, probabilities.shape[1]).to(probabilities)
    # Each class counts as much as any other in the false positives too, however often it is there.
    size = truth.sum(0)
    share = truth / size.clamp(min=1)
    weight = share.sum(1, keepdim=True)
    overlap = (probabilities * share).sum(0)
    total = (probabilities * weight).sum(0) + share.sum(0)
    present = size > 0
    return 1 - torch.mean(2 * overlap[present] / total[present])
