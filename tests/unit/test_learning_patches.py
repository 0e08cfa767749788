"""Crops of other volumes: their file, how they are taken, replayed and asked for."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from tests.support.memory import empty_labels, paint_bars, stripes

from brushfire.errors import Cancelled, ModelError
from brushfire.learning import Learner, LearningSettings
from brushfire.learning.patches import (
    CROP_BYTES,
    FILE_BYTES,
    MOST_BYTES,
    Crop,
    Patches,
    classes_along,
)
from brushfire.learning.rehearsal import collect_examples
from brushfire.learning.replay import Replay, collect_patches, divided
from brushfire.learning.reports import FORGOT, Remembered
from brushfire.learning.transfer.forgetting import Memory
from brushfire.networks import ModelSnapshot, NetworkSettings, SegmentationModel
from brushfire.volumes import open_volume

if TYPE_CHECKING:
    from brushfire.annotations import AnnotationSnapshot
    from brushfire.volumes import Volume

SHAPE = (3, 96, 80)
PLAIN = NetworkSettings(depth=3, dilations=(1, 2), features=False)
WITH_FEATURES = replace(PLAIN, features=True)
LEARNING = LearningSettings(patch=48, held_out=0.4)


def crop(
    *values: int, side: int = 8, asked: bool = False, channels: int = 1, slices: int = 1
) -> Crop:
    """A crop of noise, a row of each class, the first at the top."""
    rng = np.random.default_rng(side)
    block = rng.standard_normal((channels, slices, side, side + 1)).astype(np.float16)
    labels = np.zeros((side, side + 1), np.uint8)
    for row, value in enumerate(values):
        labels[row] = value
    return Crop(block, labels, asked)


def same(found: Patches | None, wanted: Patches) -> None:
    assert found is not None
    assert len(found) == len(wanted)
    for one, other in zip(found.crops, wanted.crops, strict=True):
        np.testing.assert_array_equal(one.intensities, other.intensities)
        np.testing.assert_array_equal(one.labels, other.labels)
        assert one.asked == other.asked


# ------------------------------------------------------------------------------- the file
SOME = Patches((crop(1, 2), crop(3, side=5), crop(1, asked=True)))


def test_they_come_back_from_bytes_as_they_were_and_with_their_start_only() -> None:
    same(Patches.from_bytes(SOME.to_bytes()), SOME)
    deep = Patches((crop(1, channels=2, slices=3), crop(2, channels=2, slices=3, asked=True)))
    same(Patches.from_bytes(deep.to_bytes("abc"), "abc"), deep)
    assert Patches.from_bytes(deep.to_bytes("abc"), "another") is None


@pytest.mark.parametrize(
    ("crops", "words"),
    [
        ((), "none"),
        ((replace(crop(1), intensities=np.zeros((1, 1, 8, 9), np.float32)),), "float32"),
        ((replace(crop(1), intensities=np.zeros((1, 1, 8, 8), np.float16)),), "(1, 1, 8, 8)"),
        ((crop(1), crop(1, slices=3)), "(1, 3, 8, 9)"),
        ((replace(crop(1), intensities=np.full((1, 1, 8, 9), np.nan, np.float16)),), "NaN"),
        ((crop(),), "up to 0"),
        ((crop(128),), "up to 128"),
        ((crop(1, side=1024),), f"more than {CROP_BYTES}"),
    ],
)
def test_what_does_not_belong_together_is_refused(crops: tuple[Crop, ...], words: str) -> None:
    with pytest.raises(ModelError) as found:
        Patches(crops)
    assert words in str(found.value)


@pytest.mark.parametrize("kept", [0, 4, 40, -3])
def test_a_file_that_was_cut_is_refused(kept: int) -> None:
    with pytest.raises(ModelError, match="as Brushfire"):
        Patches.from_bytes(SOME.to_bytes()[:kept])


def file_with(about: str = "", **changed: np.ndarray) -> bytes:
    arrays = {
        "intensities": np.zeros(8, np.float16),
        "labels": np.ones(4, np.uint8),
        "shapes": np.array([[2, 2]], np.int32),
        "asked": np.zeros(1, np.uint8),
    }
    start = '"format": "brushfire-patches", "version": 1, "start": "", '
    about = about or "{" + start + '"channels": 1, "slices": 2}'
    return save(arrays | changed, {"brushfire": about})


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"labels": np.ones(5, np.uint8)}, "crops of 4 pixels"),
        ({"intensities": np.zeros(4, np.float16)}, "crops of 4 pixels"),
        ({"intensities": np.full(8, np.inf, np.float16)}, "infinity"),
        ({"intensities": np.zeros(8, np.float32)}, "another kind"),
        ({"shapes": np.array([[-2, -2]], np.int32)}, "shapes"),
        ({"shapes": np.array([[2**31 - 1, 2**31 - 1]], np.int32)}, "pixels"),
        ({"shapes": np.array([2, 2], np.int32)}, "shapes"),
        ({"asked": np.zeros(2, np.uint8)}, "shapes"),
        ({"more": np.zeros(2, np.uint8)}, "another kind"),
    ],
)
def test_tensors_that_do_not_agree_are_refused(changed: dict, words: str) -> None:
    assert len(Patches.from_bytes(file_with()) or ()) == 1
    with pytest.raises(ModelError, match="as Brushfire") as found:
        Patches.from_bytes(file_with(**changed))
    assert words in str(found.value)


@pytest.mark.parametrize(
    "about",
    [
        '{"format": "brushfire-patches", "version": Infinity}',
        '{"format": "brushfire-patches", "version": ' + "[" * 100_000 + "}",
        '{"format": "brushfire-patches", "version": 1, "channels": "1", "slices": 2}',
        '{"format": "brushfire-patches", "version": 1, "channels": -1, "slices": -2}',
        '{"format": "brushfire-examples", "version": 1}',
        "[]",
    ],
)
def test_a_header_that_no_program_wrote_is_refused(about: str) -> None:
    with pytest.raises(ModelError, match="as Brushfire"):
        Patches.from_bytes(file_with(about))


def test_a_newer_or_too_large_file_or_one_of_another_kind_is_refused() -> None:
    with pytest.raises(ModelError, match="Update Brushfire"):
        Patches.from_bytes(file_with('{"format": "brushfire-patches", "version": 2}'))
    with pytest.raises(ModelError, match=f"more than {FILE_BYTES}"):
        Patches.from_bytes(bytes(FILE_BYTES + 1))
    model = SegmentationModel(PLAIN, 1, (1, 2)).snapshot(1, {}).weights
    with pytest.raises(ModelError, match="as Brushfire"):
        Patches.from_bytes(model)


def test_what_is_joined_stays_within_its_bytes_and_keeps_both_kinds() -> None:
    large = Patches(tuple(crop(1, side=500, asked=asked) for asked in (False, True) * 12))
    joined = large.joined(large).joined(SOME)
    assert joined.nbytes < 1.5 * MOST_BYTES < FILE_BYTES
    taught, asked = joined.taught, joined.asked
    assert taught is not None
    assert asked is not None
    assert len(taught) > 10
    assert sum(one.labels.size for one in asked.crops) <= 500_000
    assert large.joined(Patches((crop(1, slices=3),))) is large


def test_classes_get_other_values_and_crops_without_one_are_left_out() -> None:
    found = SOME.renumbered({1: 4, 3: 1})
    assert found is not None
    assert found.counts == {1: SOME.counts[3], 4: SOME.counts[1]}
    assert len(SOME.of((3,)) or ()) == 1
    assert SOME.of((9,)) is None


# ----------------------------------------------------------------------------- in learning
OLD, NEW = (1, 0), (-1, 1)
"""What of each channel tells the classes apart: the first alone, or the second better than that."""


def scene(seed: int, tells: tuple[int, int], *classes: int) -> tuple[Volume, AnnotationSnapshot]:
    """Two classes in stripes, both painted by default, seen in two channels."""
    truth = stripes(SHAPE)
    rng = np.random.default_rng(seed)
    values = [way * 10.0 * truth + rng.standard_normal(SHAPE) for way in tells]
    volume = open_volume(np.stack(values).astype(np.float32), axes="czyx", voxel_size=(1, 1, 1))
    store = empty_labels(SHAPE)
    for z in range(3):
        paint_bars(store, truth, z)
    for value in {1, 2} - set(classes or (1, 2)):
        store.replace(value, 0)
    return volume, store.snapshot()


@cache
def learned(network: NetworkSettings) -> tuple[ModelSnapshot, Patches]:
    """A model of a volume, and crops of it."""
    volume, labels = scene(1, OLD)
    learner = Learner(volume, network, LEARNING, device="cpu")
    learner.set_annotations(labels)
    learner.fit()
    for _ in range(10):
        learner.step()
    snapshot = learner.propose().snapshot
    assert snapshot is not None
    model = SegmentationModel.from_snapshot(snapshot)
    regions = divided(snapshot.metrics, labels)
    assert set(map(tuple, snapshot.metrics["held_out_regions"])) <= set(regions.seeds)
    patches = collect_patches(model, volume, labels, regions, side=48)
    assert patches is not None
    return snapshot, patches


def learner_of(network: NetworkSettings, *, replay: float) -> Learner:
    """A learner that starts from that model; another channel tells the classes apart here."""
    volume, labels = scene(2, NEW)
    snapshot, patches = learned(network)
    model = SegmentationModel.from_snapshot(snapshot)
    statistics = volume.statistics()
    model.normalise_by(statistics.mean, statistics.std)
    start = model.snapshot(1, {"started_from": "scene"})
    learning = replace(LEARNING, replay=replay, learning_rate=0.02, average=0.8, trees=False)
    learner = Learner(volume, network, learning, device="cpu", patches=patches, weights=start)
    learner.restore([start])
    learner.set_annotations(labels)
    learner.fit()
    return learner


def test_what_is_asked_for_is_not_replayed() -> None:
    volume, labels = scene(1, OLD)
    snapshot, patches = learned(PLAIN)
    assert patches.taught is not None
    assert patches.asked is not None
    regions = divided(snapshot.metrics, labels)
    assert patches.asked.counts.keys() == {1, 2}
    for value, count in patches.asked.counts.items():
        assert count <= regions.counts(held=True)[value]
    wide = collect_patches(
        SegmentationModel.from_snapshot(snapshot), volume, labels, regions, side=96
    )
    assert wide is not None
    assert wide.taught is not None
    assert wide.asked is not None
    for held, part in ((False, wide.taught), (True, wide.asked)):
        assert part.counts == regions.counts(held=held), "a crop shows a whole slice here"


def test_taking_crops_ends_when_it_is_cancelled_and_gives_none_without_strokes() -> None:
    volume, labels = scene(1, OLD)
    model = SegmentationModel.from_snapshot(learned(PLAIN)[0])
    with pytest.raises(Cancelled):
        collect_patches(model, volume, labels, divided({}, labels), side=48, cancelled=lambda: True)
    none = empty_labels(SHAPE).snapshot()
    assert collect_patches(model, volume, none, divided({}, none), side=48) is None


def test_steps_replay_at_the_share_that_is_set_with_intensities_of_this_volume() -> None:
    snapshot, patches = learned(PLAIN)
    taught = patches.taught
    assert taught is not None
    replay = Replay(taught, 0.25, 0)
    assert [step for step in range(9) if replay.due(step, (1, 2))] == [3, 7]
    assert not any(replay.due(step, (9,)) for step in range(9))
    model = SegmentationModel.from_snapshot(snapshot)
    model.normalise_by([50.0] * 2, [10.0] * 2)
    drawn = replay.draw(4, 32, model, vary=False)
    assert {one.labels.shape for one in drawn} == {(32, 32)}
    assert all(one.labels.any() for one in drawn)
    seen = np.concatenate([one.intensities.ravel() for one in drawn])
    assert 40 < seen.mean() < 60
    mixed = Replay(Patches((crop(1, 2, channels=2), crop(1, 2, side=20, channels=2))), 0.5, 0)
    for one in mixed.draw(6, 32, model, vary=True):
        assert one.labels.any()
        assert one.intensities.shape[2:] == one.labels.shape
    assert len({one.labels.shape for one in mixed.draw(6, 32, model, vary=False)}) == 1


def test_a_network_that_replays_forgets_less() -> None:
    asked = learned(PLAIN)[1].asked
    found = {}
    for share in (0.0, 0.5):
        learner = learner_of(PLAIN, replay=share)
        for _ in range(110):
            learner.step()
        found[share] = Memory(None, asked, None).ask(learner._ready_trainer().average)
    assert found[0.5].dice > found[0.0].dice + FORGOT
    assert found[0.5].whole


def test_the_layers_beside_features_replay_too() -> None:
    learner = learner_of(WITH_FEATURES, replay=0.5)
    learner.step()
    before = [one.clone() for one in learner._ready_trainer()._model.layers.parameters()]
    assert learner._replay is not None
    assert learner._replay.due(1, (1, 2))
    assert np.isfinite(learner.step().loss)
    after = learner._ready_trainer()._model.layers.parameters()
    assert not all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_a_shown_model_says_what_it_knows_of_both_volumes_and_what_the_start_knew() -> None:
    learner = learner_of(PLAIN, replay=0.0)
    for _ in range(110):
        learner.step()
    shown = learner.propose().snapshot
    assert shown is not None
    found = Remembered.from_metrics(shown.metrics["before"])
    assert found is not None
    assert found.at_start is not None
    assert found.here is not None
    assert found.here_at_start is not None
    assert found.at_start > 0.9 > found.here_at_start, "the first channel misleads here"
    assert found.here > found.here_at_start
    assert found.margin >= FORGOT
    assert found.forgot == (found.dice < found.at_start - found.margin)
    assert found.line("foam").startswith("On foam, where it came from: ")
    assert f"; here: {found.here:.2f} (" in found.line("foam")


def test_a_start_with_crops_knows_their_classes_without_features() -> None:
    snapshot, patches = learned(PLAIN)
    known = classes_along(None, patches, snapshot, PLAIN, LEARNING)
    assert known == {1, 2}
    off = replace(LEARNING, replay=0.0)
    assert classes_along(None, patches, snapshot, PLAIN, off) == frozenset()
    assert classes_along(None, patches, None, PLAIN, LEARNING) == frozenset()
    assert classes_along(None, patches, snapshot, WITH_FEATURES, LEARNING) == frozenset()
    volume, _ = scene(2, NEW)
    learner = Learner(volume, PLAIN, LEARNING, device="cpu", patches=patches, weights=snapshot)
    learner.restore([snapshot])
    assert "where the prediction is wrong" in (learner.ready or "")
    learner.set_annotations(scene(2, NEW, 1)[1])
    assert learner.ready is None
    learner.fit()
    for _ in range(8):
        learner.step()
    found = learner._ready_trainer().average
    assert found.classes == (1, 2)
    assert torch.isfinite(learner._shift(found)).all()


def test_crops_of_other_slices_are_left_aside_and_nothing_is_asked() -> None:
    volume, labels = scene(2, NEW)
    deep = Patches((crop(1, 2, slices=3, channels=2), crop(1, slices=3, channels=2, asked=True)))
    learner = Learner(volume, PLAIN, LEARNING, device="cpu", patches=deep)
    learner.set_annotations(labels)
    learner.fit()
    for _ in range(4):
        learner.step()
    shown = learner.propose().snapshot
    assert shown is not None
    assert "before" not in shown.metrics
    assert Memory(None, deep.asked, None).ask(SegmentationModel(PLAIN, 2, (1, 2))) is None


def test_voxels_of_asked_strokes_are_not_among_the_examples() -> None:
    volume, labels = scene(1, OLD)
    snapshot, _ = learned(WITH_FEATURES)
    model = SegmentationModel.from_snapshot(snapshot)
    regions = divided(snapshot.metrics, labels)
    some = collect_examples(model, volume, labels, regions)
    taught = sum(regions.counts(held=False).values())
    assert len(some) <= taught < sum(one.voxels for one in labels.counts().values())


@pytest.mark.parametrize(("dice", "warned"), [(0.84, False), (0.80, False), (0.70, True)])
def test_who_loses_much_of_what_was_known_is_told_so(dice: float, warned: bool) -> None:
    found = Remembered(dice, 0.84, 100, whole=True)
    assert found.forgot == warned
    assert bool(found.warning("foam")) == warned
    if warned:
        assert "0.14 less" in found.warning("foam")
    assert Remembered(dice, None, 100).warning("foam") == ""
    assert Remembered(dice, 0.84, 100, margin=0.2).warning("foam") == "", "few were asked for"
    assert Remembered.from_metrics(found.to_metrics()) == found
    assert Remembered.from_metrics({"dice": 0.5, "at_start": None}) == Remembered(0.5, None, 0)


def test_a_model_that_knows_fewer_classes_is_asked_for_those_and_compared_on_them() -> None:
    snapshot, patches = learned(PLAIN)
    model = SegmentationModel.from_snapshot(snapshot)
    memory = Memory(None, patches.asked, snapshot)
    whole = memory.ask(model)
    fewer = memory.ask(model.with_classes((1, 3)))
    assert whole is not None
    assert fewer is not None
    assert patches.asked is not None
    assert fewer.voxels == patches.asked.counts[1] < whole.voxels
    assert whole.at_start == whole.dice
    assert not whole.forgot
    assert memory.ask(SegmentationModel(PLAIN, 2, (8, 9))) is None
