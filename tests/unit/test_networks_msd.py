from __future__ import annotations

import pytest
import torch

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
