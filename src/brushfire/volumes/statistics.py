"""Robust statistics and fingerprints from a bounded sample of a volume."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from brushfire.errors import VolumeError
from brushfire.geometry import Box, Triple, triple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from brushfire.volumes.volume import Volume

SAMPLE_BYTES = 24 << 20
MOST_SAMPLE_BYTES = 60 << 20
SAMPLE_SIDE = 256
PAIRS = 5
FARTHEST = 16
_PERCENTILE_VALUES = 1 << 20  # of a channel: more take longer and change nothing


@dataclass(frozen=True)
class Statistics:
    """What the intensities of a volume are like, one number for each channel.

    Parameters
    ----------
    mean, std : tuple of float
        Of the values between the 0.5 and 99.5 percentile; ``std`` is above 0.
    low, high : tuple of float
        Limits to display between; ``low`` is below ``high``.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def measure(volume: Volume, *, sample_bytes: int = SAMPLE_BYTES) -> Statistics:
    """Return robust statistics of ``volume`` from at most 64 MB of it.

    Parameters
    ----------
    volume : Volume
        What to measure.
    sample_bytes : int
        How much of it is read; more where all of that is the same value.

    Raises
    ------
    VolumeError
        When a channel has no finite value, or one value only.
    """
    rows = [_robust(s, volume, channel) for channel, s in enumerate(_sample(volume, sample_bytes))]
    mean, std, low, high = (tuple(row[i] for row in rows) for i in range(4))
    return Statistics(mean, std, low, high)


