"""Annotations as they were at one revision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brushfire.annotations.chunks import overlap, read_box, touching
from brushfire.errors import AnnotationError
from brushfire.geometry import Box, Grid, Triple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from brushfire.annotations.tally import ClassCount, Tally


class AnnotationSnapshot:
    """An immutable view of all labels; any thread may read it.

    It shares its chunks with the store, which copies a chunk before it changes it.

    Parameters
    ----------
    revision : int
        Revision of the store when the snapshot was taken.
    grid : Grid
        Shape of the labels and of their chunks.
    chunks : mapping
        From the index of a cell to its uint8 voxels; nobody writes to them any more.
    tally : Tally
        The counts at that revision; nobody changes them any more.
    """

    def __init__(
        self,
        revision: int,
        grid: Grid,
        chunks: Mapping[Triple, NDArray[np.uint8]],
        tally: Tally,
    ) -> None:
        self._revision = revision
        self._grid = grid
        self._chunks = chunks
        self._tally = tally

    @property
    def revision(self) -> int:
        """Revision of the store that this is."""
        return self._revision

    @property
    def shape(self) -> Triple:
        """Voxels along z, y, x."""
        return self._grid.shape

    @property
    def grid(self) -> Grid:
        """How the labels are cut into chunks."""
        return self._grid

    def chunk(self, index: Triple) -> NDArray[np.uint8] | None:
        """Return the voxels of one cell, read-only by agreement; None where all are 0."""
        return self._chunks.get(index)

    def read(self, box: Box) -> NDArray[np.uint8]:
        """Return the labels of ``box`` as a new array of shape z, y, x.

        Raises
        ------
        AnnotationError
            If the box sticks out of the labels.
        """
        if not Box.of_shape(self.shape).contains(box):
            raise AnnotationError(
                f"A box that is read lies inside the labels, of shape {self.shape}.",
                got=box,
                do="Clip the box first.",
            )
        return read_box(self._chunks, self._grid, box)

    def slices(self) -> tuple[int, ...]:
        """Return the slices along z that have a label, in rising order."""
        return tuple(sorted(self._tally.by_slice))

    def changed_slices(self, before: AnnotationSnapshot) -> set[int]:
        """Return the slices along z that may differ from those of an earlier snapshot.

        Found by comparing which chunks the two share, without looking at voxels.
        """
        mine, theirs = self._chunks, before._chunks
        return {
            z
            for index in {**mine, **theirs}
            if mine.get(index) is not theirs.get(index)
            for z in range(self._grid.box(index).start[0], self._grid.box(index).stop[0])
        }

    def counts(self) -> dict[int, ClassCount]:
        """Return voxels and slices of each class that has a voxel."""
        return self._tally.counts()

    def planes(self, z: int) -> Iterator[tuple[Box, NDArray[np.uint8]]]:
        """Yield the labels of slice ``z`` part by part, leaving out what has none.

        Yields
        ------
        box : Box
            One slice thick.
        labels : ndarray of uint8, shape (y, x)
            Read-only by agreement.
        """
        _, height, width = self.shape
        plane = Box((z, 0, 0), (z + 1, height, width))
        for index in touching(self._chunks.keys(), self._grid, plane):
            box = self._grid.box(index).intersect(plane)
            assert box is not None
            (part, rows, columns), _ = overlap(index, self._grid, plane)
            yield box, self._chunks[index][part.start, rows, columns]

    def __repr__(self) -> str:
        return f"AnnotationSnapshot(revision={self.revision}, shape={self.shape})"
