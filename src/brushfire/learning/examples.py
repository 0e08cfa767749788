"""Labelled voxels of other volumes, kept as features: what a start knows before any stroke.

They are learned beside the strokes of the volume that is open (rehearsal, Robins 1995). Features
are those of normalised intensities, so that volumes of other scales agree. Loads without torch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save

from brushfire.errors import ModelError
from brushfire.learning.tensors import KEY, read_tensors

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

FORMAT = "brushfire-examples"
VERSION = 1
MOST = 500
"""Voxels of a class that are kept: more hardly teach more, and would drown out new strokes."""

_MAX_CLASS = 127


@dataclass(frozen=True, eq=False)
class Examples:
    """Voxels whose classes are known.

    Parameters
    ----------
    features : ndarray
        float32, (voxels, inputs), as `SegmentationModel.raw_inputs` makes them.
    classes : ndarray
        uint8, (voxels,), class values from 1 to 127.

    Raises
    ------
    ModelError
        If they do not belong together, or hold what is no number or no class.
    """

    features: NDArray[np.float32]
    classes: NDArray[np.uint8]

    def __post_init__(self) -> None:
        features, classes = self.features, self.classes
        fits = (
            features.dtype == np.float32
            and classes.dtype == np.uint8
            and features.ndim == 2
            and classes.shape == features.shape[:1]
        )
        if not fits:
            raise _refusal(
                f"{features.dtype} {features.shape} with classes {classes.dtype} {classes.shape}"
            )
        if not np.isfinite(features).all():
            raise _refusal("NaN or infinity in the features")
        if classes.size and not 1 <= classes.min() <= classes.max() <= _MAX_CLASS:
            raise _refusal(f"classes from {classes.min()} to {classes.max()}")

    def __len__(self) -> int:
        return len(self.classes)

    @cached_property
    def counts(self) -> dict[int, int]:
        """Voxels of each class that has any."""
        values, counts = np.unique(self.classes, return_counts=True)
        return {int(value): int(count) for value, count in zip(values, counts, strict=True)}

    def of(self, classes: Collection[int]) -> Examples:
        """Return those of some class values."""
        wanted = np.isin(self.classes, list(classes))
        return Examples(self.features[wanted], self.classes[wanted])

    def for_inputs(self, inputs: int) -> Examples | None:
        """Return these where they are of as many features as a model knows of a pixel, or None."""
        return self if self.features.shape[1] == inputs else None

    def renumbered(self, values: Mapping[int, int]) -> Examples:
        """Return those of the classes that ``values`` names, with its values instead."""
        known = self.of(values)
        table = np.zeros(256, np.uint8)
        table[list(values)] = list(values.values())
        return Examples(known.features, table[known.classes])

    def joined(self, other: Examples) -> Examples:
        """Return these and others of as many features.

        Raises
        ------
        ModelError
            If the others have another number of features.
        """
        if self.features.shape[1] != other.features.shape[1]:
            raise _refusal(f"{self.features.shape[1]} and {other.features.shape[1]} features")
        return Examples(
            np.concatenate([self.features, other.features]),
            np.concatenate([self.classes, other.classes]),
        )

    def thinned(self, most: int = MOST) -> Examples:
        """Return at most so many of each class, evenly spaced."""
        kept = [np.flatnonzero(self.classes == value) for value in np.unique(self.classes)]
        kept = [rows[:: -(-len(rows) // most)] for rows in kept]
        rows = np.concatenate(kept) if kept else np.zeros(0, np.intp)
        return Examples(self.features[rows], self.classes[rows])

    def split(self, share: int) -> tuple[Examples, Examples]:
        """Return all but one of ``share`` of each class, and those that are left out."""
        apart = np.zeros(len(self), bool)
        for value in np.unique(self.classes):
            apart[np.flatnonzero(self.classes == value)[share - 1 :: share]] = True
        return (
            Examples(self.features[~apart], self.classes[~apart]),
            Examples(self.features[apart], self.classes[apart]),
        )

    def to_bytes(self) -> bytes:
        """Return a safetensors file."""
        arrays = {"features": np.ascontiguousarray(self.features), "classes": self.classes}
        about = {"format": FORMAT, "version": VERSION}
        return bytes(save(arrays, metadata={KEY: json.dumps(about)}))

    @classmethod
    def from_bytes(cls, data: bytes) -> Examples:
        """Return what `to_bytes` wrote.

        Raises
        ------
        ModelError
            If it is damaged, something else, or of a newer version.
        """
        _, arrays = read_tensors(data, FORMAT, VERSION, _refusal)
        if set(arrays) != {"features", "classes"}:
            raise _refusal(f"a file of another kind, with {', '.join(sorted(arrays)) or 'nothing'}")
        return cls(arrays["features"], arrays["classes"])


def _refusal(got: str) -> ModelError:
    return ModelError(
        "Examples are features of voxels and their classes, as Brushfire wrote them.",
        got=got,
        do="Press Reset, which forgets the start and keeps the strokes, or start again.",
    )
