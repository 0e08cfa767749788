"""Patches around strokes, read through a bounded cache."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from brushfire.geometry import Box, Grid
from brushfire.learning.warping import warped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brushfire.geometry import Triple
    from brushfire.learning.regions import Labels, Points, StrokeRegions, Voxels
    from brushfire.learning.runs import Integers
    from brushfire.volumes import Volume

Block = np.ndarray[Any, np.dtype[np.float32]]

_CELL = 256
_EDGE = 16  # pixels at a cut edge of a patch that do not teach: their surroundings are missing


class Cells:
    """Blocks of one or several volumes, kept under one byte budget.

    Parameters
    ----------
    budget : int
        Bytes; the least recently used blocks go first.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._kept: OrderedDict[tuple[object, Triple], Block] = OrderedDict()
        self.nbytes = 0

    def get(self, key: tuple[object, Triple]) -> Block | None:
        """Return what was kept under ``key``, which counts as used; None where nothing is."""
        block = self._kept.get(key)
        if block is not None:
            self._kept.move_to_end(key)
        return block

    def put(self, key: tuple[object, Triple], block: Block) -> None:
        """Keep a block; the newest one is kept even where it is larger than the budget."""
        self._kept[key] = block
        self.nbytes += block.nbytes
        while self.nbytes > self._budget and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self.nbytes -= old.nbytes


class SlabCache:
    """Slabs of a volume around single slices, kept under a byte budget.

    Parameters
    ----------
    volume : Volume
        Where to read.
    context : int
        Slices on each side of the one asked for.
    budget : int or Cells
        Bytes, or what other volumes are kept in too.
    filled : bool
        Whether what is not finite becomes the channel's mean.
    """

    def __init__(
        self, volume: Volume, context: int, budget: int | Cells, *, filled: bool = True
    ) -> None:
        self._volume = volume
        self._filled = filled
        self._context = context
        self._grid = Grid(volume.shape, (1, _CELL, _CELL))
        self._cells = budget if isinstance(budget, Cells) else Cells(budget)
        self._own = object()  # tells its cells from those of others

    def read(self, box: Box) -> Block:
        """Return (channels, 2 * context + 1, y, x) around a box that is one slice thick."""
        _, height, width = box.shape
        slices = 2 * self._context + 1
        result = np.empty((len(self._volume.channels), slices, height, width), np.float32)
        for index in self._grid.indices(box):
            cell = self._grid.box(index)
            common = cell.intersect(box)
            if common is not None:
                block = self._cell(index)
                result[(..., *common.slices_in(box)[1:])] = block[
                    (..., *common.slices_in(cell)[1:])
                ]
        return result

    def _cell(self, index: Triple) -> Block:
        block = self._cells.get((self._own, index))
        if block is None:
            box = self._grid.box(index).grow((self._context, 0, 0))
            block = np.asarray(self._volume.read_padded(box, filled=self._filled), np.float32)
            self._cells.put((self._own, index), block)
        return block


@dataclass(frozen=True)
class Patch:
    """Intensities (channels, slices, y, x), and labels (y, x) of all but their margins.

    The margins are pixels above, below, left and right of the labelled part. ``regions`` (y, x)
    numbers the stroke region of labelled pixels; -1 where a region is not known.
    """

    intensities: Block
    labels: Labels
    regions: Integers
    margins: tuple[int, int, int, int]

    def turned(self, quarters: int, *, flip: bool) -> Patch:
        """Return the patch turned by right angles against the clock, then flipped in x."""
        block = np.rot90(self.intensities, quarters, (-2, -1))
        labels, regions = np.rot90(self.labels, quarters), np.rot90(self.regions, quarters)
        above, below, left, right = self.margins
        for _ in range(quarters % 4):
            above, below, left, right = right, left, above, below
        if flip:
            block, labels, regions = block[..., ::-1], labels[..., ::-1], regions[..., ::-1]
            left, right = right, left
        return Patch(block, labels, regions, (above, below, left, right))


