"""The second stage moves the last layer alone; a shift of the biases is Bayes' rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.memory import empty_labels, volume_of

from brushfire.errors import BrushfireError
from brushfire.learning.dual_stage import calibrated, proportions_of, second_stage
from brushfire.learning.probe import Site, find_sites
from brushfire.learning.regions import StrokeRegions
from brushfire.learning.sampler import SlabCache
from brushfire.networks import NetworkSettings, SegmentationModel

SHAPE = (2, 64, 64)
RARE = 0.05
SPREAD = 0.5  # standard deviation of the noise: classes overlap


def dots() -> np.ndarray:
    """Class 2 in single voxels, 1 elsewhere: intensities of neighbours tell nothing."""
    rng = np.random.default_rng(0)
    return np.where(rng.random(SHAPE) < RARE, 2, 1).astype(np.uint8)


def balanced(settings: NetworkSettings | None = None) -> SegmentationModel:
    """The best that can be told of intensities 1 and 2 with noise, were both equally common.

    Its first map is the input. The logarithm of the ratio of two normal densities is linear.
    """
    torch.manual_seed(0)
    network = settings or NetworkSettings(depth=3, dilations=(1, 2), features=False)
    model = SegmentationModel(network, 1, (1, 2), mean=[1.5])
    if model.pixels is None and network.architecture == "msd":
        with torch.no_grad():
            model.head_weight[1, 0] = 1 / SPREAD**2
    return model.requires_grad_(False).eval()


def sites_of(truth: np.ndarray) -> list[Site]:
    store = empty_labels(SHAPE)
    store[...] = truth
    regions = StrokeRegions(0.0)
    regions.update(store.snapshot())
    rng = np.random.default_rng(0)
    return find_sites(regions.points(held=False), SHAPE, budget=10**6, rng=rng)


def expected(model: SegmentationModel, cache: SlabCache) -> float:
    """Return the share of class 2 that a model expects."""
    slabs = np.asarray(cache._volume.read_padded(cache._grid.box((0, 0, 0))), np.float32)
    return float(model.probabilities(slabs)[1].mean())


@pytest.fixture
def cache() -> SlabCache:
    return SlabCache(volume_of(dots(), noise=SPREAD), 0, 2**24)


def test_the_second_stage_moves_the_last_layer_alone(cache: SlabCache) -> None:
    first = balanced()
    second = second_stage(first, cache, sites_of(dots()), {1: 1 - RARE, 2: RARE})
    changed = {
        name
        for name, value in first.state_dict().items()
        if not torch.equal(value, second.state_dict()[name])
    }
    assert changed == {"head_weight", "head_bias"}
    assert expected(first, cache) > 4 * RARE
    assert expected(second, cache) == pytest.approx(RARE, rel=0.25)


def test_the_second_stage_of_a_network_of_monai(cache: SlabCache) -> None:
    pytest.importorskip("monai")
    unet = NetworkSettings(architecture="basic_unet", depth=5, width=4, features=False)
    first = balanced(unet)
    second = second_stage(first, cache, sites_of(dots()), {1: 1 - RARE, 2: RARE})
    assert expected(first, cache) == 0.5, "its last layer is zero"
    assert expected(second, cache) == pytest.approx(RARE, rel=0.25)
    assert all(
        torch.equal(one, other)
        for one, other in zip(first.layers.parameters(), second.layers.parameters(), strict=True)
    )


def test_a_shift_that_is_there_becomes_part_of_the_last_layer(cache: SlabCache) -> None:
    shifted = calibrated(balanced(), {1: 0.9, 2: 0.1})
    second = second_stage(shifted, cache, sites_of(dots()), {1: 1 - RARE, 2: RARE})
    assert not second.prior_shift.any()
    assert expected(second, cache) == pytest.approx(RARE, rel=0.25)


def test_the_proportions_that_a_model_estimates_itself(cache: SlabCache) -> None:
    slabs = [cache.read(cache._grid.box((z, 0, 0))) for z in range(2)]
    found = proportions_of(balanced(), slabs)
    assert sum(found.values()) == pytest.approx(1)
    assert found[2] == pytest.approx(RARE, rel=0.4)
    model = calibrated(balanced(), found)
    assert expected(model, cache) == pytest.approx(RARE, rel=0.4)


def test_labels_that_are_missing(cache: SlabCache) -> None:
    ones = np.ones(SHAPE, np.uint8)
    with pytest.raises(BrushfireError, match="none of class 2"):
        second_stage(balanced(), cache, sites_of(ones), {1: 0.5, 2: 0.5})
    with pytest.raises(BrushfireError, match="learns from labels"):
        second_stage(balanced(), cache, [], {1: 0.5, 2: 0.5})


def test_a_model_with_features_is_refused(cache: SlabCache) -> None:
    model = balanced(NetworkSettings(depth=3))
    with pytest.raises(BrushfireError, match="last layer gives all classes"):
        second_stage(model, cache, sites_of(dots()), {1: 0.5, 2: 0.5})


@pytest.mark.parametrize("shares", [{1: 1.0}, {1: 1.0, 2: 0.0}, {1: 1.0, 2: float("nan")}])
def test_proportions_that_are_none(shares: dict[int, float]) -> None:
    with pytest.raises(BrushfireError, match="above zero"):
        calibrated(balanced(), shares)


@settings(max_examples=25)
@given(
    st.lists(st.floats(0.01, 1), min_size=2, max_size=2),
    st.lists(st.floats(0.01, 1), min_size=2, max_size=2),
    st.floats(0.5, 2.5),
)
def test_a_shift_is_bayes_rule(known: list[float], before: list[float], value: float) -> None:
    model = balanced()
    given_ = dict(zip((1, 2), known, strict=True))
    prior = dict(zip((1, 2), before, strict=True))
    shifted = calibrated(model, given_, prior=prior)
    slab = np.full((1, 1, 4, 4), value, np.float32)
    first, second = (one.probabilities(slab)[:, 0, 0, 0] for one in (model, shifted))
    joint = first * np.array(known) / np.array(before)
    np.testing.assert_allclose(second, joint / joint.sum(), rtol=1e-4, atol=1e-6)
    assert not model.prior_shift.any()
