"""Agreement between a model and strokes that it did not learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from brushfire.learning.gate import Answers, dice, intervals, mean_dice, tally
from brushfire.learning.probe import probe
from brushfire.learning.reports import Evaluation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brushfire.learning.probe import Site
    from brushfire.learning.reports import Measured
    from brushfire.learning.runs import Integers, Labels
    from brushfire.learning.sampler import SlabCache
    from brushfire.networks.model import SegmentationModel


def evaluate_model(
    model: SegmentationModel,
    cache: SlabCache,
    sites: Sequence[Site],
    classes: Sequence[int],
    shift: Tensor | float = 0.0,
) -> Answers:
    """Return what a model answers at sites.

    Parameters
    ----------
    model : SegmentationModel
        Any.
    cache, sites
        Where the strokes are; there is at least one site.
    classes : sequence of int
        Class values that the answers have columns for, beside those of the model.
    shift : Tensor or float
        What to add to the logits of each class; that of the model itself is left out.
    """
    logits, truth = probe(model, cache, sites, model.logits_at)
    return answers_of(logits + shift, model.classes, truth, regions_of(sites), classes)


def answers_of(
    logits: Tensor,
    known: Sequence[int],
    truth: Labels,
    regions: Integers,
    classes: Sequence[int],
) -> Answers:
    """Return answers by region.

    Parameters
    ----------
    logits : Tensor
        (voxels, outputs).
    known : sequence of int
        Class values of the outputs.
    truth, regions : ndarray
        (voxels,), class value and region of each voxel.
    classes : sequence of int
        Class values that the answers have columns for, beside the known ones.
    """
    values = np.asarray(known, np.int64)
    chances = logits.cpu().double().softmax(1).numpy()
    right = truth[:, None] == values
    likelihood = np.where(right, chances, 0).sum(1)  # 0 for a class that the model does not know
    columns = sorted({*classes, *known})
    return tally(regions, truth, values[chances.argmax(1)], likelihood, columns)


def regions_of(sites: Sequence[Site]) -> Integers:
    """Return the region of each voxel, in the order in which sites are probed."""
    return np.concatenate([site.regions for site in sites]).astype(np.int64)


def places_of(sites: Sequence[Site]) -> Integers:
    """Return z, y, x of each voxel, in the order in which sites are probed."""
    planes = [np.full((len(site.voxels), 1), site.box.start[0]) for site in sites]
    parts = [np.hstack([z, site.voxels]) for z, site in zip(planes, sites, strict=True)]
    return np.concatenate(parts).astype(np.int64)


def describe(
    answers: Answers | None,
    classes: Sequence[int],
    how: Measured,
    wanting: Mapping[int, int],
) -> Evaluation:
    """Return the scores of answers, and how sure they are.

    Parameters
    ----------
    answers : Answers or None
        Of one model; None where there are none.
    classes : sequence of int
        Class values that get a score, or None instead.
    how : {"held out", "cross-validated", "not at all"}
        How the answers were come by.
    wanting : mapping
        Strokes that would give classes a score; those that have one are left out.
    """
    if answers is None or not len(answers):
        return Evaluation(dict.fromkeys(classes), None, 0, wanting=dict(wanting), how="not at all")
    scores = dict(zip(answers.classes, dice(answers).tolist(), strict=True))
    counts = answers.counts
    sure, mean_sure = intervals(answers)
    return Evaluation(
        dice={value: scores[value] if value in counts else None for value in classes},
        mean=float(mean_dice(answers)),
        voxels=answers.voxels,
        intervals={value: ends for value, ends in sure.items() if value in classes},
        mean_interval=mean_sure,
        strokes=counts,
        wanting={value: more for value, more in wanting.items() if value not in counts},
        how=how,
    )