class PatchSampler:
    """Draws patches so that every class teaches equally often.

    Parameters
    ----------
    cache : SlabCache
        Where intensities come from.
    regions : StrokeRegions
        Where labels come from.
    shape : tuple of int
        Of the volume.
    rng : Generator
        Decides everything.
    """

    def __init__(
        self,
        cache: SlabCache,
        regions: StrokeRegions,
        shape: tuple[int, int, int],
        rng: np.random.Generator,
    ) -> None:
        self._cache = cache
        self._regions = regions
        self._shape = shape
        self._rng = rng
        self._places: tuple[int, dict[int, list[tuple[int, Voxels]]]] | None = None

    def draw(self, count: int, side: int, *, margin: int, vary: bool) -> list[Patch]:
        """Return patches around strokes.

        Parameters
        ----------
        count : int
            Patches.
        side : int
            Pixels in y and x; less where the volume is smaller.
        margin : int
            Pixels around a patch that are read too, less where the volume ends.
        vary : bool
            Whether to flip, turn by right angles, stretch and bend them, at random.
        """
        return [self._draw(side, margin, vary=vary) for _ in range(count)]

    def _draw(self, side: int, margin: int, *, vary: bool) -> Patch:
        box = self._around(self._voxel(), side)
        wide = box.grow((0, margin, margin)).clip(self._shape)
        block, label = self._cache.read(wide), self._regions.teaching_labels(box)
        drop_edges(label, box, self._shape)
        _, rows, columns = box.slices_in(wide)
        above, left = rows.start, columns.start
        below, right = wide.shape[1] - rows.stop, wide.shape[2] - columns.stop
        patch = Patch(block, label, self._regions_in(box), (above, below, left, right))
        return varied(patch, self._rng) if vary else patch

    def _voxel(self) -> tuple[int, int, int]:
        """Return a labelled voxel: a class first, then a slice, then any voxel of it there."""
        if self._places is None or self._places[0] != self._regions.version:
            self._places = self._regions.version, _by_class(self._regions.points(held=False))
        places = self._places[1]
        in_slices = places[int(self._rng.choice(list(places)))]
        weights = np.sqrt([len(voxels) for _, voxels in in_slices])
        z, voxels = in_slices[self._rng.choice(len(in_slices), p=weights / weights.sum())]
        y, x = voxels[self._rng.integers(len(voxels))]
        return z, int(y), int(x)

    def _regions_in(self, box: Box) -> Integers:
        """Return the stroke region of each pixel of a box one slice thick, (y, x)."""
        found = np.full(box.shape[1:], -1, np.int64)
        points = self._regions.points(held=False).get(box.start[0])
        if points is not None:
            places = points.voxels - np.array(box.start[1:], np.int32)
            here = ((places >= 0) & (places < box.shape[1:])).all(1)
            found[tuple(places[here].T)] = points.regions[here]
        return found

    def _around(self, voxel: tuple[int, int, int], side: int) -> Box:
        """Return a patch with the voxel somewhere in its middle, inside the volume."""
        z, *middle = voxel
        for axis, size in enumerate(self._shape[1:]):
            play = max(min(side, size) // 2 - _EDGE, 0)
            middle[axis] += int(self._rng.integers(-play, play + 1))
        return square_around(z, middle, side, self._shape)


def drop_edges(label: Labels, box: Box, shape: tuple[int, int, int]) -> None:
    """Clear the labels near edges that were cut out of a slice, unless nothing is left."""
    inner = label.copy()
    _, top, left = box.start
    _, bottom, right = box.stop
    edge = min(_EDGE, min(label.shape) // 4)
    inner[: edge if top > 0 else 0] = 0
    inner[label.shape[0] - (edge if bottom < shape[1] else 0) :] = 0
    inner[:, : edge if left > 0 else 0] = 0
    inner[:, label.shape[1] - (edge if right < shape[2] else 0) :] = 0
    if inner.any():
        label[...] = inner


def varied(patch: Patch, rng: np.random.Generator) -> Patch:
    """Return a patch flipped, turned by right angles, stretched and bent at random."""
    square = patch.labels.shape[0] == patch.labels.shape[1]
    quarters = int(rng.integers(4)) if square else 2 * int(rng.integers(2))
    turned = patch.turned(quarters, flip=bool(rng.integers(2)))
    bent = warped(turned, rng)
    return bent if bent.labels.any() else turned


def _by_class(points: dict[int, Points]) -> dict[int, list[tuple[int, Voxels]]]:
    """Return for each class the slices that have it and its voxels there."""
    places: dict[int, list[tuple[int, Voxels]]] = {}
    for z, part in points.items():
        for value in np.unique(part.classes):
            places.setdefault(int(value), []).append((z, part.voxels[part.classes == value]))
    return places


def square_around(z: int, middle: Sequence[int], side: int, shape: Sequence[int]) -> Box:
    """Return a square of a slice around a pixel, moved into the volume, or all there is."""
    start, stop = [z], [z + 1]
    for position, size in zip(middle, shape[1:], strict=True):
        first = min(max(position - side // 2, 0), max(size - side, 0))
        start.append(first)
        stop.append(min(first + side, size))
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
