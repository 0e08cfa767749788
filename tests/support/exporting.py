"""A source of labels, and exports of it with everything filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from brushfire.annotations import LabelClass
from brushfire.export import export_labels

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from brushfire.export import ExportReport
    from brushfire.geometry import Box, Triple

CLASSES = (
    LabelClass(1, "membrane", "#56b4e9"),
    LabelClass(2, "inside [of it]", "#e69f00"),
    LabelClass(7, "späte Klasse", "#009e73"),
)
VOXEL_SIZE = (2.0, 0.5, 0.25)
NAMES = {"ome-zarr": "masks.ome.zarr", "tiff": "masks.tif"}
BUDGETS = {"ome-zarr": 2**23, "tiff": 2**21}
"""Small enough that the volumes of these tests are several blocks."""


class ArraySource:
    """Labels in memory that remember which boxes were read."""

    def __init__(self, labels: NDArray[np.uint8]) -> None:
        self.labels = labels
        self.boxes: list[Box] = []

    @property
    def shape(self) -> Triple:
        z, y, x = self.labels.shape
        return z, y, x

    def read(self, box: Box) -> NDArray[np.uint8]:
        self.boxes.append(box)
        return self.labels[box.slices]


def some_labels(shape: Triple = (20, 300, 520), seed: int = 0) -> NDArray[np.uint8]:
    """Return random labels of the classes; noise does not compress, which fills disks."""
    values = np.array([0, 1, 2, 7], dtype=np.uint8)
    return values[np.random.default_rng(seed).integers(0, 4, shape)]


def export(
    labels: NDArray[np.uint8] | ArraySource, folder: Path, format: str, **changes: Any
) -> ExportReport:
    """Export with defaults for all that a test does not care about."""
    source = labels if isinstance(labels, ArraySource) else ArraySource(labels)
    arguments: dict[str, Any] = {
        "format": format,
        "origin": (3, 5, 7),
        "voxel_size": VOXEL_SIZE,
        "classes": CLASSES,
        "name": "a volume labels",
        "budget_bytes": BUDGETS.get(format, 2**21),
        "progress": lambda done, total: None,
        "cancelled": lambda: False,
    }
    path = arguments | changes
    target = path.pop("path", folder / NAMES.get(format, "masks"))
    return export_labels(source, target, **path)
