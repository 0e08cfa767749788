from __future__ import annotations

import pytest
import torch

from brushfire.errors import ModelError
from brushfire.networks.model import SegmentationModel
from brushfire.networks.msd import MixedScaleDense
from brushfire.networks.settings import NetworkSettings


@pytest.mark.parametrize(
    ("depth", "channels", "classes", "count"),
    [(100, 3, 11, 48_494), (200, 3, 11, 186_944), (100, 1, 1, 45_652)],
)
def test_weights_are_as_many_as_published(
    depth: int, channels: int, classes: int, count: int
) -> None:
    shape = NetworkSettings(depth=depth, features=False)
    model = SegmentationModel(shape, channels, range(1, classes + 1))
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_first_weights_have_the_published_spread() -> None:
    torch.manual_seed(0)
    layers = MixedScaleDense(3, 100, 1, range(1, 11), outputs=11)
    everything = torch.cat([weight.detach().flatten() for weight in layers.weights])
    assert float(everything.std()) == pytest.approx((2 / (9 * (3 + 99) + 11)) ** 0.5, rel=0.02)
    assert abs(float(everything.mean())) < 1e-3
    assert not layers.biases.any()


def small() -> MixedScaleDense:
    torch.manual_seed(0)
    return MixedScaleDense(1, 12, 1, range(1, 11), outputs=2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_computes_in_its_type_and_gradients_come_in_that_of_weights(
    dtype: torch.dtype,
) -> None:
    layers, x = small(), torch.randn(1, 1, 32, 32, dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = layers(x)
    assert maps.dtype == torch.bfloat16
    expected = layers(x.detach().float())
    assert float((maps - expected).detach().abs().max() / expected.detach().abs().max()) < 2e-2
    maps.float().square().mean().backward()
    assert x.grad is not None
    assert x.grad.dtype == dtype
    for parameter in layers.parameters():
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32
    slopes = [parameter.grad.clone() for parameter in layers.parameters()]
    layers.zero_grad()
    expected.square().mean().backward()
    for slope, parameter in zip(slopes, layers.parameters(), strict=True):
        assert float((slope - parameter.grad).norm()) < 0.1 * float(parameter.grad.norm())


def test_autocast_leaves_double_precision_alone() -> None:
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert small().double()(x).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.uint8])
def test_values_of_another_type_than_the_weights_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ModelError, match="type of their weights") as error:
        small()(torch.zeros(1, 1, 8, 8, dtype=dtype))
    assert str(dtype) in error.value.got
    assert "autocast" in error.value.do
