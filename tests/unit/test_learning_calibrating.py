"""Models are kept to what a user knows of how common classes are; what is learned goes on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.support.memory import empty_labels, paint_bars, stripes, volume_of

from brushfire.errors import BrushfireError, LearningError, ModelError, SettingsError
from brushfire.learning import Learner, LearningSettings
from brushfire.learning.calibrating import Known, check_shares, completed, prior_of
from brushfire.networks import ModelSnapshot, NetworkSettings, SegmentationModel

if TYPE_CHECKING:
    from brushfire.annotations import LabelStore

SHAPE = (3, 96, 80)
PLAIN = NetworkSettings(depth=4, dilations=(1, 2), features=False)
FITTED = NetworkSettings(depth=4, dilations=(1, 2))
RARE = {2: 0.02}


def painted() -> LabelStore:
    store = empty_labels(SHAPE)
    paint_bars(store, stripes(SHAPE), 1)
    return store


def taught(network: NetworkSettings, store: LabelStore, **settings: object) -> Learner:
    """A learner that shows a first model, on classes that look alike."""
    volume = volume_of(stripes(SHAPE), noise=1.5)
    learner = Learner(volume, network, LearningSettings(patch=64, **settings), device="cpu")
    learner.set_annotations(store.snapshot())
    learner.fit()
    assert learner.propose().snapshot is not None
    return learner


def corrected(learner: Learner, store: LabelStore) -> ModelSnapshot:
    """The model that follows another stroke."""
    store[2, 4:8, 4:30] = 1
    store[2, 20:24, 4:30] = 2
    learner.set_annotations(store.snapshot())
    learner.fit()
    snapshot = learner.propose().snapshot
    assert snapshot is not None
    return snapshot


def shift_of(snapshot: ModelSnapshot) -> float:
    """By how much the second class is made likelier than the first."""
    first, second = SegmentationModel.from_snapshot(snapshot).prior_shift.tolist()
    return second - first


@given(st.dictionaries(st.integers(1, 4), st.floats(0.01, 0.2), max_size=4))
def test_what_is_not_said_shares_what_is_left(typed: dict[int, float]) -> None:
    estimated = {1: 0.5, 2: 0.3, 3: 0.2, 4: 0.0}
    found = completed(typed, estimated)
    assert sum(found.values()) == pytest.approx(1)
    assert min(found.values()) > 0
    if len(typed) < 4:
        assert all(found[value] == pytest.approx(share) for value, share in typed.items())
    left = [value for value in (1, 2) if value not in typed]
    if len(left) == 2:
        assert found[1] / found[2] == pytest.approx(5 / 3)


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ({1: 0.5, 2: -0.1}, "-10 % for pore"),
        ({2: 0.0}, "more than nothing"),
        ({2: math.nan}, "nan % for pore"),
        ({1: 0.5, 2: 0.6}, "110 %"),
        ({1: 0.5, 2: 0.3}, "80 %"),
        ({3: 0.1}, "class 3, which it does not know"),
    ],
)
def test_shares_that_cannot_be(shares: dict[int, float], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        check_shares(shares, (1, 2), {1: "wall", 2: "pore"})


def test_shares_of_some_classes_leave_something() -> None:
    with pytest.raises(SettingsError, match="without 1 of the classes"):
        check_shares({1: 0.5, 2: 0.5}, (1, 2, 3), {})
    check_shares({1: 0.333, 2: 0.333, 3: 0.333}, (1, 2, 3), {})


@pytest.mark.parametrize("network", [FITTED, PLAIN], ids=["features", "plain"])
def test_what_was_given_holds_for_later_models_and_is_undone(network: NetworkSettings) -> None:
    store = painted()
    learner = taught(network, store, held_out=0.0)
    first = learner.shown
    snapshot, told = learner.calibrate(RARE, "calibrated")
    assert snapshot.revision == first.revision + 1
    assert snapshot.metrics["reason"] == told.reason
    assert told.after[2] < told.before[2]
    assert told.shares == pytest.approx({1: 0.98, 2: 0.02})
    prior = prior_of(snapshot)
    wanted = math.log(0.02 / 0.98) - math.log(prior[2] / prior[1])
    assert shift_of(snapshot) == pytest.approx(wanted, abs=1e-4)
    assert learner.can_undo

    later = corrected(learner, store)
    assert Known.of(later) == Known(RARE, "calibrated")
    prior = prior_of(later)
    wanted = math.log(0.02 / 0.98) - math.log(prior[2] / prior[1])
    assert shift_of(later) == pytest.approx(wanted, abs=1e-4)

    assert learner.undo() is snapshot
    assert learner.undo() is first
    assert Known.of(learner.shown) is None


def test_an_estimate_holds_for_one_model() -> None:
    store = painted()
    learner = taught(FITTED, store)
    snapshot, told = learner.calibrate({}, "calibrated")
    assert told.typed == {}
    assert "Later models do without" in str(told)
    assert Known.of(snapshot) is None
    estimated = learner.proportions().estimated
    assert told.shares == pytest.approx(estimated)
    assert learner.evaluate().mean == pytest.approx(told.dice_after), "judged as it is shown"
    later = corrected(learner, store)
    assert Known.of(later) is None
    assert "shares" not in later.metrics


def test_a_second_stage_moves_the_last_layer_and_holds_for_later_models() -> None:
    store = painted()
    learner = taught(PLAIN, store)
    first = learner.shown
    snapshot, told = learner.calibrate(RARE, "second stage")
    before, after = (SegmentationModel.from_snapshot(one).state_dict() for one in (first, snapshot))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {"head_weight", "head_bias"} <= moved <= {"head_weight", "head_bias", "prior_shift"}
    assert told.after[2] < told.before[2]
    assert snapshot.metrics["mean_dice"] == told.dice_after is not None
    assert "Held-out Dice" in str(told)
    assert prior_of(snapshot) == pytest.approx({1: 0.98, 2: 0.02})
    # On top of it a shift begins from what the last layer takes for true by now.
    even, _ = learner.calibrate({1: 0.5}, "calibrated")
    assert shift_of(even) == pytest.approx(math.log(0.98 / 0.02), abs=1e-4)
    plain, told = learner.calibrate({}, "as learned")
    assert Known.of(plain) is None
    assert torch.equal(
        SegmentationModel.from_snapshot(plain).head_bias,
        SegmentationModel.from_snapshot(first).head_bias,
    )
    learner.calibrate(RARE, "second stage")
    later = corrected(learner, store)
    assert later.metrics["second_stage"]
    assert Known.of(later) == Known(RARE, "second stage")


def test_without_strokes_of_a_class_later_models_are_shifted_instead() -> None:
    store = painted()
    learner = taught(PLAIN, store, held_out=0.0)
    learner.calibrate(RARE, "second stage")
    store[2, 4:8, 4:30] = 3
    learner.set_annotations(store.snapshot())
    learner.fit()
    later = learner.propose().snapshot
    assert later.classes == (1, 2, 3)
    assert Known.of(later).shares == RARE


def test_what_cannot_be_changes_nothing() -> None:
    learner = taught(FITTED, painted())
    shown = learner.shown
    with pytest.raises(ModelError, match="last layer gives all classes"):
        learner.calibrate(RARE, "second stage")
    assert learner.shown is shown
    empty = Learner(volume_of(stripes(SHAPE)), PLAIN, LearningSettings(patch=64), device="cpu")
    for act in (empty.proportions, lambda: empty.calibrate({}, "calibrated")):
        with pytest.raises(ModelError, match="Start learning first"):
            act()
    # A model of before knows neither its prior nor strokes: nothing but the last layer needs any.
    whole = SegmentationModel(PLAIN, 1, (1, 2), mean=[1.5])
    empty.restore([whole.snapshot(3, {})])
    snapshot, told = empty.calibrate(RARE, "calibrated")
    assert shift_of(snapshot) == pytest.approx(math.log(0.02 / 0.98), abs=1e-4)
    assert (told.dice_before, told.dice_after) == (None, None)
    with pytest.raises(LearningError):
        empty.calibrate(RARE, "second stage")


def test_what_was_given_survives_another_network() -> None:
    volume, store = volume_of(stripes(SHAPE), noise=1.5), painted()
    learner = Learner(
        volume, PLAIN, LearningSettings(patch=64), device="cpu", known=Known(RARE, "calibrated")
    )
    learner.set_annotations(store.snapshot())
    learner.fit()
    assert Known.of(learner.propose().snapshot) == Known(RARE, "calibrated")


def test_shares_go_through_json() -> None:
    known = Known({1: np.float64(0.25).item()}, "second stage")
    model = SegmentationModel(PLAIN, 1, (1, 2)).snapshot(1, {"known": known.to_metrics()})
    assert Known.of(ModelSnapshot.from_bytes(model.weights)) == known
    assert issubclass(SettingsError, BrushfireError)
