"""The quick fit and the network race on held-out strokes; the shown model is the one ahead."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from tests.support.memory import empty_labels, paint_bars, stripes, volume_of

from brushfire.learning import Learner, LearningSettings
from brushfire.learning.evaluation import evaluate_model, regions_of
from brushfire.learning.gate import Answers, mean_dice, tally
from brushfire.learning.probe import Site, find_sites, picked, probe
from brushfire.learning.race import Entrant, Finish, Race, Strokes
from brushfire.learning.regions import StrokeRegions
from brushfire.learning.reports import Evaluation
from brushfire.learning.sampler import SlabCache
from brushfire.learning.training import Trainer
from brushfire.networks import NetworkSettings, SegmentationModel

if TYPE_CHECKING:
    from brushfire.annotations import LabelStore

SHAPE = (3, 96, 80)
NETWORK = NetworkSettings(depth=4, dilations=(1, 2))
STROKES = Strokes(version=1, changed=5, classes=(1, 2), judge="held out", wanting={1: 1, 2: 1})
FEW = replace(STROKES, judge="cross-validated")


def right(*hits: int) -> Answers:
    """Return answers of two classes on regions of ten voxels, so many of them right."""
    counts = np.array([[n, 10 - n] for n in hits] + [[10 - n, n] for n in hits])
    truth = np.repeat([0, 1], len(hits))
    loss = 1.0 * (20 - counts.max(1))
    return Answers((1, 2), np.arange(len(truth)), truth, counts, loss)


class Track:
    """A race whose models answer what they are told to; counts how often each is asked."""

    def __init__(self) -> None:
        self.answers: dict[SegmentationModel, Answers] = {}
        self.asked: Counter[SegmentationModel] = Counter()
        self.crossed = 0
        self.race = Race(self._measure, self._cross)

    def entrant(
        self, kind: str, answers: Answers, seen: int = 5, classes: tuple[int, ...] = (1, 2)
    ) -> Entrant:
        entrant = Entrant(kind, SegmentationModel(NETWORK, 1, classes), seen)
        self.answers[entrant.model] = answers
        return entrant

    def run(self, *entrants: Entrant, strokes: Strokes = STROKES) -> Finish:
        finish = self.race.run(entrants, strokes)
        if finish.winner is not None:
            self.race.show(finish.winner)
        return finish

    def _measure(self, model: SegmentationModel) -> Answers:
        self.asked[model] += 1
        return self.answers[model]

    def _cross(self) -> Answers:
        self.crossed += 1
        return right(8, 9, 8)


@pytest.fixture
def track() -> Track:
    return Track()


def test_the_better_of_the_first_two_is_shown(track: Track) -> None:
    fitted, trained = track.entrant("fitted", right(9, 9)), track.entrant("trained", right(8, 8))
    finish = track.run(trained, fitted)
    assert finish.winner is fitted
    assert finish.verdict.accepted
    assert finish.verdict.reason == ("The quick fit agrees best with the held-out strokes: 0.90.")
    ahead = track.entrant("trained", right(10, 9))
    finish = track.run(ahead, fitted)
    assert finish.winner is ahead
    assert "The trained network agrees better" in finish.verdict.reason
    assert "0.95, before 0.90" in finish.verdict.reason


def test_each_model_is_measured_once_while_the_strokes_stay(track: Track) -> None:
    fitted, trained = track.entrant("fitted", right(9, 9)), track.entrant("trained", right(8, 8))
    for _ in range(3):
        track.run(trained, fitted)
        track.race.evaluate([trained, fitted], STROKES)
    assert set(track.asked.values()) == {1}
    track.run(trained, fitted, strokes=replace(STROKES, version=2))
    assert set(track.asked.values()) == {2}
    track.race.forget()
    track.run(trained, fitted, strokes=replace(STROKES, version=2))
    assert set(track.asked.values()) == {3}


def test_without_new_strokes_nothing_worse_is_ever_shown(track: Track) -> None:
    rng = np.random.default_rng(0)
    best = 0.0
    shown = 0
    for _ in range(100):
        finish = track.run(track.entrant("trained", right(*rng.integers(6, 11, 4))))
        now = finish.shown if finish.winner is None else finish.evaluation
        assert now is not None
        assert now.mean is not None
        assert now.mean >= best
        best = now.mean
        shown += finish.winner is not None
    assert shown < 25, "and it does not jitter"


def test_new_strokes_are_followed_once_within_the_margin(track: Track) -> None:
    hits = [9, 8] * 40
    track.run(track.entrant("trained", right(*hits)))
    slightly = hits.copy()
    slightly[::2] = [8, 10] * 20
    slightly[0] = 7
    new = replace(STROKES, version=2, changed=6)
    unseen = track.entrant("trained", right(*slightly), seen=5)
    assert track.run(unseen, strokes=new).winner is None, "it does not know them either"
    seen = track.entrant("trained", right(*slightly), seen=6)
    finish = track.run(seen, strokes=new)
    assert finish.winner is seen
    assert "follows your new strokes" in finish.verdict.reason
    assert finish.verdict.difference is not None
    assert finish.verdict.margin is not None
    assert -finish.verdict.margin <= finish.verdict.difference < 0
    worse = slightly.copy()
    worse[2] -= 1
    again = track.run(track.entrant("trained", right(*worse), seen=6), strokes=new)
    assert again.winner is None, "once"


def test_a_model_with_the_classes_of_the_strokes_is_shown(track: Track) -> None:
    track.run(track.entrant("trained", right(10, 10)))
    other = track.entrant("fitted", right(8, 8), classes=(1, 2, 3))
    finish = track.run(other)
    assert finish.winner is other
    assert "knows the classes" in finish.verdict.reason


# -- going back ------------------------------------------------------------------------------


def gone_back(track: Track, hits: int = 9) -> Entrant:
    """Show one model, then a better one, and go back."""
    first = track.entrant("fitted", right(*[8] * 6))
    track.run(first)
    track.run(track.entrant("trained", right(*[hits] * 6)))
    again = track.entrant("fitted", right(*[8] * 6))
    track.race.go_back(again, STROKES.version)
    return again


def test_what_was_left_does_not_come_back_by_itself(track: Track) -> None:
    gone_back(track)
    for hits in (right(*[9] * 6), right(9, 9, 9, 9, 9, 8), right(8, 8, 8, 8, 8, 9)):
        finish = track.run(track.entrant("trained", hits))
        assert finish.winner is None
        assert "You went back" in finish.verdict.reason
        assert finish.verdict.shown == "fitted"


def test_what_is_clearly_better_than_all_that_was_left_is_shown(track: Track) -> None:
    gone_back(track)
    better = track.entrant("trained", right(*[10] * 6))
    assert track.run(better).winner is better


def test_new_strokes_make_up_for_going_back(track: Track) -> None:
    gone_back(track)
    like_the_left = track.entrant("trained", right(*[9] * 6), seen=6)
    assert track.run(like_the_left).winner is None
    new = replace(STROKES, version=2, changed=6)
    assert track.run(like_the_left, strokes=new).winner is like_the_left


def test_all_that_was_left_is_remembered(track: Track) -> None:
    gone_back(track, hits=10)
    first = track.entrant("fitted", right(*[7] * 6))
    track.race.go_back(first, STROKES.version)
    between = track.entrant("trained", right(*[9] * 6))
    assert track.run(between).winner is None, "better than one that was left, not than the other"


@pytest.mark.parametrize("judge", ["cross-validated", "not at all"])
def test_what_was_left_stays_left_where_nothing_can_be_compared(track: Track, judge: str) -> None:
    gone_back(track)
    some = replace(STROKES, judge=judge)  # type: ignore[arg-type]
    candidates = [track.entrant("trained", right(10)), track.entrant("fitted", right(10))]
    assert track.run(*candidates, strokes=some).winner is None
    new = replace(some, version=2, changed=6)
    later = [replace(one, seen=6) for one in candidates]
    assert track.run(*later, strokes=new).winner is not None


# -- too few strokes -------------------------------------------------------------------------


def test_without_held_out_strokes_the_fit_is_shown_and_cross_validated(track: Track) -> None:
    fitted, trained = track.entrant("fitted", right(5)), track.entrant("trained", right(10))
    finish = track.run(trained, fitted, strokes=FEW)
    assert finish.winner is fitted
    assert finish.evaluation.how == "cross-validated"
    assert finish.evaluation.mean == pytest.approx(float(mean_dice(right(8, 9, 8))))
    assert not track.asked, "there is nothing to measure on"
    later = track.entrant("trained", right(10))
    kept = track.run(later, fitted, strokes=FEW)
    assert kept.winner is None
    assert "too few strokes" in kept.verdict.reason
    assert kept.shown == finish.evaluation
    assert track.crossed == 1, "once for each state of the strokes"
    new = track.entrant("fitted", right(5), seen=6)
    followed = track.run(later, new, strokes=replace(FEW, version=2, changed=6))
    assert followed.winner is new
    assert track.crossed == 2


def test_where_nothing_is_to_be_held_out_the_newest_is_shown(track: Track) -> None:
    some = replace(STROKES, judge="not at all", wanting={})
    fitted = track.entrant("fitted", right(5))
    for _ in range(2):
        trained = track.entrant("trained", right(5))
        finish = track.run(trained, fitted, strokes=some)
        assert finish.winner is trained
        assert finish.evaluation == Evaluation({1: None, 2: None}, None, 0, how="not at all")


def painted(counts: dict[int, int]) -> StrokeRegions:
    """Return so many regions of each class."""
    store, regions = empty_labels(SHAPE), StrokeRegions(0.2)
    for value, count in counts.items():
        for at in range(count):
            store[value % 3, 8 * at : 8 * at + 3, 10 * value : 10 * value + 6] = value
    regions.update(store.snapshot())
    return regions


def test_who_judges_and_what_is_wanting() -> None:
    def judges(held_out: float = 0.2, **counts: int) -> Strokes:
        numbers = {int(name[1:]): count for name, count in counts.items()}
        return Strokes.of(painted(numbers), changed=1, held_out=held_out)

    one = judges(c1=1, c2=1)
    assert (one.judge, one.wanting) == ("cross-validated", {1: 1, 2: 1})
    assert judges(c1=5, c2=2).judge == "cross-validated", "one class alone is no contest"
    rare = judges(c1=4, c2=3, c3=1)
    assert rare.judge == "held out", "a rare class does not keep the network away"
    assert rare.wanting[3] == 2
    assert rare.classes == (1, 2, 3)
    assert rare.few, "one stroke of each class tells too little to choose by"
    assert judges(c1=12, c2=4).few
    assert not judges(c1=12, c2=12).few
    none = judges(held_out=0.0, c1=4, c2=4)
    assert (none.judge, none.wanting) == ("not at all", {})


# -- the real learner ------------------------------------------------------------------------


def blocks(store: LabelStore, truth: np.ndarray, z: int) -> None:
    """Paint large patches of the true class."""
    for y in range(2, truth.shape[1] - 10, 16):
        for x in range(4, truth.shape[2] - 14, 19):
            here = (slice(z, z + 1), slice(y, y + 10), slice(x, x + 14))
            store[here] = truth[here]


def learner_of(store: LabelStore, noise: float = 0.5) -> Learner:
    """Return a learner on stripes."""
    volume = volume_of(stripes(SHAPE), noise=noise)
    learner = Learner(volume, NETWORK, LearningSettings(patch=64), device="cpu")
    learner.set_annotations(store.snapshot())
    return learner


def test_the_network_takes_over_where_it_is_better() -> None:
    store = empty_labels(SHAPE)
    for z in range(3):
        blocks(store, stripes(SHAPE), z)
    learner = learner_of(store, noise=6.0)
    learner.fit()
    first = learner.propose()
    assert first.verdict.shown == "fitted"
    assert first.evaluation.mean is not None
    shown = first.verdict
    for _ in range(12):
        for _ in range(10):
            learner.step()
        shown = learner.propose().verdict
        if shown.shown == "trained":
            break
    assert shown.accepted
    assert learner.shown is not None
    assert learner.shown.metrics["kind"] == "trained"
    assert learner.shown.metrics["mean_dice"] > first.evaluation.mean
    assert learner.shown.metrics["seconds"] > 0


def test_too_few_strokes_are_cross_validated() -> None:
    store = empty_labels(SHAPE)
    truth = stripes(SHAPE)
    for y in (4, 20, 36, 52):
        store[1, y : y + 3, 10:20] = truth[1, y : y + 3, 10:20]
    learner = learner_of(store)
    learner.fit()
    found = learner.propose()
    assert found.evaluation.how == "cross-validated"
    assert found.evaluation.strokes == {1: 2, 2: 2}
    assert found.evaluation.mean is not None
    assert found.evaluation.mean > 0.8
    assert learner.stroke_count == 4
    for y in (68, 84):
        store[0, y : y + 3, 10:20] = truth[0, y : y + 3, 10:20]
        store[2, y : y + 3, 10:20] = truth[2, y : y + 3, 10:20]
    learner.set_annotations(store.snapshot())
    learner.fit()
    assert learner.propose().evaluation.how == "held out"
    assert learner.stroke_count == 8


def test_scores_survive_in_the_metrics_of_a_model() -> None:
    store = empty_labels(SHAPE)
    for z in range(3):
        paint_bars(store, stripes(SHAPE), z)
    learner = learner_of(store)
    learner.fit()
    proposal = learner.propose()
    assert proposal.snapshot is not None
    assert proposal.evaluation.intervals
    assert Evaluation.from_metrics(proposal.snapshot.metrics) == proposal.evaluation
    old = {"mean_dice": 0.5, "dice": {"1": None, "2": 0.5}, "held_out_voxels": 7}
    assert Evaluation.from_metrics(old) == Evaluation({1: None, 2: 0.5}, 0.5, 7)
    assert Evaluation.from_metrics({}) is None


def test_a_fitted_model_goes_on_where_it_was_after_a_restart() -> None:
    store = empty_labels(SHAPE)
    paint_bars(store, stripes(SHAPE), 1)
    learner = learner_of(store)
    learner.fit()
    snapshot = learner.propose().snapshot
    assert snapshot is not None
    assert snapshot.metrics["kind"] == "fitted"
    other = learner_of(store)
    other.restore([snapshot])
    other.set_annotations(store.snapshot())
    assert other.seconds == snapshot.metrics["seconds"]
    kept = other.propose()
    assert kept.snapshot is None, "it answers the same"
    assert kept.verdict.shown == "fitted"
    assert kept.shown == learner.evaluate()


def test_a_fitted_head_answers_without_the_layers_what_it_answers_with_them() -> None:
    store, regions = empty_labels(SHAPE), StrokeRegions(0.0)
    paint_bars(store, stripes(SHAPE), 1)
    regions.update(store.snapshot())
    slabs = SlabCache(volume_of(stripes(SHAPE)), 0, 2**24)
    sites: list[Site] = find_sites(
        regions.points(held=False), SHAPE, budget=10**6, rng=np.random.default_rng(0)
    )
    torch.manual_seed(0)
    model = SegmentationModel(NETWORK, 1, (1, 2))
    torch.nn.init.normal_(model.head_weight)
    trainer = Trainer(model, LearningSettings(), [], restored=False, seed=0)
    trainer.fit(slabs, sites, [])
    fitted = dict(trainer.candidates())["fitted"]
    assert fitted.by_pixel
    found = evaluate_model(fitted, slabs, sites, (1, 2))
    logits, truth = probe(fitted, slabs, sites, picked(fitted.logits))
    chances = logits.softmax(1).double().numpy()
    expected = tally(
        regions_of(sites),
        truth,
        np.array([1, 2])[chances.argmax(1)],
        chances[np.arange(len(truth)), truth - 1],
        (1, 2),
    )
    assert np.array_equal(found.found, expected.found)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-3)
    assert sum(found.counts.values()) == sum(regions.strokes(held=False).values())
