"""Whether a model replaces the one that is shown: what both answer on held-out strokes.

Voxels of one stroke are much alike, so that a connected stroke region is what counts as one
observation. How sure a score is, and whether two models differ by more than chance, both come
from drawing whole regions again and again, class by class: the cluster bootstrap (Davison and
Hinkley 1997, section 3.8). Two models are compared on the same draws, so that a region that is
hard for both says nothing about either.

Everything here is a value or a pure function, and the same question has the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.special import ndtr, stdtrit

if TYPE_CHECKING:
    from collections.abc import Sequence

Integers = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]

RESAMPLES = 400

LEVEL = 0.9
"""Share of intervals that hold the truth."""

FEWEST = 3
"""Regions of a class from which an interval can be told: with two it would be far too narrow."""

LARGEST_MARGIN = 0.1
"""Of mean Dice: a model that is worse by more than that is never shown."""

CLEAR = 0.01
"""Of mean Dice: the least by which a model is clearly better."""

_ONE_SIDED = 1.645  # standard deviations: 95 % of a normal distribution lie above minus that
_SURER = 0.99  # of the cross-entropy: a swap repaints all that is visible, so not for nothing
_LEAST_LIKELY = 1e-3  # one voxel that a stroke touched by mistake must not outweigh all others
_POOLED = 600  # regions, all classes together, beyond which neighbours are drawn together
_TINY = 1e-9  # of Dice: rounding
_LIKELY = 0.3  # of the margin, which is half a standard deviation: better is more likely than not

Decision = Literal["better", "surer", "follows", "no better", "worse"]


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model answers on held-out stroke regions.

    A region is of one class, so that its confusion matrix has one row.

    Parameters
    ----------
    classes : tuple of int
        Class values of the columns, in order.
    regions : ndarray of int64, shape (n,)
        A number for each region, growing.
    truth : ndarray of int64, shape (n,)
        Column of the true class of each region.
    found : ndarray of int64, shape (n, classes)
        Voxels of each region by the class that the model gives them.
    loss : ndarray of float64, shape (n,)
        Cross-entropy of each region, summed over its voxels, in nats.
    """

    classes: tuple[int, ...]
    regions: Integers
    truth: Integers
    found: Integers
    loss: Floats

    def __len__(self) -> int:
        return len(self.regions)

    @property
    def voxels(self) -> int:
        """Voxels of all regions."""
        return int(self.found.sum())

    @property
    def counts(self) -> dict[int, int]:
        """Regions of each class that has any."""
        columns, numbers = np.unique(self.truth, return_counts=True)
        return {
            self.classes[c]: int(n)
            for c, n in zip(columns.tolist(), numbers.tolist(), strict=True)
        }  # fmt: skip

    def same(self, other: Answers) -> bool:
        """Whether the other model answers the same, with the same probabilities."""
        return (
            self.classes == other.classes
            and np.array_equal(self.regions, other.regions)
            and np.array_equal(self.found, other.found)
            and np.allclose(self.loss, other.loss, rtol=1e-6, atol=1e-9)
        )

    def select(self, which: np.ndarray[Any, Any]) -> Answers:
        """Return some of the regions, by a mask or by their places."""
        return replace(
            self,
            regions=self.regions[which],
            truth=self.truth[which],
            found=self.found[which],
            loss=self.loss[which],
        )


def tally(
    regions: Integers,
    truth: np.ndarray[Any, Any],
    found: np.ndarray[Any, Any],
    likelihood: Floats,
    classes: Sequence[int],
) -> Answers:
    """Return the answers of a model, counted by region.

    Parameters
    ----------
    regions : ndarray, shape (voxels,)
        The region of each voxel.
    truth, found : ndarray, shape (voxels,)
        Class values, the true one and the model's.
    likelihood : ndarray, shape (voxels,)
        The probability that the model gives the true one, 0 to 1.
    classes : sequence of int
        All class values among them, in order.
    """
    columns = np.asarray(classes, np.int64)
    numbers, first, at = np.unique(regions, return_index=True, return_inverse=True)
    cells = at * len(columns) + np.searchsorted(columns, found)
    counts = np.bincount(cells, minlength=len(numbers) * len(columns))
    nats = -np.log(np.maximum(likelihood, _LEAST_LIKELY))
    return Answers(
        tuple(int(value) for value in classes),
        numbers.astype(np.int64),
        np.searchsorted(columns, truth[first]).astype(np.int64),
        counts.reshape(len(numbers), len(columns)).astype(np.int64),
        np.bincount(at, nats, minlength=len(numbers)).astype(np.float64),
    )


