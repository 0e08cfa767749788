"""Lessons: what the layers see, what they should make of it, and where that counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from brushfire.errors import LearningError
from brushfire.geometry import Box
from brushfire.learning.restoring.hiding import hide, masked
from brushfire.learning.restoring.scans import called
from brushfire.learning.sampler import SlabCache

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from brushfire.learning.restoring.division import Division
    from brushfire.learning.restoring.scans import Scan
    from brushfire.learning.restoring.settings import RestorationSettings
    from brushfire.learning.sampler import Block, Cells
    from brushfire.networks.restoration import RestorationModel

_EDGE = 16  # pixels at a cut edge of a patch that do not teach: their surroundings are missing
_EDGE_SHARE = 8  # of a small patch, at most
MARGIN = _EDGE


@dataclass(frozen=True, eq=False)
class Lesson:
    """Patches of one size.

    Parameters
    ----------
    inputs : Tensor
        What the layers see, normalised: (images, channels * slices, y, x), one channel where
        parts of a scan are learned from.
    target : Tensor
        Normalised, (images, outputs, y, x); 0 where it does not count.
    weight : Tensor
        As the target: 1 where it counts, else 0.
    """

    inputs: Tensor
    target: Tensor
    weight: Tensor

    @classmethod
    def of(cls, lessons: Sequence[Lesson]) -> Lesson:
        """Return several lessons of one size as one."""
        return cls(
            torch.cat([one.inputs for one in lessons]),
            torch.cat([one.target for one in lessons]),
            torch.cat([one.weight for one in lessons]),
        )


@dataclass(frozen=True, eq=False)
class _Crop:
    """Intensities (channels, slices, y, x), target (outputs, y, x) and weight (y, x)."""

    block: Block
    target: Block
    weight: np.ndarray[Any, np.dtype[np.float32]]

    def turned(self, quarters: int, *, flip: bool) -> _Crop:
        """Return it turned by right angles, then flipped in x."""
        parts = [
            np.rot90(values, quarters, (-2, -1))
            for values in (self.block, self.target, self.weight)
        ]
        if flip:
            parts = [values[..., ::-1] for values in parts]
        return _Crop(*parts)


class Lessons:
    """Makes lessons of one scan in one way.

    Parameters
    ----------
    scan : Scan
        What is restored, and what it should look like.
    settings : RestorationSettings
        The way, and how patches vary.
    division : Division
        What teaches and what is held out.
    context : int
        Slices that the network sees on each side.
    largest : tuple of int
        Pixels of a patch in y and x at most.
    kept, kept_targets : Cells
        What is kept of volumes, and of targets; those of other scans may be there too.

    Raises
    ------
    LearningError
        If no slice is left to learn from.
    """

    def __init__(
        self,
        scan: Scan,
        settings: RestorationSettings,
        division: Division,
        *,
        context: int,
        largest: tuple[int, int],
        kept: Cells,
        kept_targets: Cells,
    ) -> None:
        self._way, self._augment = settings.way, settings.augment
        self._masked = settings.masked
        self._shape = scan.volume.shape
        self._largest = largest
        self._division = division
        self._slabs = SlabCache(scan.volume, context, kept, filled=False)
        self._target = None
        if scan.target is not None:
            self._target = SlabCache(scan.target, 0, kept_targets, filled=False)
        taught = division.taught_slices
        # (slice that is seen, slice that is the target)
        self._places = [(z, z) for z in taught]
        if self._way == "neighbours":
            self._places = [(z, near) for z in taught for near in (z - 1, z + 1) if near in taught]
        if not self._places:
            raise LearningError(
                "There are slices to learn from beside those that are held out, and in the way"
                " 'neighbours' two that lie beside each other.",
                got=f"{len(taught)} slice(s) of {called(scan.volume)}",
                do="Hold out fewer slices, or choose another way.",
            )

    def draw(
        self, model: RestorationModel, count: int, side: int, rng: np.random.Generator
    ) -> Lesson:
        """Return patches that teach.

        Parameters
        ----------
        model : RestorationModel
            Says how intensities are normalised, and which parts of a scan are seen.
        count : int
            Patches.
        side : int
            Pixels in y and x; less where the volume, or what is allowed, is smaller.
        rng : Generator
            Decides everything.
        """
        return Lesson.of([self._draw(model, side, rng) for _ in range(count)])

    def _draw(self, model: RestorationModel, side: int, rng: np.random.Generator) -> Lesson:
        z, near = self._places[int(rng.integers(len(self._places)))]
        taught = self._division.taught(z)
        edge = min(_EDGE, side // _EDGE_SHARE)
        crop = self._crop(self._square(taught, side, edge, rng), near, taught, edge)
        if self._augment:
            square = crop.weight.shape[0] == crop.weight.shape[1]
            quarters = int(rng.integers(4)) if square else 2 * int(rng.integers(2))
            crop = crop.turned(quarters, flip=bool(rng.integers(2)))
        return self._lesson(model, crop, rng)

    def _square(self, taught: Box, side: int, edge: int, rng: np.random.Generator) -> Box:
        """Return a square somewhere in what teaches, or around it where that is smaller.

        It may stick out by the edge that does not count, so that all of what teaches does.
        """
        start, stop = [taught.start[0]], [taught.stop[0]]
        for first, last, whole, most in zip(
            taught.start[1:], taught.stop[1:], self._shape[1:], self._largest, strict=True
        ):
            size = min(side, most)
            ends = sorted((first - edge, last + edge - size))
            low, high = (min(max(end, 0), whole - size) for end in ends)
            start.append(int(rng.integers(low, high + 1)))
            stop.append(start[-1] + size)
        return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))

    def judged(self, model: RestorationModel, side: int, most: int) -> list[Lesson]:
        """Return lessons to judge by, always the same ones.

        Parameters
        ----------
        model : RestorationModel
            As for `draw`.
        side : int
            Of the squares in which slices are judged, in pixels; `MARGIN` more are seen around.
        most : int
            How many.
        """
        boxes = self._division.judged()
        step = max(len(boxes) / most, 1.0)
        chosen = [boxes[int((index + 0.5) * step)] for index in range(int(len(boxes) / step))]
        per_slice = max(1, most // len(chosen))
        lessons = []
        for number, box in enumerate(chosen):
            rng = np.random.default_rng(number)
            for part in _squares(box, side, per_slice):
                seen = part.grow((0, MARGIN, MARGIN)).clip(self._shape)
                crop = self._crop(seen, self._beside(part.start[0]), part, 0)
                lessons.append(self._lesson(model, crop, rng))
        return lessons

    def _beside(self, z: int) -> int:
        """Return the slice that is the target of slice ``z``."""
        if self._way != "neighbours":
            return z
        return z + 1 if z + 1 < self._shape[0] else z - 1

    def _crop(self, box: Box, near: int, counts: Box, edge: int) -> _Crop:
        """Return what is in a box; only what is in ``counts`` counts, and no cut edge."""
        block = self._slabs.read(box)
        weight = self._weight(box, counts, edge)
        if self._target is not None:
            return _Crop(block, self._read_target(box), weight)
        if near != box.start[0]:
            other = Box((near, *box.start[1:]), (near + 1, *box.stop[1:]))
            return _Crop(block, self._slabs.read(other)[:, block.shape[1] // 2], weight)
        return _Crop(block, block[:, block.shape[1] // 2], weight)

    def _read_target(self, box: Box) -> Block:
        """Return the target in a box, NaN where there is none."""
        assert self._target is not None
        z, y, x = self._division.region.start
        here = box.intersect(self._division.region)
        if here is None:
            raise AssertionError("lessons lie where there is a target")
        found = self._target.read(here.shift((-z, -y, -x)))[:, 0]
        whole = np.full((len(found), *box.shape[1:]), np.nan, np.float32)
        whole[(slice(None), *here.slices_in(box)[1:])] = found
        return whole

    def _weight(self, box: Box, counts: Box, edge: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        inner = [
            (
                start + (edge if start > 0 else 0),
                stop - (edge if stop < size else 0),
            )
            for start, stop, size in zip(box.start[1:], box.stop[1:], self._shape[1:], strict=True)
        ]
        weight = np.zeros(box.shape[1:], np.float32)
        rows, columns = (
            slice(max(low, first) - begin, min(high, last) - begin)
            for (low, high), first, last, begin in zip(
                inner, counts.start[1:], counts.stop[1:], box.start[1:], strict=True
            )
        )
        weight[rows, columns] = 1
        return weight

    def _lesson(self, model: RestorationModel, crop: _Crop, rng: np.random.Generator) -> Lesson:
        device = model.device
        block, target, weight = (
            torch.from_numpy(np.ascontiguousarray(values)).to(device)
            for values in (crop.block, crop.target, crop.weight)
        )
        seen = _finite(model.normalise(block.flatten(0, 1)[None]))
        if self._way == "splits":
            seen, target = self._split(model, seen, block, rng)
        goal = model.normalise_target(target[None])
        counts = torch.isfinite(goal) * weight
        if self._way == "blind":
            hidden = torch.from_numpy(masked(seen.shape[2:], self._masked, rng)).to(device)
            seen = hide(seen, hidden, block.shape[1])
            counts = counts * hidden
        return Lesson(seen, _finite(goal), counts)

    @staticmethod
    def _split(
        model: RestorationModel, normalised: Tensor, block: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return what is seen of parts of a scan, and the target, which is of the other parts."""
        count, slices = block.shape[:2]
        chosen = int(rng.integers(count))
        others = [part for part in range(count) if part != chosen]
        parts = normalised.view(1, count, slices, *normalised.shape[2:])
        middle = block[:, slices // 2]
        if model.settings.splits == "x:1":
            return parts[:, others].mean(1), middle[[chosen]]
        return parts[:, chosen], middle[others].mean(0, keepdim=True)


def as_given(model: RestorationModel, lesson: Lesson) -> Tensor | None:
    """Return the input of a lesson as if it were the answer, normalised as the target is.

    None where it has other channels than the target.
    """
    slices = model.settings.slices
    middle = lesson.inputs[:, slices // 2 :: slices]
    if middle.shape[1] != model.outputs:
        return None
    mean, std = model.intensity_mean, model.intensity_std
    if model.settings.splits:
        mean, std = mean.mean(0, keepdim=True), std.mean(0, keepdim=True)
    return model.normalise_target(middle * std[:, None, None] + mean[:, None, None])


def _finite(x: Tensor) -> Tensor:
    """Return 0, the mean, where there is no finite number."""
    return torch.where(torch.isfinite(x), x, 0.0)


def _squares(box: Box, side: int, most: int) -> list[Box]:
    """Return up to so many squares of a slice, evenly spread over it, which do not overlap."""
    z, *start = box.start
    _, *stop = box.stop
    sides = [min(side, last - first) for first, last in zip(start, stop, strict=True)]
    fit = [
        max(1, (last - first) // one) for first, last, one in zip(start, stop, sides, strict=True)
    ]
    rows = max(1, min(fit[0], round((most * fit[0] / fit[1]) ** 0.5)))
    columns = max(1, min(fit[1], most // rows))
    squares = []
    for row in range(rows):
        for column in range(columns):
            first = [
                begin + index * one + int((index + 0.5) * (end - begin - count * one) / count)
                for begin, end, one, index, count in zip(
                    start, stop, sides, (row, column), (rows, columns), strict=True
                )
            ]
            top, left = first
            squares.append(Box((z, top, left), (z + 1, top + sides[0], left + sides[1])))
    return squares
