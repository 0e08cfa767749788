"""What every way to learn to restore promises."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from tests.support.restoring import (
    as_volume,
    blobs,
    decibels,
    learner_for,
    network_for,
    restored_by,
)

from brushfire.errors import LearningError, ModelError
from brushfire.learning.reports import read_evaluation
from brushfire.learning.restoring.settings import WAYS
from brushfire.networks import ModelSnapshot
from brushfire.networks.rebuilding import model_of
from brushfire.networks.restoration import RestorationModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from brushfire.learning.restoring.learner import RestorationLearner
    from brushfire.learning.restoring.settings import Way

STEPS = 60


def data_for(way: Way) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return noisy, clean and the mean of the noisy ones."""
    clean, noisy = blobs(3 if way == "splits" else 1)
    return noisy, clean, noisy.mean(0)


def make(way: Way, **options: Any) -> RestorationLearner:
    noisy, clean, _ = data_for(way)
    return learner_for(way, noisy, clean if way == "pairs" else None, **options)


def model_from(snapshot: ModelSnapshot) -> RestorationModel:
    model = model_of(ModelSnapshot.from_bytes(snapshot.weights))
    assert isinstance(model, RestorationModel)
    return model


@pytest.mark.parametrize("way", WAYS)
def test_what_is_learned_is_nearer_to_the_truth(way: Way) -> None:
    noisy, clean, given = data_for(way)
    learner = make(way)
    learner.fit()
    first = learner.propose()
    assert first.snapshot is not None
    assert first.verdict.shown == "fitted"
    losses = [learner.step().loss for _ in range(STEPS)]
    assert np.isfinite(losses).all()
    proposal = learner.propose()
    assert proposal.snapshot is not None
    assert proposal.now.score > first.now.score
    assert learner.step_count == STEPS

    fitted, trained = (model_from(one.snapshot) for one in (first, proposal))
    volume = as_volume(noisy)
    of_fit, of_training = (
        decibels(restored_by(model, volume)[0], clean) for model in (fitted, trained)
    )
    assert of_fit > decibels(given, clean) + 1
    assert of_training > of_fit


@pytest.mark.parametrize("way", WAYS)
def test_held_out_slices_are_never_learned_from(way: Way) -> None:
    # Each voxel of a target says which slice it is of.
    values = np.broadcast_to(np.arange(12.0, dtype=np.float32)[:, None, None], (12, 64, 64))
    noisy = np.stack([values] * (3 if way == "splits" else 1))
    learner = learner_for(way, noisy, values if way == "pairs" else None, held_out=0.2)
    held = set(learner.held_out)
    assert len(held) == 2
    model, taught = learner._ready_trainer().average, set()
    for _ in range(60):
        lesson = learner._lessons.draw(model, 1, 48, learner._rng)
        known = lesson.target[lesson.weight > 0] * model.target_std + model.target_mean
        taught |= set(known.round().int().tolist())
    assert taught
    assert not taught & held
    assert len(taught) > 6


@pytest.mark.parametrize("way", WAYS)
def test_scores_are_of_held_out_slices_alone(way: Way) -> None:
    learner = make(way, held_out=0.2)
    model = learner._ready_trainer().average
    judged = learner._lessons.judged(model, 64, 10)
    assert len(judged) == len(learner.held_out)
    again = learner._lessons.judged(model, 64, 10)
    for one, other in zip(judged, again, strict=True):
        assert_array_equal(one.inputs, other.inputs)
        assert_array_equal(one.weight, other.weight)


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_learned_where_there_is_no_number(way: Way) -> None:
    noisy, clean, _ = data_for(way)
    y, x = np.indices(clean.shape[1:]) - 31.5
    outside = np.hypot(y, x) > 25
    broken = noisy.copy()
    broken[..., outside] = np.nan
    broken[0, 0, 30, 30] = np.inf
    target = clean.copy()
    target[:, outside] = np.nan
    learner = learner_for(way, broken, target if way == "pairs" else None, augment=False)
    model = learner._ready_trainer().average
    for _ in range(10):
        lesson = learner._lessons.draw(model, 1, 64, learner._rng)
        assert bool(lesson.inputs.isfinite().all())
        assert bool(lesson.target.isfinite().all())
        assert not bool(lesson.weight[..., torch.from_numpy(outside)].any())
        assert bool(lesson.weight.any())
    learner.fit()
    assert math.isfinite(learner.step().loss)
    assert learner.propose().snapshot is not None


@pytest.mark.parametrize("way", WAYS)
def test_a_loss_that_is_no_number_ends_at_the_last_good_model(way: Way) -> None:
    learner = make(way)
    learner.fit()
    good = learner.propose().snapshot
    assert good is not None
    learner._ready_trainer()._model.head_bias.data.fill_(math.nan)
    with pytest.raises(LearningError, match="The last good model is kept"):
        learner.step()
    assert learner.shown is good
    assert math.isfinite(learner.step().loss)
    assert_allclose(
        learner._ready_trainer().average.head_weight,
        model_from(good).head_weight.detach(),
        atol=0.05,
    )