def dice(answers: Answers, draws: Floats | None = None) -> Floats:
    """Return the Dice coefficient of each class, NaN where no region is of that class.

    Parameters
    ----------
    answers : Answers
        Of one model.
    draws : ndarray, shape (..., n), optional
        How often each region counts; once by default.

    Returns
    -------
    ndarray, shape (..., classes)
        Twice the voxels that are right, by those that are of the class or are said to be.
    """
    own = answers.truth[:, None] == np.arange(len(answers.classes))
    right = np.where(own, answers.found, 0).astype(float)
    either = answers.found + np.where(own, answers.found.sum(1, keepdims=True), 0).astype(float)
    weights = np.ones(len(answers)) if draws is None else draws
    right, either = weights @ right, weights @ either
    known = np.bincount(answers.truth, minlength=len(answers.classes)) > 0
    scores: Floats = np.where(known, 2 * right / np.maximum(either, 1), np.nan)
    return scores


def mean_dice(answers: Answers, draws: Floats | None = None) -> Floats:
    """Return the mean Dice of the classes that have regions, shape (...,)."""
    scores = dice(answers, draws)
    mean: Floats = scores[..., ~np.isnan(dice(answers))].mean(-1)
    return mean


def cross_entropy(answers: Answers) -> float:
    """Return the mean cross-entropy of a voxel in nats, all classes alike."""
    number = len(answers.classes)
    total = np.bincount(answers.truth, answers.loss, minlength=number)
    voxels = np.bincount(answers.truth, answers.found.sum(1), minlength=number)
    return float((total[voxels > 0] / voxels[voxels > 0]).mean())


def rank(answers: Answers) -> tuple[float, float]:
    """Return what orders models from worse to better: mean Dice, then cross-entropy."""
    return round(float(mean_dice(answers)), 9), -cross_entropy(answers)


def draw(truth: Integers, count: int = RESAMPLES) -> Floats:
    """Return how often each region is in each resample, (count, n).

    Regions are drawn with replacement, of each class as many as it has; always the same draws for
    the same classes.
    """
    rng = np.random.default_rng(0)
    offsets = np.arange(count)[:, None] * len(truth)
    drawn = []
    for column in np.unique(truth):
        places = np.flatnonzero(truth == column)
        drawn.append(places[rng.integers(len(places), size=(count, len(places)))] + offsets)
    flat = np.concatenate(drawn, 1).ravel()
    return np.bincount(flat, minlength=count * len(truth)).reshape(count, -1).astype(float)


# -- how sure a score is ---------------------------------------------------------------------

Interval = tuple[float, float]


def intervals(
    answers: Answers, level: float = LEVEL
) -> tuple[dict[int, Interval], Interval | None]:
    """Return intervals for the Dice of each class, and for the mean.

    Percentiles of the bootstrap, widened so that few regions give no more certainty than Student's
    t distribution would (the expanded percentile interval of Hesterberg 2015). A class with fewer
    than three regions has none; neither has the mean then. A class that is all right in every
    region has an interval without width: no stroke tells what a worse one would be like.
    """
    if not len(answers):
        return {}, None
    counts = answers.counts
    pooled = _pooled(answers)
    scores = dice(pooled, draw(pooled.truth))
    found = {
        value: _expanded(scores[:, answers.classes.index(value)], number, level)
        for value, number in counts.items()
        if number >= FEWEST
    }
    fewest = min(counts.values())
    if fewest < FEWEST:
        return found, None
    known = scores[:, ~np.isnan(dice(answers))]
    return found, _expanded(known.mean(1), fewest, level)


def interval_of_gain(one: Answers, other: Answers, level: float = LEVEL) -> Interval | None:
    """Return an interval for the mean Dice of a model less that of another, on the same regions.

    As `intervals` makes them; None where a class has fewer than three regions that both answered.
    """
    one, other = _common(one, other)
    if not len(one) or (fewest := min(one.counts.values())) < FEWEST:
        return None
    return _expanded(_gains(one, other), fewest, level)


def _expanded(values: Floats, number: int, level: float) -> Interval:
    below = (1 - level) / 2
    widened = float(ndtr(np.sqrt(number / (number - 1)) * stdtrit(number - 1, below)))
    low, high = np.quantile(values, [widened, 1 - widened])
    return float(low), float(high)


