"""Where pixels lie in the flat buffer that all kernels share.

All maps lie in one buffer ``(maps, pixels)`` with zeros between rows and images, so that a shift
in two dimensions is a shift in one, a batch is just a longer row of pixels, and a strip is any
range of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

ALIGNMENT = 16  # values: rows begin at whole vectors, and a row may be worked on in whole vectors
TAPS = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))


@dataclass(frozen=True)
class FlatLayout:
    """Where the pixels of a batch lie in a flat row with zero margins.

    Parameters
    ----------
    images, height, width : int
        Shape of the batch.
    margin : int
        Zero pixels after each row, at least, and zero rows after each image: the largest dilation.
    """

    images: int
    height: int
    width: int
    margin: int

    @property
    def row(self) -> int:
        """Pixels from one row to the next. The margin of a row's end serves the next's start."""
        return _whole(self.width + self.margin)

    @property
    def guard(self) -> int:
        """Pixels before the first image: no shift reaches farther."""
        return _whole(self.margin * (self.row + 1))

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
        return tuple(dilation * (dy * self.row + dx) for dy, dx in TAPS)

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


def _whole(pixels: int) -> int:
    """Return the pixels, rounded up to whole vectors."""
    return -(-pixels // ALIGNMENT) * ALIGNMENT
