"""Windows all over a volume, and the cells in them that a stroke could cover."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from brushfire.geometry import Box, triple

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from brushfire.annotations import AnnotationSnapshot
    from brushfire.geometry import Triple

CELL = 32
"""Side of a cell in pixels: about what a stroke covers."""

WINDOW = 128
WINDOWS = 48
"""Side of the squares that are looked at, in pixels, and how many of them there are at most."""

_BORDER = 16  # pixels at the sides of a slice that do not count: half of what they see is made up
_STEP = 4  # pixels from one sample of a window to the next
_COUNTED = 0.75  # share of a cell's samples: the others may lie on the border of two classes

Array = np.ndarray[Any, np.dtype[np.float32]]


def spread_windows(shape: Triple, *, seed: int = 0) -> list[Box]:
    """Return windows all over a volume: one in each cell of a grid, anywhere in its cell.

    Parameters
    ----------
    shape : tuple of int
        Of the volume.
    seed : int
        Chooses where.

    Returns
    -------
    list of Box
        One slice thick, at most `WINDOWS`, fewer where they do not fit side by side; the order is
        that of the slices.
    """
    counts, least = [1, 1, 1], (1, WINDOW, WINDOW)
    while True:
        able = [
            axis
            for axis in range(3)
            if shape[axis] // (counts[axis] + 1) >= least[axis]
            and math.prod(counts) // counts[axis] * (counts[axis] + 1) <= WINDOWS
        ]
        if not able:
            break
        counts[max(able, key=lambda axis: shape[axis] / counts[axis])] += 1
    rng = np.random.default_rng([seed, 0])
    windows = []
    for index in product(*map(range, counts)):
        start, stop = [], []
        for at, count, length, side in zip(index, counts, shape, least, strict=True):
            low, high = at * length // count, (at + 1) * length // count
            size = min(side, high - low)
            start.append(low + int(rng.integers(high - low - size + 1)))
            stop.append(start[-1] + size)
        windows.append(Box(triple(start), triple(stop)))
    return sorted(windows)


def is_painted_near(strokes: AnnotationSnapshot, z: int, y: int, x: int, side: int) -> bool:
    """Whether there is a stroke in a square, within a side of it, or so in a slice next to it."""
    reach = side // 2 + side
    near = Box((z - 1, y - reach, x - reach), (z + 2, y + reach, x + reach))
    return bool(strokes.read(near.clip(strokes.shape)).any())


class CellGrid:
    """Samples of a window, every few pixels, and cells of samples that overlap by half.

    Parameters
    ----------
    box : Box
        The window, one slice thick.
    shape : tuple of int
        Of the volume.
    """

    def __init__(self, box: Box, shape: Triple) -> None:
        self._box, self._shape = box, shape
        _, height, width = box.shape
        self._step = max(1, min(_STEP, height, width))
        self._rows, self._columns = height // self._step, width // self._step
        full = CELL // self._step
        self._cell = min(full, self._rows), min(full, self._columns)
        self._stride = max(1, full // 2)

    def samples(self, values: NDArray[Any]) -> Array:
        """Return the means of blocks of pixels, (rows, columns), from (y, x)."""
        return np.asarray(self._blocks(values).mean((-3, -1)), np.float32)

    def picked(self, maps: NDArray[Any]) -> Array:
        """Return maps, (maps, y, x), at one pixel of each block."""
        at = self._step // 2
        step = self._step
        found = maps[:, at::step, at::step][:, : self._rows, : self._columns]
        return np.asarray(found, np.float32)

    def counts(self, intensities: NDArray[Any]) -> Array:
        """Return 1 for samples that count; from intensities, (channels, y, x)."""
        blocks = self._blocks(intensities)
        varies = (blocks.max((-3, -1)) > blocks.min((-3, -1))).any(0)
        for axis, (length, count) in enumerate(
            zip(self._shape[1:], (self._rows, self._columns), strict=True)
        ):
            edge = min(_BORDER, length // 8)
            middle = self._box.start[axis + 1] + self._step * (np.arange(count) + 0.5)
            inside = (middle >= edge) & (middle <= length - edge)
            varies = varies & (inside[:, None] if axis == 0 else inside[None])
        return np.asarray(varies, np.float32)

    def cells(self, samples: NDArray[Any]) -> NDArray[Any]:
        """Return the samples of each cell, (..., rows, columns, samples)."""
        views = sliding_window_view(samples, self._cell, axis=(-2, -1))
        strided = views[..., :: self._stride, :: self._stride, :, :]
        return strided.reshape(*strided.shape[:-2], -1)

    def middle(self, row: int, column: int) -> Triple:
        """Return the middle of a cell in voxels of the volume."""
        z, top, left = self._box.start
        height, width = (self._step * count for count in self._cell)
        stride = self._step * self._stride
        return triple([z, top + row * stride + height // 2, left + column * stride + width // 2])

    def free(self, strokes: AnnotationSnapshot) -> NDArray[np.bool_]:
        """Return which cells nobody has painted near."""
        rows, columns = self.cells(np.empty((self._rows, self._columns))).shape[:2]
        found = np.ones((rows, columns), bool)
        if not strokes.read(self._box.grow((1, 2 * CELL, 2 * CELL)).clip(self._shape)).any():
            return found
        for row, column in product(range(rows), range(columns)):
            found[row, column] = not is_painted_near(strokes, *self.middle(row, column), CELL)
        return found

    def _blocks(self, values: NDArray[Any]) -> NDArray[Any]:
        rows, columns, step = self._rows, self._columns, self._step
        whole = values[..., : rows * step, : columns * step]
        return whole.reshape(*values.shape[:-2], rows, step, columns, step)


def trimmed_mean(cells: NDArray[Any]) -> Array:
    """Return the mean of each cell, (..., samples), but for its largest quarter."""
    kept = max(1, math.ceil(_COUNTED * cells.shape[-1]))
    return np.asarray(np.sort(cells, axis=-1)[..., :kept].mean(-1), np.float32)


def finite(values: NDArray[Any]) -> Array:
    """Return values with 0 for what is no number, or not finite."""
    return np.asarray(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0), np.float32)
