"""Patches that are stretched and bent a little: what they show is then still what it was."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from brushfire.learning.sampler import Patch

SCALE = 0.1  # standard deviation of the logarithm of the size
LARGEST = 1.25
BEND = 3.0  # pixels, standard deviation of how far a knot is moved
KNOTS = 5  # along each side
_WIDE = 128  # pixels from which on nothing folds

Floats = np.ndarray[Any, np.dtype[np.float64]]


def warped(patch: Patch, rng: np.random.Generator) -> Patch:
    """Return a patch scaled about its middle and bent, labels as intensities.

    Intensities are interpolated linearly, labels taken from the nearest pixel; what comes in from
    outside is mirrored intensities without labels.

    Parameters
    ----------
    patch : Patch
        Its margins are bent too.
    rng : Generator
        Decides everything.
    """
    size = patch.intensities.shape[-2:]
    scale = np.clip(np.exp(SCALE * rng.standard_normal()), 1 / LARGEST, LARGEST)
    grid = np.meshgrid(*(np.arange(n, dtype=np.float64) for n in size), indexing="ij")
    places = np.empty((2, *size), np.float32)
    for axis, (one, length) in enumerate(zip(grid, size, strict=True)):
        middle = (length - 1) / 2
        places[axis] = (one - middle) / scale + middle + _bend(size, rng)
    block = np.empty_like(patch.intensities)
    for index in np.ndindex(block.shape[:2]):
        plane = patch.intensities[index]
        ndimage.map_coordinates(plane, places, block[index], order=1, mode="mirror")
    above, below, left, right = patch.margins
    inner = places[:, above : size[0] - below, left : size[1] - right]
    nearest = np.rint(inner - np.array([above, left], np.float32)[:, None, None])
    return replace(
        patch,
        intensities=block,
        labels=ndimage.map_coordinates(patch.labels, nearest, order=0, cval=0),
        regions=ndimage.map_coordinates(patch.regions, nearest, order=0, cval=-1),
    )


def _bend(size: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Return how far each pixel is moved along one axis."""
    # Less where knots are near each other: what is moved too far folds.
    knots = BEND * min(1.0, min(size) / _WIDE) * rng.standard_normal((KNOTS, KNOTS))
    factors = [length / KNOTS for length in size]
    moved: Floats = ndimage.zoom(knots, factors, order=3, mode="nearest", grid_mode=True)
    return moved