def measure_percentiles(volume: Volume, wanted: Sequence[float]) -> tuple[tuple[float, ...], ...]:
    """Return percentiles of the sample that the statistics of ``volume`` are measured on.

    It reads that sample again, and is no work for a thread that somebody waits for.

    Parameters
    ----------
    volume : Volume
        What to measure.
    wanted : sequence of float
        Percentiles, 0 to 100.

    Returns
    -------
    tuple of tuple of float
        One for each channel, in its order those of ``wanted``.

    Raises
    ------
    VolumeError
        When a channel has no finite value, or the volume cannot be read.
    """
    found = []
    for channel, values in enumerate(_sample(volume)):
        if not values.size:
            raise _nothing_finite(volume, channel)
        some = values[:: -(-values.size // _PERCENTILE_VALUES)].astype(np.float64)
        found.append(tuple(float(value) for value in np.percentile(some, wanted)))
    return tuple(found)


def fingerprint(volume: Volume) -> str:
    """Return a digest of shape, type and nine sampled blocks of ``volume``."""
    digest = hashlib.sha256()
    header = [list(volume.shape), len(volume.channels), volume.dtype.str]
    digest.update(json.dumps(header).encode())
    side = triple([min(n, s) for n, s in zip(volume.shape, (1, 64, 64), strict=True)])
    for box in _spread(volume.shape, side, (3, 1, 3), phase=0.5):
        digest.update(np.ascontiguousarray(volume.read(box)).tobytes())
    return digest.hexdigest()[:32]


def measure_spacing(volume: Volume) -> float:
    """Return how many pixels apart in a slice voxels are as much alike as two slices are.

    From a few pairs of slices, of the first channel; between 1 and `FARTHEST`, and 1 where there
    is only one slice.
    """
    depth, height, width = volume.shape
    side = triple([min(2, depth), min(height, SAMPLE_SIDE), min(width, SAMPLE_SIDE)])
    if side[0] < 2:
        return 1.0
    lags = range(1, min(FARTHEST, *side[1:]))
    found = []
    for box in _spread(volume.shape, side, (PAIRS, 1, 1), phase=0.5):
        one, other = volume.read(box)[0].astype(np.float64)
        across = _likeness(one, other)
        along = [
            (_likeness(one[:, lag:], one[:, :-lag]) + _likeness(one[lag:], one[:-lag])) / 2
            for lag in lags
        ]
        if np.isfinite([across, *along]).all():  # not where there is nothing, or NaN
            found.append(np.array(along) - across)
    if not found or not len(lags):
        return 1.0
    less_alike = np.flatnonzero(np.mean(found, axis=0) <= 0)
    return max(1.0, float(less_alike[0]) + 0.5) if len(less_alike) else float(FARTHEST)


def _likeness(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the correlation of two images; NaN where one is constant."""
    a, b = one - one.mean(), other - other.mean()
    size = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / size) if size > 0 else float("nan")


def _sample(volume: Volume, sample_bytes: int = SAMPLE_BYTES) -> list[NDArray[Any]]:
    """Return what is measured: finite values, one array for each channel."""
    samples = _samples(volume, sample_bytes, phase=0.5)
    if any(np.ptp(s) == 0 for s in samples if s.size):
        # Sparse data may hide between the samples: look elsewhere, at the coarsest level where
        # there is one, before calling it constant.
        rest = MOST_SAMPLE_BYTES - SAMPLE_BYTES
        more = _samples(volume, rest, phase=0.2, level=len(volume.levels) - 1)
        samples = [np.concatenate(pair) for pair in zip(samples, more, strict=True)]
    return samples


def _samples(volume: Volume, budget: int, *, phase: float, level: int = 0) -> list[NDArray[Any]]:
    """Return the finite values of a sample spread over a level, one array for each channel."""
    shape = volume.levels[level].shape
    side = triple([1, *(min(n, SAMPLE_SIDE) for n in shape[1:])])
    voxel = volume.dtype.itemsize * len(volume.channels)
    count = max(1, budget // (side[1] * side[2] * voxel))
    parts: list[list[NDArray[Any]]] = [[] for _ in volume.channels]
    for box in _sample_boxes(shape, side, count, phase):
        for channel, values in enumerate(volume.read(box, level=level)):
            flat = values.ravel()
            parts[channel].append(flat[np.isfinite(flat)] if values.dtype.kind == "f" else flat)
    return [np.concatenate(part) for part in parts]


def _sample_boxes(shape: Triple, side: Triple, count: int, phase: float) -> Iterator[Box]:
    """Yield up to ``count`` boxes of ``side``, spread over an array of ``shape``."""
    rows, columns = (-(-n // s) for n, s in zip(shape[1:], side[1:], strict=True))
    # Few places in the plane and many slices would decode many chunks for little.
    planes = min(shape[0], 8, count)
    per_plane = max(1, min(rows * columns, count // planes, 12))
    rows = min(rows, max(1, round((per_plane * rows / columns) ** 0.5)))
    columns = min(columns, max(1, per_plane // rows))
    yield from _spread(shape, side, (planes, rows, columns), phase)


def _spread(shape: Triple, side: Triple, counts: Triple, phase: float) -> Iterator[Box]:
    """Yield boxes of ``side`` on a regular lattice; all of the array where they can cover it."""
    starts = [
        _starts(n - s, k, 0.0 if k * s >= n else phase)
        for n, s, k in zip(shape, side, counts, strict=True)
    ]
    for start in product(*starts):
        yield Box(triple(start), triple([a + s for a, s in zip(start, side, strict=True)]))


def _starts(most: int, count: int, phase: float) -> list[int]:
    if count == 1:
        return [int(most * phase)]
    gaps = count if phase else count - 1
    return sorted({round(most * (i + phase) / gaps) for i in range(count)})


def _robust(values: NDArray[Any], volume: Volume, channel: int) -> tuple[float, ...]:
    if values.size == 0:
        raise _nothing_finite(volume, channel)
    where = _where(volume, channel)
    if values.min() == values.max():
        raise VolumeError(
            "The values of a volume differ from each other.",
            got=f"the constant {values.min()} in {where}",
            do="Check that this is the intended file; there is nothing in it to learn from.",
        )
    wide = values.astype(np.float64)
    low, high = (float(v) for v in np.percentile(wide, (0.5, 99.5)))
    inner = wide[(wide >= low) & (wide <= high)]
    if high <= low or inner.std() == 0:
        low, high, inner = float(wide.min()), float(wide.max()), wide
    return float(inner.mean()), float(inner.std()), low, high


def _nothing_finite(volume: Volume, channel: int) -> VolumeError:
    return VolumeError(
        "A volume has finite values.",
        got=f"only NaN or infinite values in {_where(volume, channel)}",
        do="Check the file, or the step that wrote it.",
    )


def _where(volume: Volume, channel: int) -> str:
    return f"channel {volume.channels[channel]!r} of {volume.name}"
