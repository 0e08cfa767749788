"""Which slices teach and which are kept to judge by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brushfire.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Sequence

_FEWEST_SLICES = 4  # of which one can be spared
_FEWEST_ROWS = 16  # that say something of a model


@dataclass(frozen=True)
class Division:
    """What is held out of a region: some of its slices or, where these are few, rows of all.

    Parameters
    ----------
    region : Box
        Where there is a target.
    slices : tuple of int
        Slices that are held out.
    row : int
        The first row that is held out, in every slice; where the region ends if none is.
    """

    region: Box
    slices: tuple[int, ...]
    row: int

    @property
    def any_held(self) -> bool:
        """Whether anything is held out."""
        return bool(self.slices) or self.row < self.region.stop[1]

    @property
    def taught_slices(self) -> list[int]:
        """Slices that teach, at least in part."""
        held = set(self.slices)
        return [z for z in range(self.region.start[0], self.region.stop[0]) if z not in held]

    def taught(self, z: int) -> Box:
        """Return the part of a slice that teaches."""
        _, top, left = self.region.start
        return Box((z, top, left), (z + 1, self.row, self.region.stop[2]))

    def judged(self) -> list[Box]:
        """Return the parts of slices to judge by; those that teach where none is held out."""
        first, top, left = self.region.start
        last, bottom, right = self.region.stop
        if not self.slices and self.row < bottom:
            top = self.row
        slices = self.slices or tuple(range(first, last))
        return [Box((z, top, left), (z + 1, bottom, right)) for z in slices]


def divide(region: Box, share: float, kept: Sequence[int] = ()) -> Division:
    """Return which slices of a region are held out, always the same ones.

    Parameters
    ----------
    region : Box
        Where there is a target.
    share : float
        Of its slices, 0 for none; at least one otherwise, evenly spaced.
    kept : sequence of int
        Slices that a model was not taught, to be held out in place of them.
    """
    first, top, _ = region.start
    last, bottom, _ = region.stop
    depth, height = last - first, bottom - top
    kept = tuple(z for z in kept if first <= z < last)
    if share == 0:
        return Division(region, (), bottom)
    if kept and len(kept) < depth:
        return Division(region, kept, bottom)
    if depth >= _FEWEST_SLICES:
        count = max(1, round(share * depth))
        chosen = tuple(first + int((index + 0.5) * depth / count) for index in range(count))
        return Division(region, chosen, bottom)
    rows = max(_FEWEST_ROWS, round(share * height))
    return Division(region, (), bottom if height < 4 * _FEWEST_ROWS else bottom - rows)
