"""Which strokes teach and which are held out, by connected region and for good.

A region is a connected patch of one class in one slice. A part of each class's regions is held
out once the class has three. A region keeps its side when it grows, so that a validation score
never moves because a stroke changed sides; only a class of which too much is held out gets
regions back.
"""

from __future__ import annotations

import struct
import zlib
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from brushfire.learning.runs import Integers, Runs, runs_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from brushfire.annotations import AnnotationSnapshot
    from brushfire.geometry import Box

Labels = np.ndarray[Any, np.dtype[np.uint8]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]
Voxels = np.ndarray[Any, np.dtype[np.int32]]
Seed = tuple[int, int, int, int]  # z, y, x of one voxel of a region, and its class

FEWEST_REGIONS = 3
_LARGEST_SHARE = 0.4  # of a class's voxels that are held out when regions are chosen
_TOO_LARGE_SHARE = 0.6  # of them that held-out regions may grow to
_POINTS = 4096  # voxels kept for each class and slice: enough to draw from
_SLICE = 1 << 32  # more than a slice has regions


@dataclass(frozen=True)
class Points:
    """Labelled voxels of one slice: rows and columns (n, 2), and their classes (n,).

    ``regions`` (n,) holds a number for the connected region of each, no other in the volume has it.
    """

    voxels: Voxels
    classes: Labels
    regions: Integers

    def __len__(self) -> int:
        return len(self.classes)


@dataclass(frozen=True)
class _Region:
    """A connected region: a voxel of it, its size in voxels, and whether it is held out."""

    seed: Seed
    size: int
    held: bool | None  # None until that is decided

    @property
    def value(self) -> int:
        return self.seed[3]


@dataclass(frozen=True, eq=False)
class _Slice:
    """What is known of one slice's strokes; ``numbers`` says which region each run is of."""

    runs: Runs
    numbers: np.ndarray[Any, np.dtype[np.int64]]
    regions: tuple[_Region, ...]

    @property
    def held(self) -> Mask:
        """Which runs are held out."""
        of_region: Mask = np.array([bool(region.held) for region in self.regions], bool)
        of_run: Mask = of_region[self.numbers]
        return of_run


@dataclass(frozen=True)
class _Part:
    """A slice, and the voxels that are drawn from it."""

    strokes: _Slice
    teaching: Points
    validating: Points


