"""Hide pixels from a network that learns to predict them from those around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def masked(
    shape: Sequence[int], share: float, rng: np.random.Generator
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which pixels are hidden: one somewhere in each cell, so that no two touch.

    What takes the place of a hidden pixel must not tell of another one that is hidden too.

    Parameters
    ----------
    shape : sequence of int
        Rows and columns.
    share : float
        Of the pixels, about.
    rng : Generator
        Decides which.
    """
    side = max(2, round(share**-0.5))
    cells = [size // side + 2 for size in shape]
    rows, columns = (
        rng.integers(0, side - 1, cells) + side * np.arange(count).reshape(at)
        for count, at in zip(cells, ((-1, 1), (1, -1)), strict=True)
    )
    hidden = np.zeros([count * side for count in cells], np.bool_)
    hidden[rows, columns] = True
    top, left = rng.integers(0, side, 2)
    return hidden[top : top + shape[0], left : left + shape[1]]


def hide(x: Tensor, hidden: Tensor, slices: int) -> Tensor:
    """Return normalised intensities with the median of its neighbours in each hidden pixel.

    Parameters
    ----------
    x : Tensor
        (images, channels * slices, y, x).
    hidden : Tensor
        (y, x), bool: in the middle slice of each channel.
    slices : int
        Slices of a channel.
    """
    changed = x.clone()
    middle = x[:, slices // 2 :: slices]
    rows, columns = hidden.nonzero(as_tuple=True)
    wide = functional.pad(middle, (1, 1, 1, 1), mode="reflect")
    around = [
        wide[:, :, rows + down, columns + right]
        for down in range(3)
        for right in range(3)
        if (down, right) != (1, 1)
    ]
    middle_of_changed = changed[:, slices // 2 :: slices]
    middle_of_changed[:, :, rows, columns] = _median(torch.stack(around))
    return changed


def _median(values: Tensor) -> Tensor:
    """Return the median over the first axis, of which there is an even number."""
    ordered = values.sort(0).values
    half = len(values) // 2
    return (ordered[half - 1] + ordered[half]) / 2
