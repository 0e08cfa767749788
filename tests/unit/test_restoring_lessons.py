"""What networks that restore are shown, and what they are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from tests.support.restoring import as_volume, blobs, learner_for, network_for

from brushfire.errors import LearningError, SettingsError
from brushfire.geometry import Box
from brushfire.learning.restoring.division import divide
from brushfire.learning.restoring.hiding import hide, masked
from brushfire.learning.restoring.learner import RestorationLearner
from brushfire.learning.restoring.lessons import Lesson, as_given
from brushfire.learning.restoring.settings import (
    FACTS,
    WAYS,
    RestorationSettings,
    check_way,
    suggest_restoration_network,
)

PARTS = 4


def draw(learner: RestorationLearner, seed: int = 0, side: int = 48) -> Lesson:
    model = learner._ready_trainer().average
    return learner._lessons.draw(model, 1, side, np.random.default_rng(seed))


def of_parts(noisy: np.ndarray, splits: str) -> RestorationLearner:
    network = network_for("splits", splits=splits)
    return learner_for("splits", noisy, network=network, augment=False)


@pytest.mark.parametrize("splits", ["x:1", "1:x"])
def test_parts_that_are_the_target_are_never_seen(splits: str) -> None:
    _, noisy = blobs(PARTS)
    plain, chosen = of_parts(noisy, splits), set()
    for seed in range(12):
        lesson = draw(plain, seed)
        for part in range(PARTS):
            changed = noisy.copy()
            changed[part] = changed[part] * -1 + 5
            other = of_parts(changed, splits)
            # The same normalisation for both: what the layers see is compared.
            other._trainer = plain._trainer
            found = draw(other, seed)
            sees = not torch.equal(found.inputs, lesson.inputs)
            wants = not torch.equal(found.target, lesson.target)
            assert sees != wants, "each part is either seen or the target"
            if wants == (splits == "x:1"):
                chosen.add(part)
    assert chosen == set(range(PARTS))


def test_the_mean_of_all_parts_is_no_input() -> None:
    _, noisy = blobs(PARTS)
    learner = of_parts(noisy, "x:1")
    model = learner._ready_trainer().average
    for seed in range(8):
        lesson = draw(learner, seed, side=64)
        middle = lesson.inputs[0, model.settings.context].numpy()
        mean, std = (
            value.numpy()[:, None, None, None]
            for value in (model.intensity_mean, model.intensity_std)
        )
        planes = ((noisy - mean) / std).mean(0)
        assert min(np.abs(plane - middle).mean() for plane in planes) > 0.05


@given(seed=st.integers(0, 10_000), share=st.floats(0.001, 0.25), channels=st.integers(1, 2))
@examples(max_examples=30, deadline=None)
def test_hidden_pixels_touch_no_other(seed: int, share: float, channels: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(2, 60, 2))
    hidden = masked(shape, share, rng)
    assert hidden.shape == shape
    padded = np.pad(hidden, 1).astype(int)
    near = sum(
        np.roll(padded, (down, right), (0, 1)) for down in (-1, 0, 1) for right in (-1, 0, 1)
    )
    assert near[padded > 0].max(initial=1) == 1
    x = torch.from_numpy(rng.standard_normal((1, channels * 3, *shape)).astype(np.float32))
    shown = hide(x, torch.from_numpy(hidden), 3)
    other = x.clone()
    other[:, 1::3][..., torch.from_numpy(hidden)] = 1e6
    assert torch.equal(hide(other, torch.from_numpy(hidden), 3), shown)
    kept = shown[..., torch.from_numpy(~hidden)] == x[..., torch.from_numpy(~hidden)]
    assert bool(kept.all())
    assert torch.equal(shown[:, 0::3], x[:, 0::3])


def test_about_the_share_that_is_asked_for_is_hidden() -> None:
    rng = np.random.default_rng(0)
    for share in (0.25, 0.06, 0.01):
        found = np.mean([masked((96, 96), share, rng).mean() for _ in range(20)])
        assert 0.6 * share < found < 1.6 * share
    everywhere = sum(masked((24, 24), 0.06, rng).astype(int) for _ in range(400))
    assert everywhere.min() > 0


def test_an_answer_does_not_depend_on_the_pixels_that_it_is_for() -> None:
    _, noisy = blobs()
    one = learner_for("blind", noisy, augment=False)
    for _ in range(3):
        one.step()
    model = one._ready_trainer().average
    lesson = draw(one, 5)
    hidden = lesson.weight > 0
    # The same patch, whose hidden pixels have other values in the volume: found by its target.
    plane = next(
        z
        for z in range(noisy.shape[1])
        if np.isin(lesson.target[hidden].numpy(), _normalised(model, noisy[0, z])).all()
    )
    changed = noisy.copy()
    values = np.isin(_normalised(model, noisy[0, plane]), lesson.target[hidden].numpy())
    changed[0, plane][values] += 50
    other = learner_for("blind", changed, augment=False)
    other._trainer = one._trainer
    found = draw(other, 5)
    assert not torch.equal(found.target, lesson.target)
    assert_array_equal(found.inputs[:, 1], lesson.inputs[:, 1])
    with torch.no_grad():
        assert torch.equal(model.restored_of(found.inputs), model.restored_of(lesson.inputs))


def _normalised(model, plane: np.ndarray) -> np.ndarray:
    return model.normalise_target(torch.from_numpy(plane)[None, None])[0, 0].numpy()


def test_neighbours_are_the_target_of_each_other() -> None:
    values = np.zeros((9, 64, 64), np.float32) + np.arange(9, dtype=np.float32)[:, None, None]
    learner = learner_for("neighbours", values[None])
    model = learner._ready_trainer().average
    for seed in range(20):
        lesson = draw(learner, seed)
        given = as_given(model, lesson)
        assert given is not None
        apart = (given - lesson.target)[lesson.weight > 0] * model.target_std
        assert_allclose(apart.abs(), 1, atol=1e-4)


def test_a_target_may_cover_a_part_of_the_volume() -> None:
    clean, noisy = blobs(shape=(10, 96, 96))
    origin, size = (3, 20, 40), (5, 30, 50)
    part = clean[tuple(slice(a, a + n) for a, n in zip(origin, size, strict=True))]
    learner = learner_for("pairs", noisy, part, target_origin=origin, augment=False, patch=64)
    assert set(learner.held_out) <= set(range(3, 8))
    whole = np.zeros_like(clean, bool)
    whole[tuple(slice(a, a + n) for a, n in zip(origin, size, strict=True))] = True
    model = learner._ready_trainer().average
    for seed in range(10):
        lesson = draw(learner, seed, side=64)
        assert lesson.weight.shape[2:] == (64, 64)
        assert 0 < int(lesson.weight.sum()) <= 30 * 50
        known = lesson.target[lesson.weight > 0] * model.target_std + model.target_mean
        assert set(known.round(decimals=3).abs().tolist()) <= {0.0, 1.0}
    learner.fit()
    assert learner.evaluate().pixels <= 30 * 50 * len(learner.held_out)


def test_pairs_that_do_not_fit_are_refused() -> None:
    clean, noisy = blobs()
    with pytest.raises(LearningError, match="lies inside the volume"):
        learner_for("pairs", noisy, clean, target_origin=(0, 1, 0))
    with pytest.raises(LearningError, match="lies inside the volume"):
        learner_for("pairs", noisy, clean[:4], target_origin=(-1, 0, 0))
    with pytest.raises(SettingsError, match="a noisy volume and a clean one"):
        learner_for("pairs", noisy)
    with pytest.raises(SettingsError, match="Only pairs have a target"):
        learner_for("blind", noisy, clean)
    with pytest.raises(SettingsError, match="channels of its target"):
        learner_for("pairs", noisy, np.stack([clean, clean]))
    with pytest.raises(LearningError, match="have one shape"):
        learner_for("pairs", noisy, clean[:4])
    coarse = as_volume(clean).with_voxel_size((2.0, 1.0, 1.0))
    settings = RestorationSettings("pairs")
    with pytest.raises(LearningError, match="have one voxel size"):
        RestorationLearner(as_volume(noisy), coarse, network_for("pairs"), settings, device="cpu")


def test_intensities_beyond_single_precision_are_refused() -> None:
    _, noisy = blobs()
    with pytest.raises(LearningError, match="single precision"):
        learner_for("blind", noisy.astype(np.float64) * 1e-60)._ready_trainer()


@pytest.mark.parametrize(
    ("depth", "share", "slices", "row"),
    [
        (10, 0.1, (5,), 64),
        (10, 0.3, (1, 5, 8), 64),
        (4, 0.1, (2,), 64),
        (3, 0.1, (), 48),
        (1, 0.5, (), 32),
        (10, 0.0, (), 64),
    ],
)
def test_what_is_held_out(depth: int, share: float, slices: tuple[int, ...], row: int) -> None:
    found = divide(Box((0, 0, 0), (depth, 64, 64)), share)
    assert (found.slices, found.row) == (slices, row)
    assert found.any_held == (share > 0)
    assert found.taught_slices == [z for z in range(depth) if z not in slices]
    assert {box.start[0] for box in found.judged()} == set(slices or range(depth))


def test_tiny_slices_are_judged_by_what_taught() -> None:
    found = divide(Box((0, 0, 0), (2, 40, 40)), 0.1)
    assert not found.any_held
    assert found.judged()[0].shape == (1, 40, 40)


def test_slices_that_a_model_was_not_taught_stay_held_out() -> None:
    region = Box((0, 0, 0), (10, 64, 64))
    assert divide(region, 0.2, kept=(3, 40)).slices == (3,)
    assert divide(region, 0.2, kept=(40,)).slices == divide(region, 0.2).slices


def test_ways_are_told_and_settings_checked() -> None:
    assert set(FACTS) == set(WAYS)
    wrong = [
        {"way": "guess"},
        {"way": "pairs", "loss": "l3"},
        {"way": "blind", "loss": "ssim"},
        {"way": "pairs", "patch": 16},
        {"way": "pairs", "batch": 0},
        {"way": "pairs", "learning_rate": float("nan")},
        {"way": "blind", "masked": 0.5},
        {"way": "pairs", "held_out": 0.9},
    ]
    for options in wrong:
        with pytest.raises(SettingsError):
            RestorationSettings(**options)


@pytest.mark.parametrize("way", WAYS)
def test_the_suggested_network_suits_its_way(way: str) -> None:
    _, noisy = blobs(2)
    network = suggest_restoration_network(as_volume(noisy), way)
    check_way(RestorationSettings(way), network, 2)
    zoomed = suggest_restoration_network(as_volume(noisy), "pairs", zoomed=True)
    assert zoomed.slices == 7  # of 9, as there are 8 slices


def test_networks_that_do_not_suit_a_way_are_refused() -> None:
    for way, changes, channels in [
        ("pairs", {"restored": 0}, 1),
        ("splits", {"splits": ""}, 2),
        ("splits", {}, 1),
        ("blind", {"splits": "x:1"}, 1),
        ("neighbours", {"slices": 3}, 1),
        ("blind", {"restored": 2}, 1),
        ("pairs", {"dilations": (60,)}, 1),
    ]:
        with pytest.raises(SettingsError):
            check_way(RestorationSettings(way, patch=48), network_for(way, **changes), channels)
