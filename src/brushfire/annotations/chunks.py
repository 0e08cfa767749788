"""Sparse chunks: a dictionary from the index of a cell to its voxels; a missing cell is all 0."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from numpy.typing import NDArray

    from brushfire.geometry import Box, Grid, Triple

Slices = tuple[slice, slice, slice]


def touching(chunks: Collection[Triple], grid: Grid, box: Box) -> Iterable[Triple]:
    """Return the indices of those ``chunks`` that touch ``box``, without visiting empty cells.

    Goes over the cells of the box or over the chunks, whichever are fewer: an XY plane has few
    cells; an XZ plane has thousands, while few of them are usually labelled.
    """
    if box.size == 0:
        return ()
    (z0, y0, x0), (z1, y1, x1) = (
        [a // c for a, c in zip(box.start, grid.cell, strict=True)],
        [-(-b // c) for b, c in zip(box.stop, grid.cell, strict=True)],
    )
    if prod((z1 - z0, y1 - y0, x1 - x0)) <= len(chunks):
        cells = product(range(z0, z1), range(y0, y1), range(x0, x1))
        return [index for index in cells if index in chunks]
    # list() of a dictionary is one step for other threads; a loop over it is not.
    return [
        index
        for index in list(chunks)
        if z0 <= index[0] < z1 and y0 <= index[1] < y1 and x0 <= index[2] < x1
    ]


def overlap(index: Triple, grid: Grid, box: Box) -> tuple[Slices, Slices]:
    """Return where the cell at ``index`` and ``box`` meet, as indices into each of the two."""
    (cz, cy, cx), (iz, iy, ix) = grid.cell, index
    (az, ay, ax), (bz, by, bx) = box.start, box.stop
    oz, oy, ox = iz * cz, iy * cy, ix * cx
    z0, y0, x0 = max(oz, az), max(oy, ay), max(ox, ax)
    z1, y1, x1 = min(oz + cz, bz), min(oy + cy, by), min(ox + cx, bx)
    return (
        (slice(z0 - oz, z1 - oz), slice(y0 - oy, y1 - oy), slice(x0 - ox, x1 - ox)),
        (slice(z0 - az, z1 - az), slice(y0 - ay, y1 - ay), slice(x0 - ax, x1 - ax)),
    )


def read_box(chunks: Mapping[Triple, NDArray[np.uint8]], grid: Grid, box: Box) -> NDArray[np.uint8]:
    """Return the voxels of ``box`` as a new array; only labelled chunks are visited."""
    out = np.zeros(box.shape, np.uint8)
    for index in touching(chunks.keys(), grid, box):
        chunk = chunks.get(index)
        if chunk is not None:
            inside, outside = overlap(index, grid, box)
            out[outside] = chunk[inside]
    return out


def tight_slices(mask: NDArray[np.bool_]) -> Slices:
    """Return the smallest index that holds all True voxels of a 3D ``mask`` with at least one."""
    plane = np.asarray(mask.any(axis=0))
    lines = (mask.any(axis=(1, 2)), plane.any(axis=1), plane.any(axis=0))
    spans = []
    for line in map(np.asarray, lines):
        first = int(line.argmax())
        spans.append(slice(first, len(line) - int(line[::-1].argmax())))
    return spans[0], spans[1], spans[2]
