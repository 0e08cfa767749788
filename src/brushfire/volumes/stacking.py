"""Several volumes of one grid as the channels of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from brushfire.errors import VolumeError
from brushfire.volumes.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from brushfire.geometry import Box, Triple

SIZE_TOLERANCE = 0.01
"""Share by which voxel sizes may differ and still be the same: files round them."""


def stack_channels(volumes: Sequence[Volume], *, name: str = "") -> Volume:
    """Return volumes of one grid as one volume, whose channels are theirs, one after the other.

    Nothing is read. Only level 0 is there.

    Parameters
    ----------
    volumes : sequence of Volume
        Of one shape and voxel size.
    name : str
        What to call it; by default as the first.

    Raises
    ------
    VolumeError
        If there are none, or they do not lie on the same grid.
    """
    if not volumes:
        raise VolumeError(
            "Volumes that become the channels of one are at least one.",
            got="none",
            do="Give one or more.",
        )
    first = volumes[0]
    for other in volumes[1:]:
        check_same_grid(first, other)
    names = [channel for volume in volumes for channel in volume.channels]
    if len(volumes) > 1:
        names = [
            volume.name if len(volume.channels) == 1 else f"{volume.name}, {channel}"
            for volume in volumes
            for channel in volume.channels
        ]
    return Volume(
        name=name or first.name,
        source=None,
        format=first.format,
        axes="czyx",
        levels=[(_Stacked([volume.sources[0] for volume in volumes]), (1.0, 1.0, 1.0))],
        voxel_size=first.voxel_size if first.voxel_size_known else None,
        channels=names,
        cache=first.cache,
    )


def check_same_grid(one: Volume, other: Volume) -> None:
    """Check that two volumes have as many voxels, of the same size where both are known.

    Raises
    ------
    VolumeError
        If they do not.
    """
    if one.shape != other.shape:
        raise VolumeError(
            f"Volumes that belong together have one shape; that of {one.name} is {one.shape}.",
            got=f"{other.shape} of {other.name}",
            do="Crop or resample one of them, or choose another.",
        )
    known = one.voxel_size_known and other.voxel_size_known
    if known and not np.allclose(one.voxel_size, other.voxel_size, rtol=SIZE_TOLERANCE, atol=0):
        sizes = [" x ".join(f"{v:.4g}" for v in each.voxel_size) for each in (one, other)]
        raise VolumeError(
            f"Volumes that belong together have voxels of one size; those of {one.name} are"
            f" {sizes[0]} µm.",
            got=f"{sizes[1]} µm of {other.name}",
            do="Correct the voxel size that is wrong, or choose a volume of the same.",
        )


class _Stacked:
    """Levels side by side; each is read only where its channels are asked for."""

    def __init__(self, sources: Sequence[Any]) -> None:
        self._sources = tuple(sources)
        counts = [source.shape[0] for source in sources]
        _, *size = sources[0].shape
        self.shape = (sum(counts), size[0], size[1], size[2])
        self.dtype: np.dtype[Any] = np.result_type(*[source.dtype for source in sources])
        self.chunk: Triple = sources[0].chunk
        ends = np.cumsum(counts)
        self._ranges = [
            range(int(end) - count, int(end)) for end, count in zip(ends, counts, strict=True)
        ]

    def read(self, channels: slice, box: Box) -> NDArray[Any]:
        """Return channel, z, y, x of ``box``."""
        wanted = range(*channels.indices(self.shape[0]))
        parts = []
        for source, own in zip(self._sources, self._ranges, strict=True):
            low, high = max(wanted.start, own.start), min(wanted.stop, own.stop)
            if low < high:
                parts.append(source.read(slice(low - own.start, high - own.start), box))
        return np.concatenate(parts).astype(self.dtype, copy=False)
