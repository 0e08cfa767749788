"""What a volume keeps decoded for the next read, bounded in bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from brushfire.volumes.stores import bounded_context, shared_context

if TYPE_CHECKING:
    from collections.abc import Hashable

    from numpy.typing import NDArray

SEGMENT_BYTES = 64 << 20

Segment = tuple["NDArray[Any]", tuple[int, ...]]


class Cache:
    """Decoded chunks, strips and tiles of one volume, of all its levels together.

    Parameters
    ----------
    limit_bytes : int or None
        What may be kept. None: strips and tiles of TIFFs up to `SEGMENT_BYTES`, and chunks of
        zarr arrays in the one pool of this process, which all volumes opened so share.

    Attributes
    ----------
    chunks : tensorstore.Context
        Holds the pool for chunks.
    segments : SegmentCache
        Holds strips and tiles.
    """

    def __init__(self, limit_bytes: int | None = None) -> None:
        self.limit_bytes = limit_bytes
        if limit_bytes is None:
            self.chunks = shared_context()
            self.segments = SegmentCache(SEGMENT_BYTES)
        else:
            # A TIFF may have levels in a store: both keep within the limit together.
            self.segments = SegmentCache(limit_bytes // 4)
            self.chunks = bounded_context(limit_bytes - limit_bytes // 4)


class SegmentCache:
    """The strips and tiles decoded last; any thread may use it.

    Parameters
    ----------
    limit_bytes : int
        What may be kept; a segment larger than this is not.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.nbytes = 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, Segment] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable) -> Segment | None:
        """Return what was kept under ``key``, which counts as used; None where nothing is."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: Hashable, value: Segment) -> None:
        """Keep a segment and where it lies in its page, dropping what was not used for longest."""
        size = value[0].nbytes
        with self._lock:
            if key in self._kept or size > self.limit_bytes:
                return
            self._kept[key] = value
            self.nbytes += size
            while self.nbytes > self.limit_bytes:
                _, (block, _) = self._kept.popitem(last=False)
                self.nbytes -= block.nbytes
