"""Volumes: an immutable description and lazy reading of one multiscale image."""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from brushfire.errors import VolumeError
from brushfire.geometry import Box, Scale, Triple, triple
from brushfire.volumes.lazy import LazyView
from brushfire.volumes.statistics import Statistics, fingerprint, measure, measure_spacing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from brushfire.volumes.cache import Cache
    from brushfire.volumes.sources import LevelSource

# From here on, showing a whole plane of a single level is slow.
LARGE_PLANE = 1024
LARGE_BYTES = 256 << 20


@dataclass(frozen=True)
class Level:
    """One resolution of a volume.

    Parameters
    ----------
    shape : tuple of int
        Voxels z, y, x.
    factors : tuple of float
        Level-0 voxels along z, y, x that make one voxel of this level.
    """

    shape: Triple
    factors: Scale


class _Shared:
    """What is computed once for a volume and shared by its copies."""

    def __init__(self, statistics: Statistics | None, fingerprint: str | None) -> None:
        self.lock = threading.Lock()
        self.statistics = statistics
        self.fingerprint = fingerprint
        self.closed = False


class Volume:
    """A multiscale image with axes (c)zyx; immutable, and any thread may read.

    Made by `open_volume`.

    Parameters
    ----------
    name : str
        What to call it.
    source : str or None
        Path that opens it again; None for an array in memory.
    format : str
        What it was read from, for people: "OME-Zarr 0.5", "TIFF".
    axes : str
        The axes of what it was read from, so that opening with the same axes gives the same.
    levels : sequence of (LevelSource, Scale)
        Finest first, each with the level-0 voxels that make one of its voxels.
    voxel_size : tuple of float or None
        Micrometres z, y, x; None when unknown.
    channels : sequence of str, optional
        A name for each channel.
    label_classes : sequence of (int, str, str)
        Value, name and "#rrggbb" of each class, when the volume is a label image that says so.
    time : int or None
        The time point chosen out of several.
    cache : Cache, optional
        What its levels keep decoded; None where they keep nothing.
    statistics : Statistics, optional
        Those of the intensities where they are known; measured when first asked for by default.
    fingerprint : str, optional
        Likewise, of a volume that is computed and known by what it is computed from.
    """

    def __init__(
        self,
        *,
        name: str,
        source: str | None,
        format: str,
        axes: str,
        levels: Sequence[tuple[LevelSource, Scale]],
        voxel_size: Scale | None,
        channels: Sequence[str] | None = None,
        label_classes: Sequence[tuple[int, str, str]] = (),
        time: int | None = None,
        cache: Cache | None = None,
        statistics: Statistics | None = None,
        fingerprint: str | None = None,
    ) -> None:
        self.name = name
        self.source = source
        self.format = format
        self.axes = axes
        self.time = time
        self.cache = cache
        self.voxel_size_known = voxel_size is not None
        self.voxel_size: Scale = check_voxel_size(voxel_size or (1.0, 1.0, 1.0))
        self._sources = tuple(level for level, _ in levels)
        self.levels = tuple(Level(triple(level.shape[1:]), f) for level, f in levels)
        self.dtype = np.dtype(self._sources[0].dtype)
        self.label_classes = tuple(label_classes)
        count = self._sources[0].shape[0]
        if channels is None or len(channels) != count:
            channels = ["intensity"] if count == 1 else [f"channel {i + 1}" for i in range(count)]
        self.channels = tuple(channels)
        self._shared = _Shared(statistics, fingerprint)

    def __repr__(self) -> str:
        return f"<Volume {self.name!r} {self.shape} {self.dtype}, {len(self.levels)} levels>"

    @property
    def shape(self) -> Triple:
        """Voxels z, y, x of level 0."""
        return self.levels[0].shape

    @property
    def nbytes(self) -> int:
        """Bytes of level 0, all channels, uncompressed."""
        return Box.of_shape(self.shape).size * len(self.channels) * self.dtype.itemsize

    @property
    def chunk(self) -> Triple:
        """Voxels z, y, x of level 0 that are stored together; reading fewer costs as much."""
        return self._sources[0].chunk

    @property
    def sources(self) -> tuple[LevelSource, ...]:
        """What each level is read from."""
        return self._sources

    @property
    def needs_pyramid(self) -> bool:
        """Whether reduced levels are missing and would make looking at it much faster."""
        large = max(self.shape[1:]) > LARGE_PLANE or self.nbytes > LARGE_BYTES
        return len(self.levels) == 1 and large

    @property
    def fingerprint(self) -> str:
        """Hexadecimal digest of shape, type and a few sampled blocks; the same for any format."""
        with self._shared.lock:
            if self._shared.fingerprint is None:
                self._shared.fingerprint = fingerprint(self)
            return self._shared.fingerprint

    def read(self, box: Box, *, level: int = 0) -> NDArray[Any]:
        """Return the voxels of ``box`` as channels, z, y, x in the volume's own type.

        Parameters
        ----------
        box : Box
            In voxels of ``level``; lies inside.
        level : int
            0 is the finest.

        Raises
        ------
        VolumeError
            For a box that sticks out, a level that does not exist, a closed volume, or data that
            cannot be read.
        """
        return self._read(slice(0, len(self.channels)), box, level)

    def read_padded(self, box: Box, *, filled: bool = True) -> NDArray[np.float32]:
        """Return level-0 voxels as float32, going on past the first and last slice by reflection.

        The end slice is not repeated, except where there is only one.

        Parameters
        ----------
        box : Box
            May stick out in z; lies inside in y and x.
        filled : bool
            Whether what is not finite becomes the channel's mean.

        Returns
        -------
        numpy.ndarray
            Channels, z, y, x.
        """
        depth = self.shape[0]
        wanted = reflect(np.arange(box.start[0], box.stop[0]), depth)
        low, high = (int(wanted.min()), int(wanted.max()) + 1) if wanted.size else (0, 0)
        inner = Box((low, *box.start[1:]), (high, *box.stop[1:]))
        with np.errstate(over="ignore"):
            block = self.read(inner).astype(np.float32, copy=False)
        block = block[:, wanted - low]
        bad = ~np.isfinite(block) if filled and self.dtype.kind == "f" else None
        if bad is not None and bad.any():
            means = np.asarray(self.statistics().mean, np.float32)[:, None, None, None]
            block = np.where(bad, means, block)
        return block

    def view(self, level: int = 0, channel: int = 0) -> LazyView:
        """Return one channel of one level as a lazy array z, y, x.

        Raises
        ------
        VolumeError
            For a level or channel that does not exist.
        """
        self._source(level)
        if not 0 <= channel < len(self.channels):
            raise VolumeError(
                "The channel exists.",
                got=f"channel {channel} of {len(self.channels)}",
                do="Count channels from 0.",
            )

        def read(box: Box) -> NDArray[Any]:
            block: NDArray[Any] = self._read(slice(channel, channel + 1), box, level)[0]
            return block

        z, y, x = (range(n) for n in self.levels[level].shape)
        return LazyView(read, self.dtype, (z, y, x))

    def statistics(self) -> Statistics:
        """Return robust statistics of the intensities, measured once on a bounded sample.

        Raises
        ------
        VolumeError
            For a volume that is constant or has no finite value.
        """
        with self._shared.lock:
            if self._shared.statistics is None:
                self._shared.statistics = measure(self)
            return self._shared.statistics

    def spacing(self) -> float:
        """Return the distance of two slices over that of two pixels.

        From the voxel size where that is known, else as the image looks: slices are as far apart
        as pixels that are as much alike.
        """
        if self.voxel_size_known:
            z, y, x = self.voxel_size
            return z / min(y, x)
        return measure_spacing(self)

    def with_voxel_size(self, voxel_size: Scale) -> Volume:
        """Return the same volume with another voxel size, in micrometres z, y, x."""
        other = copy.copy(self)
        other.voxel_size = check_voxel_size(voxel_size)
        other.voxel_size_known = True
        return other

    def with_levels(self, sources: Sequence[tuple[LevelSource, Scale]]) -> Volume:
        """Return the same volume with further, coarser levels."""
        other = copy.copy(self)
        other._sources = (*self._sources, *(source for source, _ in sources))
        added = [Level(triple(source.shape[1:]), factors) for source, factors in sources]
        other.levels = (*self.levels, *added)
        return other

    def summary(self) -> tuple[tuple[str, str], ...]:
        """Return what was understood of the source, as rows of a word and its value."""
        z, y, x = self.voxel_size
        known = f"{z:.4g} x {y:.4g} x {x:.4g} µm (z, y, x)"
        axes = f"{' '.join(self.axes.replace('?', ''))}"
        if self.time is not None:
            axes += f", time point {self.time}"
        named = ", ".join(self.channels) if len(self.channels) > 1 else "1"
        return (
            ("Axes", axes),
            ("Size", f"{' x '.join(map(str, self.shape))} voxels, {_bytes_text(self.nbytes)}"),
            ("Voxel size", known if self.voxel_size_known else "unknown, taken as 1 µm"),
            ("Channels", named),
            ("Type", str(self.dtype)),
            ("Levels", str(len(self.levels))),
            ("Format", self.format),
        )

    def close(self) -> None:
        """End reading, for this volume and its copies; harmless when already closed."""
        # No file stays open between reads, so that there is nothing to free but the promise.
        self._shared.closed = True

    def _source(self, level: int) -> LevelSource:
        if not 0 <= level < len(self.levels):
            raise VolumeError(
                "The level exists.",
                got=f"level {level} of {len(self.levels)}",
                do="Use level 0, the finest, up to the last one.",
            )
        if self._shared.closed:
            raise VolumeError("A volume is open while it is read.", got=self.name, do="Reopen it.")
        return self._sources[level]

    def _read(self, channels: slice, box: Box, level: int) -> NDArray[Any]:
        source = self._source(level)
        shape = self.levels[level].shape
        if not Box.of_shape(shape).contains(box):
            raise VolumeError(
                "A box lies inside the volume that it is read from.",
                got=f"{box} of level {level} with {shape} voxels",
                do="Clip the box to the level's shape.",
            )
        if box.size == 0:
            return np.empty((channels.stop - channels.start, *box.shape), self.dtype)
        return source.read(channels, box)


def reflect(index: NDArray[np.integer[Any]], count: int) -> NDArray[np.integer[Any]]:
    """Return indices brought into ``0 <= i < count`` by reflection that repeats no end."""
    if count == 1:
        return np.zeros_like(index)
    period = 2 * (count - 1)
    folded = np.mod(index, period)
    near: NDArray[np.integer[Any]] = np.minimum(folded, period - folded)
    return near


def check_voxel_size(voxel_size: Sequence[float]) -> Scale:
    """Return three positive, finite micrometres.

    Raises
    ------
    VolumeError
        Otherwise.
    """
    values = tuple(float(v) for v in voxel_size)
    if len(values) != 3 or not all(np.isfinite(v) and v > 0 for v in values):
        raise VolumeError(
            "A voxel size is three positive lengths in micrometres, z, y, x.",
            got=str(tuple(voxel_size)),
            do="Give three numbers above 0.",
        )
    return values[0], values[1], values[2]


def _bytes_text(count: int) -> str:
    value, unit = float(count), "B"
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.3g} {unit}"
