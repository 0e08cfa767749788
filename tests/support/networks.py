"""Layers to compute, and all that comes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from brushfire.networks.msd import MixedScaleDense

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brushfire.networks.kernels import Border


def make_layers(
    channels: int,
    depth: int,
    width: int,
    dilations: Sequence[int],
    axes: Literal[2, 3] = 2,
    border: Border = "zero",
) -> MixedScaleDense:
    """Return layers in double precision, always the same, with biases."""
    torch.manual_seed(0)
    layers = MixedScaleDense(
        channels, depth, width, dilations, outputs=2, axes=axes, border=border
    ).double()
    torch.nn.init.normal_(layers.biases, std=0.1)
    return layers


def with_gradients(
    maps: torch.Tensor, layers: MixedScaleDense, x: torch.Tensor
) -> list[torch.Tensor]:
    """Return the maps, and the gradients of a sum of them with fixed weights."""
    weights = torch.linspace(-1, 1, maps.numel(), dtype=torch.float64).view_as(maps).sin()
    inputs = [x, layers.biases, *layers.weights]
    return [maps.detach(), *torch.autograd.grad(maps, inputs, weights.to(maps))]
