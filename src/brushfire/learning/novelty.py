"""How far something is from all that was painted, in the space of a network's features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from brushfire.learning.cells import CELL, finite
from brushfire.learning.probe import find_sites
from brushfire.learning.regions import Points
from brushfire.learning.runs import runs_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from brushfire.annotations import AnnotationSnapshot
    from brushfire.geometry import Box
    from brushfire.learning.cells import Array
    from brushfire.learning.probe import Site
    from brushfire.networks.model import SegmentationModel
    from brushfire.volumes import Volume

_SAMPLES = 256  # painted voxels that novelty is measured against
_SLICES = 16  # from which they are drawn
_SITE_CELL = 128
_SITE_PIXELS = 400_000  # computed for them


class PaintedFeatures:
    """Features of some painted voxels, and how far apart they are as a rule.

    Parameters
    ----------
    volume : Volume
        Where to read.
    model : SegmentationModel
        Whose features.
    strokes : AnnotationSnapshot
        What was painted; at least one voxel.
    seed : int
        Chooses the voxels.
    """

    def __init__(
        self, volume: Volume, model: SegmentationModel, strokes: AnnotationSnapshot, seed: int
    ) -> None:
        self._volume, self._model, self._strokes = volume, model, strokes
        self._rng = np.random.default_rng([seed, 1])
        self._features = torch.empty(0)
        self._usual = 1.0

    def look(self) -> Iterator[bool]:
        """Read them; yields False after each piece."""
        points: dict[int, Points] = {}
        slices = self._strokes.slices()
        some = self._rng.permutation(len(slices))[:_SLICES]
        for z in sorted(slices[at] for at in some):
            voxels, classes = runs_of(self._strokes, z).sample(_SAMPLES, self._rng)
            points[z] = Points(voxels, classes, np.zeros(len(classes), np.int64))
            yield False
        sites = find_sites(
            points, self._volume.shape, budget=_SITE_PIXELS, cell=_SITE_CELL, rng=self._rng
        )
        chosen = _of_each(sites, self._rng)
        found, where = [], []
        for site, rows in zip(sites, chosen, strict=True):
            found.append(self._features_at(site, rows))
            where.append(np.insert(site.voxels[rows], 0, site.box.start[0], axis=1))
            yield False
        kept = self._rng.permutation(sum(map(len, found)))[:_SAMPLES]
        self._features = torch.from_numpy(np.concatenate(found)[kept])
        self._usual = _usual_distance(self._features, np.concatenate(where)[kept])

    def novelty(self, look: Array) -> Array:
        """Return the distance to the nearest voxel, 1 being usual, of maps (inputs, y, x)."""
        flat = torch.from_numpy(look.reshape(len(look), -1).T.copy())
        nearest = torch.cdist(flat, self._features).amin(1) / self._usual
        return finite(nearest.numpy()).reshape(look.shape[1:])

    def _features_at(self, site: Site, rows: NDArray[np.intp]) -> Array:
        maps = features_of(self._model, read_slab(self._volume, site.box, self._model.context))
        ys, xs = (site.voxels[rows] - site.box.start[1:]).T
        return np.ascontiguousarray(maps[:, ys, xs].T)


def _of_each(sites: Sequence[Site], rng: np.random.Generator) -> list[NDArray[np.intp]]:
    """Return which voxels of each site to take: alike many of each class of each."""
    groups = sum(len(np.unique(site.classes)) for site in sites)
    most = max(1, _SAMPLES // max(groups, 1))
    chosen = []
    for site in sites:
        rows = []
        for value in np.unique(site.classes):
            of_class = np.flatnonzero(site.classes == value)
            rows.append(rng.permutation(of_class)[:most])
        chosen.append(np.sort(np.concatenate(rows)))
    return chosen


def _usual_distance(features: torch.Tensor, where: NDArray[Any]) -> float:
    """Return how far a voxel is from the nearest of the others, as a rule.

    Those within a stroke's size of it are left out where there are others: they are the same.
    """
    if len(features) < 2:
        return 1.0
    apart = torch.cdist(features, features).numpy()
    np.fill_diagonal(apart, np.inf)
    same = (where[:, None, 0] == where[None, :, 0]) & (
        np.abs(where[:, None, 1:] - where[None, :, 1:]).max(-1) < CELL
    )
    nearest = np.where(same, np.inf, apart).min(1)
    alone = ~np.isfinite(nearest)
    nearest[alone] = apart.min(1)[alone]
    return max(float(np.median(finite(nearest))), 1e-6)


def features_of(model: SegmentationModel, slab: Array) -> Array:
    """Return the standardised features, (inputs, y, x), of intensities around one slice."""
    x = torch.from_numpy(np.ascontiguousarray(slab)).to(model.device)
    with torch.no_grad():
        raw = model.raw_inputs(model.normalise(x.flatten(0, 1)[None]))
        found: Array = model.standard_features(raw)[0].cpu().numpy()
    return finite(found)


def read_slab(volume: Volume, box: Box, context: int) -> Array:
    """Return (channels, slices, y, x) around a box one slice thick."""
    return np.asarray(volume.read_padded(box.grow((context, 0, 0))), np.float32)
