"""Take examples from a volume that was painted, for others to start from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from brushfire.errors import Cancelled, LearningError, ModelError
from brushfire.learning.examples import MOST, Examples
from brushfire.learning.probe import find_sites, picked, probe
from brushfire.learning.regions import Points, StrokeRegions
from brushfire.learning.sampler import SlabCache

if TYPE_CHECKING:
    from collections.abc import Callable

    from brushfire.annotations import AnnotationSnapshot
    from brushfire.networks.model import SegmentationModel
    from brushfire.volumes import Volume

_CACHE_BYTES = 64 * 2**20


def collect_examples(
    model: SegmentationModel,
    volume: Volume,
    labels: AnnotationSnapshot,
    regions: StrokeRegions | None = None,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Examples:
    """Return labelled voxels of a volume as features, at most `MOST` of a class.

    Parameters
    ----------
    model : SegmentationModel
        Says what features there are and how intensities are normalised.
    volume : Volume
        What was painted.
    labels : AnnotationSnapshot
        Its strokes.
    regions : StrokeRegions, optional
        The same, of which those that are held out are left out; none by default.
    progress : callable
        Takes how many places are done, and how many there are.
    cancelled : callable
        Asked at each place.

    Raises
    ------
    Cancelled
        Soon after ``cancelled()`` is True.
    ModelError
        If the model sees no features.
    LearningError
        If there is no stroke.
    """
    if model.pixels is None:
        raise ModelError(
            "What others start from are features at strokes.",
            got="a model that sees intensities only",
            do="Learn in that project with a network that has features, or add its model instead.",
        )
    if regions is None:
        regions = StrokeRegions(0.0)
        regions.update(labels)
    points = _thinned(regions.points(held=False))
    # There are few voxels by now, and no class may be lost to a budget.
    rng = np.random.default_rng(0)
    sites = find_sites(points, volume.shape, budget=np.iinfo(np.int64).max, rng=rng)
    if not sites:
        raise LearningError(
            "What others start from are features at strokes.",
            got="a project without strokes",
            do="Choose a project that was painted.",
        )
    cache = SlabCache(volume, model.context, _CACHE_BYTES)
    features, classes = [], []
    for done, site in enumerate(sites):
        if cancelled():
            raise Cancelled
        progress(done, len(sites))
        found, of_found = probe(model, cache, [site], picked(model.raw_inputs))
        features.append(found.cpu().float().numpy())
        classes.append(of_found.astype(np.uint8))
    return Examples(np.concatenate(features), np.concatenate(classes)).thinned()


def _thinned(points: dict[int, Points]) -> dict[int, Points]:
    """Return at most `MOST` voxels of each class, evenly over all slices that have it."""
    values = {int(value) for part in points.values() for value in np.unique(part.classes)}
    kept: dict[int, list[np.ndarray[Any, Any]]] = {z: [] for z in points}
    for value in values:
        rows = {z: np.flatnonzero(part.classes == value) for z, part in points.items()}
        step, passed = -(-sum(map(len, rows.values())) // MOST), 0
        for z, found in rows.items():
            kept[z].append(found[-passed % step :: step])
            passed += len(found)
    thin = {}
    for z, part in points.items():
        chosen = np.sort(np.concatenate(kept[z]))
        if len(chosen):
            thin[z] = Points(part.voxels[chosen], part.classes[chosen], part.regions[chosen])
    return thin
