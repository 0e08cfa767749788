"""Losses, scores and checks of what is restored."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from tests.support.restoring import as_volume, blobs

from brushfire.learning.reports import Evaluation, read_evaluation
from brushfire.learning.restoring.checks import (
    check_noise,
    check_pair,
    check_residual,
    check_values,
)
from brushfire.learning.restoring.losses import restoration_loss, similarity
from brushfire.learning.restoring.reports import RestorationEvaluation
from brushfire.learning.restoring.scores import fitted, psnr, ssim
from brushfire.learning.restoring.settings import LOSSES


@pytest.mark.parametrize("kind", LOSSES)
def test_what_does_not_count_changes_nothing(kind: str) -> None:
    torch.manual_seed(0)
    target = torch.rand(2, 1, 20, 20)
    found = torch.rand(2, 1, 20, 20)
    weight = torch.ones_like(target)
    weight[..., :6] = 0
    other = found.clone()
    other[..., :6] = 1e3
    other.requires_grad_()
    one = restoration_loss(found, target, weight, kind)
    two = restoration_loss(other, target, weight, kind)
    torch.autograd.backward(two)
    assert float(one) == pytest.approx(float(two.detach()), rel=1e-5)
    assert not bool(other.grad[..., :6].any())
    assert bool(other.grad[..., 6:].any())
    assert float(restoration_loss(target, target, weight, kind)) == pytest.approx(0, abs=1e-6)
    none = restoration_loss(found, target, torch.zeros_like(target), kind)
    assert float(none) == 0


def test_scores_agree_with_scikit_image() -> None:
    rng = np.random.default_rng(0)
    truth = gaussian_filter(rng.standard_normal((40, 50)), 2)
    found = truth + 0.05 * rng.standard_normal(truth.shape)
    span = float(np.ptp(truth))
    assert psnr(found, truth) == pytest.approx(
        peak_signal_noise_ratio(truth, found, data_range=span)
    )
    assert ssim(found, truth) == pytest.approx(
        structural_similarity(truth, found, data_range=span), abs=0.01
    )
    ours = similarity(
        *(torch.from_numpy(values)[None, None] for values in (found, truth)), torch.tensor(span)
    )
    assert float(ours.mean()) == pytest.approx(ssim(found, truth), abs=0.01)


def test_scores_leave_out_what_is_not_known() -> None:
    rng = np.random.default_rng(0)
    truth = gaussian_filter(rng.standard_normal((40, 50)), 2)
    found = truth + 0.05
    holes = truth.copy()
    holes[:10] = np.nan
    spoilt = found.copy()
    spoilt[:10] = 1e6
    assert psnr(spoilt, holes) == pytest.approx(psnr(found[10:], truth[10:]))
    assert ssim(spoilt, holes) == pytest.approx(
        structural_similarity(truth[10:], found[10:], data_range=np.ptp(truth[10:]), full=True)[1][
            3:-3, 3:-3
        ].mean(),
        abs=0.01,
    )
    assert psnr(truth, truth) == float("inf")
    assert np.isnan(psnr(truth, np.full_like(truth, np.nan)))
    assert np.isnan(ssim(truth, np.ones_like(truth)))


def test_units_may_be_fitted() -> None:
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((20, 20))
    assert_allclose(fitted(-3 * truth + 7, truth), truth, atol=1e-9)
    assert_allclose(fitted(np.ones_like(truth), truth), truth.mean())


def test_scores_are_saved_with_a_model() -> None:
    found = RestorationEvaluation(0.5, 30.0, 0.9, 0.8, 25.0, None, 100, held_out=False)
    metrics = json.loads(json.dumps({"step": 3, **found.to_metrics()}))
    assert read_evaluation(metrics) == found
    assert read_evaluation({}) is None
    other = Evaluation({1: 0.5}, 0.5, 10)
    assert read_evaluation(json.loads(json.dumps(other.to_metrics()))) == other


def test_the_better_score_is_the_higher_one() -> None:
    assert RestorationEvaluation(0.5).score > RestorationEvaluation(0.6).score
    assert RestorationEvaluation(0.5, psnr=31.0).score > RestorationEvaluation(0.4, psnr=30).score
    assert "31.00 dB" in str(RestorationEvaluation(0.5, psnr=31.0))


def test_a_shift_of_a_pair_is_found() -> None:
    clean, noisy = blobs(shape=(8, 96, 96))
    assert check_pair(as_volume(noisy), as_volume(clean)).severity == "fine"
    for shift in [(0, 3, -2), (1, 0, 0), (0, 0, 12)]:
        found = check_pair(as_volume(noisy), as_volume(np.roll(clean, shift, (0, 1, 2))))
        assert found.severity == "warning"
        assert_allclose(found.values, shift, atol=0.5)
        assert "align them" in found.text
    part = clean[2:6, 10:90, 5:85]
    assert check_pair(as_volume(noisy), as_volume(part), (2, 10, 5)).severity == "fine"


def test_a_pair_that_is_far_apart_or_shows_something_else_is_told() -> None:
    clean, noisy = blobs(shape=(1, 400, 400))
    far = check_pair(as_volume(noisy), as_volume(np.roll(clean, 140, 2)))
    assert far.severity == "refusal"
    other, _ = blobs(shape=(1, 400, 400), seed=9)
    assert "hardly resemble" in check_pair(as_volume(noisy), as_volume(other)).text
    flat = np.zeros_like(clean)
    flat[0, 0, 0] = 1
    assert "flat" in check_pair(as_volume(noisy), as_volume(flat)).text


def test_noise_that_a_blind_spot_sees_through_is_told() -> None:
    clean, _ = blobs(shape=(4, 128, 128))
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(clean.shape)
    assert check_noise(as_volume(clean + 0.3 * noise)).severity == "fine"
    alike = gaussian_filter(noise, (0, 0.7, 0.7))
    found = check_noise(as_volume(clean + alike))
    assert found.severity == "warning"
    assert found.values[0] > 0.3
    assert "no region" in check_noise(as_volume(np.ones((2, 8, 8), np.float32))).text


def test_structure_in_what_was_removed_is_told() -> None:
    clean, noisy = blobs(shape=(4, 128, 128))
    assert check_residual(noisy[0], clean).severity == "fine"
    assert check_residual(noisy[0], gaussian_filter(clean, (0, 2, 2))).severity == "warning"
    assert check_residual(noisy[0], gaussian_filter(noisy[0], (0, 1, 1))).severity == "warning"
    assert check_residual(noisy[0], noisy[0]).text.startswith("Nothing was removed")
    scaled = check_residual(noisy[0], clean.mean() + 2 * (clean - clean.mean()))
    assert "another scale" in scaled.text
    holes = noisy[0].copy()
    holes[:, :30] = np.nan
    assert check_residual(holes, clean).severity == "fine"


def test_odd_values_are_told() -> None:
    _, noisy = blobs()
    assert check_values(as_volume(noisy)) == []
    odd = noisy.copy()
    odd[:, 2] = 7
    odd[..., :3] = np.nan
    constant, holes = check_values(as_volume(odd))
    assert "1 of 8 slices" in constant.text
    assert "5 % of the volume has no number" in holes.text
