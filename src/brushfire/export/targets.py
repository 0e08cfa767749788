"""The files that an export writes: one class for each format."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import tifffile

from brushfire.errors import ExportError
from brushfire.export.disk import require_free_space
from brushfire.geometry import Box, Scale, Triple, triple
from brushfire.volumes import create_multiscale

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from brushfire.annotations import LabelClass

Format = Literal["ome-zarr", "tiff"]

_CHUNK = (16, 256, 256)
_SHARD = (64, 1024, 1024)
_SLAB_BYTES = 2**24
CACHE_BYTES = 0
"""Writing and comparing decode each chunk once: what is kept would only cost memory."""

_SIZES = ("PhysicalSizeZ", "PhysicalSizeY", "PhysicalSizeX")
_ROWS = 512
_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Description:
    """What is exported, apart from the values themselves.

    Parameters
    ----------
    format : {"ome-zarr", "tiff"}
        Of the target.
    shape : tuple of int
        Voxels, z, y, x.
    origin : tuple of int
        First voxel of the region in its volume, level 0, z, y, x.
    voxel_size : tuple of float
        Micrometres, z, y, x.
    classes : tuple of LabelClass
        Their names and colours go into the metadata of labels.
    name : str
        Of the image.
    dtype : str
        Of the voxels.
    channels : tuple of str
        Their names; none for an image without channels.
    conversion : mapping or None
        Plain values that say how intensities became those of the file; None for labels.
    """

    format: Format
    shape: Triple
    origin: Triple
    voxel_size: Scale | None
    classes: tuple[LabelClass, ...]
    name: str
    dtype: str = "uint8"
    channels: tuple[str, ...] = ()
    conversion: Mapping[str, object] | None = None

    @property
    def voxel_bytes(self) -> int:
        """Bytes of a voxel on its way to the disk, all channels."""
        held = np.dtype(self.dtype).itemsize
        if self.conversion is not None:
            held = max(held, _FLOAT_BYTES)  # what it is made of
        return held * max(1, len(self.channels))

    @property
    def about(self) -> dict[str, object]:
        """What the metadata tell beside what every image of the format has."""
        found: dict[str, object] = {"origin_zyx": list(self.origin)}
        if self.conversion is not None:
            found["conversion"] = dict(self.conversion)
        return found

    @property
    def class_rows(self) -> list[tuple[int, str, str]]:
        """Value, name and colour of each class."""
        return [(c.value, c.name, c.color) for c in self.classes]

    def header(self, cell: Triple) -> dict[str, object]:
        """Return the plain values that must be the same for an export to go on."""
        header: dict[str, object] = {
            "format": self.format,
            "shape": list(self.shape),
            "origin": list(self.origin),
            "voxel_size": None if self.voxel_size is None else list(self.voxel_size),
            "classes": [list(row) for row in self.class_rows],
            "name": self.name,
            "cell": list(cell),
        }
        if self.conversion is not None:
            header |= {"channels": list(self.channels), "conversion": dict(self.conversion)}
        return header


class Target(Protocol):
    """A file or folder that takes blocks."""

    def write(self, box: Box, block: NDArray[Any]) -> None:
        """Put one block where it belongs; it has reached the file on return."""

    def finish(
        self,
        budget_bytes: int,
        progress: Callable[[int, int], None],
        cancelled: Callable[[], bool],
    ) -> None:
        """Write what can only be written once all blocks are there."""

    def close(self) -> None:
        """Release the file."""


def cell_of(format: Format, shape: Triple, budget_bytes: int, voxel_bytes: int = 1) -> Triple:
    """Return the block in which a target is written, z, y, x.

    A block and its copies on the way to the disk stay below ``budget_bytes``.
    """
    if format == "tiff":
        return _slab(shape, max(1, min(budget_bytes // 4, _SLAB_BYTES) // voxel_bytes))
    # Measured: a shard on its way to the disk is held six times over, compression included.
    return _shard(shape, budget_bytes // 16 // voxel_bytes)


def open_target(description: Description, path: Path, cell: Triple, *, resume: bool) -> Target:
    """Make the target, or open the one that an earlier attempt left.

    Raises
    ------
    StorageError
        The disk has too little space.
    """
    if description.format == "tiff":
        return TiffTarget(description, path, resume=resume)
    return ZarrTarget(description, path, cell, resume=resume)


class ZarrTarget:
    """A multiscale OME-Zarr: labels with names and colours of the classes, or an image."""

    def __init__(self, description: Description, path: Path, cell: Triple, *, resume: bool) -> None:
        self._writer = create_multiscale(
            path,
            shape=description.shape,
            dtype=description.dtype,
            voxel_size=description.voxel_size,
            name=description.name,
            labels=None if description.conversion is not None else description.class_rows,
            channels=description.channels or None,
            chunk=_chunk(description.shape),
            shard=cell,
            resume=resume,
            attributes=description.about,
            cache_bytes=CACHE_BYTES,
        )

    def write(self, box: Box, block: NDArray[Any]) -> None:
        """Write one block of level 0."""
        # An earlier attempt's, damaged perhaps, is not to be read for the sake of its margins.
        self._writer.discard(box)
        self._writer.write(box, block)

    def finish(
        self,
        budget_bytes: int,
        progress: Callable[[int, int], None],
        cancelled: Callable[[], bool],
    ) -> None:
        """Build the reduced levels."""
        self._writer.build_levels(
            budget_bytes=budget_bytes // 2, progress=progress, cancelled=cancelled
        )

    def close(self) -> None:
        """Release the store."""
        self._writer.close()


class TiffTarget:
    """A BigTIFF that also is an OME-TIFF: uncompressed, its slices one after the other.

    Uncompressed, because only then each block has its place in the file before it is known, which
    makes resuming possible, and because every program can map such a file instead of loading it.
    """

    def __init__(self, description: Description, path: Path, *, resume: bool) -> None:
        self._shape = description.shape
        self._item = np.dtype(description.dtype).itemsize
        if not resume:
            self._create(description, path)
        self._offset = _data_offset(path)
        self._file = path.open("r+b")

    def write(self, box: Box, block: NDArray[Any]) -> None:
        """Write whole rows: ``box`` spans x, and y too where it has more than one slice."""
        z, y, x = box.start
        depth, height, width = self._shape
        for channel, part in enumerate(block.reshape(-1, *box.shape)):
            voxel = ((channel * depth + z) * height + y) * width + x
            self._file.seek(self._offset + voxel * self._item)
            self._file.write(np.ascontiguousarray(part).data)
        self._file.flush()

    def finish(
        self,
        budget_bytes: int,
        progress: Callable[[int, int], None],
        cancelled: Callable[[], bool],
    ) -> None:
        """Wait until the disk has everything."""
        del budget_bytes, cancelled
        os.fsync(self._file.fileno())
        progress(1, 1)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @staticmethod
    def _create(description: Description, path: Path) -> None:
        many, dtype = description.channels, np.dtype(description.dtype)
        shape = (len(many), *description.shape) if many else description.shape
        require_free_space(path, prod(shape) * dtype.itemsize)
        size = description.voxel_size
        sizes = {} if size is None else dict(zip(_SIZES, size, strict=True))
        about = description.about
        look: dict[str, Any] = {"photometric": "minisblack"}
        if description.conversion is None:
            about["classes"] = description.class_rows
            look = {"photometric": "palette", "colormap": _colormap(description.classes)}
        with tifffile.TiffWriter(path, bigtiff=True, ome=True) as tiff:
            # Without data, tifffile leaves a hole for it and writes all that stands around it.
            tiff.write(
                None,
                shape=shape,
                dtype=dtype,
                **look,
                resolution=None if size is None else (1e4 / size[2], 1e4 / size[1]),
                resolutionunit="CENTIMETER",
                software="Brushfire",
                metadata={
                    "axes": "CZYX" if many else "ZYX",
                    **({"Channel": {"Name": list(many)}} if many else {}),
                    "Name": description.name,
                    "Description": json.dumps(about, ensure_ascii=False),
                    **sizes,
                    **{f"{key}Unit": "µm" for key in sizes},
                },
            )


def _data_offset(path: Path) -> int:
    try:
        with tifffile.TiffFile(path) as tiff:
            return int(tiff.series[0].dataoffset)
    except tifffile.TiffFileError as error:
        raise ExportError(
            "A half-finished export goes on in the file that it began.",
            got=f"{path}, which is no TIFF any more ({error})",
            do="Remove this file and export again.",
        ) from error


def _colormap(classes: tuple[LabelClass, ...]) -> NDArray[np.uint16]:
    """Return the palette, (3, 256): the colours of the classes, black elsewhere."""
    palette = np.zeros((3, 256), dtype=np.uint16)
    for cls in classes:
        palette[:, cls.value] = [int(cls.color[i : i + 2], 16) * 257 for i in (1, 3, 5)]
    return palette


def _slab(shape: Triple, limit: int) -> Triple:
    """Return whole slices, or whole rows of one slice: a block is one piece of the file."""
    z, y, x = shape
    if y * x <= limit:
        return min(z, limit // (y * x)), y, x
    rows = max(1, min(y, limit // x))
    # The predicted region is kept in tiles; rows that cut them would be decoded twice.
    return 1, rows - rows % _ROWS if rows > _ROWS else rows, x


def _chunk(shape: Triple) -> Triple:
    return triple([min(c, n) for c, n in zip(_CHUNK, shape, strict=True)])


def _shard(shape: Triple, limit: int) -> Triple:
    """Return the largest shard, in whole chunks, that ``limit`` bytes hold; at least a chunk."""
    chunk = _chunk(shape)
    counts = [max(1, min(s // c, -(-n // c))) for s, c, n in zip(_SHARD, chunk, shape, strict=True)]
    while np.prod(chunk) * np.prod(counts) > limit and max(counts) > 1:
        axis = counts.index(max(counts))
        counts[axis] = -(-counts[axis] // 2)
    return triple([c * n for c, n in zip(chunk, counts, strict=True)])