class StrokeRegions:
    """The strokes of a volume, divided into those that teach and those that validate.

    Parameters
    ----------
    share : float
        Share of a class's regions that is held out, 0 to 0.5.
    seed : int
        Chooses which.
    """

    def __init__(self, share: float, seed: int = 0) -> None:
        self._share = share
        self._seed = seed
        self._slices: dict[int, _Part] = {}
        self._snapshot: AnnotationSnapshot | None = None
        self._adopted: list[Seed] = []
        self.version = 0
        """Grows when a stroke changed."""

    def update(self, snapshot: AnnotationSnapshot) -> tuple[int, ...]:
        """Take over newer strokes and return the slices that changed."""
        before, present = self._snapshot, set(snapshot.slices())
        touched = present if before is None else present & snapshot.changed_slices(before)
        gone = [z for z in self._slices if z not in present]
        found = {z: self._look(snapshot, z) for z in sorted(touched)}
        changed = {z: strokes for z, strokes in found.items() if strokes is not None}
        strokes = {z: p.strokes for z, p in self._slices.items() if z not in gone} | changed
        decided = self._decide(strokes)
        # Nothing is taken over before all is known: what fails is looked at again next time.
        parts = {
            z: self._slices[z]
            if z in self._slices and one is self._slices[z].strokes
            else self._part(z, one)
            for z, one in decided.items()
        }
        self._slices, self._snapshot, self._adopted = parts, snapshot, []
        self.version += bool(gone or changed)
        return tuple(sorted([*gone, *changed]))

    def adopt(self, seeds: Iterable[Sequence[int]]) -> None:
        """Hold out the regions of these voxels at the next update: another run did."""
        self._adopted = [(int(z), int(y), int(x), int(value)) for z, y, x, value in seeds]

    @property
    def seeds(self) -> list[Seed]:
        """One voxel of each held-out region, for `adopt`."""
        return [
            region.seed
            for _, part in sorted(self._slices.items())
            for region in part.strokes.regions
            if region.held
        ]

    def counts(self, *, held: bool) -> dict[int, int]:
        """Return the voxels of each class that teach, or that are held out."""
        total: defaultdict[int, int] = defaultdict(int)
        for part in self._slices.values():
            for region in part.strokes.regions:
                if region.held == held:
                    total[region.value] += region.size
        return dict(sorted(total.items()))

    def strokes(self, *, held: bool) -> dict[int, int]:
        """Return the connected regions of each class that teach, or that are held out."""
        total: defaultdict[int, int] = defaultdict(int)
        for part in self._slices.values():
            for region in part.strokes.regions:
                total[region.value] += region.held == held
        return {value: count for value, count in sorted(total.items()) if count}

    def points(self, *, held: bool) -> dict[int, Points]:
        """Return voxels of each slice that has any, at most 4096 of a class in a slice."""
        found = {
            z: part.validating if held else part.teaching
            for z, part in sorted(self._slices.items())
        }
        return {z: points for z, points in found.items() if len(points)}

    def teaching_labels(self, box: Box) -> Labels:
        """Return the labels in a box one slice thick, (y, x), held-out regions taken out."""
        assert self._snapshot is not None
        labels = np.array(self._snapshot.read(box)[0], np.uint8)
        part = self._slices.get(box.start[0])
        if part is None:
            return np.zeros_like(labels)
        (_, top, left), (_, bottom, right) = box.start, box.stop
        runs = part.strokes.runs.select(part.strokes.held)
        rows = runs.rows
        columns = runs.first % runs.width
        ends = columns + runs.lengths
        here = (rows >= top) & (rows < bottom) & (ends > left) & (columns < right)
        for row, begin, end in zip(rows[here], columns[here], ends[here], strict=True):
            labels[row - top, max(begin - left, 0) : end - left] = 0
        return labels

    def _look(self, snapshot: AnnotationSnapshot, z: int) -> _Slice | None:
        """Return the regions of a slice, those seen before on their side; None if unchanged."""
        runs = runs_of(snapshot, z)
        before = self._slices[z].strokes if z in self._slices else None
        if before is not None and before.runs.same(runs):
            return None
        count, numbers = runs.components()
        sizes = np.bincount(numbers, runs.lengths, count).astype(int)
        _, first = np.unique(numbers, return_index=True)
        sides = self._sides(before, runs, numbers, count)
        for number in self._adopted_regions(z, runs, numbers):
            sides[number] = True
        regions = []
        for number, at in enumerate(first):
            row, column = divmod(int(runs.first[at]), runs.width)
            seed = (z, row, column, int(runs.classes[at]))
            regions.append(_Region(seed, int(sizes[number]), sides.get(number)))
        return _Slice(runs, numbers, tuple(regions))

    @staticmethod
    def _sides(
        before: _Slice | None, runs: Runs, numbers: np.ndarray[Any, Any], count: int
    ) -> dict[int, bool]:
        """Return the side of each region that has voxels which were labelled before."""
        if before is None:
            return {}
        seen = np.bincount(numbers, runs.shared(before.runs), count)
        held = np.bincount(numbers, runs.shared(before.runs.select(before.held)), count)
        return {int(n): bool(2 * held[n] > seen[n]) for n in np.flatnonzero(seen)}

    def _adopted_regions(self, z: int, runs: Runs, numbers: np.ndarray[Any, Any]) -> set[int]:
        found = set()
        for at_z, y, x, value in self._adopted:
            at = runs.find(y * runs.width + x) if at_z == z else None
            if at is not None and runs.classes[at] == value:
                found.add(int(numbers[at]))
        return found

    def _decide(self, slices: dict[int, _Slice]) -> dict[int, _Slice]:
        """Return the slices with every region on a side."""
        by_class: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for z, one in slices.items():
            for number, region in enumerate(one.regions):
                by_class[region.value].append((z, number))
        regions = {z: list(one.regions) for z, one in slices.items()}
        for places in by_class.values():
            held = self._held_out([regions[z][number] for z, number in places])
            for (z, number), side in zip(places, held, strict=True):
                if regions[z][number].held is not side:
                    regions[z][number] = replace(regions[z][number], held=side)
        return {
            z: one if all(a is b for a, b in zip(one.regions, regions[z], strict=True))
            else replace(one, regions=tuple(regions[z]))
            for z, one in slices.items()
        }  # fmt: skip

    def _held_out(self, regions: list[_Region]) -> list[bool]:
        """Return which regions of one class are held out: its share, and never too much."""
        sides = [bool(region.held) for region in regions]
        voxels = sum(region.size for region in regions)
        spent = sum(r.size for r, held in zip(regions, sides, strict=True) if held)
        wanted = max(1, round(self._share * len(regions)))
        if len(regions) < FEWEST_REGIONS or self._share == 0:
            wanted = 0
        order = sorted(range(len(regions)), key=lambda n: self._rank(regions[n]))
        for n in order:
            size = regions[n].size
            if regions[n].held is None and sum(sides) < wanted:
                sides[n] = spent + size <= _LARGEST_SHARE * voxels
                spent += size if sides[n] else 0
        for n in reversed(order):
            if sides[n] and spent > _TOO_LARGE_SHARE * voxels:
                sides[n] = False
                spent -= regions[n].size
        return sides

    def _rank(self, region: _Region) -> int:
        return zlib.crc32(struct.pack("<5i", *region.seed, self._seed))

    def _part(self, z: int, strokes: _Slice) -> _Part:
        rng = np.random.default_rng([self._seed, z, strokes.runs.digest])
        held = strokes.held
        return _Part(strokes, _points(z, strokes, ~held, rng), _points(z, strokes, held, rng))


def _points(z: int, strokes: _Slice, which: Mask, rng: np.random.Generator) -> Points:
    """Return voxels of some runs of a slice."""
    runs = strokes.runs
    voxels, classes = runs.select(which).sample(_POINTS, rng)
    flat = voxels[:, 0].astype(np.int64) * runs.width + voxels[:, 1]
    of_run = np.searchsorted(runs.first, flat, "right") - 1
    return Points(voxels, classes, z * _SLICE + strokes.numbers[of_run])
