"""Which start fits, what it was worth, and what is still known of it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from tests.support.memory import empty_labels, paint_bars, stripes, volume_of

from brushfire.errors import Cancelled, LearningError
from brushfire.learning import Learner, LearningSettings
from brushfire.learning.rehearsal import collect_examples
from brushfire.learning.reports import Remembered, Worth
from brushfire.learning.transfer.forgetting import Memory
from brushfire.learning.transfer.ranking import StartScores
from brushfire.learning.transfer.strategies import StartSettings
from brushfire.learning.transfer.weights import started
from brushfire.learning.transfer.worth import measure_worth
from brushfire.networks import ModelSnapshot, NetworkSettings, SegmentationModel

if TYPE_CHECKING:
    from brushfire.annotations import AnnotationSnapshot
    from brushfire.learning.examples import Examples
    from brushfire.volumes import Volume

SHAPE = (3, 96, 96)
NETWORK = NetworkSettings(depth=4, dilations=(1, 2))
PLAIN = replace(NETWORK, features=False)
LEARNING = LearningSettings(patch=64, held_out=0.4)


def hidden(seed: int) -> tuple[Volume, AnnotationSnapshot]:
    """Two classes in stripes, in noise so strong that single pixels tell little; painted bars."""
    truth = stripes(SHAPE)
    volume = volume_of(truth, seed=seed, noise=2.5)
    store = empty_labels(SHAPE)
    for z in range(3):
        paint_bars(store, truth, z)
    return volume, store.snapshot()


@cache
def learned() -> tuple[ModelSnapshot, Examples]:
    """A model, and what strokes taught it, of one volume."""
    volume, labels = hidden(1)
    learner = Learner(volume, NETWORK, LEARNING, device="cpu")
    learner.set_annotations(labels)
    learner.fit()
    snapshot = learner.propose().snapshot
    assert snapshot is not None
    model = SegmentationModel.from_snapshot(snapshot)
    return snapshot, collect_examples(model, volume, labels)


def test_layers_that_know_the_classes_score_better_than_those_that_know_nothing() -> None:
    volume, labels = hidden(2)
    scores = StartScores(volume, labels)
    torch.manual_seed(0)
    blind = SegmentationModel(PLAIN, 1, (1, 2))
    knowing = SegmentationModel(PLAIN, 1, (1, 2))
    with torch.no_grad():  # a mean over many pixels along the stripes, as its last map
        for weight in knowing.layers.weights:
            weight.zero_()
            weight[0, -1, 1] = 1 / 3
    low, high, scratch = scores.of(blind), scores.of(knowing), scores.scratch
    mine = scores.of(SegmentationModel.from_snapshot(learned()[0]))
    assert low is not None
    assert high is not None
    assert mine is not None
    assert scratch is not None
    assert 0 < low.dice < high.dice <= 1
    assert mine.dice >= scratch - 0.05
    for score in (low, high, mine):
        assert score.gain is not None
        assert score.gain[0] <= score.gain[1]
        assert score.gain[0] <= score.dice - scratch + 0.02
        assert score.gain[1] >= score.dice - scratch - 0.02


def test_without_two_strokes_of_a_class_or_for_other_channels_there_is_no_score() -> None:
    volume, _ = hidden(2)
    store = empty_labels(SHAPE)
    assert StartScores(volume, store.snapshot()).scratch is None
    store[1:2, 4:8, 4:8] = np.ones((1, 4, 4), np.uint8)
    assert StartScores(volume, store.snapshot()).scratch is None
    _, labels = hidden(2)
    other = SegmentationModel(PLAIN, 2, (1, 2))
    assert StartScores(volume, labels).of(other) is None


def test_what_a_start_is_worth_is_said_with_both_figures() -> None:
    volume, labels = hidden(3)
    snapshot, examples = learned()
    told: list[tuple[int, int]] = []
    worth = measure_worth(
        volume, NETWORK, LEARNING, labels, weights=snapshot, examples=examples, steps=2,
        step_bytes=2**30, progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert told == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert worth.steps == 2
    assert worth.strokes >= 4
    assert 0.3 < worth.started <= 1
    assert 0.3 < worth.scratch <= 1
    assert f"{worth.scratch:.3f} from scratch" in str(worth)


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((0.02, 0.2), "The start helps"),
        ((-0.2, -0.01), "The start does harm"),
        ((-0.003, 0.002), "The start makes no difference"),
        ((-0.05, 0.2), "The strokes cannot tell yet whether the start helps"),
        (None, "The strokes cannot tell yet whether the start helps"),
    ],
)
def test_the_sentence_says_which_way_it_went_only_where_strokes_can_tell(
    interval: tuple[float, float] | None, said: str
) -> None:
    sentence = str(Worth(0.8, 0.75, steps=10, strokes=5, interval=interval))
    assert sentence.startswith(f"{said}: Dice 0.800")
    assert ("at 90 %" in sentence) == (interval is not None)


def test_measuring_ends_when_cancelled_and_says_when_strokes_are_too_few() -> None:
    volume, labels = hidden(3)
    about = {"weights": learned()[0], "examples": None, "steps": 3, "step_bytes": 2**30}
    with pytest.raises(Cancelled):
        measure_worth(volume, NETWORK, LEARNING, labels, cancelled=lambda: True, **about)
    store = empty_labels(SHAPE)
    with pytest.raises(LearningError, match="too few strokes"):
        measure_worth(volume, NETWORK, LEARNING, store.snapshot(), **about)
    store[1:2, 2:5, 2:20] = np.ones((1, 3, 18), np.uint8)
    store[1:2, 20:23, 2:20] = np.full((1, 3, 18), 2, np.uint8)
    with pytest.raises(LearningError, match="some more strokes of each class"):
        measure_worth(volume, NETWORK, LEARNING, store.snapshot(), **about)


def test_layers_that_were_taken_over_are_what_learning_begins_with() -> None:
    volume, labels = hidden(4)
    torch.manual_seed(1)
    source = SegmentationModel(PLAIN, 1, (1, 2))
    start = StartSettings("lower", 2)
    model, _ = started(source, start, channels=1, classes=(1, 2), mean=[1.5], std=[1.0])
    weights = model.snapshot(0, {"answers": False})
    learner = Learner(volume, PLAIN, LEARNING, device="cpu", weights=weights)
    learner.set_annotations(labels)
    learner.fit()
    snapshot = learner.propose().snapshot
    assert snapshot is not None
    found = SegmentationModel.from_snapshot(snapshot)
    assert torch.equal(found.layers.weights[0], source.layers.weights[0])
    assert found.head_weight[:, 1:].any(), "all maps have a say: they know something"


def test_what_is_kept_apart_is_asked_and_not_learned() -> None:
    snapshot, examples = learned()
    taught, kept = examples.split(5)
    assert len(taught) + len(kept) == len(examples)
    assert set(kept.counts) == {1, 2}
    assert len(kept) == pytest.approx(len(examples) / 5, abs=3)
    model = SegmentationModel.from_snapshot(snapshot)
    memory = Memory(kept, None, snapshot, taught)
    found = memory.ask(model)
    assert found is not None
    assert found.at_start is not None
    assert 0.3 < found.at_start <= found.dice, "that model has learned what is asked"
    assert Memory(kept, None, snapshot).ask(model).at_start is None
    assert found.voxels == len(kept)
    assert model.pixels is not None
    model.pixels.machine.weight.neg_()
    model.pixels.machine.bias.neg_()
    model.pixels.trees.votes.zero_()
    forgot = memory.ask(model)
    assert forgot is not None
    assert forgot.dice < found.dice
    assert forgot.at_start == found.at_start
    assert Remembered.from_metrics(forgot.to_metrics()) == forgot
    assert memory.ask(SegmentationModel(PLAIN, 1, (1, 2))) is None


def test_a_shown_model_says_what_it_still_knows_of_its_start() -> None:
    volume, labels = hidden(5)
    snapshot, examples = learned()
    learner = Learner(
        volume, NETWORK, LEARNING, device="cpu", examples=examples, weights=snapshot
    )  # fmt: skip
    learner.set_annotations(labels)
    learner.fit()
    shown = learner.propose().snapshot
    assert shown is not None
    found = Remembered.from_metrics(shown.metrics["before"])
    assert found is not None
    assert 0.5 < found.dice <= 1
    assert found.at_start is not None
