"""Restored intensities to a file, as they are or as whole numbers in a way that is stated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np

from brushfire.errors import ExportError
from brushfire.export.targets import Description, Format
from brushfire.export.writing import write_checked
from brushfire.geometry import Box, Scale, Triple, triple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from brushfire.export.writing import ExportReport

How = Literal["as is", "clip", "rescale"]

WHOLE = ("uint8", "int8", "uint16", "int16", "uint32", "int32")
"""Types of whole numbers that intensities are exported as."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """How restored intensities, which are real numbers, become those of a file.

    Parameters
    ----------
    dtype : str
        "float32", or one of `WHOLE`.
    how : {"as is", "clip", "rescale"}
        "as is" for float32. "clip" rounds, and what lies beyond the range of the type becomes its
        end. "rescale" brings ``low`` to ``high`` to the whole range of the type, rounds, and clips
        what lies beyond. What is not a number becomes the lowest value.
    low, high : float or None
        Of "rescale": the intensities that become the lowest and the highest value.

    Raises
    ------
    ExportError
        The three do not fit each other: nothing is clipped or scaled unless somebody says so.
    """

    dtype: str = "float32"
    how: How = "as is"
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        self._check_type()
        if self.how != "rescale":
            if (self.low, self.high) != (None, None):
                raise ExportError(
                    "Intensities are brought from one range to another where they are rescaled.",
                    got=f"{self.low} to {self.high} for {self.how!r}",
                    do="Choose 'rescale', or give no range.",
                )
            return
        low, high = self.low, self.high
        if low is None or high is None or not (math.isfinite(high - low) and low < high):
            raise ExportError(
                "Rescaling brings a lowest and a highest intensity to the range of the type.",
                got=f"{low} to {high}",
                do="Give two numbers, the lower one first.",
            )

    def _check_type(self) -> None:
        if self.dtype not in ("float32", *WHOLE):
            raise ExportError(
                f"Intensities are exported as float32 or as one of {', '.join(WHOLE)}.",
                got=self.dtype,
                do="Choose one of these.",
            )
        if self.how not in get_args(How):
            raise ExportError(
                "Intensities are exported as they are, clipped or rescaled.",
                got=repr(self.how),
                do=f"Choose one of: {', '.join(get_args(How))}.",
            )
        if self.dtype == "float32" and self.how != "as is":
            raise ExportError(
                "float32 holds restored intensities as they are.",
                got=f"{self.how!r} for float32",
                do="Choose 'as is', or a type of whole numbers.",
            )
        if self.dtype != "float32" and self.how == "as is":
            low, high = self.ends
            raise ExportError(
                f"Restored intensities are real numbers, and {self.dtype} holds whole ones from"
                f" {low} to {high}.",
                got="no word on those between and beyond; how many these are is not known before"
                " all are predicted",
                do="Choose 'clip' to round them and cut off what lies beyond, 'rescale' with a"
                " lowest and a highest intensity, or float32 to keep them as they are.",
            )

    @property
    def ends(self) -> tuple[int, int]:
        """The lowest and the highest whole number of the type."""
        found = np.iinfo(self.dtype)
        return int(found.min), int(found.max)

    def apply(self, values: NDArray[np.float32]) -> NDArray[Any]:
        """Return intensities as the file holds them, in the same shape."""
        if self.how == "as is":
            return values
        found = np.empty(values.shape, self.dtype)
        low, high = self.ends
        # A slice at a time: single precision does not tell the ends of larger types apart.
        for z in range(values.shape[-3]):
            part = values[..., z, :, :].astype(np.float64)
            if self.how == "rescale":
                assert self.low is not None
                assert self.high is not None
                part = low + (part - self.low) * ((high - low) / (self.high - self.low))
            part = np.where(np.isnan(part), low, np.clip(np.rint(part), low, high))
            found[..., z, :, :] = part
        return found

    def about(self) -> dict[str, object]:
        """Return it as the plain values that the metadata of a file keep."""
        found: dict[str, object] = {"type": self.dtype, "how": self.how}
        if self.how == "rescale":
            low, high = self.ends
            found |= {"low": self.low, "high": self.high, "stored_as": [low, high]}
        return found


class IntensitySource(Protocol):
    """Restored intensities of a region, kept where blocks of them can be read again."""

    @property
    def shape(self) -> Triple:
        """Voxels of the region, z, y, x."""

    def read(self, box: Box) -> NDArray[np.float32]:
        """Return (channels, z, y, x) of ``box``, which is relative to the region."""


def export_intensities(
    source: IntensitySource,
    path: Path | str,
    *,
    format: Format,
    origin: Triple,
    voxel_size: Scale | None,
    channels: Sequence[str],
    conversion: Conversion,
    name: str,
    budget_bytes: int,
    progress: Callable[[int, int], None],
    cancelled: Callable[[], bool],
    overwrite: bool = False,
) -> ExportReport:
    """Write intensities to ``path``, reopen them and compare, see `write_checked`.

    Parameters
    ----------
    source : IntensitySource
        Finished intensities.
    path : Path or str
        Target: a folder for OME-Zarr, a file that ends in .tif or .tiff for TIFF.
    format : {"ome-zarr", "tiff"}
        An OME-Zarr image with reduced levels, or one uncompressed BigTIFF (OME-TIFF).
    origin : tuple of int
        First voxel of the region in its volume, level 0, z, y, x.
    voxel_size : tuple of float or None
        Micrometres, z, y, x; None when unknown, which writes none.
    channels : sequence of str
        Their names, at least one. A single one makes an image without channels.
    conversion : Conversion
        How they become numbers of the file; it is in the metadata, under ``conversion``.
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
        format,
        triple(source.shape),
        triple(origin),
        voxel_size,
        (),
        name,
        dtype=conversion.dtype,
        channels=tuple(channels) if len(channels) > 1 else (),
        conversion=conversion.about(),
    )
    return write_checked(
        _Converted(source, conversion, single=len(channels) == 1),
        path,
        description,
        budget_bytes=budget_bytes,
        progress=progress,
        cancelled=cancelled,
        overwrite=overwrite,
    )


class _Converted:
    """Intensities as the file holds them."""

    def __init__(self, source: IntensitySource, conversion: Conversion, *, single: bool) -> None:
        self._source, self._conversion, self._single = source, conversion, single
        self.shape = source.shape

    def read(self, box: Box) -> NDArray[Any]:
        found = self._conversion.apply(self._source.read(box))
        return found[0] if self._single else found
