"""Labelled voxels of a slice as runs along x, so that what they cost does not grow with the slice.

A run is a row, a half-open range of columns, and the one class of its voxels. Runs are ordered by
row and column; one that crosses the border of two chunks is two.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brushfire.annotations import AnnotationSnapshot

Integers = np.ndarray[Any, np.dtype[np.int64]]
Labels = np.ndarray[Any, np.dtype[np.uint8]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]
Voxels = np.ndarray[Any, np.dtype[np.int32]]


@dataclass(frozen=True, eq=False)
class Runs:
    """The labels of one slice.

    Parameters
    ----------
    width : int
        Columns of the slice.
    first, last : ndarray of int64, shape (n,)
        Half-open ranges of voxels, numbered along rows: row times width plus column.
    classes : ndarray of uint8, shape (n,)
        Class value of each run.
    """

    width: int
    first: Integers
    last: Integers
    classes: Labels

    def __len__(self) -> int:
        return len(self.first)

    @property
    def rows(self) -> Integers:
        """Row of each run."""
        return self.first // self.width

    @property
    def lengths(self) -> Integers:
        """Voxels of each run."""
        return self.last - self.first

    @property
    def digest(self) -> int:
        """A number that tells these labels from others."""
        parts = (self.first, self.last, self.classes)
        return zlib.crc32(b"".join(part.tobytes() for part in parts))

    def select(self, which: Mask) -> Runs:
        """Return some of the runs."""
        return Runs(self.width, self.first[which], self.last[which], self.classes[which])

    def same(self, other: Runs) -> bool:
        """Whether the other runs are these."""
        return (
            np.array_equal(self.first, other.first)
            and np.array_equal(self.last, other.last)
            and np.array_equal(self.classes, other.classes)
        )

    def find(self, voxel: int) -> int | None:
        """Return the run that holds a voxel, if there is one."""
        at = int(np.searchsorted(self.first, voxel, "right")) - 1
        return at if at >= 0 and voxel < self.last[at] else None

    def shared(self, other: Runs) -> Integers:
        """Return of how many voxels of each run the other runs hold as well, of any class."""
        total = np.concatenate([[0], np.cumsum(other.lengths)])
        return _before(self.last, other, total) - _before(self.first, other, total)

    def components(self) -> tuple[int, Integers]:
        """Return how many connected regions there are, and the region of each run.

        Voxels of one class that touch at a side or a corner are connected.
        """
        count = len(self)
        pairs = [_touching(self, self.classes == value) for value in np.unique(self.classes)]
        one = np.concatenate([a for a, _ in pairs] or [np.empty(0, np.int64)])
        other = np.concatenate([b for _, b in pairs] or [np.empty(0, np.int64)])
        graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(count, count))
        regions, numbers = connected_components(graph, directed=False)
        return int(regions), numbers.astype(np.int64)

    def sample(self, most: int, rng: np.random.Generator) -> tuple[Voxels, Labels]:
        """Return rows and columns (n, 2) and classes (n,) of at most ``most`` voxels a class."""
        voxels, classes = [np.empty(0, np.int64)], [np.empty(0, np.uint8)]
        for value in np.unique(self.classes):
            runs = self.select(self.classes == value)
            ends = np.cumsum(runs.lengths)
            size = int(ends[-1])
            chosen = np.arange(size) if size <= most else rng.choice(size, most, replace=False)
            at = np.searchsorted(ends, chosen, "right")
            voxels.append(runs.last[at] - (ends[at] - chosen))
            classes.append(np.full(len(chosen), value, np.uint8))
        flat = np.concatenate(voxels)
        return (
            np.stack([flat // self.width, flat % self.width], 1).astype(np.int32),
            np.concatenate(classes),
        )


def runs_of(snapshot: AnnotationSnapshot, z: int) -> Runs:
    """Return the labels of slice ``z``."""
    width = snapshot.shape[2]
    parts = [_runs_of(labels, box.start[1:], width) for box, labels in snapshot.planes(z)]
    first = np.concatenate([part.first for part in parts] or [np.empty(0, np.int64)])
    last = np.concatenate([part.last for part in parts] or [np.empty(0, np.int64)])
    classes = np.concatenate([part.classes for part in parts] or [np.empty(0, np.uint8)])
    order = np.argsort(first)
    return Runs(width, first[order], last[order], classes[order])


def _runs_of(labels: Labels, corner: Sequence[int], width: int) -> Runs:
    framed = np.pad(labels, ((0, 0), (1, 1)))
    rows, columns = np.nonzero(framed[:, 1:] != framed[:, :-1])
    # Each change begins a run that ends with the next; behind the last one of a row is nothing.
    classes = framed[rows, columns + 1]
    first = (rows + corner[0]) * width + columns + corner[1]
    known = np.flatnonzero(classes)
    return Runs(width, first[known], first[known + 1] if len(known) else first[:0], classes[known])


def _before(voxels: Integers, runs: Runs, total: Integers) -> Integers:
    """Return how many voxels of the runs come before each of ``voxels``."""
    if not len(runs):
        return np.zeros(len(voxels), np.int64)
    at = np.searchsorted(runs.first, voxels, "right")
    behind = np.maximum(0, runs.last[np.maximum(at - 1, 0)] - voxels)
    counted: Integers = total[at] - np.where(at > 0, behind, 0)
    return counted


def _touching(runs: Runs, which: Mask) -> tuple[Integers, Integers]:
    """Return pairs of runs, all of one class, that touch at a side or a corner."""
    numbers = np.flatnonzero(which)
    rows = runs.rows[numbers]
    # Rows are set apart by more than a run can reach, so that one search finds no other row's.
    apart = runs.width + 2
    first = rows * apart + runs.first[numbers] % runs.width
    last = first + runs.lengths[numbers]
    low = np.searchsorted(last, first + apart, "left")
    high = np.searchsorted(first, last + apart, "right")
    counts = np.maximum(high - low, 0)
    begin = np.repeat(low - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    below = begin + np.arange(counts.sum())
    above = np.repeat(np.arange(len(numbers)), counts)
    side = np.flatnonzero((first[1:] == last[:-1]) & (rows[1:] == rows[:-1]))
    one, other = np.concatenate([above, side]), np.concatenate([below, side + 1])
    return numbers[one], numbers[other]


def parts_of_regions(classes: Labels, regions: Integers, count: int) -> Integers:
    """Return which of ``count`` parts each voxel's region is in, each class divided evenly.

    -1 for the voxels of a class that has no other region.

    Parameters
    ----------
    classes, regions : ndarray
        (voxels,), class value and region of each voxel.
    count : int
        Parts; fewer are used for a class of fewer regions.
    """
    numbers, first, of_voxel = np.unique(regions, return_index=True, return_inverse=True)
    of_class = classes[first]
    parts = np.full(len(numbers), -1, np.int64)
    rng = np.random.default_rng(0)
    for value in np.unique(of_class):
        places = np.flatnonzero(of_class == value)
        if len(places) > 1:
            parts[rng.permutation(places)] = np.arange(len(places)) % count
    found: Integers = parts[of_voxel]
    return found
