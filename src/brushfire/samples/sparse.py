"""A volume of any size of which only some chunks exist."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brushfire.geometry import Box, Grid
from brushfire.samples.phantom import VOXEL_SIZE
from brushfire.volumes import create_multiscale

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


def make_sparse_huge(
    path: str | os.PathLike[str],
    *,
    shape: Sequence[int] = (2160, 2560, 2560),
    seed: int = 0,
    overwrite: bool = False,
) -> Path:
    """Write a multiscale uint16 OME-Zarr of any size of which only some chunks exist.

    The coarsest level is whole. The others have the middle of their middle slices, and a thin
    lattice of chunks elsewhere; all other voxels read as 0 and take no space. Made for benchmarks,
    in seconds.

    Parameters
    ----------
    path : path
        OME-Zarr store to write.
    shape : sequence of int
        Voxels z, y, x.
    seed : int
        Of the noise.
    overwrite : bool
        Replace a store that is there.
    """
    target = Path(path)
    rng = np.random.default_rng(seed)
    with create_multiscale(
        target,
        shape=shape,
        dtype="uint16",
        voxel_size=VOXEL_SIZE,
        name="sparse",
        overwrite=overwrite,
    ) as writer:
        noise = rng.integers(0, 2000, writer.block, dtype=np.uint16)
        for level, described in enumerate(writer.levels):
            grid = Grid(described.shape, writer.block)
            coarsest = level == len(writer.levels) - 1
            for box in grid.boxes() if coarsest else _sparse_boxes(grid):
                grey = _waves(box, described.factors)
                part = noise[tuple(slice(0, n) for n in box.shape)]
                writer.write(box, grey + part, level)
    return target


def _sparse_boxes(grid: Grid) -> Iterator[Box]:
    """Yield the middle slab's chunks, and one chunk in 512 of the others."""
    middle = grid.index_of([n // 2 for n in grid.shape])
    for index in grid.indices():
        near = max(abs(a - b) for a, b in zip(index[1:], middle[1:], strict=True)) <= 2
        lattice = all(i % 8 == 0 for i in index)
        if (index[0] == middle[0] and near) or lattice:
            yield grid.box(index)


def _waves(box: Box, factors: Sequence[float]) -> NDArray[np.uint16]:
    """Return a smooth pattern that looks the same at every level."""
    z, y, x = (
        np.sin((np.arange(a, b) + 0.5) * f / period, dtype=np.float32)
        for a, b, f, period in zip(box.start, box.stop, factors, (37.0, 61.0, 53.0), strict=True)
    )
    pattern = np.asarray(20000 + 12000 * (z[:, None, None] * y[:, None] * x))
    return pattern.astype(np.uint16)
