"""Multi-scale features of a slice: what a linear model needs to segment at once.

Smoothing is written as two products with banded matrices, one for rows and one for columns. They
run at the speed of matrix products, and borders (reflected) are part of the matrices.
"""

from __future__ import annotations

from collections import OrderedDict
from math import ceil
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

SIGMAS = (1.0, 2.0, 4.0, 8.0, 16.0)
_TRUNCATE = 3.0  # standard deviations; the rest of the weight is 0.3 %
_CACHED_MATRICES = 64


def smoothing_matrix(size: int, sigma: float, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return the (size, size) matrix that smooths a column by a Gaussian.

    Beyond its ends the column is mirrored without repeating the end value, as often as needed.
    """
    radius = ceil(_TRUNCATE * sigma)
    offsets = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (offsets.to(torch.float64) / sigma) ** 2)
    kernel /= kernel.sum()
    period = max(2 * size - 2, 1)
    source = (torch.arange(size)[:, None] + offsets) % period
    source = torch.minimum(source, period - source) if size > 1 else torch.zeros_like(source)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    matrix.scatter_add_(1, source, kernel.expand(size, -1))
    return matrix.to(dtype)


class FeatureBank:
    """Gaussian, gradient magnitude and both Hessian eigenvalues at several scales, and the input.

    Parameters
    ----------
    sigmas : sequence of float
        Standard deviations in pixels.
    """

    def __init__(self, sigmas: Sequence[float] = SIGMAS) -> None:
        self.sigmas = tuple(sigmas)
        self._matrices: OrderedDict[tuple[object, ...], Tensor] = OrderedDict()

    @property
    def per_channel(self) -> int:
        """Features of one channel."""
        return 1 + 4 * len(self.sigmas)

    @property
    def radius(self) -> int:
        """Pixels around a pixel that its features depend on."""
        return ceil(_TRUNCATE * max(self.sigmas)) + _step(max(self.sigmas))

    def __call__(self, x: Tensor) -> Tensor:
        """Return the features of each channel.

        Parameters
        ----------
        x : Tensor
            (images, channels, height, width).

        Returns
        -------
        Tensor
            (images, channels * per_channel, height, width); for each channel the input, then for
            each scale Gaussian, gradient magnitude, larger and smaller Hessian eigenvalue.
        """
        images, channels, height, width = x.shape
        planes = [x]
        for sigma in self.sigmas:
            rows, columns = self._matrix(height, sigma, x), self._matrix(width, sigma, x)
            smooth = torch.matmul(torch.matmul(rows, x), columns.t())
            planes += [smooth, *_derivatives(smooth, _step(sigma))]
        return torch.stack(planes, 2).view(images, channels * len(planes), height, width)

    def _matrix(self, size: int, sigma: float, like: Tensor) -> Tensor:
        key = (size, sigma, like.dtype, like.device)
        matrix = self._matrices.get(key)
        if matrix is None:
            matrix = smoothing_matrix(size, sigma, like.dtype).to(like.device)
            self._matrices[key] = matrix
            while len(self._matrices) > _CACHED_MATRICES:
                self._matrices.popitem(last=False)
        return matrix


def _step(sigma: float) -> int:
    """Return the distance of the pixels whose differences make derivatives.

    Neighbours of a strongly smoothed image differ by little more than the rounding of float32.
    """
    return max(1, int(sigma) // 4)


def _derivatives(smooth: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return gradient magnitude and Hessian eigenvalues by differences over ``step`` pixels."""
    height, width = smooth.shape[2:]
    padded = functional.pad(smooth, (step, step, step, step), mode="replicate")

    def at(dy: int, dx: int) -> Tensor:
        top, left = step * (1 + dy), step * (1 + dx)
        return padded[:, :, top : top + height, left : left + width]

    gradient = torch.hypot(at(1, 0) - at(-1, 0), at(0, 1) - at(0, -1)).mul_(0.5 / step)
    yy = at(1, 0) + at(-1, 0) - 2 * smooth
    xx = at(0, 1) + at(0, -1) - 2 * smooth
    yx = (at(1, 1) + at(-1, -1) - at(1, -1) - at(-1, 1)).mul_(0.25)
    middle = (yy + xx).mul_(0.5)
    spread = torch.hypot((yy - xx).mul_(0.5), yx)
    scale = 1 / step**2
    return gradient, (middle + spread).mul_(scale), (middle - spread).mul_(scale)
