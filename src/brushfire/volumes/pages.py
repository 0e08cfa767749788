"""Pages of TIFF files as one lazy array."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from brushfire.volumes.sources import MappedArray, truncated

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from brushfire.volumes.cache import SegmentCache


@dataclass(frozen=True)
class TiffPageData:
    """Where one page's strips or tiles are, and how to decode them.

    Parameters
    ----------
    path : Path
        File that holds the page.
    shaped : tuple of int
        Separate samples, depth (1), rows, columns, samples of a pixel.
    dtype : numpy.dtype
        Type of the values, native.
    offsets, counts : tuple of int
        Bytes of each strip or tile: where, and how many.
    key : object
        The tifffile page that decodes them; needs no open file.
    mapped : MappedArray or None
        The whole page, when it is stored plainly and in one piece.
    """

    path: Path
    shaped: tuple[int, ...]
    dtype: np.dtype[Any]
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    key: Any
    mapped: MappedArray | None

    @classmethod
    def of(cls, path: Path, page: Any, *, like: TiffPageData | None) -> TiffPageData:
        """Describe a tifffile page; ``like`` is a page that may decode this one as well.

        Raises
        ------
        VolumeError
            When the file ends before the page does.
        """
        key = page.keyframe
        if like is not None and like.key.hash == key.hash:
            key = like.key
        offsets, counts = tuple(page.dataoffsets), tuple(page.databytecounts)
        end = max((a + n for a, n in zip(offsets, counts, strict=True)), default=0)
        size = path.stat().st_size
        if end > size:
            raise truncated(path, size, end)
        mapped = None
        if key.is_memmappable and offsets:
            dtype = np.dtype(page.parent.byteorder + key.dtype.char)
            mapped = MappedArray(path, key.shaped, dtype, offsets[0])
        native = np.dtype(key.dtype).newbyteorder("=")
        return cls(path, tuple(key.shaped), native, offsets, counts, key, mapped)

    @property
    def text(self) -> str:
        """Rows, columns and type, for people."""
        return f"{self.shaped[2]} x {self.shaped[3]} {self.dtype}"


class PagedArray:
    """An array of pages: leading axes count pages, the last two or three lie in a page.

    Any thread may read; no file stays open.

    Parameters
    ----------
    pages : sequence of TiffPageData
        In C order of the leading axes, all alike.
    lead : tuple of int
        Lengths of the leading axes.
    samples_at : int or None
        Where in a page's axes its samples are: 0, 2, or None when it has just rows and columns.
    cache : SegmentCache
        Keeps decoded strips and tiles.
    """

    def __init__(
        self,
        pages: Sequence[TiffPageData],
        lead: tuple[int, ...],
        samples_at: int | None,
        cache: SegmentCache,
    ) -> None:
        self._pages = tuple(pages)
        self._lead = lead
        self._samples_at = samples_at
        separate, _, rows, columns, contiguous = self._pages[0].shaped
        plane: tuple[int, ...] = (rows, columns)
        if samples_at is not None:
            samples = separate * contiguous
            plane = (samples, *plane) if samples_at == 0 else (*plane, samples)
        self.shape = (*lead, *plane)
        self.ndim = len(self.shape)
        self.dtype = self._pages[0].dtype
        self.chunk = (1,) * len(lead) + plane
        self._cache = cache

    def __getitem__(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        lead, plane = key[: len(self._lead)], list(key[len(self._lead) :])
        ranges = [
            range(n)[k] if isinstance(k, slice) else range(k, k + 1)
            for k, n in zip(lead, self._lead, strict=True)
        ]
        samples = plane.pop(self._samples_at) if self._samples_at is not None else 0
        # Volumes read y and x as slices; only the sample may be an integer.
        rows, columns = plane
        assert isinstance(rows, slice)
        assert isinstance(columns, slice)
        planes = []
        for index in product(*ranges):
            number = int(np.ravel_multi_index(index, self._lead)) if index else 0
            block = self._read_page(number, rows, columns)
            planes.append(self._arrange(block, samples))
        counts = [len(r) for r, k in zip(ranges, lead, strict=True) if isinstance(k, slice)]
        return np.stack(planes).reshape(*counts, *planes[0].shape)

    def _arrange(self, block: NDArray[Any], samples: int | slice) -> NDArray[Any]:
        """Bring separate samples, rows, columns, samples into the page's axes."""
        block = np.moveaxis(block, -1, 1).reshape(-1, *block.shape[1:3])[samples]
        return np.moveaxis(block, 0, -1) if self._samples_at and block.ndim == 3 else block

    def _read_page(self, number: int, rows: slice, columns: slice) -> NDArray[Any]:
        page = self._pages[number]
        if page.mapped is not None:
            return page.mapped[:, 0, rows, columns].astype(self.dtype, copy=False)
        separate, _, height, width, contiguous = page.shaped
        top, bottom, _ = rows.indices(height)
        left, right, _ = columns.indices(width)
        # Strips and tiles that a file leaves out hold nothing, which reads as zero.
        out = np.zeros((separate, bottom - top, right - left, contiguous), self.dtype)
        for segment in _segments_in(page, top, bottom, left, right):
            decoded = self._decode(number, segment)
            if decoded is None:
                continue
            block, (s, _, y, x, _) = decoded
            y0, y1 = max(top, y), min(bottom, y + block.shape[1], height)
            x0, x1 = max(left, x), min(right, x + block.shape[2], width)
            if y0 < y1 and x0 < x1:
                part = block[0, y0 - y : y1 - y, x0 - x : x1 - x]
                out[s, y0 - top : y1 - top, x0 - left : x1 - left] = part
        return out

    def _decode(self, number: int, segment: int) -> tuple[NDArray[Any], tuple[int, ...]] | None:
        page = self._pages[number]
        if page.counts[segment] == 0:
            return None
        key = page.path, page.offsets[segment]
        kept = self._cache.get(key)
        if kept is not None:
            return kept
        with page.path.open("rb") as file:
            file.seek(page.offsets[segment])
            data = file.read(page.counts[segment])
        tables = page.key.jpegtables
        block, place, _ = page.key.decode(data, segment, jpegtables=tables)
        if block is None:
            return None
        decoded = (np.asarray(block), tuple(place))
        self._cache.put(key, decoded)
        return decoded


def _segments_in(page: TiffPageData, top: int, bottom: int, left: int, right: int) -> list[int]:
    """Return the numbers of the strips or tiles that touch the given rows and columns."""
    separate, _, height, width, _ = page.shaped
    # key.chunks is rows, columns and, for interleaved colours, samples of a strip or tile.
    rows, columns = (page.key.chunks[-3:-1] if len(page.key.chunks) > 2 else page.key.chunks)[:2]
    down, across = math.ceil(height / rows), math.ceil(width / columns)
    return [
        (s * down + y) * across + x
        for s in range(separate)
        for y in range(top // rows, math.ceil(bottom / rows))
        for x in range(left // columns, math.ceil(right / columns))
    ]
