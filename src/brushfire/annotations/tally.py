"""How many voxels and slices each class has, kept up to date edit by edit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

VALUES = 128  # 0, unlabelled, and 127 classes


@dataclass(frozen=True, slots=True)
class ClassCount:
    """What one class has.

    Parameters
    ----------
    voxels : int
        Labelled voxels.
    slices : int
        Slices along z with at least one of them.
    """

    voxels: int
    slices: int


class Tally:
    """Exact counts per class and per slice.

    The arrays of single slices are replaced and never changed in place, so that `copy` needs
    to copy the mapping only.
    """

    def __init__(self) -> None:
        self._voxels = np.zeros(VALUES, np.int64)
        self._slices = np.zeros(VALUES, np.int64)
        self._by_slice: dict[int, NDArray[np.int64]] = {}

    def change(self, z: int, old: NDArray[np.uint8], new: NDArray[np.uint8]) -> None:
        """Count voxels of slice ``z`` that went from ``old`` to ``new`` values.

        Parameters
        ----------
        z : int
            Index of the slice.
        old, new : ndarray of uint8
            Flat, values below 128, as many of one as of the other.
        """
        delta = np.bincount(new, minlength=VALUES) - np.bincount(old, minlength=VALUES)
        delta[0] = 0
        before = self._by_slice.get(z)
        after = delta if before is None else before + delta
        self._voxels += delta
        self._slices += after > 0
        if before is not None:
            self._slices -= before > 0
        if after.any():
            self._by_slice[z] = after
        else:
            self._by_slice.pop(z, None)

    def slices_with(self, value: int) -> tuple[int, ...]:
        """Return the slices that hold ``value``, in rising order."""
        return tuple(sorted(z for z, counts in self._by_slice.items() if counts[value]))

    @property
    def by_slice(self) -> Mapping[int, NDArray[np.int64]]:
        """Voxels per value, for each slice that has a label."""
        return self._by_slice

    def counts(self) -> dict[int, ClassCount]:
        """Return the counts of each class that has a voxel."""
        return {
            int(value): ClassCount(int(self._voxels[value]), int(self._slices[value]))
            for value in np.flatnonzero(self._voxels)
        }

    def copy(self) -> Tally:
        """Return a copy that later changes leave alone."""
        made = Tally()
        made._voxels = self._voxels.copy()
        made._slices = self._slices.copy()
        made._by_slice = dict(self._by_slice)
        return made
