from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from brushfire.networks.features import FeatureBank, smoothing_matrix


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 80), sigma=st.sampled_from([1.0, 2.0, 3.0, 16.0]))
def test_smoothing_matrix_is_a_mirrored_gaussian(size: int, sigma: float) -> None:
    column = np.random.default_rng(size).standard_normal(size)
    expected = ndimage.gaussian_filter1d(column, sigma, mode="mirror", truncate=3.0)
    matrix = smoothing_matrix(size, sigma).numpy()
    assert matrix.sum(1) == pytest.approx(np.ones(size))
    assert matrix @ column == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("sigma", [2.0, 16.0])
def test_features_of_a_parabola_are_its_derivatives(sigma: float) -> None:
    _, x = torch.meshgrid(torch.arange(180.0), torch.arange(180.0), indexing="ij")
    image = (0.5 * (x - 80) ** 2).double()
    found = FeatureBank((sigma,))(image[None, None])[0]
    middle = (80, 90)
    assert float(found[0][middle]) == 50
    assert float(found[2][middle]) == pytest.approx(10, abs=1e-6)  # gradient magnitude
    assert float(found[3][middle]) == pytest.approx(1, abs=1e-6)  # larger eigenvalue
    assert float(found[4][middle]) == pytest.approx(0, abs=1e-6)  # smaller eigenvalue


def test_rounding_is_small_beside_every_feature() -> None:
    image = torch.randn(1, 1, 200, 200)
    bank = FeatureBank()
    exact = bank(image.double())
    error = (bank(image) - exact).abs().amax((0, 2, 3)) / exact.std((0, 2, 3))
    assert float(error.max()) < 1e-4


def test_features_turn_with_the_image() -> None:
    image = torch.randn(1, 2, 40, 40, dtype=torch.float64)
    bank = FeatureBank()
    turned = bank(torch.rot90(image, 1, (2, 3)))
    torch.testing.assert_close(turned, torch.rot90(bank(image), 1, (2, 3)))


def test_features_reach_no_farther_than_their_radius() -> None:
    bank = FeatureBank((1.0, 8.0))
    image = torch.randn(1, 1, 90, 90, dtype=torch.float64)
    other = image.clone()
    other[0, 0, 45, 45] += 100
    changed = (bank(image) != bank(other)).any(1)[0].nonzero()
    assert int((changed - 45).abs().max()) <= bank.radius


def test_matrices_are_kept_for_few_sizes_only() -> None:
    bank = FeatureBank((1.0,))
    for size in range(2, 100):
        bank(torch.zeros(1, 1, size, 3))
    assert len(bank._matrices) <= 64
