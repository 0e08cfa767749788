"""Where pixels lie in the flat buffer that all kernels share.

All maps lie in one buffer ``(maps, pixels)`` with margins between rows, planes and images, so that
a shift in two or three dimensions is a shift in one, a batch is just a longer row of pixels, and a
strip is any range of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from brushfire.networks.settings import Border

Indices = np.ndarray[Any, np.dtype[np.int64]]

ALIGNMENT = 16  # values: rows begin at whole vectors, and a row may be worked on in whole vectors


@dataclass(frozen=True)
class FlatLayout:
    """Where the pixels of a batch lie in a flat row with margins.

    Parameters
    ----------
    images : int
        In the batch.
    size : tuple of int
        Pixels of an image: (y, x), or (z, y, x).
    margin : int
        Pixels beyond each edge that are given a value: the largest dilation.
    border : str
        What that value is: "zero", "reflect" for the image mirrored at its outermost pixels, or
        "symmetric" for the image mirrored at its edges, as in `NetworkSettings`.
        Zeros are shared by neighbours: the margin of a row's end serves the next's start.
    """

    images: int
    size: tuple[int, ...]
    margin: int
    border: Border = "zero"

    @property
    def lead(self) -> int:
        """Pixels of a margin before the first of an image, along each axis."""
        return 0 if self.border == "zero" else self.margin

    @cached_property
    def pitches(self) -> tuple[int, ...]:
        """Pixels along each axis of an image, margins included."""
        *others, row = (count + self.lead + self.margin for count in self.size)
        return (*others, _whole(row))

    @cached_property
    def strides(self) -> tuple[int, ...]:
        """Pixels from one to the next along each axis."""
        return tuple(math.prod(self.pitches[axis + 1 :]) for axis in range(len(self.size)))

    @property
    def row(self) -> int:
        """Pixels from one row to the next."""
        return self.pitches[-1]

    @cached_property
    def guard(self) -> int:
        """Pixels before the first image: no shift reaches farther."""
        return _whole(self.margin * sum(self.strides))

    @property
    def span(self) -> int:
        """Pixels of the batch, margins included but for those of zeros after its last pixel."""
        last = self.margin * sum(self.strides[:-1]) if self.border == "zero" else 0
        return self.images * math.prod(self.pitches) - last

    @property
    def total(self) -> int:
        """Pixels of a whole row of the buffer."""
        return self.span + 2 * self.guard

    @property
    def inside(self) -> slice:
        """The span as a slice of a row of the buffer."""
        return slice(self.guard, self.guard + self.span)

    @property
    def taps(self) -> int:
        """Weights of a convolution: 9 or 27."""
        return int(3 ** len(self.size))

    def offsets(self, dilation: int) -> tuple[int, ...]:
        """Return how far each of the taps lies from the middle one."""
        steps = ((-stride, 0, stride) for stride in self.strides)
        return tuple(dilation * sum(shift) for shift in product(*steps))

    def images_of(self, flat: Tensor) -> Tensor:
        """Return the pixels of ``flat`` (maps, total) as a view (maps, images, *size)."""
        grid = self._grid(flat)
        for axis, count in enumerate(self.size, 2):
            grid = grid.narrow(axis, self.lead, count)
        return grid

    def mask(self, like: Tensor) -> Tensor:
        """Return 1 where the span holds a pixel and 0 where it holds margin, shape (span,)."""
        flat = like.new_zeros(1, self.total)
        self.images_of(flat).fill_(1)
        return flat[0, self.inside]

    def fill_margins(self, flat: Tensor) -> None:
        """Mirror the pixels of ``flat`` (maps, total) into its margins, if that is the border."""
        for grid, outer, inner, _ in self._margins(flat):
            grid[outer] = grid[inner]

    def fold_margins(self, flat: Tensor) -> None:
        """Move what lies in mirrored margins to the pixels there, the adjoint of `fill_margins`."""
        for grid, outer, inner, count in reversed(list(self._margins(flat))):
            grid.index_add_(0, inner, grid[outer])
            grid[: self.lead] = 0
            grid[self.lead + count :] = 0

    def _margins(self, flat: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor, int]]:
        """Yield each axis: a view with it first, its margins, what they mirror, its pixels."""
        if self.border == "zero":
            return
        grid = self._grid(flat)
        for axis, (outer, inner) in enumerate(self._mirrors):
            where = (outer.to(flat.device), inner.to(flat.device))
            yield grid.movedim(axis + 2, 0), *where, self.size[axis]

    @cached_property
    def _mirrors(self) -> list[tuple[Tensor, Tensor]]:
        """For each axis, places in its margins and what they mirror."""
        found = []
        for count in self.size:
            places = np.r_[-self.margin : 0, count : count + self.margin]
            inner = mirrored(places, count, self.border)
            found.append(
                (torch.from_numpy(places + self.lead), torch.from_numpy(inner + self.lead))
            )
        return found

    def _grid(self, flat: Tensor) -> Tensor:
        """Return the batch as a view (maps, images, *pitches)."""
        pixels = self.images * math.prod(self.pitches)
        part = flat[:, self.guard : self.guard + pixels]
        return part.view(len(flat), self.images, *self.pitches)


def mirrored(places: Indices, count: int, border: Border = "reflect") -> Indices:
    """Return which of ``count`` pixels lies at each place when they are mirrored for ever."""
    if border == "symmetric":
        folded = places % (2 * count)
        return np.minimum(folded, 2 * count - 1 - folded)
    period = max(2 * (count - 1), 1)
    folded = places % period
    return np.minimum(folded, period - folded) if count > 1 else np.zeros_like(places)


def _whole(pixels: int) -> int:
    """Return the pixels, rounded up to whole vectors."""
    return -(-pixels // ALIGNMENT) * ALIGNMENT
