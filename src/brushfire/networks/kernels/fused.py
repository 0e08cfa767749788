"""The layers on a graphics card's tensor cores: needs triton.

Layers go in blocks, as in the grouped kernel: all taps of a block meet all maps before it in one
matrix product. Two things keep that from being bound by the bytes of the products. First, a
program sums the three taps along x while it holds them: of nine products of a layer three are
written, of 27 nine. A layer's shift along x is short and stays in the tile, while its shifts along
y and z are whole rows and do not. Second, a pass over those products makes the maps of a block at
once. What the layers of a block take from each other is added layer by layer, with ReLU and the
clearing of margins in the same pass.

On the way back the shift belongs to the map that is read, not to the one that is written, so that
shifted slopes are loaded straight into the products, and nothing is stacked.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad
from triton import language as tl

from brushfire.networks.kernels import fused_loops as loops
from brushfire.networks.kernels.grouped import GroupedKernel
from brushfire.networks.kernels.protocol import Gradients

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from brushfire.networks.kernels.layout import FlatLayout
    from brushfire.networks.kernels.protocol import Layers

Precision = Literal["tf32x3", "ieee"]

_FARTHEST = 64  # of dilations: with a longer one, a tile would be overlap for the most part
_STRIP_VALUES = 2**26  # values of products kept at once: 256 MB in float32
# Of the three programs that multiply matrices, tiles as large as registers allow. A block of
# layers has as many rows of products as one program works on, 30 for 10 maps in two dimensions:
# with fewer, earlier maps are read more often, with more, the layers of a block take more from
# each other.
_MULTIPLY = {"ROWS": 32, "DEPTH": 16, "PIXELS": 256}
_MULTIPLY_WARPS = 8
_SPREAD = {"ROWS": 64, "DEPTH": 32, "PIXELS": 128}
_COLLECT = {"ROWS": 64, "MAPS": 64, "PIXELS": 32}
_LINE = 1024  # pixels of a program that multiplies no matrices
_SHARES = 512  # of the pixels, whose sums are kept apart: rounding grows with the pixels of one
_SHARE_VALUES = 2**25  # values of all those sums
_COMPILE = {"enable_fp_fusion": True}  # a product and a sum may become one operation


class FusedKernel:
    """Tiles of matrix products, compiled for this card when they are first used.

    Parameters
    ----------
    precision : str
        How float32 is multiplied: "tf32x3" on tensor cores, in three parts that together hold
        nearly all of its digits, or "ieee" without them, exact and several times slower.
    """

    name = "fused"

    def __init__(self, precision: Precision = "tf32x3") -> None:
        self._precision: Precision = precision
        self._far = GroupedKernel()

    def fill(self, buffer: Tensor, layers: Layers, layout: FlatLayout) -> None:
        """Compute all maps into the buffer."""
        if layout.images == 0:
            return
        if max(layers.dilations) > _FARTHEST:
            self._far.fill(buffer, layers, layout)
            return
        with _on_its_card(buffer):
            _Forward(buffer, layers, layout, self._precision).run()

    def gradients(
        self, buffer: Tensor, slope: Tensor, layers: Layers, layout: FlatLayout, *, input_too: bool
    ) -> Gradients:
        """Return the gradients of all weights, in float32 where values are shorter."""
        if layout.images == 0:
            nothing = [torch.zeros_like(weight) for weight in layers.weights]
            return Gradients(nothing, torch.zeros_like(layers.biases))
        if max(layers.dilations) > _FARTHEST:
            return self._far.gradients(buffer, slope, layers, layout, input_too=input_too)
        with _on_its_card(buffer):
            work = _Backward(buffer, slope, layers, layout, self._precision)
            return work.run(input_too=input_too)


class _Walk:
    """What both ways through the blocks need on the card.

    Attributes
    ----------
    taps : Tensor
        Weights of all layers, (made maps, fan, taps), 0 on later maps.
    dilations : Tensor
        Of each map, the input's among them.
    row_taps : int
        Taps of a convolution but for those along x.
    """

    def __init__(self, layers: Layers, layout: FlatLayout, like: Tensor, precision: str) -> None:
        self.layers, self.layout = layers, layout
        self.row_taps = layout.taps // 3
        self.blocks = layers.blocks(max(1, _MULTIPLY["ROWS"] // (self.row_taps * layers.width)))
        made = (dilation for dilation in layers.dilations for _ in range(layers.width))
        self.dilations = _numbers((*[1] * layers.channels, *made), like.device)
        self.fan = layers.row(layers.depth - 1)
        self.taps = self._dense(like)
        self.sum = tl.float64 if like.dtype == torch.float64 else tl.float32
        short = {torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}.get(like.dtype, self.sum)
        self.dot: dict[str, Any] = {
            "SUM": self.sum,
            "OPERAND": self.sum if loops.INTERPRETED else short,
            "PRECISION": precision if like.dtype == torch.float32 else "ieee",
            **_COMPILE,
        }
        *planes, line, _ = layout.strides
        self.steps = (line, planes[0] if planes else 0)

    def _dense(self, like: Tensor) -> Tensor:
        layers = self.layers
        flat = torch.cat([weight.detach().reshape(-1) for weight in layers.weights])
        made = layers.depth * layers.width
        taps = like.new_zeros(made, self.fan, self.layout.taps)
        layer = torch.arange(made, device=like.device) // layers.width
        known = layers.channels + layer * layers.width
        is_there = torch.arange(self.fan, device=like.device) < known[:, None]
        return taps.masked_scatter_(is_there[:, :, None], flat)

    def of_block(self, known: int, stop: int) -> Tensor:
        """Return the weights of the maps known:stop on those before them."""
        channels = self.layers.channels
        return self.taps[known - channels : stop - channels, :known]

    def add_near(
        self, flat: Tensor, gate: Tensor, row: int, first: int, last: int, **how: bool
    ) -> None:
        """Add maps first:last of the block to those of one layer."""
        layers, layout, wide = self.layers, self.layout, _power(self.layers.width)
        pixels = max(_LINE // wide, 128)
        loops.add_near[(_parts(layout.span, pixels),)](
            flat, self.taps, self.dilations, gate, layout.total, layout.guard, layout.span,
            first, last, row, layers.width, layers.channels, self.fan, *self.steps,
            TAPS=layout.taps, WIDTH=wide, PIXELS=pixels, SUM=self.sum, **how, **_COMPILE,
        )  # fmt: skip


class _Forward(_Walk):
    """Walks the blocks forwards."""

    def __init__(self, buffer: Tensor, layers: Layers, layout: FlatLayout, precision: str) -> None:
        super().__init__(layers, layout, buffer, precision)
        self._buffer = buffer
        self._biases = layers.biases.detach().contiguous()
        self._inside = buffer.new_zeros(1, layout.total, dtype=torch.uint8)
        layout.images_of(self._inside).fill_(1)
        rows = self.dilations.repeat_interleave(self.row_taps)
        self._row_dilations = pad(rows, (0, _MULTIPLY["ROWS"]), value=1)
        self._far = max(layers.dilations)
        self._overlap = _parts(self._far, 16) * 16  # tiles begin at whole vectors

    def run(self) -> None:
        layers, layout, width = self.layers, self.layout, self.layers.width
        rows = self.blocks[0][1] * width * self.row_taps
        reach = self._far * sum(layout.strides[:-1])
        # A strip pays for its reach on both sides: short strips waste products, long ones memory.
        length = max(_parts(_STRIP_VALUES // rows, 16) * 16, 4 * reach)
        length = min(length, _parts(layout.span, 16) * 16)
        product = self._buffer.new_empty(rows, length + 2 * reach)
        for first, last in self.blocks:
            known, stop = layers.row(first), layers.row(last)
            taps = self._row_matrices(known, stop)
            for start in range(0, layout.span, length):
                count = min(length, layout.span - start)
                self._multiply(product, taps, known, stop, start - reach, count + 2 * reach)
                self._fold(product, known, stop, start, count, reach)
            layout.fill_margins(self._buffer[known : known + width])
            for row in range(known + width, stop, width):
                self.add_near(self._buffer, self._inside, row, known, row, BACK=False, GATED=True)
                layout.fill_margins(self._buffer[row : row + width])

    def _row_matrices(self, known: int, stop: int) -> Tensor:
        """Return the weights of a block in order (tap along x, map and other taps, earlier map)."""
        taps = self.of_block(known, stop).view(-1, known, self.row_taps, 3).permute(3, 0, 2, 1)
        rows, depth = _MULTIPLY["ROWS"], _MULTIPLY["DEPTH"]
        chunks = _parts((stop - known) * self.row_taps, rows)
        return _padded(taps.flatten(1, 2), (3, chunks * rows, _parts(known, depth) * depth))

    def _multiply(
        self, product: Tensor, taps: Tensor, known: int, stop: int, begin: int, columns: int
    ) -> None:
        """Write the products of pixels from ``begin`` of the span on."""
        layout, rows = self.layout, (stop - known) * self.row_taps
        chunks = taps.shape[1] // _MULTIPLY["ROWS"]
        tiles = _parts(columns, _MULTIPLY["PIXELS"] - 2 * self._overlap)
        loops.multiply[(tiles * chunks,)](
            self._buffer, taps, self._row_dilations[known * self.row_taps :], product,
            layout.total, layout.guard + begin, known, taps.shape[2], product.shape[1], columns,
            rows, chunks, **_MULTIPLY, OVERLAP=self._overlap, num_warps=_MULTIPLY_WARPS, **self.dot,
        )  # fmt: skip

    def _fold(
        self, product: Tensor, known: int, stop: int, start: int, count: int, reach: int
    ) -> None:
        """Make the maps of a block from products; those of its first layer are then complete."""
        layers, layout, made = self.layers, self.layout, known - self.layers.channels
        loops.fold[(_parts(count, _LINE) * (stop - known),)](
            product, self._buffer[known], self._inside, self._biases[made:],
            self.dilations[known:], layout.total, layout.guard, start, count, product.shape[1],
            reach, stop - known, layers.width, *self.steps,
            TAPS=self.row_taps, PIXELS=_LINE, SUM=self.sum, **_COMPILE,
        )  # fmt: skip


class _Backward(_Walk):
    """Walks the blocks backwards; ``slope`` (maps, total) is used up."""

    def __init__(
        self, buffer: Tensor, slope: Tensor, layers: Layers, layout: FlatLayout, precision: str
    ) -> None:
        super().__init__(layers, layout, buffer, precision)
        self._buffer, self._slope = buffer, slope
        self._dtype = torch.float64 if buffer.dtype == torch.float64 else torch.float32
        # For each tap of each map, which slopes it meets, and how far they are shifted; some more,
        # because programs look at whole tiles of them.
        more = (0, max(_SPREAD["DEPTH"], _COLLECT["ROWS"]))
        maps = torch.arange(len(buffer), dtype=torch.int32, device=buffer.device)
        self._sources = pad(maps.repeat_interleave(layout.taps), more)
        steps = _numbers(layout.offsets(1), buffer.device)
        self._shifts = pad((self.dilations[:, None] * steps).flatten(), more)
        self._found = torch.zeros_like(self.taps, dtype=self._dtype)

    def run(self, *, input_too: bool) -> Gradients:
        layers, layout, width = self.layers, self.layout, self.layers.width
        start = 0 if input_too else layers.channels
        for first, last in reversed(self.blocks):
            known, stop = layers.row(first), layers.row(last)
            for row in range(stop - width, known - 1, -width):
                self._finish(row, stop)
            if known > start:
                self._spread(start, known, stop)
            self._collect(known, stop)
        if input_too:
            layout.fold_margins(self._slope[: layers.channels])
        made = self._slope[layers.channels :, layout.inside]
        return Gradients(list(self._weights()), made.sum(1, dtype=self._dtype))

    def _finish(self, row: int, stop: int) -> None:
        """Add what later layers of the block say to a layer's slopes, and stop them at its ReLU."""
        first, width, zero = row + self.layers.width, self.layers.width, self.layout.lead == 0
        # Where the border is zero, the maps are, so that the gate clears what leaked into margins.
        # What lies in a mirrored margin must come back to its pixel first.
        if zero or first < stop:
            self.add_near(self._slope, self._buffer, row, first, stop, BACK=True, GATED=zero)
        if not zero:
            slopes = self._slope[row : row + width]
            self.layout.fold_margins(slopes)
            slopes.masked_fill_(self._buffer[row : row + width] <= 0, 0)

    def _spread(self, start: int, known: int, stop: int) -> None:
        """Add what a block says to the slopes of maps start:known."""
        layout, targets, rows = self.layout, known - start, (stop - known) * self.layout.taps
        chunks = _parts(targets, _SPREAD["ROWS"])
        padded = _parts(rows, _SPREAD["DEPTH"]) * _SPREAD["DEPTH"]
        taps = self.of_block(known, stop)[:, start:].transpose(0, 1).flatten(1)
        loops.spread[(_parts(layout.span, _SPREAD["PIXELS"]) * chunks,)](
            self._slope, _padded(taps, (chunks * _SPREAD["ROWS"], padded)), *self._rows(known),
            layout.total, layout.guard, layout.span, start, targets, rows, padded, chunks,
            **_SPREAD, **self.dot,
        )  # fmt: skip

    def _collect(self, known: int, stop: int) -> None:
        """Write the gradients of a block's weights."""
        layout, rows = self.layout, (stop - known) * self.layout.taps
        maps = stop - self.layers.width
        chunks, parts = _parts(rows, _COLLECT["ROWS"]), _parts(maps, _COLLECT["MAPS"])
        height, width = chunks * _COLLECT["ROWS"], parts * _COLLECT["MAPS"]
        tiles = _parts(layout.span, _COLLECT["PIXELS"])
        steps = max(16, _parts(tiles, max(1, min(_SHARES, _SHARE_VALUES // (height * width)))))
        shares = _parts(tiles, steps)
        sums = torch.empty(shares, height, width, dtype=self._dtype, device=self._slope.device)
        loops.collect[(shares * chunks * parts,)](
            self._slope, self._buffer, *self._rows(known), sums, layout.total, layout.guard,
            layout.span, maps, rows, width, chunks, parts, steps, **_COLLECT, **self.dot,
        )  # fmt: skip
        taps = sums.sum(0)[:rows, :maps].view(-1, layout.taps, maps)
        channels = self.layers.channels
        self._found[known - channels : stop - channels, :maps] = taps.transpose(1, 2)

    def _rows(self, known: int) -> tuple[Tensor, Tensor]:
        """Return sources and shifts from the taps of a map on."""
        first = known * self.layout.taps
        return self._sources[first:], self._shifts[first:]

    def _weights(self) -> Iterator[Tensor]:
        width = self.layers.width
        for layer, weight in enumerate(self.layers.weights):
            found = self._found[layer * width : (layer + 1) * width, : weight.shape[1]]
            yield found.reshape(weight.shape)


@lru_cache(maxsize=32)
def _numbers(values: tuple[int, ...], device: torch.device) -> Tensor:
    # Kept, because a copy to a card waits until the card has done all that it was given before.
    return torch.tensor(values, dtype=torch.int32, device=device)


def _on_its_card(tensor: Tensor) -> AbstractContextManager[Any]:
    """Return a context in which programs run where a tensor is."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def _parts(whole: int, part: int) -> int:
    return -(-whole // part)


def _power(count: int) -> int:
    """Return the least power of two that is not less."""
    return 1 << math.ceil(math.log2(count))


def _padded(part: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the tensor at the beginning of zeros of a larger shape."""
    whole = part.new_zeros(shape)
    whole[tuple(slice(count) for count in part.shape)] = part
    return whole