@pytest.mark.parametrize("way", WAYS)
def test_going_back_and_going_on(way: Way) -> None:
    learner = make(way)
    learner.fit()
    proposed = learner.propose()
    first, first_found = proposed.snapshot, proposed.now
    for _ in range(40):
        learner.step()
    second = learner.propose()
    assert first is not None
    assert second.snapshot is not None
    assert second.snapshot.revision == first.revision + 1
    assert learner.can_undo
    assert learner.undo() is first
    assert not learner.can_undo
    assert learner.step_count == 0
    # What is no better than what was left is not shown.
    kept = learner.propose()
    assert kept.snapshot is None
    assert kept.now == first_found

    other = make(way)
    other.restore([first, second.snapshot])
    assert other.can_undo
    assert other.step_count == 40
    assert other.shown is second.snapshot
    assert other.evaluate() == read_evaluation(second.snapshot.metrics) == second.now
    other.fit()  # trained layers stay as they are
    assert other.evaluate() == second.now
    different = make(way, network=network_for(way, depth=4))
    with pytest.raises(ModelError, match="settings and channels"):
        different.restore([first])


@pytest.mark.parametrize("way", WAYS)
def test_memory_is_kept_to(way: Way) -> None:
    clean, noisy = blobs(3 if way == "splits" else 1, shape=(6, 160, 160))
    target = clean if way == "pairs" else None
    free = learner_for(way, noisy, target, patch=160)
    cost = free._ready_trainer().cost(
        free._lessons.draw(free._ready_trainer().average, 1, 160, free._rng)
    )
    learner = learner_for(way, noisy, target, patch=160, step_bytes=cost / 2)
    learner.step()
    assert learner._workload is not None
    assert 64 <= learner._workload.patch < 160
    learner.limit(math.inf)
    learner.step()
    assert learner._workload.patch == 160
    assert learner.shrink()
    assert learner._workload.patch == 80
    assert not learner.shrink()
    learner.limit(cost / 50)
    with pytest.raises(LearningError, match="fits into the memory"):
        learner.step()


def test_where_there_is_nothing_to_judge_by_the_newest_is_shown() -> None:
    clean, noisy = blobs()
    clean[4] = np.nan
    learner = learner_for("pairs", noisy, clean)
    assert learner.held_out == (4,)
    learner.fit()
    first = learner.propose()
    assert first.snapshot is not None
    assert read_evaluation(first.snapshot.metrics) is None
    learner.step()
    assert learner.propose().snapshot is not None


def test_slices_are_looked_at_in_squares_that_fit() -> None:
    clean, noisy = blobs(shape=(6, 256, 256))
    learner = learner_for("pairs", noisy, clean)
    model = learner._ready_trainer().average
    learner.fit()
    assert learner.propose().now.pixels == 256**2
    learner.limit(model.bytes_of(160, 160) + 1)
    judged = learner._lessons.judged(model, learner._side(), 4)
    assert {one.inputs.shape[2:] for one in judged} == {(144, 144)}
    assert learner.evaluate().pixels == 256**2


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scale", [1e-6, 1e8])
def test_units_and_offsets_do_not_matter(way: Way, scale: float) -> None:
    noisy, clean, given = data_for(way)
    target = scale * (clean - 3) if way == "pairs" else None
    learner = learner_for(way, scale * (noisy - 3), target)
    learner.fit()
    proposal = learner.propose()
    assert proposal.snapshot is not None
    found = restored_by(model_from(proposal.snapshot), as_volume(scale * (noisy - 3)))
    assert decibels(found[0] / scale + 3, clean) > decibels(given, clean) + 1


@pytest.mark.parametrize("way", WAYS)
def test_few_slices_are_divided_by_rows(way: Way) -> None:
    noisy, clean, _ = data_for(way)
    noisy, clean = noisy[:, :2], clean[:2]
    learner = learner_for(way, noisy, clean if way == "pairs" else None, augment=False)
    row = learner._lessons.divisions[0].row
    assert row == 48
    model = learner._ready_trainer().average
    for _ in range(10):
        lesson = learner._lessons.draw(model, 1, 64, learner._rng)
        assert bool(lesson.weight.any())
        assert not bool(lesson.weight[..., row:, :].any())
    assert learner.evaluate().held_out


def test_where_no_two_neighbours_teach_there_is_a_sentence() -> None:
    noisy, _, _ = data_for("neighbours")
    with pytest.raises(LearningError, match="slices to learn from"):
        learner_for("neighbours", noisy[:, :1])


def test_a_learner_takes_strokes_and_says_that_it_is_ready() -> None:
    learner = make("blind")
    assert learner.ready is None
    assert learner.stroke_count == 0
    assert not learner.settled


def test_a_single_slice_is_enough_to_learn_from_it_alone() -> None:
    noisy, _, _ = data_for("blind")
    learner = learner_for("blind", noisy[:, :1])
    learner.fit()
    learner.step()
    assert learner.propose().now.held_out
