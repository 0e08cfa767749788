"""The layers regrouped as matrix products: fast wherever torch runs.

Written as one convolution a layer the network runs at 1-2 % of a processor's peak. Here the taps
of a block of layers against all maps known before the block are one matrix product, and nine or
27 shifted additions a layer spread the products over the layer's maps. Both go strip by strip, so
that a product is still in the cache when it is spread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from brushfire.networks.kernels.protocol import Gradients

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brushfire.networks.kernels.layout import FlatLayout
    from brushfire.networks.kernels.protocol import Layers

# Maps whose taps share a matrix product. Forwards fewer, because what they take from each other are
# narrow products; backwards more, because there these are wider.
_BLOCK, _BLOCK_BACK = 6, 10
_STRIP_VALUES = 2**20  # values of a product kept at once: 4 MB in float32, near the caches
_MORE_VALUES = 2**24  # on other devices, where each strip is many launches


class GroupedKernel:
    """Matrix products of blocks of layers."""

    name = "grouped"

    def fill(self, buffer: Tensor, layers: Layers, layout: FlatLayout) -> None:
        """Compute all maps into the buffer."""
        mask = layout.mask(buffer)
        width = layers.width
        for first, last in _blocks(layers, _BLOCK):
            known = layers.row(first)
            maps = buffer[known : layers.row(last)]
            biases = layers.biases[first * width : last * width, None]
            maps[:, layout.inside] = biases.detach()
            matrix = _taps_matrix(layers.weights[first:last], 0, known)
            _spread_products(maps, matrix, buffer[:known], layers.dilations[first:last], layout)
            for layer in range(first, last):
                row = layers.row(layer)
                own = buffer[row : row + width]
                if row > known:
                    matrix = _taps_matrix(layers.weights[layer : layer + 1], known, row)
                    dilations = layers.dilations[layer : layer + 1]
                    _spread_products(own, matrix, buffer[known:row], dilations, layout)
                own[:, layout.inside].clamp_(min=0).mul_(mask)
                own[:, : layout.inside.start] = 0  # what was spread beyond the pixels
                own[:, layout.inside.stop :] = 0
                layout.fill_margins(own)

    def gradients(
        self, buffer: Tensor, slope: Tensor, layers: Layers, layout: FlatLayout, *, input_too: bool
    ) -> Gradients:
        """Return the gradients of all weights."""
        work = _Backward(buffer, slope, layers, layout)
        work.run(input_too=input_too)
        if input_too:
            layout.fold_margins(slope[: layers.channels])
        return Gradients(work.weights, work.biases)


def _blocks(layers: Layers, maps: int) -> list[tuple[int, int]]:
    return layers.blocks(max(1, maps // layers.width))


def _taps_matrix(weights: Sequence[Tensor], start: int, stop: int) -> Tensor:
    """Return the weights on maps start:stop, rows in the order layer, tap, map of the layer."""
    parts = torch.stack([weight.detach()[:, start:stop].flatten(2) for weight in weights])
    layers, width, _, taps = parts.shape
    return parts.permute(0, 3, 1, 2).reshape(layers * taps * width, stop - start)


def _strips(like: Tensor, rows: int, layout: FlatLayout) -> Iterator[tuple[int, int, Tensor]]:
    """Yield ranges of the span, and each time the same memory for ``rows`` values a pixel."""
    most = _STRIP_VALUES if like.device.type == "cpu" else _MORE_VALUES
    length = max(1, min(most // rows, layout.span))
    memory = like.new_empty(rows * length)
    for start in range(layout.inside.start, layout.inside.stop, length):
        stop = min(start + length, layout.inside.stop)
        yield start, stop, memory[: rows * (stop - start)].view(rows, stop - start)


def _spread_products(
    maps: Tensor, matrix: Tensor, source: Tensor, dilations: Sequence[int], layout: FlatLayout
) -> None:
    """Add the convolutions of ``source`` with all taps in ``matrix`` to ``maps``, by strips.

    What a strip gives to pixels beside it is added there, so that nothing is computed twice.
    """
    layers, rows = len(dilations), matrix.shape[0]
    width = maps.shape[0] // layers
    for start, stop, product in _strips(source, rows, layout):
        torch.mm(matrix, source[:, start:stop], out=product)
        taps = product.view(layers, layout.taps, width, stop - start)
        for layer, dilation in enumerate(dilations):
            own = maps[layer * width : (layer + 1) * width]
            for tap, offset in zip(taps[layer], layout.offsets(dilation), strict=True):
                own[:, start - offset : stop - offset] += tap


class _Backward:
    """Walks the blocks backwards; ``slope`` (maps, total) is used up."""

    def __init__(self, buffer: Tensor, slope: Tensor, layers: Layers, layout: FlatLayout) -> None:
        self._maps, self._slope = buffer, slope
        self._layers = layers
        self._layout = layout
        self.weights = [torch.empty_like(weight) for weight in layers.weights]
        self.biases = torch.empty_like(layers.biases)

    def run(self, *, input_too: bool) -> None:
        layers = self._layers
        for first, last in reversed(_blocks(layers, _BLOCK_BACK)):
            known = layers.row(first)
            for layer in range(last - 1, first - 1, -1):
                self._stop_at_relu(layer)
                row = layers.row(layer)
                if row > known:
                    matrix = _taps_matrix(layers.weights[layer : layer + 1], known, row)
                    for start, stop, stack in self._stacks(layer, layer + 1):
                        self._slope[known:row, start:stop].addmm_(matrix.t(), stack)
            self._finish(first, last, 0 if input_too else layers.channels)

    def _stop_at_relu(self, layer: int) -> None:
        """Clear the layer's gradient where its maps are zero, and sum up those of its biases."""
        width, layout = self._layers.width, self._layout
        row = self._layers.row(layer)
        own = self._slope[row : row + width]
        layout.fold_margins(own)
        # Where the border is zero, the maps are, so that this clears what leaked into margins.
        own.mul_(self._maps[row : row + width] > 0)
        own = own[:, layout.inside]
        torch.sum(own, 1, out=self.biases[layer * width : (layer + 1) * width])

    def _finish(self, first: int, last: int, start_row: int) -> None:
        """Pass the block's gradients on to the maps before it, and collect its weights'."""
        layers = self._layers
        known, stop_row = layers.row(first), layers.row(last - 1)
        matrix = _taps_matrix(layers.weights[first:last], start_row, known)
        found = self._maps.new_zeros((last - first) * self._layout.taps * layers.width, stop_row)
        for start, stop, stack in self._stacks(first, last):
            if known > start_row:
                self._slope[start_row:known, start:stop].addmm_(matrix.t(), stack)
            found.addmm_(stack, self._maps[:stop_row, start:stop].t())
        taps = found.view(last - first, -1, layers.width, stop_row).permute(0, 2, 3, 1)
        for layer in range(first, last):
            part = taps[layer - first, :, : layers.row(layer)]
            self.weights[layer].copy_(part.reshape(self.weights[layer].shape))

    def _stacks(self, first: int, last: int) -> Iterator[tuple[int, int, Tensor]]:
        """Yield strips: where each begins and ends, and the layers' shifted gradients there."""
        layers, layout = self._layers, self._layout
        width = layers.width
        rows = (last - first) * layout.taps * width
        for start, stop, stack in _strips(self._maps, rows, layout):
            parts = stack.view(last - first, layout.taps, width, stop - start)
            for layer, taps in zip(range(first, last), parts, strict=True):
                own = self._slope[layers.row(layer) : layers.row(layer) + width]
                offsets = layout.offsets(layers.dilations[layer])
                for tap, offset in zip(taps, offsets, strict=True):
                    tap.copy_(own[:, start - offset : stop - offset])
            yield start, stop, stack
