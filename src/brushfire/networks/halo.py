"""How wide a margin a trained network's tiles need, measured on real data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brushfire.networks.sliced import SlicedModel

TOLERANCE = 1e-3  # the promise: the largest difference, see `SlicedModel.compared`
_ASKED = TOLERANCE / 4  # a few patches stand for a whole volume
_STEP = 8
_CORE = 64


def measure_halo(
    model: SlicedModel, blocks: Sequence[np.ndarray[Any, Any]], *, core: int = _CORE
) -> int:
    """Return the smallest margin with which a tile predicts what the whole predicts.

    The middle of each block is predicted with all of the block around it and with ever wider
    margins, in steps of 8 or 16 pixels, until two in a row agree within a quarter of `TOLERANCE`.
    The quarter and the second step are for what the blocks do not show. Where only the features
    of single pixels count, what these reach is the answer.

    Parameters
    ----------
    model : SlicedModel
        Any weights.
    blocks : sequence of ndarray
        Real intensities, (channels, slices, y, x), the larger the better.
    core : int
        Side of the middle part that is compared, in pixels.

    Returns
    -------
    int
        Pixels, at most `SlicedModel.safe_halo`. That safe bound is also the answer where
        the blocks are too small to tell.
    """
    if model.layers.window is not None:
        return model.safe_halo  # the same windows for every tile: nothing to measure
    if model.by_pixel:
        return model.feature_reach
    return max((_measure(model, block, core) for block in blocks), default=model.safe_halo)


def _measure(model: SlicedModel, block: np.ndarray[Any, Any], core: int) -> int:
    x = torch.from_numpy(np.ascontiguousarray(block, np.float32)).flatten(0, 1)[None]
    x = x.to(model.device)
    height, width = x.shape[2:]
    step = model.layers.divisor
    top, left = ((side - core) // 2 // step * step for side in (height, width))
    room = min(top, left)
    with torch.no_grad():
        middle = slice(top, top + core), slice(left, left + core)
        whole = model.compared(x, middle)
        agreed = False
        for halo in range(*_tried(model, room)):
            part = x[:, :, top - halo : top + core + halo, left - halo : left + core + halo]
            inner = model.compared(part, (slice(halo, halo + core),) * 2)
            agrees = float((inner - whole).abs().max()) <= _ASKED
            if agrees and agreed:
                return min(halo, model.safe_halo)
            agreed = agrees
    return model.safe_halo


def _tried(model: SlicedModel, room: int) -> tuple[int, int, int]:
    """Return the margins that are tried: first, beyond the last, step."""
    step = max(_STEP, model.layers.divisor)
    if model.feature_reach == 0:
        return step, room - 2 * step + 1, step
    # What is corrected reaches farther than the features in any case, and takes longer to try.
    step = max(2 * _STEP, step)
    return -(-model.feature_reach // step) * step, room - step + 1, step
