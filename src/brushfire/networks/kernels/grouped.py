"""The layers regrouped as matrix products: fast wherever torch runs.

Written as one convolution a layer the network runs at 1-2 % of a processor's peak. Here the taps
of a block of layers against all maps known before the block are one matrix product, and nine or
27 shifted additions a layer fold the products into the layer's maps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from brushfire.networks.kernels.protocol import Gradients

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brushfire.networks.kernels.layout import FlatLayout
    from brushfire.networks.kernels.protocol import Layers

_BLOCK = 10  # layers whose taps share a matrix product; more adds nothing, the products are wide
_STRIP_VALUES = 2**20  # values of a product kept at once: 4 MB in float32, near the caches


class GroupedKernel:
    """Matrix products of blocks of layers."""

    name = "grouped"

    def fill(self, buffer: Tensor, layers: Layers, layout: FlatLayout) -> None:
        """Compute all maps into the buffer."""
        mask = layout.mask(buffer)
        width = layers.width
        for first, last in layers.blocks(_BLOCK):
            known = layers.row(first)
            maps = buffer[known : layers.row(last), layout.inside]
            maps.copy_(layers.biases[first * width : last * width, None].expand_as(maps))
            matrix = _taps_matrix(layers.weights[first:last], 0, known)
            _add_products(maps, matrix, buffer[:known], layers.dilations[first:last], layout)
            for layer in range(first, last):
                row = layers.row(layer)
                own = buffer[row : row + width, layout.inside]
                if row > known:
                    matrix = _taps_matrix(layers.weights[layer : layer + 1], known, row)
                    dilations = layers.dilations[layer : layer + 1]
                    _add_products(own, matrix, buffer[known:row], dilations, layout)
                own.clamp_(min=0).mul_(mask)
                layout.fill_margins(buffer[row : row + width])

    def gradients(
        self, buffer: Tensor, slope: Tensor, layers: Layers, layout: FlatLayout, *, input_too: bool
    ) -> Gradients:
        """Return the gradients of all weights."""
        work = _Backward(buffer, slope, layers, layout)
        work.run(input_too=input_too)
        if input_too:
            layout.fold_margins(slope[: layers.channels])
        return Gradients(work.weights, work.biases)


def _taps_matrix(weights: Sequence[Tensor], start: int, stop: int) -> Tensor:
    """Return the weights on maps start:stop, rows in the order layer, tap, map of the layer."""
    parts = torch.stack([weight[:, start:stop].flatten(2) for weight in weights])
    return parts.permute(0, 3, 1, 2).reshape(-1, stop - start)


def _add_products(
    maps: Tensor, matrix: Tensor, source: Tensor, dilations: Sequence[int], layout: FlatLayout
) -> None:
    """Add the convolutions of ``source`` with all taps in ``matrix`` to ``maps``, by strips."""
    layers = len(dilations)
    width = maps.shape[0] // layers
    reach = max(layout.offsets(max(dilations)))
    # A strip pays for its reach on both sides: short strips waste products, long ones memory.
    length = max(_STRIP_VALUES // matrix.shape[0], 4 * reach)
    for start in range(0, layout.span, length):
        stop = min(start + length, layout.span)
        low = layout.guard + start - reach
        high = layout.guard + stop + reach
        taps = torch.mm(matrix, source[:, low:high]).view(layers, layout.taps, width, high - low)
        for layer, dilation in enumerate(dilations):
            own = maps[layer * width : (layer + 1) * width, start:stop]
            _add_shifted(own, taps[layer], reach, layout.offsets(dilation))


def _add_shifted(target: Tensor, taps: Tensor, origin: int, offsets: Sequence[int]) -> None:
    """Add ``taps`` (taps, width, pixels) to ``target`` (width, n), each shifted."""
    count = target.shape[1]
    for tap, offset in zip(taps, offsets, strict=True):
        target += tap[:, origin + offset : origin + offset + count]


class _Backward:
    """Walks the blocks backwards; ``slope`` (maps, total) is used up."""

    def __init__(self, buffer: Tensor, slope: Tensor, layers: Layers, layout: FlatLayout) -> None:
        self._maps = buffer[:, layout.inside]
        self._whole_slope, self._slope = slope, slope[:, layout.inside]
        self._layers = layers
        self._layout = layout
        self._taps = layout.taps * layers.width
        self.weights = [torch.empty_like(weight) for weight in layers.weights]
        self.biases = torch.empty_like(layers.biases)

    def run(self, *, input_too: bool) -> None:
        rows = min(_BLOCK, self._layers.depth) * self._taps
        stack = self._maps.new_empty(rows, self._layout.span)
        shifted = self._maps.new_zeros(self._layers.width, self._layout.total)
        for first, last in reversed(self._layers.blocks(_BLOCK)):
            part = stack[: (last - first) * self._taps]
            self._run_block(first, last, part, shifted, input_too)

    def _run_block(
        self, first: int, last: int, stack: Tensor, shifted: Tensor, input_too: bool
    ) -> None:
        layers, taps = self._layers, self._taps
        known = layers.row(first)
        for layer in range(last - 1, first - 1, -1):
            row = layers.row(layer)
            part = stack[(layer - first) * taps : (layer - first + 1) * taps]
            self._stack_shifts(layer, shifted, part)
            if row > known:
                matrix = _taps_matrix(layers.weights[layer : layer + 1], known, row)
                self._slope[known:row].addmm_(matrix.t(), part)
        start = 0 if input_too else layers.channels
        if known > start:
            matrix = _taps_matrix(layers.weights[first:last], start, known)
            self._slope[start:known].addmm_(matrix.t(), stack)
        self._collect(first, last, stack)

    def _stack_shifts(self, layer: int, shifted: Tensor, part: Tensor) -> None:
        """Write the shifted copies of the layer's gradient below its ReLU into ``part``."""
        width, layout = self._layers.width, self._layout
        row = self._layers.row(layer)
        own = shifted[:, layout.inside]
        layout.fold_margins(self._whole_slope[row : row + width])
        # Where the border is zero, the maps are, so that this clears what leaked into margins.
        torch.mul(self._slope[row : row + width], self._maps[row : row + width] > 0, out=own)
        torch.sum(own, 1, out=self.biases[layer * width : (layer + 1) * width])
        rows = part.view(layout.taps, width, layout.span)
        for tap, offset in enumerate(layout.offsets(self._layers.dilations[layer])):
            start = layout.guard - offset
            rows[tap] = shifted[:, start : start + layout.span]

    def _collect(self, first: int, last: int, stack: Tensor) -> None:
        """Write the gradients of the block's weights."""
        stop = self._layers.row(last - 1)
        product = torch.mm(stack, self._maps[:stop].t())
        taps = product.view(last - first, -1, self._layers.width, stop).permute(0, 2, 3, 1)
        for layer in range(first, last):
            found = taps[layer - first, :, : self._layers.row(layer)]
            self.weights[layer].copy_(found.reshape(self.weights[layer].shape))
