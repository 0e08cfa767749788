"""Take examples from a volume that was painted, for others to start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from brushfire.errors import LearningError, ModelError
from brushfire.learning.examples import Examples
from brushfire.learning.probe import find_sites, picked, probe
from brushfire.learning.regions import StrokeRegions
from brushfire.learning.sampler import SlabCache

if TYPE_CHECKING:
    from brushfire.annotations import AnnotationSnapshot
    from brushfire.networks.model import SegmentationModel
    from brushfire.volumes import Volume

_PIXELS = 20_000_000  # whose features are computed: some ten seconds at most
_CACHE_BYTES = 64 * 2**20


def collect_examples(
    model: SegmentationModel, volume: Volume, labels: AnnotationSnapshot
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

    Raises
    ------
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
    strokes = StrokeRegions(0.0)
    strokes.update(labels)
    rng = np.random.default_rng(0)
    sites = find_sites(strokes.points(held=False), volume.shape, budget=_PIXELS, rng=rng)
    if not sites:
        raise LearningError(
            "What others start from are features at strokes.",
            got="a project without strokes",
            do="Choose a project that was painted.",
        )
    cache = SlabCache(volume, model.context, _CACHE_BYTES)
    features, classes = probe(model, cache, sites, picked(model.raw_inputs))
    return Examples(features.cpu().float().numpy(), classes.astype(np.uint8)).thinned()
