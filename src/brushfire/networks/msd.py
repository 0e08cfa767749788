"""The mixed-scale dense network (Pelt & Sethian 2018).

Layer ``i`` adds ``width`` maps: a 3x3 convolution with its own dilation over the input and all
earlier maps, then ReLU. How that is computed is up to `brushfire.networks.kernels`.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from brushfire.networks.kernels import FlatLayout, Kernel, Layers, choice, lent_buffer, plain_maps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from brushfire.networks.kernels import Border


class _MixedScaleDense(torch.autograd.Function):
    """All layers as one differentiable step: keeps one buffer instead of one per layer."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        kernel: Kernel,
        layout: FlatLayout,
        dilations: Sequence[int],
        biases: Tensor,
        *weights: Tensor,
    ) -> Tensor:
        layers = Layers(x.shape[1], dilations, weights, biases)
        buffer = x.new_zeros(layers.row(layers.depth), layout.total)
        _fill(buffer, x, kernel, layers, layout)
        ctx.kernel, ctx.layout, ctx.dilations = kernel, layout, dilations
        ctx.channels = layers.channels
        ctx.save_for_backward(buffer, biases, *weights)
        return buffer

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        buffer, biases, *weights = ctx.saved_tensors
        layout: FlatLayout = ctx.layout
        layers = Layers(ctx.channels, ctx.dilations, weights, biases)
        slope = torch.zeros_like(buffer)  # clean margins, as kernels want them
        layout.images_of(slope).copy_(layout.images_of(outputs[0]))
        input_too = ctx.needs_input_grad[0]
        found = ctx.kernel.gradients(buffer, slope, layers, layout, input_too=input_too)
        into_input = None
        if input_too:
            into_input = layout.images_of(slope[: layers.channels]).transpose(0, 1).contiguous()
        return (into_input, None, None, None, found.biases, *found.weights)


def _fill(buffer: Tensor, x: Tensor, kernel: Kernel, layers: Layers, layout: FlatLayout) -> None:
    """Write the input and all maps into a buffer whose margins are zero."""
    layout.images_of(buffer[: layers.channels]).copy_(x.transpose(0, 1))
    layout.fill_margins(buffer[: layers.channels])
    kernel.fill(buffer, layers, layout)


class MixedScaleDense(nn.Module):
    """All layers of an MS-D network but the last 1x1 one.

    Parameters
    ----------
    channels : int
        Input channels.
    depth, width : int
        Layers, and maps that each adds.
    dilations : sequence of int
        Cycled through by the layers.
    outputs : int
        Outputs of the 1x1 layer that will follow; it enters the spread of the first weights.
    axes : int
        2 for 3x3 convolutions in (y, x), 3 for 3x3x3 ones in (z, y, x).
    border : str
        What layers see beyond the edges of an image, as in `NetworkSettings`.

    Attributes
    ----------
    kernel : Kernel or None
        What computes the layers; None leaves it to `brushfire.networks.kernels.choice`.
    """

    def __init__(
        self,
        channels: int,
        depth: int,
        width: int,
        dilations: Sequence[int],
        outputs: int,
        *,
        axes: Literal[2, 3] = 2,
        border: Border = "zero",
    ) -> None:
        super().__init__()
        self.kernel: Kernel | None = None
        self.channels = channels
        self.width = width
        self.border: Border = border
        self.dilations = tuple(dilations[layer % len(dilations)] for layer in range(depth))
        self.maps = channels + depth * width
        taps = 3**axes
        spread = math.sqrt(2 / (taps * (channels + width * (depth - 1)) + outputs))
        self.weights = nn.ParameterList(
            torch.randn(width, channels + layer * width, *[3] * axes) * spread
            for layer in range(depth)
        )
        self.biases = nn.Parameter(torch.zeros(depth * width))

    def flat_maps(self, x: Tensor) -> tuple[Tensor, FlatLayout]:
        """Return input and maps as (maps, pixels), and where the pixels lie.

        Parameters
        ----------
        x : Tensor
            (images, channels, y, x) or (images, channels, z, y, x).
        """
        layout = self._layout(x)
        run = cast("Callable[..., Tensor]", _MixedScaleDense.apply)
        buffer = run(x, self._kernel(x), layout, self.dilations, self.biases, *self.weights)
        return buffer, layout

    @contextmanager
    def lent_maps(self, x: Tensor) -> Iterator[tuple[Tensor, FlatLayout]]:
        """Lend what `flat_maps` returns, without gradients, until the block ends.

        The memory is used again by the next call, which makes it up to a third faster.

        Parameters
        ----------
        x : Tensor
            (images, channels, y, x) or (images, channels, z, y, x).
        """
        layout = self._layout(x)
        layers = Layers(self.channels, self.dilations, list(self.weights), self.biases)
        with torch.no_grad(), lent_buffer(self.maps, layout, x) as buffer:
            _fill(buffer, x, self._kernel(x), layers, layout)
            yield buffer, layout

    def _layout(self, x: Tensor) -> FlatLayout:
        images, _, *size = x.shape
        return FlatLayout(images, tuple(size), max(self.dilations), self.border)

    def _kernel(self, x: Tensor) -> Kernel:
        return choice.kernel_for(x) if self.kernel is None else self.kernel

    def forward(self, x: Tensor) -> Tensor:
        """Return input and maps, (images, maps, ...)."""
        buffer, layout = self.flat_maps(x)
        return layout.images_of(buffer).transpose(0, 1)

    def plain(self, x: Tensor) -> Tensor:
        """Return what `forward` returns, by one convolution a layer."""
        return plain_maps(x, list(self.weights), self.biases, self.dilations, self.border)
