"""Which strokes teach and which are held out, by connected region and for good.

A region is a connected patch of one class in one slice. A part of each class's regions is held
out once the class has three. A region keeps its side when it grows, so that a validation score
never moves because a stroke changed sides.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from brushfire.annotations import AnnotationSnapshot
    from brushfire.geometry import Box

Labels = np.ndarray[Any, np.dtype[np.uint8]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]
Voxels = np.ndarray[Any, np.dtype[np.int32]]
Seed = tuple[int, int, int, int]  # z, y, x of one voxel of a region, and its class

FEWEST_REGIONS = 3
_LARGEST_SHARE = 0.4  # of a class's voxels that may be held out
_POINTS = 4096  # voxels kept for each class and slice: enough to draw from
_NEIGHBOURS = np.ones((3, 3), bool)


@dataclass(frozen=True)
class Points:
    """Labelled voxels of one slice: rows and columns (n, 2), and their classes (n,)."""

    voxels: Voxels
    classes: Labels

    def __len__(self) -> int:
        return len(self.classes)


@dataclass
class _Slice:
    """What is known of one slice's strokes; masks are packed bits of ``box``."""

    box: Box
    digest: int
    known: np.ndarray[Any, np.dtype[np.uint8]]
    held: np.ndarray[Any, np.dtype[np.uint8]]
    teaching: Points
    validating: Points
    seeds: list[Seed]
    regions: Counter[int] = field(default_factory=Counter)
    held_regions: Counter[int] = field(default_factory=Counter)
    voxels: Counter[int] = field(default_factory=Counter)
    held_voxels: Counter[int] = field(default_factory=Counter)


@dataclass
class _Region:
    """A connected region while a slice is worked on."""

    z: int
    value: int
    seed: Seed
    size: int
    mask: tuple[slice, slice]
    inside: Mask
    held: bool | None = None


@dataclass
class _Draft:
    box: Box
    digest: int
    labels: Labels
    regions: list[_Region] = field(default_factory=list)


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
        self._slices: dict[int, _Slice] = {}
        self._snapshot: AnnotationSnapshot | None = None
        self._adopted: list[Seed] = []
        self.version = 0
        """Grows when a stroke changed."""

    def update(self, snapshot: AnnotationSnapshot) -> tuple[int, ...]:
        """Take over newer strokes and return the slices that changed."""
        before, self._snapshot = self._snapshot, snapshot
        drafts = {}
        present = set(snapshot.slices())
        touched = present if before is None else present & snapshot.changed_slices(before)
        changed = [z for z in self._slices if z not in present]
        for z in changed:
            del self._slices[z]
        for z in sorted(touched):
            draft = self._draft(snapshot, z)
            if draft is not None:
                drafts[z] = draft
        self._decide([region for draft in drafts.values() for region in draft.regions], drafts)
        for z, draft in drafts.items():
            self._slices[z] = self._finish(z, draft)
        self._adopted = []
        self.version += bool(changed or drafts)
        return tuple(sorted([*changed, *drafts]))

    def adopt(self, seeds: Iterable[Sequence[int]]) -> None:
        """Hold out the regions of these voxels at the next update: another run did."""
        self._adopted = [(int(z), int(y), int(x), int(value)) for z, y, x, value in seeds]

    @property
    def seeds(self) -> list[Seed]:
        """One voxel of each held-out region, for `adopt`."""
        return [seed for part in self._slices.values() for seed in part.seeds]

    def counts(self, *, held: bool) -> dict[int, int]:
        """Return the voxels of each class that teach, or that are held out."""
        total: Counter[int] = Counter()
        for part in self._slices.values():
            total.update(part.held_voxels if held else part.voxels - part.held_voxels)
        return {value: count for value, count in sorted(total.items()) if count > 0}

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
        common = part.box.intersect(box)
        if common is not None:
            held = _unpack(part.held, part.box)
            _, *inner = common.slices_in(part.box)
            _, *outer = common.slices_in(box)
            labels[tuple(outer)][held[tuple(inner)]] = 0
        return labels

    def _draft(self, snapshot: AnnotationSnapshot, z: int) -> _Draft | None:
        """Return the regions of a slice, or None where nothing changed."""
        box = snapshot.extent(z)
        if box is None:
            return None
        labels = np.ascontiguousarray(snapshot.read(box)[0], np.uint8)
        digest = zlib.crc32(labels.tobytes())
        before = self._slices.get(z)
        if before is not None and before.digest == digest and before.box == box:
            return None
        draft = _Draft(box, digest, labels)
        known, held = _carried(before, box)
        for value in np.flatnonzero(np.bincount(labels.ravel())):
            if value:
                draft.regions += _find_regions(labels, int(value), box, known, held)
        return draft

    def _decide(self, regions: list[_Region], drafts: dict[int, _Draft]) -> None:
        """Hold out new regions until each class has its share."""
        kept = [part for z, part in self._slices.items() if z not in drafts]
        by_class: defaultdict[int, list[_Region]] = defaultdict(list)
        for region in regions:
            by_class[region.value].append(region)
        for value, mine in by_class.items():
            for region in mine:
                if region.held is None and self._was_held(region, drafts[region.z].box):
                    region.held = True
            count = len(mine) + sum(part.regions[value] for part in kept)
            held = sum(bool(r.held) for r in mine) + sum(part.held_regions[value] for part in kept)
            voxels = sum(r.size for r in mine) + sum(part.voxels[value] for part in kept)
            spent = sum(r.size for r in mine if r.held)
            spent += sum(part.held_voxels[value] for part in kept)
            wanted = max(1, round(self._share * count)) if count >= FEWEST_REGIONS else 0
            wanted = wanted if self._share > 0 else 0
            for region in sorted((r for r in mine if r.held is None), key=self._rank):
                fits = spent + region.size <= _LARGEST_SHARE * voxels
                region.held = held < wanted and fits
                held += region.held
                spent += region.size if region.held else 0

    def _rank(self, region: _Region) -> int:
        return zlib.crc32(struct.pack("<5i", *region.seed, self._seed))

    def _was_held(self, region: _Region, box: Box) -> bool:
        _, top, left = box.start
        for z, y, x, value in self._adopted:
            if (z, value) != (region.z, region.value):
                continue
            row, column = y - top - region.mask[0].start, x - left - region.mask[1].start
            height, width = region.inside.shape
            if 0 <= row < height and 0 <= column < width and region.inside[row, column]:
                return True
        return False

    def _finish(self, z: int, draft: _Draft) -> _Slice:
        held = np.zeros(draft.labels.shape, bool)
        for region in draft.regions:
            if region.held:
                held[region.mask] |= region.inside
        everything = draft.labels > 0
        rng = np.random.default_rng([self._seed, z, draft.digest])
        part = _Slice(
            draft.box,
            draft.digest,
            np.packbits(everything),
            np.packbits(held),
            _sample(draft.labels, everything & ~held, draft.box, rng),
            _sample(draft.labels, held, draft.box, rng),
            [region.seed for region in draft.regions if region.held],
        )
        for region in draft.regions:
            part.regions[region.value] += 1
            part.voxels[region.value] += region.size
            if region.held:
                part.held_regions[region.value] += 1
                part.held_voxels[region.value] += region.size
        return part


