"""Which tile to predict next: the visible ones, then the rest of the slice, then its neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brushfire.geometry import Box, Grid, Triple, triple

if TYPE_CHECKING:
    from collections.abc import Iterator

NEIGHBOURS = 2
"""How many slices before and behind the shown one are predicted ahead."""


class TilePlan:
    """The tiles around one view in the order in which they are wanted, each handed out once.

    Parameters
    ----------
    grid : Grid
        The tiles of the whole volume.
    view : Box
        The visible voxels at level 0, one voxel thick along the axis that is sliced.
    fresh : frozenset of tuple of int
        Grid indices that need no prediction because the newest model already made them.
    room : int
        How many tiles there is room for, fresh ones included: those that are farthest from the
        middle of the view are left out, so that no tile ever pushes out one that is nearer.
    """

    def __init__(
        self, grid: Grid, view: Box, fresh: frozenset[Triple], *, room: int = 1 << 30
    ) -> None:
        self.grid = grid
        self.view = view
        visible = _by_distance(grid, view)[:room]
        self._seen = frozenset(visible)
        self._visible = [index for index in reversed(visible) if index not in fresh]
        self._fresh = fresh
        self._room_beyond = room - len(visible)
        self._rest: Iterator[Triple] | None = None

    @property
    def beyond_left(self) -> bool:
        """Whether `next_beyond` has not yet said that it has no more."""
        return self._room_beyond > 0

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
        while self._room_beyond > 0:
            index = next(self._rest, None)
            self._room_beyond = 0 if index is None else self._room_beyond - 1
            if index is not None and index not in self._fresh:
                return index
        return None

    def _beyond(self) -> Iterator[Triple]:
        # Evaluated lazily: a slice across z of a huge volume has thousands of tiles, and most
        # plans are replaced before they get that far.
        handed_out = set(self._seen)
        for region in self._regions():
            for index in _by_distance(self.grid, region):
                if index not in handed_out:
                    handed_out.add(index)
                    yield index

    def _regions(self) -> Iterator[Box]:
        box = self.view
        axis = min(range(3), key=lambda a: box.shape[a])
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
