"""Sparse labels: chunks, which of them are shared, and the counts, changed together."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from brushfire.annotations.chunks import Slices, overlap, read_box, tight_slices, touching
from brushfire.annotations.records import KEEP, Patch, Record, Replacement
from brushfire.annotations.snapshot import AnnotationSnapshot
from brushfire.annotations.tally import Tally
from brushfire.geometry import Box, Grid, Triple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

Points = tuple["NDArray[np.intp]", "NDArray[np.intp]", "NDArray[np.intp]"]


class SparseLabels:
    """The labels of one volume in memory; a chunk without a label takes none.

    Values that come in are below 128, and boxes inside the shape: the store checks them.

    Parameters
    ----------
    grid : Grid
        Shape of the labels and of their chunks.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.tally = Tally()
        self._chunks: dict[Triple, NDArray[np.uint8]] = {}
        self._owned: set[Triple] = set()  # chunks that no snapshot shares
        self._changed: set[Triple] = set()  # since they were last asked for

    @property
    def memory_bytes(self) -> int:
        """Bytes that the chunks take."""
        return sum(chunk.nbytes for chunk in self._chunks.values())

    def freeze(self, revision: int) -> AnnotationSnapshot:
        """Return the labels as they are now; a chunk is copied before it changes again."""
        self._owned.clear()
        return AnnotationSnapshot(revision, self.grid, dict(self._chunks), self.tally.copy())

    def take_changed(self) -> frozenset[Triple]:
        """Return the chunks that changed since this was last called."""
        changed = frozenset(self._changed)
        self._changed.clear()
        return changed

    def restore(
        self, chunks: Mapping[Triple, NDArray[np.uint8]], changed: Iterable[Triple]
    ) -> None:
        """Take over the chunks of a checkpoint, and name those that differ from the disk."""
        for index, chunk in chunks.items():
            self._count(self.grid.box(index), np.zeros_like(chunk), chunk, chunk != 0)
        self._chunks.update(chunks)
        self._owned.update(chunks)
        self._changed.update(changed)

    def replay(self, record: Record) -> None:
        """Repeat an edit."""
        if isinstance(record, Replacement):
            self.replace(record.value, record.with_value)
            return
        for patch in record.patches:
            block = self.read(patch.box)
            self.write(patch.box, np.where(patch.values == KEEP, block, patch.values))

    def read(self, box: Box) -> NDArray[np.uint8]:
        """Return the voxels of ``box`` as a new array."""
        return read_box(self._chunks, self.grid, box)

    def write(self, box: Box, block: NDArray[np.uint8]) -> tuple[Patch, ...]:
        """Write one box and return what changed, chunk by chunk."""
        if box.size == 0:
            return ()
        # Erasing leaves empty cells empty, and need not visit them.
        blank = not block.any()
        cells = touching(self._chunks, self.grid, box) if blank else self.grid.indices(box)
        patches = []
        for index in cells:
            inside, outside = overlap(index, self.grid, box)
            patches.append(self._write_cell(index, inside, block[outside]))
        return tuple(patch for patch in patches if patch is not None)

    def read_points(self, points: tuple[Any, ...]) -> NDArray[np.uint8]:
        """Return the labels at coordinates z, y, x, in their shape."""
        shape = np.shape(points[0])
        out = np.zeros(prod(shape), np.uint8)
        for index, members, local in self._groups(points):
            chunk = self._chunks.get(index)
            if chunk is not None:
                out[members] = chunk[local]
        return out.reshape(shape)

    def write_points(self, points: tuple[Any, ...], values: NDArray[np.uint8]) -> tuple[Patch, ...]:
        """Write labels at coordinates z, y, x and return what changed, chunk by chunk."""
        flat = values.ravel()
        patches = []
        for index, members, local in self._groups(points):
            z, y, x = (slice(int(axis.min()), int(axis.max()) + 1) for axis in local)
            chunk = self._chunks.get(index)
            if chunk is None:
                region = np.zeros([side.stop - side.start for side in (z, y, x)], np.uint8)
            else:
                region = chunk[z, y, x].copy()
            at = tuple(axis - side.start for axis, side in zip(local, (z, y, x), strict=True))
            region[at] = flat[members]
            patches.append(self._write_cell(index, (z, y, x), region))
        return tuple(patch for patch in patches if patch is not None)

    def replace(self, value: int, with_value: int) -> bool:
        """Give all voxels with ``value`` another; return whether there were any."""
        depth = self.grid.cell[0]
        layers = sorted({z // depth for z in self.tally.slices_with(value)})
        if value == with_value or not layers:
            return False
        _, rows, columns = self.grid.counts
        for index in product(layers, range(rows), range(columns)):
            chunk = self._chunks.get(index)
            if chunk is not None:
                new = np.where(chunk == value, np.uint8(with_value), chunk)
                self._write_cell(index, Box.of_shape(chunk.shape).slices, new)
        return True

    def _write_cell(self, index: Triple, place: Slices, new: NDArray[np.uint8]) -> Patch | None:
        """Write part of one chunk; return what changed, or None."""
        chunk = self._chunks.get(index)
        old = np.zeros(new.shape, np.uint8) if chunk is None else chunk[place]
        changed = old != new
        if not changed.any():
            return None
        tight = tight_slices(changed)
        old, new, changed = old[tight], new[tight], changed[tight]
        start = [
            i * c + p.start + t.start
            for i, c, p, t in zip(index, self.grid.cell, place, tight, strict=True)
        ]
        box = Box.of_shape(changed.shape).shift(start)
        # Before the chunk changes, since `old` may be a view of it.
        self._count(box, old, new, changed)
        patch = Patch(box, np.where(changed, new, np.uint8(KEEP)))
        target = self._writable(index)
        target[box.slices_in(self.grid.box(index))] = new
        if not new.all() and not target.any():
            del self._chunks[index]
            self._owned.discard(index)
        self._changed.add(index)
        return patch

    def _writable(self, index: Triple) -> NDArray[np.uint8]:
        """Return the chunk to write to: a new one, a copy of a shared one, or itself."""
        chunk = self._chunks.get(index)
        if chunk is None:
            chunk = np.zeros(self.grid.box(index).shape, np.uint8)
        elif index in self._owned:
            return chunk
        else:
            chunk = chunk.copy()
        self._chunks[index] = chunk
        self._owned.add(index)
        return chunk

    def _count(
        self,
        box: Box,
        old: NDArray[np.uint8],
        new: NDArray[np.uint8],
        changed: NDArray[np.bool_],
    ) -> None:
        for k, z in enumerate(range(box.start[0], box.stop[0])):
            mask = changed[k]
            if mask.any():
                self.tally.change(z, old[k][mask], new[k][mask])

    def _groups(self, points: tuple[Any, ...]) -> Iterator[tuple[Triple, NDArray[np.intp], Points]]:
        """Yield, for each chunk with points, its index, the points in it, and where they are."""
        z, y, x = (np.ravel(axis) for axis in points)
        if not z.size:
            return
        (cz, cy, cx), (_, ny, nx) = self.grid.cell, self.grid.counts
        cell = (z // cz * ny + y // cy) * nx + x // cx
        order = np.argsort(cell, kind="stable")  # of a voxel given twice, the last value counts
        cuts = np.flatnonzero(np.diff(cell[order])) + 1
        for members in np.split(order, cuts):
            at = int(cell[members[0]])
            index = (at // (ny * nx), at // nx % ny, at % nx)
            oz, oy, ox = (i * c for i, c in zip(index, self.grid.cell, strict=True))
            yield index, members, (z[members] - oz, y[members] - oy, x[members] - ox)
