"""Sources of labels and intensities, and exports of them with everything filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from brushfire.annotations import LabelClass
from brushfire.export import Conversion, export_intensities, export_labels

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
    """Labels, or channels of intensities, in memory that remember which boxes were read."""

    def __init__(self, values: NDArray[Any]) -> None:
        self.values = values
        self.boxes: list[Box] = []

    @property
    def shape(self) -> Triple:
        z, y, x = self.values.shape[-3:]
        return z, y, x

    def read(self, box: Box) -> NDArray[Any]:
        self.boxes.append(box)
        return self.values[(..., *box.slices)]


def some_labels(shape: Triple = (20, 300, 520), seed: int = 0) -> NDArray[np.uint8]:
    """Return random labels of the classes; noise does not compress, which fills disks."""
    values = np.array([0, 1, 2, 7], dtype=np.uint8)
    return values[np.random.default_rng(seed).integers(0, 4, shape)]


def export(
    labels: NDArray[np.uint8] | ArraySource, folder: Path, format: str, **changes: Any
) -> ExportReport:
    """Export with defaults for all that a test does not care about."""
    source = labels if isinstance(labels, ArraySource) else ArraySource(labels)
    arguments = _common(format) | {"classes": CLASSES} | changes
    target = arguments.pop("path", folder / NAMES.get(format, "masks"))
    return export_labels(source, target, **arguments)


def some_intensities(shape: Triple = (20, 300, 520), channels: int = 1) -> NDArray[np.float32]:
    """Return (channels, z, y, x) around 0, some of them far outside of any small type."""
    values = np.random.default_rng(0).normal(100, 200, (channels, *shape)).astype(np.float32)
    values[:, ::3] *= 1e3
    return values


def export_floats(
    values: NDArray[np.float32], folder: Path, format: str, **changes: Any
) -> ExportReport:
    """Export intensities with defaults for all that a test does not care about."""
    channels = [f"restored {at + 1}" for at in range(len(values))]
    arguments = _common(format) | {"channels": channels, "conversion": Conversion()} | changes
    return export_intensities(ArraySource(values), folder / NAMES[format], **arguments)


def _common(format: str) -> dict[str, Any]:
    return {
        "format": format,
        "origin": (3, 5, 7),
        "voxel_size": VOXEL_SIZE,
        "name": "a volume",
        "budget_bytes": BUDGETS.get(format, 2**21),
        "progress": lambda done, total: None,
        "cancelled": lambda: False,
    }
