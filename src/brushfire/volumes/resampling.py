"""A volume on a finer grid, interpolated where it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from brushfire.errors import VolumeError
from brushfire.geometry import Box, Scale, Triple, triple
from brushfire.volumes.volume import Volume, check_voxel_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from brushfire.volumes.sources import LevelSource

_TAPS = 4  # voxels that each interpolated one is a sum of, along an axis
_CHUNK: Triple = (1, 256, 256)
_MOST = 64  # times finer than what there is
_ALIGNED = 1e-6  # of a voxel: less is rounding


@dataclass(frozen=True)
class FineGrid:
    """A grid of finer voxels over a coarse volume.

    Parameters
    ----------
    shape : tuple of int
        Voxels, z, y, x.
    voxel_size : tuple of float
        Micrometres, z, y, x.
    phase : tuple of float
        Micrometres from the first corner of the coarse volume to that of the grid, z, y, x; less
        than a voxel of the grid.
    """

    shape: Triple
    voxel_size: Scale
    phase: Scale = (0.0, 0.0, 0.0)


def grid_around(
    coarse: Volume, region: Triple, voxel_size: Scale, offset: Sequence[float]
) -> tuple[FineGrid, Triple]:
    """Return the finer grid over a whole volume on which a region lies exactly.

    Nothing of the region has to be interpolated: the grid begins less than a voxel inside of the
    coarse volume, so that the region's voxels are voxels of the grid.

    Parameters
    ----------
    coarse : Volume
        Its voxel size counts, known or not.
    region : tuple of int
        Voxels of the region, z, y, x.
    voxel_size : tuple of float
        Of the region, micrometres.
    offset : sequence of float
        From the first corner of the volume to that of the region, micrometres, z, y, x.

    Returns
    -------
    FineGrid, tuple of int
        The grid, and the region's first voxel on it.

    Raises
    ------
    VolumeError
        If the region's voxels are larger than the volume's, or it sticks out of the volume.
    """
    fine = check_voxel_size(voxel_size)
    ratio = [c / f for c, f in zip(coarse.voxel_size, fine, strict=True)]
    if min(ratio) < 1 - _ALIGNED or max(ratio) > _MOST:
        raise VolumeError(
            "A zoomed scan has smaller voxels than the whole, along no axis larger ones, and at"
            f" most {_MOST} times smaller ones.",
            got=f"{_said(fine)} µm in {_said(coarse.voxel_size)} µm",
            do="Correct the voxel sizes, or exchange the two.",
        )
    origin = [int(np.floor(o / f + _ALIGNED)) for o, f in zip(offset, fine, strict=True)]
    phase = [max(0.0, o - n * f) for o, n, f in zip(offset, origin, fine, strict=True)]
    extent = [n * s for n, s in zip(coarse.shape, coarse.voxel_size, strict=True)]
    shape = [int((e - p) / f + _ALIGNED) for e, p, f in zip(extent, phase, fine, strict=True)]
    inside = all(o >= 0 and o + n <= s for o, n, s in zip(origin, region, shape, strict=True))
    if not inside:
        size = [n * f for n, f in zip(region, fine, strict=True)]
        raise VolumeError(
            f"A zoomed scan lies inside the whole, which is {_said(extent)} µm (z, y, x).",
            got=f"one of {_said(size)} µm that begins at {_said(offset)} µm",
            do="Correct the offset or the voxel sizes, or crop what sticks out.",
        )
    return FineGrid(triple(shape), fine, (phase[0], phase[1], phase[2])), triple(origin)


def resampled(coarse: Volume, grid: FineGrid) -> Volume:
    """Return a volume on a finer grid, by cubic convolution (Keys 1981) as it is read.

    Each voxel is a sum of 4 x 4 x 4 coarse ones, so that a part reads as it does in the whole.
    Beyond the edges the outermost voxels go on. Values are float32; NaN spreads by two voxels.

    Parameters
    ----------
    coarse : Volume
        What is interpolated; only level 0 counts.
    grid : FineGrid
        On which.
    """
    source = _Finer(coarse.sources[0], coarse.voxel_size, grid)
    return Volume(
        name=f"{coarse.name}, finer",
        source=None,
        format=coarse.format,
        axes="czyx",
        levels=[(source, (1.0, 1.0, 1.0))],
        voxel_size=grid.voxel_size,
        channels=coarse.channels,
        cache=coarse.cache,
    )


class _Finer:
    """A level that is interpolated from a coarser one."""

    def __init__(self, coarse: LevelSource, voxel_size: Scale, grid: FineGrid) -> None:
        self._coarse = coarse
        self._grid = grid
        self._steps = [f / c for f, c in zip(grid.voxel_size, voxel_size, strict=True)]
        self._first = [p / c for p, c in zip(grid.phase, voxel_size, strict=True)]
        self.shape = (coarse.shape[0], *grid.shape)
        self.dtype: np.dtype[Any] = np.dtype(np.float32)
        self.chunk: Triple = triple([min(c, n) for c, n in zip(_CHUNK, grid.shape, strict=True)])

    def read(self, channels: slice, box: Box) -> NDArray[np.float32]:
        """Return channel, z, y, x of ``box``."""
        taps = [self._taps(axis, box.start[axis], box.stop[axis]) for axis in range(3)]
        low = triple([int(index.min()) for index, _ in taps])
        high = triple([int(index.max()) + 1 for index, _ in taps])
        with np.errstate(over="ignore"):
            block = self._coarse.read(channels, Box(low, high)).astype(np.float32)
        for axis, (index, weights) in enumerate(taps):
            block = _interpolated(block, axis + 1, index - low[axis], weights)
        return block

    def _taps(
        self, axis: int, start: int, stop: int
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Return which coarse voxels, (n, 4), and how much of each makes the wanted ones."""
        centres = self._first[axis] + (np.arange(start, stop) + 0.5) * self._steps[axis] - 0.5
        before = np.floor(centres)
        away = (centres - before)[:, None] - np.arange(-1, _TAPS - 1)
        index = before[:, None].astype(np.intp) + np.arange(-1, _TAPS - 1)
        count = self._coarse.shape[axis + 1]
        return np.clip(index, 0, count - 1), _cubic(np.abs(away)).astype(np.float32)


def _cubic(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Keys' kernel at a distance in voxels: exact for parabolas, zero from 2 on."""
    d = distance
    near = (1.5 * d - 2.5) * d * d + 1
    far = ((-0.5 * d + 2.5) * d - 4) * d + 2
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _interpolated(
    block: NDArray[np.float32],
    axis: int,
    index: NDArray[np.intp],
    weights: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return a block with another number of voxels along an axis."""
    shape = [1] * block.ndim
    shape[axis] = len(index)
    total = np.take(block, index[:, 0], axis) * weights[:, 0].reshape(shape)
    for tap in range(1, _TAPS):
        total += np.take(block, index[:, tap], axis) * weights[:, tap].reshape(shape)
    result: NDArray[np.float32] = total
    return result


def _said(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
