"""Gaussian smoothing as products with banded matrices, block by block.

Each block of rows is a matrix times the rows around it. That runs at the speed of matrix products,
and a pixel costs the same in every image, however large.
"""

from __future__ import annotations

from functools import cache
from math import ceil

import numpy as np
import torch
from torch import Tensor

from brushfire.networks.kernels.layout import mirrored

_TRUNCATE = 3.0  # standard deviations; the rest of the weight is 0.3 %
_BLOCK = 64  # rows that are made at once: few enough that the bands hold mostly weights


def reach_of(sigma: float) -> int:
    """Return the pixels on each side that smoothing looks at."""
    return ceil(_TRUNCATE * sigma)


def smooth(x: Tensor, sigma: float) -> Tensor:
    """Smooth the last two axes by a Gaussian.

    Parameters
    ----------
    x : Tensor
        (..., y, x). Beyond its edges it is mirrored without repeating the pixels there.
    sigma : float
        Standard deviation in pixels.
    """
    band = _band(sigma, x.dtype, x.device)
    return _smooth_columns(_smooth_rows(x, band), band)


def _smooth_rows(x: Tensor, band: Tensor) -> Tensor:
    wide, result = _mirrored(x, -2, band), torch.empty_like(x)
    for first, last in _blocks(x.shape[-2]):
        part = wide[..., first : last + band.shape[1] - _BLOCK, :]
        result[..., first:last, :] = torch.matmul(_cut(band, last - first), part)
    return result


def _smooth_columns(x: Tensor, band: Tensor) -> Tensor:
    wide, result = _mirrored(x, -1, band), torch.empty_like(x)
    for first, last in _blocks(x.shape[-1]):
        part = wide[..., first : last + band.shape[1] - _BLOCK]
        result[..., first:last] = torch.matmul(part, _cut(band, last - first).t())
    return result


def _blocks(count: int) -> list[tuple[int, int]]:
    return [(first, min(first + _BLOCK, count)) for first in range(0, count, _BLOCK)]


def _cut(band: Tensor, rows: int) -> Tensor:
    """Return the matrix for a block of fewer rows."""
    return band[:rows, : band.shape[1] - _BLOCK + rows]


def _mirrored(x: Tensor, axis: int, band: Tensor) -> Tensor:
    """Return the image with the mirrored margin along an axis that the matrix looks at."""
    count, reach = x.shape[axis], (band.shape[1] - _BLOCK) // 2
    places = mirrored(np.arange(-reach, count + reach), count)
    return x.index_select(axis, torch.from_numpy(places).to(x.device))


@cache
def _band(sigma: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the (block, block + 2 * reach) matrix that smooths a block of rows."""
    reach = reach_of(sigma)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    band = np.zeros((_BLOCK, _BLOCK + 2 * reach))
    for row in range(_BLOCK):
        band[row, row : row + len(kernel)] = kernel / kernel.sum()
    return torch.from_numpy(band).to(device=device, dtype=dtype)
