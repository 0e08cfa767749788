"""The mixed-scale dense network (Pelt & Sethian 2018), regrouped as matrix products.

Layer ``i`` adds ``width`` maps: a 3x3 convolution with its own dilation over the input and all
earlier maps, then ReLU. Written as one convolution a layer this runs at 1-2 % of a processor's
peak. Here the taps of a block of layers against all maps known before the block are one matrix
product, and nine shifted additions a layer fold the products into the layer's maps.

All maps live in one flat buffer ``(maps, pixels)`` with zeros between rows and images, so that a
shift in two dimensions is a shift in one, a batch is just a longer row of pixels, and a strip is
any range of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BLOCK = 10  # layers whose taps share a matrix product; more adds nothing, the products are wide
_STRIP_VALUES = 2**20  # values of a product kept at once: 4 MB in float32, near the caches
_TAPS = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))


@dataclass(frozen=True)
class FlatLayout:
    """Where the pixels of a batch lie in a flat row with zero margins.

    Parameters
    ----------
    images, height, width : int
        Shape of the batch.
    margin : int
        Zero pixels after each row and zero rows after each image: the largest dilation.
    """

    images: int
    height: int
    width: int
    margin: int

    @property
    def row(self) -> int:
        """Pixels from one row to the next. The margin of a row's end serves the next's start."""
        return self.width + self.margin

    @property
    def guard(self) -> int:
        """Pixels before the first image: no shift reaches farther."""
        return self.margin * (self.row + 1)

    @property
    def span(self) -> int:
        """Pixels from the first to the last row of the batch, margins between them included."""
        return (self.images * (self.height + self.margin) - self.margin) * self.row

    @property
    def total(self) -> int:
        """Pixels of a whole row of the buffer."""
        return self.span + 2 * self.guard

    @property
    def inside(self) -> slice:
        """The span as a slice of a row of the buffer."""
        return slice(self.guard, self.guard + self.span)

    def offsets(self, dilation: int) -> tuple[int, ...]:
        """Return how far each of the nine taps lies from the middle one."""
        return tuple(dilation * (dy * self.row + dx) for dy, dx in _TAPS)

    def images_of(self, flat: Tensor) -> Tensor:
        """Return the pixels of ``flat`` (maps, total) as a view (maps, images, height, width)."""
        rows = self.height + self.margin
        part = flat[:, self.guard : self.guard + self.images * rows * self.row]
        grid = part.view(len(flat), self.images, rows, self.row)
        return grid[:, :, : self.height, : self.width]

    def mask(self, like: Tensor) -> Tensor:
        """Return 1 where the span holds a pixel and 0 where it holds margin, shape (span,)."""
        flat = like.new_zeros(1, self.total)
        self.images_of(flat).fill_(1)
        return flat[0, self.inside]


def plain_maps(
    x: Tensor, weights: Sequence[Tensor], biases: Tensor, dilations: Sequence[int]
) -> Tensor:
    """Return all maps by one convolution a layer: slow, and the yardstick of the fast form.

    Parameters
    ----------
    x : Tensor
        Input, (images, channels, height, width).
    weights : sequence of Tensor
        One (width, channels + layer * width, 3, 3) for each layer.
    biases : Tensor
        (layers * width,).
    dilations : sequence of int
        One for each layer.

    Returns
    -------
    Tensor
        (images, channels + layers * width, height, width), the input first.
    """
    width = weights[0].shape[0]
    for layer, (weight, dilation) in enumerate(zip(weights, dilations, strict=True)):
        bias = biases[layer * width : (layer + 1) * width]
        maps = functional.conv2d(x, weight, bias, padding=dilation, dilation=dilation)
        x = torch.cat((x, functional.relu(maps)), 1)
    return x


def _taps_matrix(weights: Sequence[Tensor], start: int, stop: int) -> Tensor:
    """Return the weights on maps start:stop, rows in the order layer, tap, map of the layer."""
    parts = torch.stack([weight[:, start:stop] for weight in weights])
    return parts.permute(0, 3, 4, 1, 2).reshape(-1, stop - start)


def _add_shifted(target: Tensor, taps: Tensor, origin: int, offsets: Sequence[int]) -> None:
    """Add the nine rows of ``taps`` (9, width, pixels) to ``target`` (width, n), each shifted."""
    count = target.shape[1]
    for tap, offset in zip(taps, offsets, strict=True):
        target += tap[:, origin + offset : origin + offset + count]


def fill_maps(
    buffer: Tensor,
    channels: int,
    weights: Sequence[Tensor],
    biases: Tensor,
    dilations: Sequence[int],
    layout: FlatLayout,
) -> None:
    """Compute all layers into ``buffer`` (channels + layers * width, layout.total), in place.

    The first ``channels`` rows hold the input, with zeros in the margins.
    """
    width = weights[0].shape[0]
    mask = layout.mask(buffer)
    for first in range(0, len(weights), BLOCK):
        last = min(first + BLOCK, len(weights))
        known = channels + first * width
        block = weights[first:last]
        maps = buffer[known : known + (last - first) * width, layout.inside]
        maps.copy_(biases[first * width : last * width, None].expand_as(maps))
        matrix = _taps_matrix(block, 0, known)
        _add_products(maps, matrix, buffer[:known], dilations[first:last], layout)
        for layer in range(first, last):
            row = channels + layer * width
            own = buffer[row : row + width, layout.inside]
            if row > known:
                matrix = _taps_matrix(weights[layer : layer + 1], known, row)
                _add_products(own, matrix, buffer[known:row], dilations[layer : layer + 1], layout)
            own.clamp_(min=0).mul_(mask)


def _add_products(
    maps: Tensor, matrix: Tensor, source: Tensor, dilations: Sequence[int], layout: FlatLayout
) -> None:
    """Add the convolutions of ``source`` with all taps in ``matrix`` to ``maps``, by strips."""
    layers = len(dilations)
    width = maps.shape[0] // layers
    reach = max(dilations) * (layout.row + 1)
    # A strip pays for its reach on both sides: short strips waste products, long ones memory.
    length = max(_STRIP_VALUES // matrix.shape[0], 4 * reach)
    for start in range(0, layout.span, length):
        stop = min(start + length, layout.span)
        low = layout.guard + start - reach
        high = layout.guard + stop + reach
        taps = torch.mm(matrix, source[:, low:high]).view(layers, 9, width, high - low)
        for layer, dilation in enumerate(dilations):
            own = maps[layer * width : (layer + 1) * width, start:stop]
            _add_shifted(own, taps[layer], reach, layout.offsets(dilation))


class _MixedScaleDense(torch.autograd.Function):
    """All layers as one differentiable step: keeps one buffer instead of one per layer."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        layout: FlatLayout,
        dilations: Sequence[int],
        biases: Tensor,
        *weights: Tensor,
    ) -> Tensor:
        channels = x.shape[1]
        buffer = x.new_zeros(channels + biases.shape[0], layout.total)
        layout.images_of(buffer[:channels]).copy_(x.transpose(0, 1))
        fill_maps(buffer, channels, weights, biases, dilations, layout)
        ctx.layout, ctx.dilations, ctx.channels = layout, dilations, channels
        ctx.save_for_backward(buffer, biases, *weights)
        return buffer

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        buffer, biases, *weights = ctx.saved_tensors
        layout: FlatLayout = ctx.layout
        channels: int = ctx.channels
        gradient = outputs[0][:, layout.inside].clone()
        work = _Backward(buffer, gradient, weights, ctx.dilations, channels, layout)
        work.run(input_too=ctx.needs_input_grad[0])
        into_input = None
        if ctx.needs_input_grad[0]:
            flat = functional.pad(gradient[:channels], (layout.guard, layout.guard))
            into_input = layout.images_of(flat).transpose(0, 1).contiguous()
        return (into_input, None, None, work.biases.to(biases.dtype), *work.weights)


