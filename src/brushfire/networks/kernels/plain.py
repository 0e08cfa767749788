"""One convolution a layer, as every textbook writes it: slow, and the yardstick of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from brushfire.networks.kernels.layout import mirrored
from brushfire.networks.kernels.protocol import Gradients

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brushfire.networks.kernels.layout import FlatLayout
    from brushfire.networks.kernels.protocol import Layers
    from brushfire.networks.settings import Border


def plain_maps(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Tensor,
    dilations: Sequence[int],
    border: Border = "zero",
) -> Tensor:
    """Return all maps by one convolution a layer.

    Parameters
    ----------
    x : Tensor
        Input, (images, channels, y, x) or (images, channels, z, y, x).
    weights : sequence of Tensor
        One (width, channels + layer * width, 3, 3) for each layer, or one 3 more.
    biases : Tensor
        (layers * width,).
    dilations : sequence of int
        One for each layer.
    border : str
        What lies beyond the edges, as in `NetworkSettings`.

    Returns
    -------
    Tensor
        (images, channels + layers * width, ...), the input first.
    """
    width = weights[0].shape[0]
    convolve = functional.conv2d if x.ndim == 4 else functional.conv3d
    for layer, (weight, dilation) in enumerate(zip(weights, dilations, strict=True)):
        bias = biases[layer * width : (layer + 1) * width]
        wide, margin = (x, dilation) if border == "zero" else (_mirrored(x, dilation, border), 0)
        maps = convolve(wide, weight, bias, padding=margin, dilation=dilation)
        x = torch.cat((x, functional.relu(maps)), 1)
    return x


def _mirrored(x: Tensor, margin: int, border: Border) -> Tensor:
    """Return the images with a margin that mirrors them."""
    for axis in range(2, x.ndim):
        count = x.shape[axis]
        places = mirrored(np.arange(-margin, count + margin), count, border)
        x = x.index_select(axis, torch.from_numpy(places).to(x.device))
    return x


class PlainKernel:
    """The reference."""

    name = "plain"

    def fill(self, buffer: Tensor, layers: Layers, layout: FlatLayout) -> None:
        """Compute all maps into the buffer."""
        x = layout.images_of(buffer[: layers.channels]).transpose(0, 1)
        with torch.no_grad():
            maps = plain_maps(x, layers.weights, layers.biases, layers.dilations, layout.border)
        layout.images_of(buffer).copy_(maps.transpose(0, 1))
        layout.fill_margins(buffer)

    def gradients(
        self, buffer: Tensor, slope: Tensor, layers: Layers, layout: FlatLayout, *, input_too: bool
    ) -> Gradients:
        """Return the gradients of all weights; all maps are computed once more."""
        x = layout.images_of(buffer[: layers.channels]).transpose(0, 1).detach().requires_grad_()
        weights = [weight.detach().requires_grad_() for weight in layers.weights]
        biases = layers.biases.detach().requires_grad_()
        with torch.enable_grad():
            maps = plain_maps(x, weights, biases, layers.dilations, layout.border)
        towards = layout.images_of(slope).transpose(0, 1)
        into_x, into_biases, *into_weights = torch.autograd.grad(
            maps, [x, biases, *weights], towards
        )
        if input_too:
            layout.images_of(slope[: layers.channels]).copy_(into_x.transpose(0, 1))
        return Gradients(into_weights, into_biases)
