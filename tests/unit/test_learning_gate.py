"""Which of two models is shown, and how sure a score is: by stroke regions, not by voxels."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from brushfire.learning.gate import (
    CLEAR,
    FEWEST,
    LARGEST_MARGIN,
    Answers,
    Comparison,
    compare,
    cross_entropy,
    decide,
    dice,
    draw,
    interval_of_gain,
    intervals,
    mean_dice,
    rank,
    tally,
)

if TYPE_CHECKING:
    import random


def answers(found: list[list[int]] | np.ndarray, truth: list[int] | np.ndarray) -> Answers:
    """Return answers of classes 1, 2, ...; each voxel that is right costs 0.1 nats, others 2."""
    counts, columns = np.asarray(found, np.int64), np.asarray(truth, np.int64)
    right = counts[np.arange(len(counts)), columns]
    loss = 0.1 * right + 2.0 * (counts.sum(1) - right)
    classes = tuple(range(1, counts.shape[1] + 1))
    return Answers(classes, np.arange(len(counts)), columns, counts, loss)


def simulated(
    rng: np.random.Generator, number: int, classes: int = 3, right: tuple[float, float] = (9, 1)
) -> Answers:
    """Return answers on regions of many sizes, some of them much harder than others."""
    truth = np.repeat(np.arange(classes), number)
    sizes = np.maximum(3, rng.lognormal(3.5, 0.7, len(truth))).astype(int)
    hits = rng.binomial(sizes, rng.beta(*right, len(truth)))
    found = np.zeros((len(truth), classes), int)
    found[np.arange(len(truth)), truth] = hits
    other = (truth + rng.integers(1, classes, len(truth))) % classes
    found[np.arange(len(truth)), other] += sizes - hits
    return answers(found, truth)


@st.composite
def some_answers(draw_: st.DrawFn, least: int = 1) -> Answers:
    """Answers of two to four classes on a few regions of each."""
    classes = draw_(st.integers(2, 4))
    number = draw_(st.integers(least, 4))
    truth = np.repeat(np.arange(classes), number)
    size = len(truth) * classes
    counts = draw_(st.lists(st.integers(0, 9), min_size=size, max_size=size))
    found = np.array(counts).reshape(len(truth), classes)
    found[np.arange(len(truth)), truth] += 1  # no region is empty
    return answers(found, truth)


def improved(before: Answers, share: float) -> Answers:
    """Return answers that turn a share of the wrong voxels of every region right, at least one."""
    found = before.found.copy()
    for region, column in enumerate(before.truth):
        for other in range(found.shape[1]):
            moved = int(np.ceil(share * found[region, other])) if other != column else 0
            found[region, other] -= moved
            found[region, column] += moved
    return answers(found, before.truth)


def test_answers_are_counted_by_region() -> None:
    regions = np.array([7, 7, 7, 2, 2])
    truth, found = np.array([5, 5, 5, 9, 9]), np.array([5, 5, 9, 9, 9])
    counted = tally(regions, truth, found, np.array([1.0, 0.5, 0.5, 0.5, 0.0]), (5, 9))
    assert counted.regions.tolist() == [2, 7]
    assert counted.truth.tolist() == [1, 0]
    assert counted.found.tolist() == [[0, 2], [2, 1]]
    assert counted.loss == pytest.approx([np.log(2) + np.log(1000), 2 * np.log(2)])
    assert counted.counts == {5: 1, 9: 1}
    assert (len(counted), counted.voxels) == (2, 5)


def test_dice_is_that_of_all_voxels_together() -> None:
    some = answers([[3, 1, 0], [0, 0, 2], [2, 6, 0]], [0, 0, 1])
    # Class 1: 3 right, 6 of the class, 5 said to be. Class 2: 6 right, 8 of it, 7 said to be.
    assert dice(some) == pytest.approx([2 * 3 / 11, 2 * 6 / 15, np.nan], nan_ok=True)
    assert mean_dice(some) == pytest.approx((6 / 11 + 12 / 15) / 2)
    twice = dice(some, np.array([[1, 1, 1], [2, 2, 2], [0, 1, 1]], float))
    assert twice[0] == pytest.approx(twice[1], nan_ok=True)
    assert twice[2, 0] == 0


def test_all_classes_weigh_alike_in_the_cross_entropy() -> None:
    some = answers([[100, 0], [0, 1]], [0, 1])
    assert cross_entropy(some) == pytest.approx(0.1)
    wrong = answers([[100, 0], [1, 0]], [0, 1])
    assert cross_entropy(wrong) == pytest.approx((0.1 + 2.0) / 2)


@given(some_answers())
def test_resamples_keep_the_number_of_regions_of_each_class(some: Answers) -> None:
    draws = draw(some.truth)
    for column in range(len(some.classes)):
        mine = some.truth == column
        assert (draws[:, mine].sum(1) == mine.sum()).all()
    assert np.array_equal(draws, draw(some.truth)), "the same question has the same answer"


# -- the gate --------------------------------------------------------------------------------


@given(some_answers(), st.booleans())
def test_a_copy_never_replaces_the_shown_model(some: Answers, fresh: bool) -> None:
    comparison = compare(replace(some, found=some.found.copy()), some)
    assert comparison.same
    assert decide(comparison, fresh=fresh) == "no better"
    assert not comparison.clear


@given(some_answers(), st.floats(0.1, 1.0), st.booleans())
def test_what_is_better_on_every_region_always_wins(
    some: Answers, share: float, fresh: bool
) -> None:
    better = improved(some, share)
    assume(not better.same(some))
    assert decide(compare(better, some), fresh=fresh) == "better"
    assert decide(compare(some, better), fresh=False) == "worse"


@given(st.lists(some_answers(), min_size=2, max_size=5))
def test_without_new_strokes_models_never_replace_each_other_in_turn(found: list[Answers]) -> None:
    """Each swap goes up in rank: what is shown never gets worse, and swaps come to an end."""
    known = [one for one in found if one.found.shape == found[0].found.shape]
    for one, other in pairwise(known):
        if decide(compare(one, other), fresh=False) in ("better", "surer", "follows"):
            assert rank(one) > rank(other)
            assert decide(compare(other, one), fresh=False) in ("worse", "no better")


@settings(max_examples=50)
@given(some_answers(least=2), st.randoms(use_true_random=False))
def test_the_margin_shrinks_with_more_regions(one: Answers, chance: random.Random) -> None:
    other = answers([chance.sample(row, len(row)) for row in one.found.tolist()], one.truth)

    def margin(times: int) -> float:
        return compare(
            answers(np.tile(one.found, (times, 1)), np.tile(one.truth, times)),
            answers(np.tile(other.found, (times, 1)), np.tile(other.truth, times)),
        ).margin

    few, many = margin(1), margin(64)
    assert 0 <= many <= few <= LARGEST_MARGIN
    if 0 < few < LARGEST_MARGIN:
        assert many < 0.5 * few


def test_one_region_of_a_class_tells_no_spread() -> None:
    one = answers([[9, 1], [1, 9], [0, 10]], [0, 1, 1])
    assert compare(one, one).margin == LARGEST_MARGIN
    two = answers([[9, 1], [9, 1], [1, 9], [0, 10]], [0, 0, 1, 1])
    assert compare(two, two).margin == 0


def test_new_strokes_are_followed_within_the_margin_and_only_then() -> None:
    slightly = Comparison(0.80, 0.81, margin=0.015, surer=False, same=False)
    assert decide(slightly, fresh=True) == "follows"
    assert decide(slightly, fresh=False) == "worse"
    assert decide(replace(slightly, margin=0.005), fresh=True) == "worse"
    equal = Comparison(0.8, 0.8, margin=0.0, surer=False, same=False)
    assert decide(equal, fresh=True) == "follows", "it answers otherwise, and knows the strokes"
    assert decide(equal, fresh=False) == "no better"


def test_of_equal_dice_the_surer_one_is_shown() -> None:
    some = answers([[9, 1], [2, 8]], [0, 1])
    surer = replace(some, loss=0.9 * some.loss)
    hardly = replace(some, loss=0.999 * some.loss)
    assert decide(compare(surer, some), fresh=False) == "surer"
    assert decide(compare(hardly, some), fresh=False) == "no better", "a swap repaints everything"
    assert decide(compare(some, surer), fresh=False) == "no better"


def test_a_clear_improvement_is_one_beyond_margin_and_a_hundredth() -> None:
    made = Comparison(0.80 + CLEAR + 0.001, 0.80, margin=0.0, surer=False, same=False)
    assert made.clear
    assert not replace(made, margin=LARGEST_MARGIN).clear
    assert not replace(made, candidate=0.80 + CLEAR - 0.001).clear


def test_only_regions_that_both_answered_are_compared() -> None:
    one = answers([[9, 1], [1, 9], [5, 5]], [0, 1, 0])
    shown = answers([[9, 1], [1, 9]], [0, 1])
    assert compare(one, shown).same
    assert compare(shown, one).difference == 0


# -- how sure a score is ---------------------------------------------------------------------


@pytest.mark.parametrize("number", [4, 8, 25])
def test_intervals_hold_the_truth_about_as_often_as_they_say(number: int) -> None:
    rng = np.random.default_rng(number)
    everything = simulated(rng, 40_000)
    truth, mean = dice(everything), float(mean_dice(everything))
    inside, mean_inside = [], []
    for _ in range(250):
        found, of_mean = intervals(simulated(rng, number), level=0.9)
        inside += [found[c + 1][0] <= truth[c] <= found[c + 1][1] for c in range(3)]
        assert of_mean is not None
        mean_inside.append(of_mean[0] <= mean <= of_mean[1])
    assert 0.83 < np.mean(inside) < 0.96
    assert 0.83 < np.mean(mean_inside) < 0.97


def test_intervals_hold_the_score_and_shrink_with_more_regions() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for number in (4, 16, 64):
        some = simulated(rng, number)
        found, of_mean = intervals(some)
        assert of_mean is not None
        assert of_mean[0] < mean_dice(some) < of_mean[1]
        for value, (low, high) in found.items():
            assert 0 <= low <= dice(some)[value - 1] <= high <= 1
        widths.append(of_mean[1] - of_mean[0])
    assert widths[0] > widths[1] > widths[2]


def test_few_regions_have_no_interval() -> None:
    rng = np.random.default_rng(0)
    assert intervals(simulated(rng, 1)) == ({}, None)
    assert intervals(simulated(rng, FEWEST - 1)) == ({}, None)
    nothing = simulated(rng, 1).select(np.array([], int))
    assert intervals(nothing) == ({}, None)
    uneven = simulated(rng, 5).select(np.arange(12))  # two regions of the third class
    found, of_mean = intervals(uneven)
    assert set(found) == {1, 2}
    assert of_mean is None


def test_a_gain_is_sure_with_many_regions_and_untold_with_few() -> None:
    rng = np.random.default_rng(0)
    before = simulated(rng, 12, right=(4, 4))
    after = improved(before, 0.5)
    assert interval_of_gain(before, before) == (0, 0)
    low, high = interval_of_gain(after, before) or (0, 0)
    assert 0 < low < mean_dice(after) - mean_dice(before) < high
    assert interval_of_gain(before, after) == pytest.approx((-high, -low))
    other = simulated(rng, 12, right=(4, 4))
    # No better and no worse but by chance, on whatever regions.
    low, high = interval_of_gain(replace(other, truth=before.truth), before) or (0, 0)
    assert low < 0 < high
    # Of the first class two regions are left that both answered.
    assert interval_of_gain(after, before.select(np.arange(10, len(before)))) is None
    assert interval_of_gain(after, before.select(np.array([], int))) is None


def test_intervals_of_perfect_hopeless_and_single_classes() -> None:
    perfect = answers([[5, 0]] * 4 + [[0, 5]] * 4, [0] * 4 + [1] * 4)
    assert intervals(perfect) == ({1: (1.0, 1.0), 2: (1.0, 1.0)}, (1.0, 1.0))
    hopeless = answers([[0, 5]] * 4 + [[5, 0]] * 4, [0] * 4 + [1] * 4)
    assert intervals(hopeless) == ({1: (0.0, 0.0), 2: (0.0, 0.0)}, (0.0, 0.0))
    single = answers([[5, 1], [3, 0], [4, 4], [6, 0]], [0, 0, 0, 0])
    found, of_mean = intervals(single)
    assert set(found) == {1}
    assert of_mean == pytest.approx(found[1])


def test_many_thousand_regions_are_drawn_in_bounded_memory() -> None:
    rng = np.random.default_rng(0)
    many = simulated(rng, 30_000)
    of_mean = intervals(many)[1]
    assert of_mean is not None
    assert 0 < of_mean[1] - of_mean[0] < 0.01
    assert of_mean[0] < mean_dice(many) < of_mean[1]
    assert 0 < compare(many, simulated(rng, 30_000)).margin < 0.01