class _Backward:
    """Walks the blocks backwards; ``gradient`` (maps, span) is consumed."""

    def __init__(
        self,
        buffer: Tensor,
        gradient: Tensor,
        weights: Sequence[Tensor],
        dilations: Sequence[int],
        channels: int,
        layout: FlatLayout,
    ) -> None:
        self._maps = buffer[:, layout.inside]
        self._gradient = gradient
        self._own = weights
        self._dilations = dilations
        self._channels = channels
        self._layout = layout
        self._width = weights[0].shape[0]
        self.weights = [torch.empty_like(weight) for weight in weights]
        self.biases = buffer.new_empty(len(weights) * self._width)

    def run(self, *, input_too: bool) -> None:
        depth, width = len(self._own), self._width
        stack = self._maps.new_empty(min(BLOCK, depth) * 9 * width, self._layout.span)
        shifted = self._maps.new_zeros(width, self._layout.total)
        for first in range((depth - 1) // BLOCK * BLOCK, -1, -BLOCK):
            last = min(first + BLOCK, depth)
            self._run_block(first, last, stack[: (last - first) * 9 * width], shifted, input_too)

    def _run_block(
        self, first: int, last: int, stack: Tensor, shifted: Tensor, input_too: bool
    ) -> None:
        width, channels = self._width, self._channels
        known = channels + first * width
        for layer in range(last - 1, first - 1, -1):
            row = channels + layer * width
            part = stack[(layer - first) * 9 * width : (layer - first + 1) * 9 * width]
            self._stack_shifts(layer, shifted, part)
            if row > known:
                matrix = _taps_matrix(self._own[layer : layer + 1], known, row)
                self._gradient[known:row].addmm_(matrix.t(), part)
        start = 0 if input_too else channels
        if known > start:
            matrix = _taps_matrix(self._own[first:last], start, known)
            self._gradient[start:known].addmm_(matrix.t(), stack)
        self._collect(first, last, stack)

    def _stack_shifts(self, layer: int, shifted: Tensor, part: Tensor) -> None:
        """Write the nine shifted copies of the layer's gradient below its ReLU into ``part``."""
        width, layout = self._width, self._layout
        row = self._channels + layer * width
        own = shifted[:, layout.inside]
        # Margins hold zero maps, so that this also clears what leaked into them.
        torch.mul(self._gradient[row : row + width], self._maps[row : row + width] > 0, out=own)
        torch.sum(own, 1, out=self.biases[layer * width : (layer + 1) * width])
        rows = part.view(9, width, layout.span)
        for tap, offset in enumerate(layout.offsets(self._dilations[layer])):
            start = layout.guard - offset
            rows[tap] = shifted[:, start : start + layout.span]

    def _collect(self, first: int, last: int, stack: Tensor) -> None:
        """Write the gradients of the block's weights."""
        width = self._width
        stop = self._channels + (last - 1) * width
        product = torch.mm(stack, self._maps[:stop].t())
        taps = product.view(last - first, 3, 3, width, stop).permute(0, 3, 4, 1, 2)
        for layer in range(first, last):
            fan_in = self._channels + layer * width
            self.weights[layer].copy_(taps[layer - first, :, :fan_in])


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
    """

    def __init__(
        self, channels: int, depth: int, width: int, dilations: Sequence[int], outputs: int
    ) -> None:
        super().__init__()
        self.channels = channels
        self.width = width
        self.dilations = tuple(dilations[layer % len(dilations)] for layer in range(depth))
        self.maps = channels + depth * width
        spread = math.sqrt(2 / (9 * (channels + width * (depth - 1)) + outputs))
        self.weights = nn.ParameterList(
            torch.randn(width, channels + layer * width, 3, 3) * spread for layer in range(depth)
        )
        self.biases = nn.Parameter(torch.zeros(depth * width))

    def flat_maps(self, x: Tensor) -> tuple[Tensor, FlatLayout]:
        """Return input and maps as (maps, pixels), and where the pixels lie.

        Parameters
        ----------
        x : Tensor
            (images, channels, height, width).
        """
        images, _, height, width = x.shape
        layout = FlatLayout(images, height, width, max(self.dilations))
        run = cast("Callable[..., Tensor]", _MixedScaleDense.apply)
        return run(x, layout, self.dilations, self.biases, *self.weights), layout

    def forward(self, x: Tensor) -> Tensor:
        """Return input and maps, (images, maps, height, width)."""
        buffer, layout = self.flat_maps(x)
        return layout.images_of(buffer).transpose(0, 1)

    def plain(self, x: Tensor) -> Tensor:
        """Return what `forward` returns, by one convolution a layer."""
        return plain_maps(x, list(self.weights), self.biases, self.dilations)
