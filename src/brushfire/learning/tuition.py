"""What a teacher says of places all over a volume, kept under a byte budget."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from brushfire.geometry import Box, Grid, triple
from brushfire.learning.sampler import SlabCache

if TYPE_CHECKING:
    from brushfire.geometry import Triple
    from brushfire.learning.regions import Labels, StrokeRegions
    from brushfire.learning.sampler import Block
    from brushfire.networks.model import SegmentationModel
    from brushfire.volumes import Volume

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]

ASKED = 512
"""Side in pixels of the places at which a teacher is asked: larger than a patch, for its halo."""

_HELD = 6  # places at most that teach nothing
_HELD_SHARE = 8  # one place of so many is held out
_MOST_PLACES = 10_000  # of a huge volume: far more than a teacher is ever asked at
_EDGE = 16  # pixels at a cut edge that do not teach: the student does not see around them
_FARTHEST = -20.0  # logarithm below which a likelihood is nothing; what half precision tells apart


@dataclass(frozen=True)
class Answer:
    """What a teacher says of a place.

    Parameters
    ----------
    box : Box
        The place, one slice thick.
    intensities : ndarray
        float32, (channels, slices, y, x), as many slices as the student sees.
    likely : ndarray
        float16, (classes, y, x), logarithms of probabilities.
    labels : ndarray
        uint8, (y, x), strokes; 0 where there are none.
    """

    box: Box
    intensities: Block
    likely: Floats
    labels: Labels

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return self.intensities.nbytes + self.likely.nbytes + self.labels.nbytes

    def cut(self, side: int, rng: np.random.Generator, plane: tuple[int, int]) -> Piece:
        """Return a square of it at random, turned and flipped.

        Parameters
        ----------
        side : int
            Pixels; less where the place is smaller.
        rng : Generator
            Decides everything.
        plane : tuple of int
            Rows and columns of a whole slice: its edges are no cuts.
        """
        taught = np.ones(self.labels.shape, bool)
        part = []
        for axis, size in enumerate(plane):
            have = self.labels.shape[axis]
            first = int(rng.integers(max(have - side, 0) + 1))
            last = min(first + side, have)
            part.append(slice(first, last))
            lines = np.moveaxis(taught, axis, 0)
            at = self.box.start[axis + 1]
            # A small place would teach nothing if all of its edges were left out.
            edge = min(_EDGE, (last - first) // 4)
            lines[: first + (edge if at + first > 0 else 0)] = False
            lines[last - (edge if at + last < size else 0) :] = False
        rows, columns = part
        square = rows.stop - rows.start == columns.stop - columns.start
        quarters = int(rng.integers(4)) if square else 2 * int(rng.integers(2))
        flip = bool(rng.integers(2))

        def turned(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            result = np.rot90(values[..., rows, columns], quarters, (-2, -1))
            return np.ascontiguousarray(result[..., ::-1] if flip else result)

        return Piece(*map(turned, (self.intensities, self.likely, self.labels, taught)))


@dataclass(frozen=True)
class Piece:
    """A part of an answer; ``taught`` (y, x) says where a student can know as much."""

    intensities: Block
    likely: Floats
    labels: Labels
    taught: np.ndarray[Any, np.dtype[np.bool_]]


class Tuition:
    """Asks a teacher at places in random order, and keeps what fits of its answers.

    Parameters
    ----------
    teacher : SegmentationModel
        Who is asked.
    volume : Volume
        Where.
    context : int
        Slices on each side that the student sees.
    strokes : StrokeRegions or None
        Labels that come with the answers.
    patch : int
        Side of the squares that are drawn, in pixels.
    kept_bytes : int
        For the answers, and as much again for what is read of the volume.
    network_bytes : int
        That a prediction of the teacher may take.
    rng : Generator
        Decides everything.

    Attributes
    ----------
    held : list of Box
        Places that teach nothing.
    """

    def __init__(
        self,
        teacher: SegmentationModel,
        volume: Volume,
        *,
        context: int,
        strokes: StrokeRegions | None,
        patch: int,
        kept_bytes: int,
        network_bytes: int,
        rng: np.random.Generator,
    ) -> None:
        self._teacher = teacher
        self._volume = volume
        self._context = context
        self._strokes = strokes
        self._patch = patch
        self._kept_bytes = kept_bytes
        self._network_bytes = network_bytes
        self._rng = rng
        self._most = max(context, teacher.context)
        self._cache = SlabCache(volume, self._most, kept_bytes)
        self._grid = _grid(triple(volume.shape))
        self.held, self._taught = self._places()
        self._next = 0
        self._answers: list[Answer] = []
        self._bytes = 0

    @property
    def pixels(self) -> int:
        """Pixels of a place."""
        return math.prod(self._grid.cell)

    @property
    def complete(self) -> bool:
        """Whether the answers for all places are there."""
        return len(self._answers) == len(self._taught)

    def _places(self) -> tuple[list[Box], list[Box]]:
        """Return places that are held out, and those that teach, strokes first."""
        count = min(len(self._grid), _MOST_PLACES)
        chosen = self._rng.choice(len(self._grid), count, replace=False)
        boxes = [self._grid.box(np.unravel_index(n, self._grid.counts)) for n in chosen]
        painted = self._painted()
        free = [box for box in boxes if box not in painted] or boxes
        held = free[: min(_HELD, -(-len(free) // _HELD_SHARE))]
        others = [box for box in free if box not in (*held, *painted)]
        return held, [box for box in (*painted, *others) if box not in held] or held

    def _painted(self) -> list[Box]:
        """Return the places that have strokes."""
        if self._strokes is None:
            return []
        found: set[Triple] = set()
        for z, points in self._strokes.points(held=False).items():
            corners = np.unique(points.voxels // self._grid.cell[1:], axis=0)
            found |= {(z, int(row), int(column)) for row, column in corners}
        return [self._grid.box(index) for index in sorted(found)]

    def ask(self, box: Box) -> Answer:
        """Return what the teacher says of a place."""
        wide = self._teacher.surroundings(box).clip(self._volume.shape)
        slab = self._cache.read(wide)
        _, rows, columns = box.slices_in(wide)
        seen = slice(self._most - self._teacher.context, self._most + self._teacher.context + 1)
        likely = self._teacher.probabilities(
            slab[:, seen],
            wanted=(rows, columns),
            origin=(wide.start[1], wide.start[2]),
            budget_bytes=self._network_bytes,
        )[:, 0]
        shown = slice(self._most - self._context, self._most + self._context + 1)
        labels = np.zeros(box.shape[1:], np.uint8)
        if self._strokes is not None:
            labels = self._strokes.teaching_labels(box)
        return Answer(
            box,
            slab[:, shown, rows, columns].copy(),
            np.log(likely.clip(min=np.exp(_FARTHEST))).astype(np.float16),
            labels,
        )

    def learn_more(self) -> None:
        """Ask at the next place, unless all answers are there; drop some where they do not fit."""
        if self.complete:
            return
        answer = self.ask(self._taught[self._next % len(self._taught)])
        self._next += 1
        self._answers.append(answer)
        self._bytes += answer.nbytes
        while self._bytes > self._kept_bytes and len(self._answers) > 1:
            gone = self._answers.pop(int(self._rng.integers(len(self._answers) - 1)))
            self._bytes -= gone.nbytes

    def slab(self, context: int) -> Block:
        """Return a held-out place with so many slices on each side, (channels, slices, y, x)."""
        block = self._cache.read(self.held[0])
        return block[:, self._most - context : self._most + context + 1].copy()

    def draw(self) -> list[Piece]:
        """Return pieces of answers that have about as many pixels together as a full patch."""
        plane = self._volume.shape[1], self._volume.shape[2]
        found: list[Piece] = []
        pixels = 0
        while not found or pixels + found[-1].labels.size // 2 < self._patch**2:
            answer = self._answers[int(self._rng.integers(len(self._answers)))]
            found.append(answer.cut(self._patch, self._rng, plane))
            pixels += found[-1].labels.size
        return found


def _grid(shape: Triple) -> Grid:
    """Return places of about one size, two at least where there is more than a pixel."""
    parts = [max(1, round(size / ASKED)) for size in shape[1:]]
    if shape[0] * math.prod(parts) == 1:
        parts[int(shape[2] > shape[1])] = 2
    height, width = (-(-size // part) for size, part in zip(shape[1:], parts, strict=True))
    return Grid(shape, (1, height, width))
