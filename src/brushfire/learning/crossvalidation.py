"""How good a convex fit is where too few strokes are painted to hold any out.

Each stroke region is answered by a fit on others, so that no stroke is spent on validation alone.
Only a fit that takes milliseconds can be repeated like this; a trained network cannot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from brushfire.learning.convex import class_weights, fit_linear
from brushfire.learning.evaluation import answers_of
from brushfire.learning.fitting import COUNT_POWER, PENALTY, index_table, rows_of
from brushfire.learning.runs import parts_of_regions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from brushfire.learning.gate import Answers
    from brushfire.learning.runs import Integers, Labels

_FOLDS = 5
_VOXELS = 1000  # all fits together stay well under a third of a second


def cross_validate(
    values: Tensor,
    classes: Labels,
    regions: Integers,
    known: Sequence[int],
    *,
    also: tuple[Tensor, Labels] | None = None,
    lift: Callable[[Tensor], Tensor] = Tensor.float,
    penalty: float = PENALTY,
) -> Answers | None:
    """Return what convex fits answer on the regions that they did not see.

    Regions of each class are divided evenly among up to five parts, each part is answered by a fit
    on the others. A class with a single region teaches and is not asked for: a fit without it
    would not know the class.

    Parameters
    ----------
    values : Tensor
        (voxels, inputs).
    classes, regions : ndarray
        (voxels,), class value and region of each voxel.
    known : sequence of int
        All class values, in order.
    also : tuple, optional
        Values and classes of further voxels, which every fit is taught.
    lift : callable
        Returns what a fit is linear in, (voxels, terms), of about unit spread, of the values of
        fewer voxels; by default the values themselves.
    penalty : float
        How stiff the fits are.

    Returns
    -------
    Answers or None
        None where no class has two regions.
    """
    rows = _thinned(classes, regions)
    x = lift(rows_of(values, rows)).cpu()
    classes, regions = classes[rows], regions[rows]
    target = index_table(known)[torch.from_numpy(classes.astype(np.int64))]
    folds = parts_of_regions(classes, regions, _FOLDS)
    asked = folds >= 0
    if not asked.any():
        return None
    of_more, more = _lifted(also, known, lift) if also else (x[:0], target[:0])
    logits = x.new_zeros(len(x), len(known))
    # Every fit starts at nothing: one that started at another fold's would have seen its strokes.
    start = x.new_zeros(len(known), x.shape[1]), x.new_zeros(len(known))
    for fold in np.unique(folds[asked]):
        test = torch.from_numpy(folds == fold)
        taught = torch.cat([target[~test], more])
        weights = class_weights(torch.bincount(taught, minlength=len(known)), COUNT_POWER)
        weight, bias = fit_linear(
            torch.cat([x[~test], of_more]), taught, weights, start, penalty=penalty
        )
        logits[test] = torch.addmm(bias, x[test], weight.t())
    return answers_of(logits[torch.from_numpy(asked)], known, classes[asked], regions[asked], known)


def _lifted(
    also: tuple[Tensor, Labels], known: Sequence[int], lift: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    values, classes = also
    rows = _thinned(classes, np.zeros(len(classes), np.int64))
    target = index_table(known)[torch.from_numpy(classes[rows].astype(np.int64))]
    return lift(rows_of(values, rows)).cpu(), target


def _thinned(classes: Labels, regions: Integers) -> Integers:
    """Return rows of about `_VOXELS` voxels, evenly over each class, one of each region if any."""
    values = np.unique(classes)
    kept = [np.unique(regions, return_index=True)[1][:_VOXELS]]
    for value in values:
        found = np.flatnonzero(classes == value)
        found = found[np.argsort(regions[found], kind="stable")]
        kept.append(found[:: max(1, round(len(found) * len(values) / _VOXELS))])
    return np.unique(np.concatenate(kept))
