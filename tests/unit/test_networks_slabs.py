"""Slices are counted last where that is faster, and nothing else changes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from brushfire.networks.backbones.slabs import prepare_for_slabs


@pytest.mark.parametrize("stride", [1, 2, (1, 2, 2)])
@pytest.mark.parametrize("kernel", [1, 3, (1, 3, 3)])
@pytest.mark.parametrize("shape", [(8, 6, 60, 52), (8, 48, 60, 52), (8, 6, 20, 12)])
def test_values_and_gradients_are_the_same(
    shape: tuple[int, ...], kernel: int | tuple[int, ...], stride: int | tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    padding = tuple(side // 2 for side in kernel) if isinstance(kernel, tuple) else kernel // 2
    layer = nn.Conv3d(8, 4, kernel, stride, padding)  # type: ignore[arg-type]
    names = list(layer.state_dict())
    found = []
    for _ in range(2):
        x = torch.randn(1, *shape, generator=torch.Generator().manual_seed(1), requires_grad=True)
        y = layer(x)
        assert y.is_contiguous()
        wanted = [x, *layer.parameters()]
        found.append([y, *torch.autograd.grad(y.square().mean(), wanted)])
        prepare_for_slabs(layer)
    assert list(layer.state_dict()) == names
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_small_slabs_are_computed_as_large_ones_are() -> None:
    layer = nn.Conv3d(16, 16, 3, padding=1)
    prepare_for_slabs(layer)
    small, large = torch.empty(1, 16, 16, 64, 64), torch.empty(1, 16, 16, 96, 96)

    def kinds(x: torch.Tensor) -> set[str]:
        with torch.profiler.profile() as seen, torch.no_grad():
            layer(x)
        return {event.name for event in seen.events() if "conv" in event.name}

    assert kinds(small) == kinds(large)
