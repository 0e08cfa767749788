"""The layers as vector loops over tiles that stay in the processor's cache: needs numba.

A tile of a map is read once for all layers of a block; what is computed of those layers stays in
the second cache meanwhile. Nothing is copied, and no product is kept but what it is added to.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from brushfire.networks.kernels import loops
from brushfire.networks.kernels.layout import ALIGNMENT
from brushfire.networks.kernels.protocol import Gradients

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from brushfire.networks.kernels.layout import FlatLayout
    from brushfire.networks.kernels.protocol import Layers

Array = np.ndarray[Any, Any]

_BLOCK = 20  # layers that share a pass over the maps before them
_TILE_ROWS = 40  # four rows of the usual largest dilation: as many as are worked on at once
_TILE_COLUMNS = 512
_MOST_THREADS = 256


class CompiledKernel:
    """Vector loops, compiled for this processor when they are first used.

    They run on as many threads as torch does.
    """

    name = "compiled"

    def fill(self, buffer: Tensor, layers: Layers, layout: FlatLayout) -> None:
        """Compute all maps into the buffer."""
        flat, width = _flat(buffer), layers.width
        place = _Place(flat, layout, _tiles(layout))
        biases, shifts = layers.biases.detach().numpy(), _shifts(layout)
        for first, last in layers.blocks(_BLOCK):
            known, end = layers.row(first), layers.row(last)
            dilations = np.repeat(layers.dilations[first:last], width)
            taps = _taps(layers.weights[first:last], 0, known)
            place.run(loops.begin, (known, biases[first * width : last * width]))
            place.run(loops.add_maps, (flat, 0, known, known, end, taps, dilations, shifts, False))
            for layer in range(first, last):
                row = layers.row(layer)
                own = (row, row + width)
                if row > known:
                    taps = _taps(layers.weights[layer : layer + 1], known, row)
                    dilations = np.repeat(layers.dilations[layer : layer + 1], width)
                    args = (flat, known, row, *own, taps, dilations, shifts, False)
                    place.run(loops.add_maps, args)
                place.run(loops.rectify, own)
                layout.fill_margins(buffer[row : row + width])

    def gradients(
        self, buffer: Tensor, slope: Tensor, layers: Layers, layout: FlatLayout, *, input_too: bool
    ) -> Gradients:
        """Return the gradients of all weights."""
        flat, slopes, width = _flat(buffer), _flat(slope), layers.width
        place = _Place(slopes, layout, _tiles(layout))
        # What lies in a mirrored margin comes back to a pixel.
        wide = place if layout.lead == 0 else _Place(slopes, layout, _tiles(layout, wide=True))
        add_slopes = partial(_add_slopes, wide, slopes, layers, layout)
        end = layers.row(layers.depth)
        weights: list[Array] = []
        for first, last in reversed(layers.blocks(_BLOCK)):
            known, stop = layers.row(first), layers.row(last)
            add_slopes(range(last, layers.depth), (known, stop))
            for layer in range(last - 1, first - 1, -1):
                row = layers.row(layer)
                add_slopes(range(layer + 1, last), (row, row + width))
                layout.fold_margins(slope[row : row + width])
                place.run(loops.stop_slopes, (flat, row, row + width))
            weights.extend(reversed(_weight_slopes(place, flat, layers, layout, first, last)))
        if input_too:
            add_slopes(range(layers.depth), (0, layers.channels))
            layout.fold_margins(slope[: layers.channels])
        biases = slope[layers.channels : end, layout.inside].sum(1)
        return Gradients([torch.from_numpy(w).to(slope) for w in reversed(weights)], biases)


class _Place:
    """A buffer of maps and its tiles, on which loops are run by as many threads as torch has."""

    def __init__(self, flat: Array, layout: FlatLayout, tiles: Array) -> None:
        self._flat, self._tiles = flat, tiles
        self._row, self._total = layout.row, layout.total

    def run(self, loop: Callable[..., None], args: tuple[Any, ...]) -> None:
        """Run a loop over all tiles."""
        self._share(loop, [args] * self._threads)

    def collect(self, loop: Callable[..., None], args: tuple[Any, ...], like: Array) -> Array:
        """Run a loop over all tiles that adds to its last argument, and return the sum."""
        totals = [like.copy() for _ in range(self._threads)]
        self._share(loop, [(*args, total) for total in totals])
        return sum(totals[1:], totals[0])

    @property
    def _threads(self) -> int:
        return min(torch.get_num_threads(), len(self._tiles), _MOST_THREADS)

    def _share(self, loop: Callable[..., None], args: list[tuple[Any, ...]]) -> None:
        """Run a loop over the tiles, a part of them with each of the arguments."""
        parts = np.array_split(self._tiles, len(args))
        calls = [
            partial(loop, self._flat, self._total, self._row, part, *mine)
            for part, mine in zip(parts, args, strict=True)
        ]
        others = [_pool().submit(call) for call in calls[1:]]
        try:
            calls[0]()
        finally:
            wait(others)
        for other in others:
            other.result()


@cache
def _pool() -> ThreadPoolExecutor:
    # Threads begin when they are needed: as many as torch is told to use, at most.
    return ThreadPoolExecutor(_MOST_THREADS, "brushfire-kernel")


def _flat(buffer: Tensor) -> Array:
    result: Array = buffer.detach().numpy().reshape(-1)
    return result


def _tiles(layout: FlatLayout, *, wide: bool = False) -> Array:
    """Return (tiles, 4): where each begins, its rows, its columns, those in whole vectors.

    ``wide`` takes the margins in.
    """
    more = layout.margin if wide else 0
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


def _shifts(layout: FlatLayout) -> Array:
    """Return how far the planes that a convolution joins lie apart, to be times its dilation."""
    planes = [-layout.strides[0], 0, layout.strides[0]] if len(layout.size) == 3 else [0]
    return np.array(planes, np.int64)


def _taps(weights: Sequence[Tensor], start: int, stop: int) -> Array:
    """Return the weights on maps start:stop, (stop - start, maps of the layers, taps)."""
    rows = torch.cat([weight.detach()[:, start:stop].flatten(2) for weight in weights])
    result: Array = rows.transpose(0, 1).contiguous().numpy()
    return result


def _add_slopes(
    place: _Place,
    slopes: Array,
    layers: Layers,
    layout: FlatLayout,
    later: range,
    maps: tuple[int, int],
) -> None:
    """Add to the slopes of some maps what comes back from later layers."""
    if not later:
        return
    start, stop = layers.row(later.start), layers.row(later.stop)
    chosen = layers.weights[later.start : later.stop]
    taps = _taps(chosen, *maps).swapaxes(0, 1)[..., ::-1]
    dilations = np.repeat(layers.dilations[later.start : later.stop], layers.width)
    flipped = np.ascontiguousarray(taps)
    args = (slopes, start, stop, *maps, flipped, dilations, _shifts(layout), True)
    place.run(loops.add_maps, args)


def _weight_slopes(
    place: _Place, flat: Array, layers: Layers, layout: FlatLayout, first: int, last: int
) -> list[Array]:
    """Return the gradients of the weights of some layers, float64."""
    start, stop, width = layers.row(first), layers.row(last), layers.width
    sources = layers.row(last - 1)
    dilations = np.repeat(layers.dilations[first:last], width)
    fans = np.repeat([layers.row(layer) for layer in range(first, last)], width)
    size = layers.weights[first].shape[2:]
    nothing = np.zeros((sources, stop - start, math.prod(size)))
    args = (flat, start, stop, dilations, fans, _shifts(layout))
    found = place.collect(loops.collect, args, nothing)
    taps = found.swapaxes(0, 1).reshape(last - first, width, sources, *size)
    return [taps[n, :, : layers.row(first + n)] for n in range(last - first)]
