"""Read TIFF stacks and folders of TIFF slices: mapped where nothing is compressed, else by page."""

from __future__ import annotations

import logging
import math
import re
import struct
import threading
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from brushfire.errors import VolumeError
from brushfire.volumes.axes import resolve_axes
from brushfire.volumes.pages import PagedArray, TiffPageData
from brushfire.volumes.sources import ArraySource, MappedArray, truncated
from brushfire.volumes.units import micrometres
from brushfire.volumes.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brushfire.geometry import Scale
    from brushfire.volumes.cache import Cache

SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")
COLOURS = ("red", "green", "blue", "alpha")


def open_tiff(
    path: Path,
    *,
    axes: str | None,
    voxel_size: Scale | None,
    name: str | None,
    time: int | None,
    cache: Cache,
) -> Volume:
    """Open a multi-page TIFF, OME-TIFF, ImageJ TIFF or BigTIFF.

    Raises
    ------
    VolumeError
        For an empty, damaged or truncated file, or one with several images of unlike shape.
    """
    with _Opened(path) as tif:
        series, letters = _choose_series(path, tif)
        arrays = [_series_array(path, level, letters, cache) for level in series.levels]
        if arrays[0].shape != tuple(series.shape):
            letters = f"z{letters}"
        found = _voxel_size(tif, series)
        channels = _channel_names(tif, series)
        version = _format_name(tif)
    letters = axes or _letters(letters)
    levels: list[tuple[ArraySource, Scale]] = []
    for array in arrays:
        resolved = resolve_axes(array.shape, letters, time=time)
        source = ArraySource(array, resolved, where=str(path), chunk=array.chunk, fresh=True)
        full = levels[0][0].shape if levels else source.shape
        z, y, x = (a / b for a, b in zip(full[1:], source.shape[1:], strict=True))
        levels.append((source, (z, y, x)))
    return Volume(
        name=name or re.sub(r"(\.ome)?\.[^.]+$", "", path.name),
        source=str(path),
        format=version,
        axes=resolved.axes,
        levels=levels,
        voxel_size=voxel_size or found,
        channels=channels,
        time=time if "t" in resolved.axes else None,
        cache=cache,
    )


