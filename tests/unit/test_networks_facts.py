"""What a network would be is told before it is made."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from brushfire.errors import SettingsError
from brushfire.learning.workload import counted
from brushfire.networks import NetworkSettings, SegmentationModel
from brushfire.networks.backbones.footprint import SPARE
from brushfire.networks.facts import describe_network

NETWORKS = (
    NetworkSettings(depth=24, width=4, features=False),
    NetworkSettings(4, 4, architecture="dynunet"),
    NetworkSettings(3, 4, features=False, architecture="segresnet", slices=3, axes=3),
    NetworkSettings(4, 4, features=False, architecture="unetr", window=64),
    NetworkSettings(5, 12, features=False, architecture="swin_unetr", window=64),
)


@pytest.mark.parametrize("settings", NETWORKS, ids=lambda one: f"{one.architecture}-{one.axes}d")
def test_it_is_what_is_made_then(
    settings: NetworkSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRUSHFIRE_KERNEL", "grouped")
    facts = describe_network(settings, 2, 3)
    model = SegmentationModel(settings, 2, (1, 2, 3)).train()
    layers = model.layers
    assert (facts.divisor, facts.window) == (layers.divisor, layers.window)
    assert facts.parameters == sum(one.numel() for one in model.parameters())
    images = 3 if settings.features else 1
    x = torch.randn(images, layers.channels, 64, 64)
    with counted(torch.device("cpu"), whole=True) as count:
        torch.autograd.backward(layers.features_of(x).square().mean())
    assert facts.step_bytes * SPARE == pytest.approx(count.bytes, rel=0.25)


def test_a_network_of_any_size_is_described_without_being_made() -> None:
    facts = describe_network(NetworkSettings(depth=400, width=64), 1, 2)
    assert facts.parameters > 10**9
    assert facts.least_bytes > 10**10


def test_what_cannot_be_is_told() -> None:
    settings = replace(NETWORKS[1], arguments='{"filters": [20000, 20000, 20000, 20000]}')
    with pytest.raises(SettingsError, match="at most 200,000,000 weights"):
        describe_network(settings, 1, 2)
