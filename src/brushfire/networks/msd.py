"""The mixed-scale dense network (Pelt & Sethian 2018).

Layer ``i`` adds ``width`` maps: a 3x3 convolution with its own dilation over the input and all
earlier maps, then ReLU. How that is computed is up to `brushfire.networks.kernels`.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from brushfire.errors import ModelError
from brushfire.networks.kernels import FlatLayout, Kernel, Layers, choice, lent_buffer, plain_maps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from brushfire.networks.kernels import Border

_CAST = {torch.float32, torch.bfloat16, torch.float16}  # what autocast casts


class _MixedScaleDense(torch.autograd.Function):
    """All layers as one differentiable step: keeps one buffer instead of one per layer.

    Weights are used in the type of the values; their gradients come in their own type.
    """

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
        ctx.types = [weight.dtype for weight in (biases, *weights)]
        biases, *parts = (weight.to(x.dtype) for weight in (biases, *weights))
        layers = Layers(x.shape[1], dilations, parts, biases)
        buffer = x.new_zeros(layers.row(layers.depth), layout.total)
        _fill(buffer, x, kernel, layers, layout)
        ctx.kernel, ctx.layout, ctx.dilations = kernel, layout, dilations
        ctx.channels = layers.channels
        ctx.save_for_backward(buffer, biases, *parts)
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
        with _types_as_they_are(buffer.device.type):
            found = ctx.kernel.gradients(buffer, slope, layers, layout, input_too=input_too)
        into_input = None
        if input_too:
            into_input = layout.images_of(slope[: layers.channels]).transpose(0, 1).contiguous()
        gradients = zip((found.biases, *found.weights), ctx.types, strict=True)
        return (into_input, None, None, None, *(one.to(dtype) for one, dtype in gradients))


def _types_as_they_are(device: str) -> AbstractContextManager[Any]:
    """Return a context in which autocast changes nothing: a kernel has chosen its types."""
    if torch.amp.is_autocast_available(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


def _fill(buffer: Tensor, x: Tensor, kernel: Kernel, layers: Layers, layout: FlatLayout) -> None:
    """Write the input and all maps into a buffer whose margins are zero."""
    layout.images_of(buffer[: layers.channels]).copy_(x.transpose(0, 1))
    layout.fill_margins(buffer[: layers.channels])
    with _types_as_they_are(x.device.type):
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
            (images, channels, y, x) or (images, channels, z, y, x), of the type of the weights.
            Under `torch.autocast` the layers are computed in its type, and the maps have it.

        Raises
        ------
        ModelError
            If the input is of another type than the weights, without autocast.
        """
        x = self._as_computed(x)
        layout = self.layout(x.shape[0], *x.shape[2:])
        run = cast("Callable[..., Tensor]", _MixedScaleDense.apply)
        buffer = run(x, self._kernel(x), layout, self.dilations, self.biases, *self.weights)
        return buffer, layout

    @contextmanager
    def lent_maps(self, x: Tensor) -> Iterator[tuple[Tensor, FlatLayout]]:
        """Lend what `flat_maps` returns, without gradients, until the block ends.

        The memory is used again by the next call, which makes it up to a third faster. The block
        runs under `torch.no_grad`.

        Parameters
        ----------
        x : Tensor
            As for `flat_maps`.

        Yields
        ------
        Tensor, FlatLayout
            Input and maps as (maps, pixels), and where the pixels lie.

        Raises
        ------
        ModelError
            As `flat_maps` does.
        """
        x = self._as_computed(x)
        layout = self.layout(x.shape[0], *x.shape[2:])
        weights = [weight.to(x.dtype) for weight in self.weights]
        layers = Layers(self.channels, self.dilations, weights, self.biases.to(x.dtype))
        with torch.no_grad(), lent_buffer(self.maps, layout, x) as buffer:
            _fill(buffer, x, self._kernel(x), layers, layout)
            yield buffer, layout

    def layout(self, images: int, *size: int) -> FlatLayout:
        """Return where the pixels of images of a size, (y, x) or (z, y, x), lie in `flat_maps`."""
        return FlatLayout(images, size, max(self.dilations), self.border)

    def _kernel(self, x: Tensor) -> Kernel:
        return choice.kernel_for(x) if self.kernel is None else self.kernel

    def _as_computed(self, x: Tensor) -> Tensor:
        """Return the input in the type in which the layers are computed."""
        device, types = x.device.type, {x.dtype, self.biases.dtype}
        types.update(weight.dtype for weight in self.weights)
        autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        if autocast and types <= _CAST:
            return x.to(torch.get_autocast_dtype(device))
        if len(types) > 1:
            raise ModelError(
                "Layers take values of the type of their weights.",
                got=f"values of {x.dtype}, weights of {self.biases.dtype}",
                do="Convert one of them with .to(dtype), or compute under torch.autocast.",
            )
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Return input and maps, (images, maps, ...)."""
        buffer, layout = self.flat_maps(x)
        return layout.images_of(buffer).transpose(0, 1)

    def plain(self, x: Tensor) -> Tensor:
        """Return what `forward` returns, by one convolution a layer."""
        return plain_maps(x, list(self.weights), self.biases, self.dilations, self.border)