def open_tiff_folder(
    folder: Path,
    files: Sequence[Path],
    *,
    axes: str | None,
    voxel_size: Scale | None,
    name: str | None,
    time: int | None,
    cache: Cache,
) -> Volume:
    """Open a folder of TIFF slices, in the natural order of their names.

    Every file's header is read, so that a slice that does not fit is named at once.

    Raises
    ------
    VolumeError
        When the slices differ in shape or type, or a file is damaged or holds several slices.
    """
    files = sorted(files, key=lambda file: natural_key(file.name))
    pages: list[TiffPageData] = []
    for file in files:
        with _Opened(file) as tif:
            page = TiffPageData.of(file, tif.pages.first, like=pages[0] if pages else None)
            if len(tif.pages) > 1:
                raise VolumeError(
                    "Each file of a folder of slices holds one slice.",
                    got=f"{len(tif.pages)} pages in {file}",
                    do="Open that file by itself, or move it out of the folder.",
                )
            if not pages:
                found, letters = _voxel_size(tif, tif.series[0]), str(tif.series[0].axes)
                colours = _channel_names(tif, tif.series[0])
        if pages and (page.shaped, page.dtype) != (pages[0].shaped, pages[0].dtype):
            raise VolumeError(
                "All slices of a folder have the same shape and type.",
                got=f"{file.name} with {page.text}, {files[0].name} with {pages[0].text}",
                do="Move the file out of the folder, or crop and convert it like the others.",
            )
        pages.append(page)
    samples_at = letters.index("S") if "S" in letters else None
    array = PagedArray(pages, (len(pages),), samples_at, cache.segments)
    resolved = resolve_axes(array.shape, axes or f"z{_letters(letters)}", time=time)
    source = ArraySource(array, resolved, where=str(folder), chunk=array.chunk, fresh=True)
    return Volume(
        name=name or folder.name,
        source=str(folder),
        format=f"Folder of {len(pages)} TIFF slices",
        axes=resolved.axes,
        levels=[(source, (1.0, 1.0, 1.0))],
        voxel_size=voxel_size or found,
        channels=colours,
        time=time if "t" in resolved.axes else None,
        cache=cache,
    )


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Return a sort key under which "slice10" comes after "slice9"."""
    return [
        (0, int(part), "") if part.isdigit() else (1, 0, part.lower())
        for part in re.split(r"([0-9]+)", text)
        if part
    ]


class _Opened:
    """A TIFF file while its headers are read; what is wrong with it becomes a `VolumeError`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.complaints = _Complaints()

    def __enter__(self) -> Any:
        logging.getLogger("tifffile").addHandler(self.complaints)
        try:
            if self.path.stat().st_size == 0:
                raise self._damaged("an empty file")
            self.tif = tifffile.TiffFile(self.path)
            count = len(self.tif.pages)  # follows the chain of pages to its end
        except OSError as error:
            self._forget()
            raise self._damaged(str(error)) from error
        except (tifffile.TiffFileError, struct.error, ValueError, KeyError, IndexError) as error:
            self._forget()
            raise self._damaged(str(error)) from error
        except BaseException:
            self._forget()
            raise
        if count == 0 or self.complaints.broken_chain:
            self.__exit__()
            raise self._damaged(
                f"{count} readable pages, and more that are missing" if count else "no page"
            )
        return self.tif

    def __exit__(self, *_: object) -> None:
        self._forget()
        self.tif.close()

    def _forget(self) -> None:
        logging.getLogger("tifffile").removeHandler(self.complaints)

    def _damaged(self, what: str) -> VolumeError:
        return VolumeError(
            "A TIFF file is complete and readable.",
            got=f"{self.path}: {what[:200]}",
            do="The file is empty, truncated or no TIFF: copy or export it again.",
        )


class _Complaints(logging.Handler):
    """Notes what tifffile only logs: that the chain of pages leads out of the file."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.thread = threading.get_ident()
        self.broken_chain = False

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.thread and "page offset" in record.getMessage():
            self.broken_chain = True


def _choose_series(path: Path, tif: Any) -> tuple[Any, str]:
    """Return the series to open; planes of one shape that were written apart form one stack."""
    every = list(tif.series)
    first = every[0]
    if len(every) == 1 or any(len(s.shape) > 2 for s in every):
        # Thumbnails and labels of slide scanners come after the image itself.
        return first, first.axes
    unlike = [s for s in every if (s.shape, s.dtype) != (first.shape, first.dtype)]
    if unlike:
        raise VolumeError(
            "All pages of a TIFF stack have the same shape and type.",
            got=f"{first.shape} {first.dtype} and {unlike[0].shape} {unlike[0].dtype} in {path}",
            do="Save the image that you want as a file of its own.",
        )
    return first, first.axes


def _series_array(path: Path, level: Any, letters: str, cache: Cache) -> Any:
    """Return a lazy array for one level of a series, in the series' own axes."""
    key = level.keyframe
    if level.dataoffset is not None and len(level.parent.series) == 1:
        dtype = np.dtype(level.parent.byteorder + key.dtype.char)
        mapped: Any = MappedArray(path, level.shape, dtype, level.dataoffset)
        mapped.chunk = (1,) * (mapped.ndim - 2) + mapped.shape[-2:]
        return mapped
    if key.imagedepth > 1:
        raise VolumeError(
            "The pages of a TIFF stack are planes.",
            got=f"volumetric tiles {key.tile} in {path}",
            do="Save the stack with one page for each slice.",
        )
    series = level.parent.series
    apart = len(series) > 1 and all(len(s.shape) == 2 for s in series)
    found = [page for s in series for page in s.pages] if apart else list(level.pages)
    if any(page is None for page in found):
        raise VolumeError(
            "Every page of an image is there.",
            got=f"{sum(page is None for page in found)} of {len(found)} pages missing in {path}",
            do="Put the other files of this OME-TIFF beside it, or export it as one file.",
        )
    pages: list[TiffPageData] = []
    for page in found:
        where = Path(page.parent.filehandle.path)
        pages.append(TiffPageData.of(where, page, like=pages[0] if pages else None))
    axes = str(key.axes)
    lead = (len(pages),) if apart else tuple(level.shape[: len(level.shape) - len(axes)])
    if math.prod(lead) != len(pages):
        raise truncated(path, len(pages), math.prod(lead))
    return PagedArray(pages, lead, axes.index("S") if "S" in axes else None, cache.segments)