def _pooled(answers: Answers) -> Answers:
    """Return no more regions than can be drawn in milliseconds: neighbours are put together."""
    if len(answers) <= _POOLED:
        return answers
    most = max(_POOLED // len(answers.counts), FEWEST)
    order = np.argsort(answers.truth, kind="stable")
    truth = answers.truth[order]
    first = np.searchsorted(truth, truth)
    number = np.searchsorted(truth, truth, "right") - first
    block = (np.arange(len(truth)) - first) * np.minimum(number, most) // number
    starts = np.flatnonzero(np.diff(truth, prepend=-1) | np.diff(block, prepend=-1))
    return Answers(
        answers.classes,
        answers.regions[order][starts],
        truth[starts],
        np.add.reduceat(answers.found[order], starts),
        np.add.reduceat(answers.loss[order], starts),
    )


# -- which of two models ---------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """A candidate beside the model that is shown, on the regions that both answered.

    Parameters
    ----------
    candidate, shown : float
        Mean Dice.
    margin : float
        By how much the candidate may be worse and still be as good as can be told, see `compare`.
    surer : bool
        Whether the candidate has a lower cross-entropy, by a hundredth at least.
    same : bool
        Whether both answer the same with the same probabilities.
    """

    candidate: float
    shown: float
    margin: float
    surer: bool
    same: bool

    @property
    def difference(self) -> float:
        """Mean Dice of the candidate less that of the shown model."""
        return self.candidate - self.shown

    @property
    def clear(self) -> bool:
        """Whether the candidate is better by more than chance, and by enough to be seen."""
        return self.difference > max(self.margin, CLEAR)


def compare(candidate: Answers, shown: Answers) -> Comparison:
    """Compare two models on the regions that both answered.

    The margin is 1.645 standard deviations of the difference of their mean Dice over resamples of
    the regions, at most `LARGEST_MARGIN`: a candidate that is worse by more is worse with 95 %
    certainty. A class with one region tells nothing of the spread; then it is all of that.
    """
    candidate, shown = _common(candidate, shown)
    return Comparison(
        float(mean_dice(candidate)),
        float(mean_dice(shown)),
        _margin(candidate, shown),
        cross_entropy(candidate) < _SURER * cross_entropy(shown),
        candidate.same(shown),
    )


def _margin(candidate: Answers, shown: Answers) -> float:
    fewest = min(candidate.counts.values())
    if fewest < 2:
        return LARGEST_MARGIN
    spread = float(_gains(candidate, shown).std())
    # Drawn from few regions, resamples spread less than regions do.
    spread *= float(np.sqrt(fewest / (fewest - 1)))
    return min(_ONE_SIDED * spread, LARGEST_MARGIN)


def _common(one: Answers, other: Answers) -> tuple[Answers, Answers]:
    """Return what two models answer on the regions that both answered."""
    common = np.intersect1d(one.regions, other.regions, assume_unique=True)
    return (
        one.select(np.isin(one.regions, common)),
        other.select(np.isin(other.regions, common)),
    )


def _gains(one: Answers, other: Answers) -> Floats:
    """Return by how much the mean Dice of one is higher, for each resample of the same regions."""
    one, other = _pooled(one), _pooled(other)
    draws = draw(one.truth)
    return mean_dice(one, draws) - mean_dice(other, draws)


def decide(comparison: Comparison, *, fresh: bool) -> Decision:
    """Return whether a candidate replaces the shown model ("better", "surer", "follows") or not.

    While nothing is painted, only a candidate that is better does, by more than chance might well
    give it, or one with the same Dice whose probabilities are better: in that order no two models
    ever replace each other in turn, and what is shown never gets worse. After new strokes the
    shown model is one that does not know them; then a candidate that does is shown if it is as
    good as can be told, that is within the margin. A candidate that answers the same as the shown
    model never replaces it.

    Parameters
    ----------
    comparison : Comparison
        Of the two.
    fresh : bool
        Whether the candidate has learnt from strokes that the shown model does not know.
    """
    difference = comparison.difference
    if comparison.same:
        return "no better"
    if difference > max(_LIKELY * comparison.margin, _TINY):
        return "better"
    if comparison.surer and abs(difference) <= _TINY:
        return "surer"
    if fresh and difference >= -comparison.margin - _TINY:
        return "follows"
    return "worse" if difference < -_TINY else "no better"