def _carried(before: _Slice | None, box: Box) -> tuple[Mask, Mask]:
    """Return which voxels of ``box`` were labelled before, and which were held out."""
    known, held = np.zeros(box.shape[1:], bool), np.zeros(box.shape[1:], bool)
    common = before.box.intersect(box) if before is not None else None
    if before is not None and common is not None:
        _, *old = common.slices_in(before.box)
        _, *new = common.slices_in(box)
        known[tuple(new)] = _unpack(before.known, before.box)[tuple(old)]
        held[tuple(new)] = _unpack(before.held, before.box)[tuple(old)]
    return known, held


def _unpack(bits: np.ndarray[Any, Any], box: Box) -> Mask:
    _, height, width = box.shape
    return np.unpackbits(bits, count=height * width).astype(bool).reshape(height, width)


def _find_regions(labels: Labels, value: int, box: Box, known: Mask, held: Mask) -> list[_Region]:
    """Return the connected regions of a class; those seen before keep their side."""
    numbered, _ = ndimage.label(labels == value, structure=_NEIGHBOURS)
    regions = []
    z, top, left = box.start
    for number, where in enumerate(ndimage.find_objects(numbered), start=1):
        inside = numbered[where] == number
        row, column = np.unravel_index(int(inside.argmax()), inside.shape)
        seed = (z, top + where[0].start + int(row), left + where[1].start + int(column), value)
        region = _Region(z, value, seed, int(inside.sum()), where, inside)
        seen = int((known[where] & inside).sum())
        if seen:
            region.held = 2 * int((held[where] & inside).sum()) > seen
        regions.append(region)
    return regions


def _sample(labels: Labels, mask: Mask, box: Box, rng: np.random.Generator) -> Points:
    """Return voxels of the mask, at most `_POINTS` of each class."""
    _, top, left = box.start
    voxels, classes = [], []
    for value in np.unique(labels[mask]):
        found = np.flatnonzero(mask & (labels == value))
        if len(found) > _POINTS:
            found = rng.choice(found, _POINTS, replace=False)
        rows, columns = np.unravel_index(found, labels.shape)
        voxels.append(np.stack([rows + top, columns + left], 1).astype(np.int32))
        classes.append(np.full(len(found), value, np.uint8))
    if not voxels:
        return Points(np.empty((0, 2), np.int32), np.empty(0, np.uint8))
    return Points(np.concatenate(voxels), np.concatenate(classes))
