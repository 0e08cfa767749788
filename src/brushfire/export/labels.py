"""Finished labels to a file, with names and colours of the classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from brushfire.export.targets import Description, Format
from brushfire.export.writing import write_checked
from brushfire.geometry import Box, Scale, Triple, triple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from brushfire.annotations import LabelClass
    from brushfire.export.writing import ExportReport


class LabelSource(Protocol):
    """Finished labels of a region, kept where blocks of them can be read again."""

    @property
    def shape(self) -> Triple:
        """Voxels of the region, z, y, x."""

    def read(self, box: Box) -> NDArray[np.uint8]:
        """Return the labels (z, y, x) of ``box``, which is relative to the region."""


def export_labels(
    source: LabelSource,
    path: Path | str,
    *,
    format: Format,
    origin: Triple,
    voxel_size: Scale | None,
    classes: Sequence[LabelClass],
    name: str,
    budget_bytes: int,
    progress: Callable[[int, int], None],
    cancelled: Callable[[], bool],
    overwrite: bool = False,
) -> ExportReport:
    """Write labels to ``path``, reopen them and compare, see `write_checked`.

    Parameters
    ----------
    source : LabelSource
        Finished labels.
    path : Path or str
        Target: a folder for OME-Zarr, a file that ends in .tif or .tiff for TIFF.
    format : {"ome-zarr", "tiff"}
        OME-Zarr labels with reduced levels, or one uncompressed BigTIFF (OME-TIFF).
    origin : tuple of int
        First voxel of the region in its volume, level 0, z, y, x.
    voxel_size : tuple of float or None
        Micrometres, z, y, x; None when unknown, which writes none.
    classes : sequence of LabelClass
        Their names and colours go into the metadata.
    name : str
        Of the image, in the metadata.
    budget_bytes, progress, cancelled, overwrite
        As of `write_checked`, which also says what is raised.

    Returns
    -------
    ExportReport
        Where it is and what its checksum is.
    """
    description = Description(
        format, triple(source.shape), triple(origin), voxel_size, tuple(classes), name
    )
    return write_checked(
        source,
        path,
        description,
        budget_bytes=budget_bytes,
        progress=progress,
        cancelled=cancelled,
        overwrite=overwrite,
    )
