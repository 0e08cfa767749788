"""Where another stroke would teach most: a search over the whole volume, a window at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from brushfire.geometry import Box
from brushfire.learning.cells import (
    CELL,
    CellGrid,
    finite,
    is_painted_near,
    spread_windows,
    trimmed_mean,
)
from brushfire.learning.novelty import PaintedFeatures, features_of, read_slab
from brushfire.networks.sliced import BUDGET_BYTES

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from numpy.typing import NDArray

    from brushfire.annotations import AnnotationSnapshot
    from brushfire.learning.cells import Array
    from brushfire.networks.model import SegmentationModel
    from brushfire.volumes import Volume

Reason = Literal["unsure", "disagreement", "novelty"]

PLACES = 5
"""Places in an answer, at most."""

_MARGIN = 24  # pixels around a window that are computed too, so that its edges see their like
_LEAST_SHARE = 0.5  # of a cell's samples that count, else the cell does not
_LEADERS = 8  # windows that earlier models look at too
_LEAST_SCORE = 0.05


@dataclass(frozen=True, slots=True)
class Place:
    """A square of a slice in which a stroke would teach much.

    Parameters
    ----------
    z, y, x : int
        Its middle, in voxels of level 0.
    side : int
        Its sides in pixels.
    uncertainty : float
        Mean entropy of the shown model's class probabilities, 0 (sure) to 1 (any class alike).
    disagreement : float
        Mean total-variation distance of the shown model's probabilities from those of the models
        before it, 0 to 1.
    novelty : float
        Distance to the nearest stroke in the space of features; 1 is the usual distance from one
        stroke to the next.
    score : float
        What all three come to, 0 or more; the larger, the more a stroke teaches.
    value : int or None
        The class that most of it would be now.
    """

    z: int
    y: int
    x: int
    side: int
    uncertainty: float
    disagreement: float
    novelty: float
    score: float
    value: int | None = None

    @property
    def reason(self) -> Reason:
        """What speaks most for this place."""
        parts: dict[Reason, float] = {
            "unsure": self.uncertainty,
            "disagreement": self.disagreement,
            "novelty": _strangeness(self.novelty),
        }
        return max(parts, key=parts.__getitem__)

    @property
    def box(self) -> Box:
        """The square, one slice thick; at the sides of a slice it may stick out."""
        start = (self.z, self.y - self.side // 2, self.x - self.side // 2)
        return Box(start, (start[0] + 1, start[1] + self.side, start[2] + self.side))

    def touched_by(self, strokes: AnnotationSnapshot) -> bool:
        """Whether somebody has painted here, or within a side of it, or in the next slice."""
        return is_painted_near(strokes, self.z, self.y, self.x, self.side)


class PlaceSearch:
    """One search for places, in steps of some tens of milliseconds.

    A jittered grid of windows is spread over the volume. In each of them three things speak for a
    stroke: the entropy of the class probabilities (uncertainty sampling: Lewis & Gale 1994), how
    much the models shown lately disagree (query by committee: Seung et al. 1992), and how far its
    features are from all that was painted (core sets: Sener & Savarese 2018), which finds what a
    model takes for something else and is sure of. Their sum is the score, novelty by its logarithm.

    Pixels on the border of two classes are unsure in any model, and a stroke there teaches little.
    So a place is a cell as large as a stroke, and the most unsure quarter of a cell is left out of
    its mean: a border across it covers less than that, an area that is not understood more. What
    is constant, or no finite number, counts as 0, as do the sides of a slice; a cell that is more
    than half of that is no place.

    Each window gives its best cell that nobody painted near. Of these five are chosen greedily by
    score times how different they look from those chosen before. Memory: one window's features,
    and a few numbers for each cell.

    Parameters
    ----------
    volume : Volume
        Where to look.
    models : sequence of SegmentationModel
        The shown one, and up to two that were shown before it, of the same classes.
    strokes : AnnotationSnapshot
        What was painted; at least one voxel.
    seed : int
        Chooses windows and painted voxels. The same question has the same answer.
    """

    def __init__(
        self,
        volume: Volume,
        models: Sequence[SegmentationModel],
        strokes: AnnotationSnapshot,
        *,
        seed: int = 0,
    ) -> None:
        self._volume = volume
        self._model, self._earlier = models[0], tuple(models[1:3])
        self._strokes = strokes
        self._seed = seed
        self._budget = BUDGET_BYTES
        self._windows: list[_Window] = []
        self._parts = self._run()
        self._done = False

    @property
    def done(self) -> bool:
        """Whether everything was looked at."""
        return self._done

    def step(self, budget_bytes: int = BUDGET_BYTES) -> bool:
        """Look at one window; return whether that was all.

        Parameters
        ----------
        budget_bytes : int
            Memory that the network may take.
        """
        self._budget = budget_bytes
        if not self._done:
            self._done = next(self._parts, True)
        return self._done

    def places(self, strokes: AnnotationSnapshot | None = None) -> tuple[Place, ...]:
        """Return up to five places, the best first.

        Parameters
        ----------
        strokes : AnnotationSnapshot, optional
            Newer strokes; what was painted meanwhile is left out.
        """
        found = [window.best(self._model.classes) for window in self._windows]
        usable = [(place, look) for place, look in found if place.score >= _LEAST_SCORE]
        if strokes is not None:
            usable = [pair for pair in usable if not pair[0].touched_by(strokes)]
        return _chosen(usable)

    def _run(self) -> Iterator[bool]:
        """Do all of it; yields False after each piece."""
        strokes = PaintedFeatures(self._volume, self._model, self._strokes, self._seed)
        yield from strokes.look()
        for box in spread_windows(self._volume.shape, seed=self._seed):
            self._windows.append(self._look(box, strokes))
            yield False
        # Earlier models cost as much as the shown one: they are asked where it matters.
        order = sorted(range(len(self._windows)), key=lambda n: -self._windows[n].peak)
        for at in order[:_LEADERS] if self._earlier else ():
            apart = yield from self._apart(self._windows[at])
            self._windows[at] = replace(self._windows[at], disagreement=apart)

    def _look(self, box: Box, strokes: PaintedFeatures) -> _Window:
        slab, core = self._read(box)
        grid = CellGrid(box, self._volume.shape)
        counts = grid.counts(slab[:, self._model.context][:, core[0], core[1]])
        probabilities = self._predict(self._model, slab, core)
        unsure = grid.samples(_entropy(probabilities)) * counts
        look = grid.picked(features_of(self._model, slab)[:, core[0], core[1]])
        novelty = strokes.novelty(look) * counts
        shares = np.stack([grid.cells(grid.samples(one)).mean(-1) for one in probabilities])
        return _Window(
            box=box,
            grid=grid,
            free=grid.free(self._strokes) & (grid.cells(counts).mean(-1) > _LEAST_SHARE),
            unsure=trimmed_mean(grid.cells(unsure)),
            novelty=trimmed_mean(grid.cells(novelty)),
            disagreement=np.zeros(shares.shape[1:], np.float32),
            look=grid.cells(look).mean(-1),
            values=shares.argmax(0),
        )

    def _apart(self, window: _Window) -> Generator[bool, None, Array]:
        """Return how much earlier models differ in each cell; yields after each of them."""
        slab, core = self._read(window.box)
        counts = window.grid.counts(slab[:, self._model.context][:, core[0], core[1]])
        shown = self._predict(self._model, slab, core)
        total = np.zeros(counts.shape, np.float32)
        for model in self._earlier:
            apart = 0.5 * np.abs(self._predict(model, slab, core) - shown).sum(0)
            total += window.grid.samples(apart) / len(self._earlier)
            yield False
        return trimmed_mean(window.grid.cells(total * counts))

    def _read(self, box: Box) -> tuple[Array, tuple[slice, slice]]:
        """Return intensities around a window, and its rows and columns in them."""
        wide = box.grow((0, _MARGIN, _MARGIN)).clip(self._volume.shape)
        _, rows, columns = box.slices_in(wide)
        return read_slab(self._volume, wide, self._model.context), (rows, columns)

    def _predict(self, model: SegmentationModel, slab: Array, core: tuple[slice, slice]) -> Array:
        found = model.probabilities(slab, wanted=core, budget_bytes=self._budget)[:, 0]
        return finite(found)


@dataclass(frozen=True)
class _Window:
    """What is known of the cells of one window; arrays are (rows, columns) of cells.

    ``free`` cells are those that can be suggested.
    """

    box: Box
    grid: CellGrid
    free: NDArray[np.bool_]
    unsure: Array
    novelty: Array
    disagreement: Array
    look: Array  # (inputs, rows, columns)
    values: NDArray[np.intp]

    @property
    def scores(self) -> Array:
        """The score of each cell, 0 where no stroke is to go."""
        found = self.unsure + self.disagreement + _strangeness(self.novelty)
        return np.where(self.free, found, 0).astype(np.float32)

    @property
    def peak(self) -> float:
        """The best of them."""
        return float(self.scores.max())

    def best(self, classes: Sequence[int]) -> tuple[Place, Array]:
        """Return the best cell, and how it looks: the mean of its features."""
        scores = self.scores
        row, column = np.unravel_index(int(scores.argmax()), scores.shape)
        at = int(row), int(column)
        z, y, x = self.grid.middle(*at)
        place = Place(
            z, y, x, CELL,
            uncertainty=float(self.unsure[at]),
            disagreement=float(self.disagreement[at]),
            novelty=float(self.novelty[at]),
            score=float(scores[at]),
            value=int(classes[self.values[at]]),
        )  # fmt: skip
        return place, self.look[(slice(None), *at)]


def _chosen(found: list[tuple[Place, Array]]) -> tuple[Place, ...]:
    """Return up to `PLACES` of the places, different ones, the best first."""
    if not found:
        return ()
    looks = torch.from_numpy(np.stack([look for _, look in found]))
    apart = torch.cdist(looks, looks).numpy()
    usual = float(np.median(apart[apart > 0])) if (apart > 0).any() else 1.0
    weights = np.array([place.score for place, _ in found])
    left, chosen = list(range(len(found))), list[int]()
    while left and len(chosen) < PLACES:
        at = max(left, key=lambda n: weights[n])
        chosen.append(at)
        left = [n for n in left if n != at and not _neighbours(found[n][0], found[at][0])]
        difference = apart[:, at] / (apart[:, at] + usual)
        weights = np.minimum(weights, difference * [place.score for place, _ in found])
    return tuple(sorted((found[at][0] for at in chosen), key=lambda place: -place.score))


def _neighbours(one: Place, other: Place) -> bool:
    """Whether a glance at one shows the other too."""
    in_plane = max(abs(one.y - other.y), abs(one.x - other.x)) < 2 * one.side
    return in_plane and abs(one.z - other.z) <= 1


def _entropy(probabilities: Array) -> Array:
    """Return the entropy over the first axis, 0 to 1."""
    if len(probabilities) < 2:
        return np.zeros(probabilities.shape[1:], np.float32)
    bits = -(probabilities * np.log(np.maximum(probabilities, 1e-12))).sum(0)
    return np.asarray(bits / math.log(len(probabilities)), np.float32)


def _strangeness(novelty: Any) -> Any:
    """Return what novelty counts beside uncertainty: 0 where it is usual, 1 at eight times that."""
    return np.log2(np.maximum(novelty, 1)) / 3
