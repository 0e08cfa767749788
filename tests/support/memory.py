"""A volume and labels in memory, both the real thing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from brushfire.annotations import open_annotations
from brushfire.volumes import open_volume

if TYPE_CHECKING:
    from brushfire.annotations import LabelStore
    from brushfire.volumes import Volume


def stripes(shape: tuple[int, int, int], period: int = 32) -> np.ndarray:
    """Class 1 and class 2 in bands along y."""
    bands = np.arange(shape[1]) // (period // 2) % 2 + 1
    return np.broadcast_to(bands[None, :, None], shape).astype(np.uint8)


def volume_of(truth: np.ndarray, *, seed: int = 0, noise: float = 0.5, channels: int = 1) -> Volume:
    """Intensities that rise with the class, with noise."""
    rng = np.random.default_rng(seed)
    values = truth + noise * rng.standard_normal((channels, *truth.shape))
    if channels == 1:
        return open_volume(values[0].astype(np.float32), axes="zyx", voxel_size=(1, 1, 1))
    return open_volume(values.astype(np.float32), axes="czyx", voxel_size=(1, 1, 1))


def empty_labels(shape: tuple[int, int, int]) -> LabelStore:
    return open_annotations(None, shape)


def paint_bars(store: LabelStore, truth: np.ndarray, z: int, *, step: int = 16) -> None:
    """Short bars of the true class, one in each band, apart from each other."""
    for y in range(step // 2, truth.shape[1] - 2, step):
        for x in range(6, truth.shape[2] - 8, 20):
            here = (slice(z, z + 1), slice(y, y + 2), slice(x, x + 7))
            store[here] = truth[here]
