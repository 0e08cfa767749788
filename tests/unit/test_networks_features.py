from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from brushfire.networks.features import FeatureBank
from brushfire.networks.smoothing import smooth


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 150), width=st.integers(1, 80), sigma=st.sampled_from([1.0, 3.0, 16.0])
)
def test_smoothing_is_a_mirrored_gaussian(height: int, width: int, sigma: float) -> None:
    image = np.random.default_rng(height).standard_normal((height, width))
    expected = ndimage.gaussian_filter(image, sigma, mode="mirror", truncate=3.0)
    found = smooth(torch.from_numpy(image)[None], sigma)[0].numpy()
    assert found == pytest.approx(expected, abs=1e-9)


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


@pytest.mark.parametrize("seed", range(4))
def test_rounding_is_small_beside_every_feature(seed: int) -> None:
    image = torch.randn(1, 1, 200, 200, generator=torch.Generator().manual_seed(seed))
    bank = FeatureBank()
    exact = bank(image.double())
    error = (bank(image) - exact).abs().amax((0, 2, 3)) / exact.std((0, 2, 3))
    assert float(error.max()) < 2e-4


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
