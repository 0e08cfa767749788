"""Make coarser levels out of finer ones, block by block, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from brushfire.errors import Cancelled
from brushfire.geometry import Box, Grid, Scale, Triple, triple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

# The coarsest level is what 3D display and thumbnails load whole.
COARSEST_SIDE = 512
COARSEST_VOXELS = 1 << 26
SMALLEST_SIDE = 64
# Voxels this much deeper than wide, or less, are halved in depth too.
ISOTROPIC = 1.5
# More memory than this makes nothing faster, but cancelling slower.
MOST_BLOCK_BYTES = 512 << 20


def plan_steps(shape: Triple, voxel_size: Scale) -> list[Triple]:
    """Return by how much each further level divides the one before it, z, y, x.

    Parameters
    ----------
    shape : tuple of int
        Voxels of the finest level, z, y, x.
    voxel_size : tuple of float
        Micrometres z, y, x: depth is halved only while it is not sampled more coarsely.
    """
    steps: list[Triple] = []
    voxel = voxel_size
    while _is_large(shape):
        deep = shape[0] > 1 and voxel[0] <= ISOTROPIC * (voxel[1] * voxel[2]) ** 0.5
        step = triple([2 if deep else 1, *(2 if n > 1 else 1 for n in shape[1:])])
        steps.append(step)
        shape = reduced_shape(shape, step)
        z, y, x = (v * s for v, s in zip(voxel, step, strict=True))
        voxel = (z, y, x)
    return steps


def _is_large(shape: Triple) -> bool:
    side = max(shape[1:])
    return side > COARSEST_SIDE or (
        side > SMALLEST_SIDE and shape[0] * shape[1] * shape[2] > COARSEST_VOXELS
    )


def reduced_shape(shape: Sequence[int], step: Sequence[int]) -> Triple:
    """Return the shape of a level whose voxels are ``step`` voxels of the level before."""
    return triple([-(-n // s) for n, s in zip(shape, step, strict=True)])


def chain(
    levels: Sequence[tuple[Triple, Scale]],
    *,
    source_chunk: Triple,
    target_block: Triple,
    channels: int,
    dtype: np.dtype[Any],
    budget_bytes: int,
) -> list[Reduction]:
    """Return how each level but the finest is made from the one before it.

    Parameters
    ----------
    levels : sequence of (tuple of int, tuple of float)
        Shape, z, y, x, and level-0 voxels that make one voxel, of each level, finest first.
    source_chunk, target_block, channels, dtype, budget_bytes
        As in `Reduction`.
    """
    made = []
    for (source, finer), (target, coarser) in pairwise(levels):
        step = triple([round(b / a) for a, b in zip(finer, coarser, strict=True)])
        reduction = Reduction(
            source, target, step, source_chunk, target_block, channels, dtype, budget_bytes
        )
        made.append(reduction)
    return made


def halve(block: NDArray[Any], step: Triple, *, labels: bool) -> NDArray[Any]:
    """Return a block with ``step`` (1 or 2 on each axis) voxels made into one.

    Parameters
    ----------
    block : numpy.ndarray
        Channels, z, y, x. A last odd voxel stands for itself.
    step : tuple of int
        1 or 2, for z, y, x.
    labels : bool
        Take the first voxel of each group, so that no value appears that was not there. Otherwise
        the mean, rounded for integers.
    """
    if labels:
        return block[:, :: step[0], :: step[1], :: step[2]]
    total = block.astype(_wide_type(block.dtype), copy=False)
    count = 1
    for axis, s in enumerate(step, start=1):
        if s == 2:
            total = _add_pairs(total, axis)
            count *= 2
    if block.dtype.kind == "f":
        return (total / count).astype(block.dtype, copy=False)
    if total.dtype.kind == "f":
        return np.rint(total / count).astype(block.dtype)
    return ((total + count // 2) // count).astype(block.dtype)


def _wide_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return a type that holds the sum of eight values."""
    if dtype.kind == "f":
        return np.dtype(np.float32) if dtype.itemsize <= 4 else np.dtype(np.float64)
    wide = {1: "i2", 2: "i4"} if dtype.kind == "i" else {1: "u2", 2: "u4"}
    return np.dtype(wide.get(dtype.itemsize, "f8"))