def _letters(axes: str) -> str:
    """Return tczyx letters for tifffile's; axes without a meaning count slices."""
    letters = axes.upper()
    if "C" not in letters:
        letters = letters.replace("S", "C")
    for unnamed in "QI":
        if "Z" not in letters:
            letters = letters.replace(unnamed, "Z", 1)
    return letters.lower()


def _format_name(tif: Any) -> str:
    kind = "OME-TIFF" if tif.is_ome else "ImageJ TIFF" if tif.is_imagej else "TIFF"
    return f"Big{kind}" if tif.is_bigtiff and kind == "TIFF" else kind


def _channel_names(tif: Any, series: Any) -> list[str] | None:
    if "S" in series.axes:
        count = series.shape[series.axes.index("S")]
        return list(COLOURS[:count]) if count in (3, 4) else None
    if tif.is_ome:
        channels = _ome_elements(tif, "Channel")
        names = [str(c.get("Name") or "") for c in channels]
        return names if names and all(names) else None
    return None


def _voxel_size(tif: Any, series: Any) -> Scale | None:
    """Return micrometres z, y, x where OME or ImageJ metadata give them."""
    if tif.is_ome:
        return _ome_voxel_size(tif)
    if tif.is_imagej:
        return _imagej_voxel_size(tif, series)
    # The resolution of a plain TIFF is what a printer would use: nearly always a default.
    return None


def _ome_elements(tif: Any, tag: str) -> list[Any]:
    try:
        root = ElementTree.fromstring(tif.ome_metadata)
    except ElementTree.ParseError:
        # tifffile read the pages without it; only names and sizes are lost.
        return []
    first = next((e for e in root.iter() if e.tag.endswith("}Pixels")), None)
    inside = [] if first is None else list(first.iter())
    return [e for e in inside if e.tag.endswith("}" + tag)]


def _ome_voxel_size(tif: Any) -> Scale | None:
    pixels = next(iter(_ome_elements(tif, "Pixels")), None)
    if pixels is None:
        return None
    sizes: dict[str, float] = {}
    for letter in "ZYX":
        value = pixels.get(f"PhysicalSize{letter}")
        unit = micrometres(pixels.get(f"PhysicalSize{letter}Unit", "µm"))
        if value is not None and unit is not None:
            sizes[letter] = float(value) * unit
    return _complete(sizes.get("Z"), sizes.get("Y"), sizes.get("X"))


def _imagej_voxel_size(tif: Any, series: Any) -> Scale | None:
    metadata = tif.imagej_metadata or {}
    unit = micrometres(metadata.get("unit"))
    tags = series.keyframe.tags
    if unit is None or "XResolution" not in tags or "YResolution" not in tags:
        return None
    steps = []
    for tag in ("YResolution", "XResolution"):
        count, length = tags[tag].value
        steps.append(length / count * unit if count else None)
    spacing = metadata.get("spacing")
    return _complete(float(spacing) * unit if spacing else None, *steps)


def _complete(z: float | None, y: float | None, x: float | None) -> Scale | None:
    if not y or not x or min(y, x) <= 0:
        return None
    return (z if z and z > 0 else y, y, x)
