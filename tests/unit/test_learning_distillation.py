"""A student learns what its teacher says; what cannot be is told in a sentence."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.memory import empty_labels, paint_bars, stripes, volume_of

from brushfire.errors import BrushfireError, Cancelled
from brushfire.geometry import Box
from brushfire.learning.distillation import (
    DistillationSettings,
    Distiller,
    distil,
    softened_loss,
)
from brushfire.learning.tuition import Tuition
from brushfire.networks import NetworkSettings, SegmentationModel
from brushfire.volumes import open_volume

SHAPE = (4, 96, 80)
SMALL = NetworkSettings(depth=3, dilations=(1, 2), features=False)
FAST = DistillationSettings(steps=80, patch=64, learning_rate=2e-2)


def teacher_of(channels: int = 1, classes: tuple[int, ...] = (1, 2)) -> SegmentationModel:
    """A teacher that looks at a few pixels: class 1 where they are dark, 2 where they are bright.

    Its input is one map after the other; the last layer weighs the first, which is the input.
    """
    settings = NetworkSettings(depth=5, dilations=(1, 2, 4), features=False)
    model = SegmentationModel(settings, channels, classes, mean=[1.5] * channels)
    with torch.no_grad():
        for index in range(len(classes)):
            model.head_weight[index, 0] = 6.0 * (index - 0.5)
    return model.requires_grad_(False).eval()


def test_a_student_agrees_with_its_teacher_where_it_was_not_taught() -> None:
    volume = volume_of(stripes(SHAPE), noise=0.1)
    student, report = distil(teacher_of(), volume, SMALL, None, FAST)
    assert student.settings == SMALL
    assert student.classes == (1, 2)
    assert report.steps == 80
    assert report.agreement is not None
    assert report.agreement > 0.97
    assert report.alike > 0.97
    assert set(report.dice) == {1, 2}
    assert 0 < report.student_weights < report.teacher_weights
    assert report.faster == report.teacher_speed / report.student_speed > 0
    assert 0 < student.halo <= student.safe_halo
    assert not student.training


def test_the_same_seed_gives_the_same_student_and_the_teacher_stays() -> None:
    volume, teacher = volume_of(stripes(SHAPE), noise=0.1), teacher_of()
    before = teacher.snapshot(1, {}).weights
    short = DistillationSettings(steps=5, patch=64)
    one, _ = distil(teacher, volume, SMALL, None, short)
    other, _ = distil(teacher, volume, SMALL, None, short)
    assert one.snapshot(1, {}).weights == other.snapshot(1, {}).weights
    assert teacher.snapshot(1, {}).weights == before


def test_strokes_have_their_say() -> None:
    truth = stripes(SHAPE)
    store = empty_labels(SHAPE)
    paint_bars(store, 3 - truth, 1)  # the teacher says otherwise
    paint_bars(store, 3 - truth, 2)
    volume = volume_of(truth, noise=0.1)
    strokes = DistillationSettings(steps=80, patch=64, learning_rate=2e-2, mix=1.0)
    _, report = distil(teacher_of(), volume, SMALL, store.snapshot(), strokes)
    assert report.agreement is not None
    assert report.agreement < 0.5
    _, report = distil(teacher_of(), volume, SMALL, None, strokes)
    assert report.agreement is not None
    assert report.agreement > 0.97


def test_a_teacher_and_a_student_may_see_several_slices() -> None:
    volume = volume_of(stripes(SHAPE), noise=0.1)
    student = NetworkSettings(depth=2, slices=3, features=False)
    made, report = distil(
        teacher_of(), volume, student, None, DistillationSettings(steps=2, patch=64)
    )
    assert made.context == 1
    assert report.steps == 2


def test_it_ends_when_it_is_asked_to() -> None:
    seen: list[tuple[int, int]] = []
    with pytest.raises(Cancelled):
        distil(
            teacher_of(),
            volume_of(stripes(SHAPE)),
            SMALL,
            None,
            DistillationSettings(steps=1000, patch=64),
            progress=lambda done, total: seen.append((done, total)),
            cancelled=lambda: len(seen) >= 3,
        )
    assert seen == [(0, 100)] * 3


def test_it_ends_when_time_is_up() -> None:
    settings = DistillationSettings(steps=10**6, seconds=1e-3, patch=64)
    _, report = distil(teacher_of(), volume_of(stripes(SHAPE)), SMALL, None, settings)
    assert report.steps < 10**6


def test_numbers_that_are_not_finite_end_it_with_a_sentence() -> None:
    values = np.full(SHAPE, np.inf, np.float32)
    volume = open_volume(values, axes="zyx", voxel_size=(1, 1, 1))
    with pytest.raises(BrushfireError, match="finite"):
        distil(teacher_of(), volume, SMALL, None, FAST)


@pytest.mark.parametrize(
    ("teacher", "student", "said"),
    [
        (teacher_of(channels=2), SMALL, r"1 channel\(s\). Got: one with 2"),
        (teacher_of(classes=(1,)), SMALL, r"two classes or more"),
        (teacher_of(classes=()), SMALL, r"two classes or more"),
        (teacher_of(), teacher_of().settings, "another network than its teacher"),
        (teacher_of(), NetworkSettings(depth=3), "msd with features"),
        (
            teacher_of(),
            NetworkSettings(architecture="basic_unet", depth=5, width=4, features=False),
            "Got: basic_unet",
        ),
        (
            teacher_of(),
            NetworkSettings(depth=3, dilations=(64,), features=False),
            "wider than the largest dilation",
        ),
    ],
)
def test_pairs_that_cannot_be(
    teacher: SegmentationModel, student: NetworkSettings, said: str
) -> None:
    settings = DistillationSettings(patch=64)
    with pytest.raises(BrushfireError, match=said):
        Distiller(teacher, volume_of(stripes(SHAPE)), student, None, settings)


def test_labels_of_another_volume() -> None:
    labels = empty_labels((4, 90, 80)).snapshot()
    with pytest.raises(BrushfireError, match="shape of the volume"):
        distil(teacher_of(), volume_of(stripes(SHAPE)), SMALL, labels, FAST)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"seconds": 0.0},
        {"temperature": math.nan},
        {"mix": 1.1},
        {"patch": 8},
        {"learning_rate": 0.0},
        {"weight_decay": -1.0},
        {"cache_bytes": 10},
    ],
)
def test_settings_that_are_none(wrong: dict[str, float]) -> None:
    with pytest.raises(BrushfireError, match="is from"):
        DistillationSettings(**wrong)  # type: ignore[arg-type]


@settings(max_examples=25)
@given(st.floats(0.5, 20), st.integers(2, 4), st.integers(0, 99))
def test_a_student_that_says_the_same_has_nothing_to_learn(
    temperature: float, classes: int, seed: int
) -> None:
    logits = 3 * torch.randn(1, classes, 5, 4, generator=torch.Generator().manual_seed(seed))
    taught = torch.ones(1, 5, 4, dtype=torch.bool)
    same = softened_loss(logits + 1.7, logits.log_softmax(1), taught, temperature)
    other = softened_loss(-logits, logits.log_softmax(1), taught, temperature)
    assert abs(float(same)) < 1e-4
    assert float(other) > float(same)
    nothing = softened_loss(-logits, logits.log_softmax(1), ~taught, temperature)
    assert float(nothing) == 0


def tuition_of(shape: tuple[int, int, int], kept: int = 2**24) -> Tuition:
    return Tuition(
        teacher_of(),
        volume_of(stripes(shape)),
        context=0,
        strokes=None,
        patch=64,
        kept_bytes=kept,
        network_bytes=2**29,
        rng=np.random.default_rng(0),
    )


@pytest.mark.parametrize("shape", [(1, 40, 30), (1, 7, 90), (3, 600, 20), (9, 32, 32)])
def test_places_that_are_held_out_teach_nothing(shape: tuple[int, int, int]) -> None:
    tuition = tuition_of(shape)
    for _ in range(20):
        tuition.learn_more()
    taught = [answer.box for answer in tuition._answers]
    assert tuition.complete
    assert tuition.held
    assert not set(tuition.held) & set(taught)
    voxels = sum(box.size for box in [*tuition.held, *taught])
    assert voxels == math.prod(shape), "every voxel in one place"


def test_answers_keep_to_their_memory() -> None:
    tuition = tuition_of((12, 256, 256), kept=2**20)
    for _ in range(12):
        tuition.learn_more()
        assert sum(answer.nbytes for answer in tuition._answers) <= 2**20
    assert len(tuition._answers) == 1
    assert not tuition.complete


def test_pieces_are_turned_alike_and_do_not_teach_at_cuts() -> None:
    tuition = tuition_of((2, 96, 80))
    answer = tuition.ask(Box((0, 0, 0), (1, 96, 80)))
    rng = np.random.default_rng(0)
    for _ in range(20):
        piece = answer.cut(64, rng, (96, 80))
        assert piece.taught.shape == piece.labels.shape == piece.likely.shape[1:] == (64, 64)
        bright = piece.intensities[0, 0] > 1.5
        assert np.array_equal(bright, piece.likely.argmax(0) == 1)
        assert 0 < piece.taught.sum() < 64 * 64
    whole = answer.cut(96, rng, (96, 80))
    assert whole.taught.all(), "the edges of a slice are no cuts"