def _add_pairs(block: NDArray[Any], axis: int) -> NDArray[Any]:
    even = np.moveaxis(block, axis, 0)[0::2]
    odd = np.moveaxis(block, axis, 0)[1::2]
    total = even.copy()
    total[: len(odd)] += odd
    if len(even) > len(odd):
        total[-1] += even[-1]
    return np.moveaxis(total, 0, axis)


@dataclass(frozen=True)
class Reduction:
    """How one level is made from the level before it.

    Parameters
    ----------
    source, target : tuple of int
        Shapes of the two levels.
    step : tuple of int
        Voxels of the source that make one voxel of the target, 1 or 2 on each axis.
    source_chunk : tuple of int
        What is worth reading at once.
    target_block : tuple of int
        What is worth writing at once: a chunk or a shard of the target.
    channels : int
        Number of channels.
    dtype : numpy.dtype
        Type of both levels.
    budget_bytes : int
        What the arrays of one block may take together.
    """

    source: Triple
    target: Triple
    step: Triple
    source_chunk: Triple
    target_block: Triple
    channels: int
    dtype: np.dtype[Any]
    budget_bytes: int

    @property
    def grid(self) -> Grid:
        """The blocks of the target, as large as the budget allows: whole planes, if it can.

        Rather narrower than that, if only then whole chunks of the source can be read: what is
        read in part is decoded again for the next part.
        """
        cell = list(self.target_block)
        for axis in (1, 2):
            cell[axis] *= -(-self.target[axis] // cell[axis])
        for depth in (max(self.step[0], self.source_chunk[0]), self.step[0]):
            for axis in (1, 2):
                least = self.target_block[axis]
                while cell[axis] > least and self._cost(triple(cell), depth) > self._limit:
                    cell[axis] = least * max(1, cell[axis] // least // 2)
        return Grid(self.target, triple(cell))

    @property
    def _limit(self) -> int:
        return min(self.budget_bytes, MOST_BLOCK_BYTES)

    def run(
        self,
        read: Callable[[Box], NDArray[Any]],
        write: Callable[[Box, NDArray[Any]], None],
        *,
        labels: bool,
        cancelled: Callable[[], bool],
    ) -> Iterator[None]:
        """Write the target block by block; yield after each.

        Parameters
        ----------
        read : callable
            From a box of the source to its channels, z, y, x.
        write : callable
            Takes a box of the target and its channels, z, y, x.

        Raises
        ------
        Cancelled
            When ``cancelled`` returns True, between two slabs.
        """
        for box, block in self.blocks(read, labels=labels, cancelled=cancelled):
            write(box, block)
            yield

    def blocks(
        self,
        read: Callable[[Box], NDArray[Any]],
        *,
        labels: bool,
        cancelled: Callable[[], bool],
    ) -> Iterator[tuple[Box, NDArray[Any]]]:
        """Yield each box of the target with its channels, z, y, x; the rest is as in `run`."""
        for box in self.grid.boxes():
            out = np.empty((self.channels, *box.shape), self.dtype)
            depth = self._slab(box)
            for z in range(box.start[0], box.stop[0], depth):
                if cancelled():
                    raise Cancelled
                end = min(z + depth, box.stop[0])
                slab = Box((z, *box.start[1:]), (end, *box.stop[1:]))
                wanted = Box(
                    triple([a * s for a, s in zip(slab.start, self.step, strict=True)]),
                    triple([b * s for b, s in zip(slab.stop, self.step, strict=True)]),
                ).clip(self.source)
                part = halve(read(wanted), self.step, labels=labels)
                out[:, z - box.start[0] : end - box.start[0]] = part
            yield box, out

    def _slab(self, box: Box) -> int:
        """Return how many slices of the target are made at once."""
        depth = max(1, -(-self.source_chunk[0] // self.step[0]))
        while depth > 1 and self._cost(box.shape, depth * self.step[0]) > self._limit:
            depth //= 2
        return depth

    def _cost(self, cell: Triple, source_slices: int) -> int:
        """Return the bytes for a block that is made from slabs of so many source slices."""
        voxel = self.channels * self.dtype.itemsize
        plane = cell[1] * self.step[1] * cell[2] * self.step[2]
        # The slab as read and its sums in a wider type, and the block on its way to the disk. Both
        # are held six times over (measured, with what the stores take to decode and encode).
        return 6 * voxel * (source_slices * plane + cell[0] * cell[1] * cell[2])
