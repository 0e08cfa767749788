"""Labelled voxels of other volumes, and what learning makes of them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from tests.support.memory import empty_labels, paint_bars, stripes, volume_of

from brushfire.errors import Cancelled, LearningError, ModelError
from brushfire.geometry import Box
from brushfire.learning import Learner, LearningSettings
from brushfire.learning.crossvalidation import cross_validate
from brushfire.learning.examples import MOST, Examples
from brushfire.learning.gate import mean_dice
from brushfire.learning.rehearsal import collect_examples
from brushfire.networks import NetworkSettings, SegmentationModel

if TYPE_CHECKING:
    from brushfire.annotations import LabelStore

SHAPE = (3, 96, 80)
NETWORK = NetworkSettings(depth=4, dilations=(1, 2))
LEARNING = LearningSettings(patch=64)


def some(count: int = 40, inputs: int = 5) -> Examples:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((count, inputs)).astype(np.float32)
    return Examples(features, (1 + np.arange(count) % 3).astype(np.uint8))


def both(found: Examples, wanted: Examples) -> None:
    np.testing.assert_array_equal(found.features, wanted.features)
    np.testing.assert_array_equal(found.classes, wanted.classes)


def test_they_come_back_from_bytes_as_they_were() -> None:
    both(Examples.from_bytes(some().to_bytes()), some())
    none = some().of(())
    both(Examples.from_bytes(none.to_bytes()), none)


def test_classes_get_other_values_and_those_without_one_are_left_out() -> None:
    found = some().renumbered({1: 3, 3: 1})
    assert found.counts == {1: some().counts[3], 3: some().counts[1]}
    np.testing.assert_array_equal(found.of([3]).features, some().of([1]).features)


def test_they_are_thinned_evenly_class_by_class() -> None:
    many = some(3 * MOST + 600)
    assert max(many.counts.values()) > MOST
    thin = many.thinned()
    assert set(thin.counts) == {1, 2, 3}
    assert MOST / 2 <= min(thin.counts.values()) <= max(thin.counts.values()) <= MOST
    assert some().thinned(1000).counts == some().counts
    assert len(some().of(()).thinned()) == 0


def test_joined_ones_are_all_there() -> None:
    assert len(some().joined(some())) == 2 * len(some())
    with pytest.raises(ModelError, match="5 and 6 features"):
        some().joined(some(inputs=6))


@pytest.mark.parametrize(
    ("features", "classes", "words"),
    [
        (np.zeros((2, 3), np.float32), np.zeros(3, np.uint8), "(3,)"),
        (np.zeros((2, 3), np.float64), np.ones(2, np.uint8), "float64"),
        (np.full((2, 3), np.nan, np.float32), np.ones(2, np.uint8), "NaN"),
        (np.zeros((2, 3), np.float32), np.array([0, 1], np.uint8), "from 0"),
        (np.zeros((2, 3), np.float32), np.array([1, 128], np.uint8), "to 128"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    features: np.ndarray, classes: np.ndarray, words: str
) -> None:
    with pytest.raises(ModelError) as found:
        Examples(features, classes)
    assert words in str(found.value)


@pytest.mark.parametrize("kept", [0, 4, 40, -3])
def test_a_file_that_was_cut_is_refused(kept: int) -> None:
    with pytest.raises(ModelError, match="as Brushfire wrote them"):
        Examples.from_bytes(some().to_bytes()[:kept])


def test_files_of_another_kind_or_a_newer_version_are_refused() -> None:
    arrays = {"features": some().features, "classes": some().classes}
    with pytest.raises(ModelError, match="as Brushfire wrote them"):
        Examples.from_bytes(save(arrays))
    newer = save(arrays, {"brushfire": '{"format": "brushfire-examples", "version": 2}'})
    with pytest.raises(ModelError, match="Update Brushfire"):
        Examples.from_bytes(newer)
    model = SegmentationModel(NETWORK, 1, (1, 2)).snapshot(1, {}).weights
    with pytest.raises(ModelError, match="another kind"):
        Examples.from_bytes(model)


@pytest.mark.parametrize("version", ["Infinity", "null", '"two"', "[" * 100_000])
def test_a_header_that_no_program_wrote_is_refused(version: str) -> None:
    about = '{"format": "brushfire-examples", "version": ' + version + "}"
    arrays = {"features": some().features, "classes": some().classes}
    with pytest.raises(ModelError, match="as Brushfire wrote them"):
        Examples.from_bytes(save(arrays, {"brushfire": about}))


# -------------------------------------------------------------------------- in learning
def thirds(scale: float = 1.0, offset: float = 0.0) -> np.ndarray:
    """Three bands of different grey, noisy: classes 1, 2 and 3 from the top."""
    rng = np.random.default_rng(0)
    rows = np.repeat([30.0, 120.0, 210.0], SHAPE[1] // 3)[None, :, None]
    return (scale * (rows + 6 * rng.standard_normal(SHAPE)) + offset).astype(np.float32)


def band(value: int) -> Box:
    top = (value - 1) * SHAPE[1] // 3
    return Box((1, top + 8, 10), (2, top + 20, 60))


def painted(*classes: int) -> LabelStore:
    store = empty_labels(SHAPE)
    for value in classes:
        box = band(value)
        store[box.slices] = np.full(box.shape, value, np.uint8)
    return store


@cache
def taught() -> Examples:
    """Examples of all three bands of one volume."""
    volume = volume_of(thirds())
    learner = Learner(volume, NETWORK, LEARNING, device="cpu")
    store = painted(1, 2, 3)
    learner.set_annotations(store.snapshot())
    learner.fit()
    snapshot = learner.propose().snapshot
    assert snapshot is not None
    return collect_examples(SegmentationModel.from_snapshot(snapshot), volume, store.snapshot())


def learner_with(
    examples: Examples, *classes: int, learning: LearningSettings = LEARNING
) -> Learner:
    """Return a learner of a volume of other intensities, where some classes are painted."""
    volume = volume_of(thirds(scale=3, offset=500))
    learner = Learner(volume, NETWORK, learning, device="cpu", examples=examples)
    learner.set_annotations(painted(*classes).snapshot())
    return learner


def found_by(learner: Learner) -> np.ndarray:
    learner.fit()
    snapshot = learner.propose().snapshot
    assert snapshot is not None
    model = SegmentationModel.from_snapshot(snapshot)
    block = thirds(scale=3, offset=500)[None, 1:2]
    return np.asarray(model.classes)[model.probabilities(block).argmax(0)][0]


def test_they_are_what_strokes_would_have_taught() -> None:
    found = taught()
    assert set(found.counts) == {1, 2, 3}
    brightness = [found.of([value]).features[:, 0].mean() for value in (1, 2, 3)]
    assert brightness[0] < brightness[1] - 0.5 < brightness[2] - 1


def test_classes_that_nobody_painted_here_are_told_from_those_of_another_volume() -> None:
    truth = np.repeat([1, 2, 3], SHAPE[1] // 3)[:, None]
    learner = learner_with(taught(), 2)
    assert learner.ready is None
    assert (found_by(learner) == truth).mean() > 0.95
    for _ in range(3):
        report = learner.step()
        assert np.isfinite(report.loss)
    assert learner.evaluate().how in ("cross-validated", "not at all")


def test_without_a_stroke_learning_waits_and_says_for_what() -> None:
    learner = learner_with(taught())
    assert learner.ready is not None
    assert "Paint a stroke" in learner.ready


def test_they_can_be_left_aside() -> None:
    aside = LearningSettings(patch=64, examples=False)
    learner = learner_with(taught(), 2, learning=aside)
    assert learner.ready is not None
    assert "second class" in learner.ready
    assert set(np.unique(found_by(learner_with(taught(), 1, 2, learning=aside)))) == {1, 2}


def test_a_network_that_sees_other_features_says_so() -> None:
    narrow = Examples(np.zeros((4, 3), np.float32), np.array([1, 1, 2, 2], np.uint8))
    with pytest.raises(LearningError, match="3 features for 21"):
        learner_with(narrow, 1, 2).fit()


def test_strokes_here_outweigh_examples_that_say_something_else() -> None:
    wrong = taught().renumbered({1: 2, 2: 1, 3: 3})
    found = found_by(learner_with(wrong, 1, 2, 3))
    assert (found[8:20, 10:60] == 1).mean() > 0.5


def test_every_cross_validated_fit_knows_them_and_none_is_asked_for_them() -> None:
    classes = np.repeat(np.array([1, 1, 2, 2], np.uint8), 20)
    regions = np.repeat(np.arange(4), 20)
    rng = np.random.default_rng(0)
    # Each region looks different from the other of its class: strokes alone tell nothing.
    looks = np.eye(4, dtype=np.float32)
    values = torch.from_numpy(3 * looks[regions] + 0.1 * rng.standard_normal((80, 4))).float()
    also = torch.from_numpy(np.repeat(3 * looks, 20, 0)), classes
    alone = cross_validate(values, classes, regions, (1, 2))
    helped = cross_validate(values, classes, regions, (1, 2), also=also)
    assert alone is not None
    assert helped is not None
    assert helped.voxels == alone.voxels
    assert float(mean_dice(helped)) > 0.95 > float(mean_dice(alone))


def test_a_small_stroke_is_taken_beside_slices_that_are_painted_all_over() -> None:
    shape = (4, 400, 400)
    store = empty_labels(shape)
    for z in range(4):
        store[z : z + 1] = np.tile(np.array([1, 2], np.uint8), (1, 400, 200))
    store[2:3, 200:204, 300:304] = np.full((1, 4, 4), 3, np.uint8)
    rng = np.random.default_rng(0)
    volume = volume_of(rng.standard_normal(shape).astype(np.float32))
    model = SegmentationModel(NETWORK, 1, (1, 2, 3), mean=[0], std=[1])
    counts = collect_examples(model, volume, store.snapshot()).counts
    assert counts[3] == 16
    assert MOST / 2 <= min(counts[1], counts[2]) <= max(counts.values()) <= MOST


def test_taking_them_ends_when_it_is_cancelled() -> None:
    volume = volume_of(thirds())
    model = SegmentationModel(NETWORK, 1, (1, 2), mean=[0], std=[1])
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 1

    store = painted(1, 2)
    store[0:1, 0:4, 0:4] = np.ones((1, 4, 4), np.uint8)
    with pytest.raises(Cancelled):
        collect_examples(model, volume, store.snapshot(), cancelled=cancelled)


def test_a_model_from_elsewhere_is_judged_by_what_it_tells_here() -> None:
    """It has seen no stroke of this volume: it is no twin of a fit that has."""
    store, swapped = empty_labels(SHAPE), empty_labels(SHAPE)
    for z in range(3):
        for value in (1, 2):
            for left in (2, 30, 58):
                top = (value - 1) * SHAPE[1] // 3 + 10
                place = slice(z, z + 1), slice(top, top + 4), slice(left, left + 16)
                store[place] = np.full((1, 4, 16), value, np.uint8)
                swapped[place] = np.full((1, 4, 16), 3 - value, np.uint8)
    learning = LearningSettings(patch=64, held_out=0.4)
    volume = volume_of(thirds())
    teacher = Learner(volume, NETWORK, learning, device="cpu")
    teacher.set_annotations(swapped.snapshot())
    teacher.fit()
    learned = teacher.propose().snapshot
    assert learned is not None
    wrong = SegmentationModel.from_snapshot(learned)
    learner = Learner(volume, NETWORK, learning, device="cpu")
    learner.restore([wrong.snapshot(1, {"started_from": "elsewhere"})])
    learner.set_annotations(store.snapshot())
    learner.fit()
    proposal = learner.propose()
    assert proposal.now.how == "held out"
    assert proposal.snapshot is not None
    assert proposal.snapshot.metrics["mean_dice"] > 0.9
    assert not proposal.verdict.reason.startswith("Kept")


def test_nothing_can_be_taken_without_features_or_strokes() -> None:
    volume = volume_of(stripes(SHAPE))
    store = empty_labels(SHAPE)
    model = SegmentationModel(NETWORK, 1, (1, 2), mean=[0], std=[1])
    with pytest.raises(LearningError, match="without strokes"):
        collect_examples(model, volume, store.snapshot())
    paint_bars(store, stripes(SHAPE), 1)
    plain = SegmentationModel(NetworkSettings(depth=4, features=False), 1, (1, 2))
    with pytest.raises(ModelError, match="intensities only"):
        collect_examples(plain, volume, store.snapshot())
