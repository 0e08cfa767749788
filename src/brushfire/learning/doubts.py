"""Strokes that contradict the others: a fit on the others is sure that they are another class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from brushfire.geometry import Box, triple

if TYPE_CHECKING:
    from brushfire.annotations import AnnotationSnapshot
    from brushfire.learning.crossfits import CrossFits

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

    def still_painted(self, strokes: AnnotationSnapshot) -> bool:
        """Whether the stroke is there and of the same class."""
        voxel = Box((self.z, self.y, self.x), (self.z + 1, self.y + 1, self.x + 1))
        return int(strokes.read(voxel)[0, 0, 0]) == self.value


def find_doubts(fits: CrossFits) -> tuple[Doubt, ...]:
    """Return the strokes that contradict the others most, the surest first.

    A stroke on something new is told wrong too, but seldom with certainty. A class of one stroke
    is never doubted: without it nobody would know the class.

    Parameters
    ----------
    fits : CrossFits
        Of the strokes.
    """
    told, values = fits.answers(), np.asarray(fits.classes)
    found = []
    for number in np.unique(told.regions):
        rows = told.regions == number
        value = int(told.classes[rows][0])
        mean = told.chances[rows].mean(0)
        other = int(mean.argmax())
        if mean[values == value].sum() <= _OWN and mean[other] >= _OTHER:
            voxels = told.places[rows]
            near = np.abs(voxels - voxels.mean(0)).sum(1).argmin()
            z, y, x = (int(one) for one in voxels[near])
            tight = Box(triple(voxels.min(0).tolist()), triple((voxels.max(0) + 1).tolist()))
            box = tight.grow((0, _ROOM, _ROOM))
            found.append(Doubt(z, y, x, box, value, int(values[other]), float(mean[other])))
    return tuple(sorted(found, key=lambda one: -one.certainty)[:DOUBTS])
