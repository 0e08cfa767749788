"""The layers as vector loops over tiles that stay in the processor's cache: needs numba.

A tile of a map is read once for all layers of a block; what is computed of those layers stays in
the second cache meanwhile. No map is copied, and no product is kept but what it is added to.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from brushfire.networks.kernels import loops
from brushfire.networks.kernels.layout import ALIGNMENT
from brushfire.networks.kernels.protocol import Gradients
from brushfire.networks.kernels.threads import MOST_THREADS, run_together

if TYPE_CHECKING:
    from collections.abc import Callable

    from brushfire.networks.kernels.layout import FlatLayout
    from brushfire.networks.kernels.protocol import Layers

Array = np.ndarray[Any, Any]

_BLOCK = 15  # maps that are made in one pass over those before them
_PART = 5  # maps of a block that are made in one pass over those of the block before them
_TILE_ROWS = 40  # four rows of the usual largest dilation: as many as are worked on at once
_TILE_COLUMNS = 512
_TOTALS = 2**25  # values of the sums of all threads together, at most


class CompiledKernel:
    """Vector loops, compiled for this processor when they are first used.

    They run on as many threads as torch does.
    """

    name = "compiled"

    def fill(self, buffer: Tensor, layers: Layers, layout: FlatLayout) -> None:
        """Compute all maps into the buffer."""
        weights, width = _Weights(layers), layers.width
        place = _Place(buffer, layout)
        biases = layers.biases.detach().numpy()
        order = (weights.dilations, place.shifts, False)
        for first, last in weights.blocks:
            known, stop = layers.row(first), layers.row(last)
            taps = weights.into(first, last)
            make = partial(place.run, loops.make_maps, place.flat, taps, 0, known)
            make(0, known, known, stop, *order, biases[first * width : last * width], width)
            layout.fill_margins(buffer[known : known + width])
            for start, end in weights.parts(known, stop):
                if start > known:
                    make(known, start, start, end, *order, biases[:0], width)
                    layout.fill_margins(buffer[start : start + width])
                for row in range(start + width, end, width):
                    make(start, row, row, row + width, *order, biases[:0], width)
                    layout.fill_margins(buffer[row : row + width])

    def gradients(
        self, buffer: Tensor, slope: Tensor, layers: Layers, layout: FlatLayout, *, input_too: bool
    ) -> Gradients:
        """Return the gradients of all weights."""
        weights, width, flat = _Weights(layers), layers.width, _flat(buffer)
        place = _Place(slope, layout)
        # What lies in a mirrored margin comes back to a pixel.
        wide = _Place(slope, layout, margins=True) if layout.lead else place
        order = (weights.dilations, place.shifts, True)
        end = layers.row(layers.depth)
        found: list[Array] = []
        for first, last in reversed(weights.blocks):
            known, stop = layers.row(first), layers.row(last)
            taps = weights.back_to(first, known, stop)
            make = partial(wide.run, loops.make_slopes, place.flat, taps, known, known)

            def add(s0: int, s1: int, t0: int, t1: int, make: Callable[..., None] = make) -> None:
                make(s0, s1, t0, t1, *order, flat, 0 if layout.lead else width)
                if layout.lead:
                    layout.fold_margins(slope[t1 - width : t1])
                    place.run(loops.stop_slopes, flat, t1 - width, t1)

            add(stop, end, known, stop)
            for start, after in reversed(weights.parts(known, stop)):
                if after < stop:
                    add(after, stop, start, after)
                for row in range(after - 2 * width, start - 1, -width):
                    add(row + width, after, row, row + width)
            collected = place.collect(
                loops.collect, layers.row(last - 1), stop - known, flat, known,
                weights.dilations, weights.fans, place.shifts,
            )  # fmt: skip
            found[:0] = weights.parted(collected, first, last)
        if input_too:
            taps = weights.back_to(0, 0, layers.channels)
            wide.run(
                loops.add_maps, place.flat, taps, layers.channels, 0,
                layers.channels, end, 0, layers.channels, *order,
            )  # fmt: skip
            layout.fold_margins(slope[: layers.channels])
        biases = slope[layers.channels : end, layout.inside].sum(1)
        return Gradients([torch.from_numpy(part).to(slope) for part in found], biases)


class _Weights:
    """Weights of all layers, and how loops want them: (sources, targets, taps).

    Attributes
    ----------
    blocks : list of tuple
        The first and one past the last layer of each block.
    dilations, fans : ndarray
        For each map, the input's among them: its dilation, and the maps it is made of.
    """

    def __init__(self, layers: Layers) -> None:
        self._layers = layers
        width, channels = layers.width, layers.channels
        self._size = layers.weights[0].shape[2:]
        self._taps = math.prod(self._size)
        self._parts = [
            weight.detach().numpy().reshape(width, -1, self._taps) for weight in layers.weights
        ]
        rows = [layers.row(layer) for layer in range(layers.depth)]
        self.blocks = layers.blocks(max(1, _BLOCK // width))
        self.dilations = np.r_[[1] * channels, np.repeat(layers.dilations, width)].astype(np.int64)
        self.fans = np.r_[[0] * channels, np.repeat(rows, width)].astype(np.int64)

    def parts(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the first and one past the last map of each part of a block of maps."""
        size = max(1, _PART // self._layers.width) * self._layers.width
        return [(row, min(row + size, stop)) for row in range(start, stop, size)]

    def into(self, first: int, last: int) -> Array:
        """Return the weights of layers on all maps before the last of them, 0 on later ones."""
        width = self._layers.width
        taps = self._nothing(self._layers.row(last - 1), (last - first) * width)
        for n, part in enumerate(self._parts[first:last]):
            taps[: part.shape[1], n * width : (n + 1) * width] = part.swapaxes(0, 1)
        return taps

    def back_to(self, first: int, start: int, stop: int) -> Array:
        """Return the mirrored weights of all layers from ``first`` on, on maps start:stop."""
        width = self._layers.width
        taps = self._nothing((self._layers.depth - first) * width, stop - start)
        for n, part in enumerate(self._parts[first:]):
            on = part[:, start:stop, ::-1]
            taps[n * width : (n + 1) * width, : on.shape[1]] = on
        return taps

    def parted(self, taps: Array, first: int, last: int) -> list[Array]:
        """Return for each layer its part of what `loops.collect` found."""
        width = self._layers.width
        rows = taps.swapaxes(0, 1).reshape(last - first, width, -1, *self._size)
        return [rows[n, :, : self._layers.row(first + n)] for n in range(last - first)]

    def _nothing(self, sources: int, targets: int) -> Array:
        return np.zeros((sources, targets, self._taps), self._parts[0].dtype)


class _Place:
    """A buffer of maps and its tiles, on which loops are run by as many threads as torch has.

    Attributes
    ----------
    flat : ndarray
        The buffer, one map after the other.
    shifts : ndarray
        How far the planes that a convolution joins lie apart, to be times its dilation.
    """

    def __init__(self, buffer: Tensor, layout: FlatLayout, *, margins: bool = False) -> None:
        self.flat = _flat(buffer)
        planes = [-layout.strides[0], 0, layout.strides[0]] if len(layout.size) == 3 else [0]
        self.shifts = np.array(planes, np.int64)
        self._taps = layout.taps
        self._tiles = _tiles(layout, margins=margins)
        self._threads = max(1, min(torch.get_num_threads(), len(self._tiles), MOST_THREADS))
        self._first = (self.flat, layout.total, layout.row)

    def run(self, loop: Callable[..., None], *args: Any) -> None:
        """Run a loop over all tiles."""
        self._share(loop, [args] * self._threads)

    def collect(self, loop: Callable[..., None], sources: int, targets: int, *args: Any) -> Array:
        """Run a loop over all tiles that adds to its last argument, and return the sum."""
        count = min(self._threads, max(1, _TOTALS // (sources * targets * self._taps)))
        totals = [np.zeros((sources, targets, self._taps)) for _ in range(count)]
        self._share(loop, [(*args, total) for total in totals])
        return sum(totals[1:], totals[0])

    def _share(self, loop: Callable[..., None], args: list[tuple[Any, ...]]) -> None:
        """Run a loop over the tiles, a part of them with each of the arguments."""
        parts = np.array_split(self._tiles, len(args))
        run_together(
            [(loop, (*self._first, part, *mine)) for part, mine in zip(parts, args, strict=True)]
        )


def _flat(buffer: Tensor) -> Array:
    result: Array = buffer.detach().numpy().reshape(-1)
    return result


def _tiles(layout: FlatLayout, *, margins: bool) -> Array:
    """Return (tiles, 4): where each begins, its rows, its columns, those in whole vectors.

    With ``margins`` they take those in.
    """
    more = layout.margin if margins else 0
    *planes, height, width = (count + 2 * more for count in layout.size)
    depth = planes[0] if planes else 1
    first = layout.guard + sum((layout.lead - more) * stride for stride in layout.strides)
    image, plane = math.prod(layout.pitches), layout.strides[0] if planes else 0
    found = [
        (
            first + n * image + z * plane + y * layout.row + x,
            min(_TILE_ROWS, height - y),
            min(_TILE_COLUMNS, width - x),
            -(-min(_TILE_COLUMNS, width - x) // ALIGNMENT) * ALIGNMENT,
        )
        for n in range(layout.images)
        for z in range(depth)
        for y in range(0, height, _TILE_ROWS)
        for x in range(0, width, _TILE_COLUMNS)
    ]
    return np.array(found, np.int64).reshape(-1, 4)
