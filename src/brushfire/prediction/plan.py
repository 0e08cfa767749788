"""Which tile to predict next: the visible ones, then the rest of the slice, then its neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brushfire.geometry import Box, Grid, Triple, triple

if TYPE_CHECKING:
    from collections.abc import Iterator

NEIGHBOURS = 2
"""How many slices before and behind the shown one are predicted ahead."""


@dataclass(frozen=True, slots=True)
class View:
    """What the user looks at.

    Parameters
    ----------
    generation : int
        Grows with every move; an answer for an older generation may be out of sight.
    box : Box
        The visible voxels at level 0, one voxel thick along the axis that is sliced.
    """

    generation: int
    box: Box

    @property
    def sliced_axis(self) -> int:
        """The axis along which the view is thinnest: 0, 1 or 2."""
        return min(range(3), key=lambda axis: self.box.shape[axis])


class TilePlan:
    """The tiles around one view in the order in which they are wanted, each handed out once.

    Parameters
    ----------
    grid : Grid
        The tiles of the whole volume.
    view : View
        What is visible.
    fresh : set of tuple of int
        Grid indices that need no prediction because the newest model already made them.
    """

    def __init__(self, grid: Grid, view: View, fresh: set[Triple]) -> None:
        self.grid = grid
        self.view = view
        self._visible = [i for i in _by_distance(grid, view.box) if i not in fresh]
        self._visible.reverse()
        self._fresh = fresh
        self._rest: Iterator[Triple] | None = None

    @property
    def visible_left(self) -> int:
        """Number of visible tiles still to predict."""
        return len(self._visible)

    def next_visible(self) -> Triple | None:
        """Hand out the visible tile that is nearest to the middle of the view."""
        return self._visible.pop() if self._visible else None

    def next_beyond(self) -> Triple | None:
        """Hand out a tile of the rest of the slice, then of the neighbouring slices."""
        if self._rest is None:
            self._rest = self._beyond()
        return next(self._rest, None)

    def _beyond(self) -> Iterator[Triple]:
        # Evaluated lazily: a slice across z of a huge volume has thousands of tiles, and most
        # plans are replaced before they get that far.
        handed_out = set(self._fresh)
        handed_out.update(_by_distance(self.grid, self.view.box))
        for region in self._regions():
            for index in _by_distance(self.grid, region):
                if index not in handed_out:
                    handed_out.add(index)
                    yield index

    def _regions(self) -> Iterator[Box]:
        axis, box = self.view.sliced_axis, self.view.box
        start, stop = [0, 0, 0], list(self.grid.shape)
        start[axis], stop[axis] = box.start[axis], box.stop[axis]
        whole_slice = Box(triple(start), triple(stop))
        yield whole_slice
        for distance in range(1, NEIGHBOURS + 1):
            for sign in (1, -1):
                offset = [0, 0, 0]
                offset[axis] = sign * distance
                moved = box.shift(offset)
                if Box.of_shape(self.grid.shape).contains(moved):
                    yield moved


def _by_distance(grid: Grid, box: Box) -> list[Triple]:
    """Return the cells that touch ``box``, those nearest to its middle first."""
    middle = [(a + b) / 2 for a, b in zip(box.start, box.stop, strict=True)]

    def distance(index: Triple) -> float:
        cell = grid.box(index)
        return sum(
            ((a + b) / 2 - m) ** 2 for a, b, m in zip(cell.start, cell.stop, middle, strict=True)
        )

    return sorted(grid.indices(box), key=distance)
