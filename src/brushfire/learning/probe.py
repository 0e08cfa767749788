"""What a model makes of single voxels, read with enough surroundings and a bounded effort."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from brushfire.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brushfire.learning.regions import Points
    from brushfire.learning.sampler import SlabCache
    from brushfire.networks.model import SegmentationModel

CELL = 512
"""Strokes this near each other, in pixels, are looked at together."""

MARGIN = 48
"""Pixels around them that are computed too."""

Compute = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From normalised slabs, (1, channels, y, x), rows and columns to (voxels, values)."""


@dataclass(frozen=True)
class Site:
    """Voxels near each other, and the part of their slice that is computed for them.

    ``regions`` numbers the stroke region of each, see `Points`.
    """

    box: Box
    voxels: np.ndarray[Any, Any]
    classes: np.ndarray[Any, Any]
    regions: np.ndarray[Any, Any]

    @property
    def pixels(self) -> int:
        """Pixels that are computed."""
        return self.box.size


def find_sites(
    points: dict[int, Points],
    shape: tuple[int, int, int],
    *,
    budget: int,
    cell: int = CELL,
    first: Sequence[int] = (),
    rng: np.random.Generator,
) -> list[Site]:
    """Return sites that hold the points, as many as a budget of pixels allows.

    Parameters
    ----------
    points : dict
        For each slice its voxels.
    shape : tuple of int
        Of the volume.
    budget : int
        Pixels; the first site is always among the answers.
    cell : int
        Side of the squares whose strokes are looked at together, in pixels.
    first : sequence of int
        Slices that come first. The others follow in random order.
    rng : Generator
        Orders them.
    """
    sites = [site for z, part in points.items() for site in _sites(z, part, shape, cell)]
    order = rng.permutation(len(sites))
    ordered = sorted((sites[index] for index in order), key=lambda s: s.box.start[0] not in first)
    chosen: list[Site] = []
    spent = 0
    for site in ordered:
        if chosen and spent + site.pixels > budget:
            continue
        chosen.append(site)
        spent += site.pixels
    return chosen


def _sites(z: int, points: Points, shape: tuple[int, int, int], cell: int) -> Iterator[Site]:
    cells = points.voxels // cell
    for one in np.unique(cells, axis=0):
        inside = np.flatnonzero((cells == one).all(1))
        voxels = points.voxels[inside]
        (top, left), (bottom, right) = voxels.min(0), voxels.max(0) + 1
        box = Box((z, int(top), int(left)), (z + 1, int(bottom), int(right)))
        wide = box.grow((0, MARGIN, MARGIN)).clip(shape)
        yield Site(wide, voxels, points.classes[inside], points.regions[inside])


def probe(
    model: SegmentationModel,
    cache: SlabCache,
    sites: Sequence[Site],
    compute: Compute,
) -> tuple[Tensor, np.ndarray[Any, Any]]:
    """Return what ``compute`` makes of normalised slabs, at the voxels of the sites.

    Returns
    -------
    values : Tensor
        (voxels, values), on the model's device.
    classes : ndarray
        (voxels,), class values.
    """
    found, classes = [], []
    for site in sites:
        slab = torch.from_numpy(cache.read(site.box)).to(model.device)
        _, top, left = site.box.start
        rows = torch.from_numpy(site.voxels[:, 0] - top).long().to(model.device)
        columns = torch.from_numpy(site.voxels[:, 1] - left).long().to(model.device)
        with torch.no_grad():
            normalised = model.normalise(slab.flatten(0, 1)[None])
            found.append(compute(normalised, rows, columns).contiguous())
        classes.append(site.classes)
    return torch.cat(found), np.concatenate(classes)


def picked(maps: Callable[[Tensor], Tensor]) -> Compute:
    """Return how to compute maps, (1, values, y, x), and take the voxels that are wanted."""
    return lambda x, rows, columns: maps(x)[0][:, rows, columns].t()
