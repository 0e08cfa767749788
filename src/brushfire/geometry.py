"""Boxes, grids, halos and scales: integers and floats only.

A box is half-open, in voxels, in the order z, y, x, at one stated level of a volume.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Triple = tuple[int, int, int]
Scale = tuple[float, float, float]


def triple(values: Sequence[int]) -> Triple:
    """Return three plain integers in the order z, y, x."""
    z, y, x = (int(value) for value in values)
    return z, y, x


@dataclass(frozen=True, slots=True, order=True)
class Box:
    """A half-open range of voxels, ``start <= index < stop`` on each of z, y, x.

    Parameters
    ----------
    start, stop : tuple of int
        Corners in z, y, x. ``stop`` is not below ``start`` on any axis.
    """

    start: Triple
    stop: Triple

    def __post_init__(self) -> None:
        if any(b < a for a, b in zip(self.start, self.stop, strict=True)):
            raise ValueError(f"a box stops at or after its start: {self.start} .. {self.stop}")

    @classmethod
    def of_shape(cls, shape: Sequence[int]) -> Box:
        """Return the box from the origin that has ``shape``."""
        return cls((0, 0, 0), triple(shape))

    @property
    def shape(self) -> Triple:
        """Number of voxels along z, y, x."""
        return triple([b - a for a, b in zip(self.start, self.stop, strict=True)])

    @property
    def size(self) -> int:
        """Number of voxels."""
        return prod(self.shape)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The box as an index into an array of the whole level."""
        z, y, x = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x

    def slices_in(self, outer: Box) -> tuple[slice, slice, slice]:
        """The box as an index into an array that holds just ``outer``."""
        return self.shift([-a for a in outer.start]).slices

    def shift(self, offset: Sequence[int]) -> Box:
        """Return the box moved by ``offset`` voxels."""
        return Box(
            triple([a + o for a, o in zip(self.start, offset, strict=True)]),
            triple([b + o for b, o in zip(self.stop, offset, strict=True)]),
        )

    def grow(self, margin: Sequence[int]) -> Box:
        """Return the box with ``margin`` voxels added on both sides of each axis."""
        return Box(
            triple([a - m for a, m in zip(self.start, margin, strict=True)]),
            triple([b + m for b, m in zip(self.stop, margin, strict=True)]),
        )

    def intersect(self, other: Box) -> Box | None:
        """Return the common part, or None where the boxes share no voxel."""
        start = triple([max(a, b) for a, b in zip(self.start, other.start, strict=True)])
        stop = triple([min(a, b) for a, b in zip(self.stop, other.stop, strict=True)])
        if any(b <= a for a, b in zip(start, stop, strict=True)):
            return None
        return Box(start, stop)

    def clip(self, shape: Sequence[int]) -> Box:
        """Return the part inside an array of ``shape``; empty where nothing is inside."""
        return Box(
            triple([min(max(a, 0), n) for a, n in zip(self.start, shape, strict=True)]),
            triple([min(max(b, 0), n) for b, n in zip(self.stop, shape, strict=True)]),
        )

    def contains(self, other: Box) -> bool:
        """Whether every voxel of ``other`` is in this box."""
        return all(a <= b for a, b in zip(self.start, other.start, strict=True)) and all(
            b <= a for a, b in zip(self.stop, other.stop, strict=True)
        )

    def union(self, other: Box) -> Box:
        """Return the smallest box that holds both."""
        return Box(
            triple([min(a, b) for a, b in zip(self.start, other.start, strict=True)]),
            triple([max(a, b) for a, b in zip(self.stop, other.stop, strict=True)]),
        )

    def __str__(self) -> str:
        return "z {}:{}, y {}:{}, x {}:{}".format(
            *(v for pair in zip(self.start, self.stop, strict=True) for v in pair)
        )


@dataclass(frozen=True, slots=True)
class Grid:
    """A regular partition of an array into cells; cells at the far edges may be smaller.

    Parameters
    ----------
    shape : tuple of int
        Voxels of the whole array, z, y, x.
    cell : tuple of int
        Voxels of a full cell, z, y, x; at least 1.
    """

    shape: Triple
    cell: Triple

    def __post_init__(self) -> None:
        if min(self.cell) < 1:
            raise ValueError(f"a cell has at least one voxel on each axis: {self.cell}")

    @property
    def counts(self) -> Triple:
        """Number of cells along z, y, x."""
        return triple([-(-n // c) for n, c in zip(self.shape, self.cell, strict=True)])

    def __len__(self) -> int:
        return prod(self.counts)

    def box(self, index: Sequence[int]) -> Box:
        """Return the voxels of the cell at ``index``, clipped to the array."""
        start = triple([i * c for i, c in zip(index, self.cell, strict=True)])
        stop = triple([a + c for a, c in zip(start, self.cell, strict=True)])
        return Box(start, stop).clip(self.shape)

    def index_of(self, voxel: Sequence[int]) -> Triple:
        """Return the index of the cell that holds ``voxel``."""
        return triple([v // c for v, c in zip(voxel, self.cell, strict=True)])

    def indices(self, box: Box | None = None) -> Iterator[Triple]:
        """Yield the indices of all cells that touch ``box`` (all cells without it), in C order."""
        part = Box.of_shape(self.shape) if box is None else box.clip(self.shape)
        if part.size == 0:
            return
        ranges = [
            range(a // c, -(-b // c))
            for a, b, c in zip(part.start, part.stop, self.cell, strict=True)
        ]
        for index in product(*ranges):
            yield triple(index)

    def boxes(self, box: Box | None = None) -> Iterator[Box]:
        """Yield the cells of `indices` as boxes."""
        for index in self.indices(box):
            yield self.box(index)
