"""Agreement between a model and strokes that it did not learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from brushfire.learning.probe import probe
from brushfire.learning.reports import Evaluation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brushfire.learning.probe import Site
    from brushfire.learning.sampler import SlabCache
    from brushfire.networks.model import SegmentationModel


def evaluate_model(
    model: SegmentationModel, cache: SlabCache, sites: Sequence[Site], classes: Sequence[int]
) -> Evaluation:
    """Return the Dice coefficients of a model on the voxels of held-out sites."""
    if not sites:
        return Evaluation(dict.fromkeys(classes), None, 0)
    logits, truth = probe(model, cache, sites, model.logits_at)
    found = np.asarray(model.classes)[logits.argmax(1).cpu().numpy()]
    return score(found, truth, classes)


def score(
    found: np.ndarray[Any, Any], truth: np.ndarray[Any, Any], classes: Sequence[int]
) -> Evaluation:
    """Return the Dice coefficient of each class; None where ``truth`` has none of it."""
    dice: dict[int, float | None] = {}
    for value in classes:
        here, there = found == value, truth == value
        size = int(there.sum())
        dice[value] = 2 * int((here & there).sum()) / (int(here.sum()) + size) if size else None
    known = [value for value in dice.values() if value is not None]
    return Evaluation(dice, float(np.mean(known)) if known else None, len(truth))
