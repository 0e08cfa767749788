"""Strokes that contradict the others: a fit on the others is sure that they are another class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from brushfire.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brushfire.learning.crossfits import CrossFits
    from brushfire.learning.regions import Points

DOUBTS = 5
"""Strokes in an answer, at most."""

_OWN = 0.1  # probability of the class that was painted, at most
_OTHER = 0.8  # of the one that it looks like, at least
_ROOM = 4  # pixels around a stroke in its box


@dataclass(frozen=True, slots=True)
class Doubt:
    """A stroke that looks like another class.

    Parameters
    ----------
    z, y, x : int
        A voxel of it near its middle, at level 0.
    box : Box
        Around it, one slice thick, with some room.
    value : int
        The class that was painted.
    looks_like : int
        The class that it would be by all other strokes.
    certainty : float
        How sure that is, 0 to 1.
    """

    z: int
    y: int
    x: int
    box: Box
    value: int
    looks_like: int
    certainty: float


def find_doubts(fits: CrossFits, points: Sequence[dict[int, Points]]) -> tuple[Doubt, ...]:
    """Return the strokes that contradict the others most, the surest first.

    A stroke on something new is told wrong too, but seldom with certainty. A class of one stroke
    is never doubted: without it nobody would know the class.

    Parameters
    ----------
    fits : CrossFits
        Of strokes.
    points : sequence of dict
        For each slice voxels of these strokes: those that teach, those that are held out.
    """
    chances, classes, regions = fits.answers()
    values = np.asarray(fits.classes)
    found = []
    for z, part in (item for some in points for item in some.items()):
        for number in np.unique(part.regions):
            rows = regions == number
            if not rows.any():
                continue
            value = int(classes[rows][0])
            mean = chances[rows].mean(0)
            other = int(mean.argmax())
            if mean[values == value].sum() <= _OWN and mean[other] >= _OTHER:
                voxels = part.voxels[part.regions == number]
                near = np.abs(voxels - voxels.mean(0)).sum(1).argmin()
                y, x = (int(one) for one in voxels[near])
                (top, left), (bottom, right) = voxels.min(0), voxels.max(0) + 1
                tight = Box((z, int(top), int(left)), (z + 1, int(bottom), int(right)))
                box = tight.grow((0, _ROOM, _ROOM))
                found.append(Doubt(z, y, x, box, value, int(values[other]), float(mean[other])))
    return tuple(sorted(found, key=lambda one: -one.certainty)[:DOUBTS])
