"""What the data of a model were like, and how much other data are like them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brushfire.library import reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from brushfire.geometry import Scale, Triple
    from brushfire.library.card import ModelCard
    from brushfire.volumes import Volume

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)

ALIKE = 0.25
"""Distance up to which data are alike: volumes of one kind are 0.01 to 0.05 apart, and pixels of
1.3 times the size make as much."""
RELATED = 0.6
"""Distance up to which they have something in common: brains of two scanners were 0.45 apart, and
brains and foams 0.7 to 1.1, at pixels of one size."""


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """Intensities of one channel.

    Parameters
    ----------
    mean, std : float
        Of the values between the 0.5 and 99.5 percentile; ``std`` is above 0.
    percentiles : tuple of float
        As many as `PERCENTILES`, and of those, never falling.

    Raises
    ------
    ValueError
        If they are not of that form.
    """

    mean: float
    std: float
    percentiles: tuple[float, ...]

    def __post_init__(self) -> None:
        values = (self.mean, self.std, *self.percentiles)
        if len(self.percentiles) != len(PERCENTILES) or not all(map(math.isfinite, values)):
            raise ValueError(f"statistics are {len(PERCENTILES) + 2} finite numbers")
        if self.std <= 0 or list(self.percentiles) != sorted(self.percentiles):
            raise ValueError("a standard deviation is above 0, and percentiles never fall")
        if not all(map(math.isfinite, self.shape)):
            raise ValueError("intensities are of about the size of their standard deviation")

    @property
    def shape(self) -> tuple[float, ...]:
        """The percentiles in standard deviations from the mean: no scale and no offset is left."""
        return tuple((value - self.mean) / self.std for value in self.percentiles)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a volume is like, in a few numbers.

    Parameters
    ----------
    voxel_size : tuple of float or None
        Micrometres z, y, x; None where nobody knows.
    shape : tuple of int
        Voxels z, y, x.
    dtype : str
        Numpy's name of the type.
    channels : tuple of ChannelStatistics
        One for each channel, at least one.
    modality : str
        How the images were made, for people; may be empty.

    Raises
    ------
    ValueError
        If a size is not above 0, or there is no channel.
    """

    voxel_size: Scale | None
    shape: Triple
    dtype: str
    channels: tuple[ChannelStatistics, ...]
    modality: str = ""

    def __post_init__(self) -> None:
        sizes = (*self.shape, *(self.voxel_size or ()))
        if not all(math.isfinite(size) and size > 0 for size in sizes):
            raise ValueError("sizes of a volume and its voxels are above 0")
        if not self.channels:
            raise ValueError("a volume has a channel")

    @property
    def pixel(self) -> float | None:
        """Side of a pixel within a slice, micrometres; of one that is not square, the mean side."""
        return None if self.voxel_size is None else math.sqrt(math.prod(self.voxel_size[1:]))

    @classmethod
    def from_plain(cls, found: Mapping[str, Any]) -> Fingerprint:
        """Return what the values in a card say.

        Raises
        ------
        ValueError
            If something is missing or of another kind.
        """
        size: Scale | None = None
        if reading.take(found, "voxel_size") is not None:
            z, y, x = (
                reading.finite(v, "a voxel size") for v in reading.row(found, "voxel_size", 3)
            )
            size = (z, y, x)
        shape = dict(enumerate(reading.row(found, "shape", 3)))
        deep, high, wide = (reading.whole({"shape": shape[axis]}, "shape", 1) for axis in shape)
        rows = [reading.as_table(one, "channels") for one in reading.row(found, "channels")]
        return cls(
            voxel_size=size,
            shape=(deep, high, wide),
            dtype=reading.text(found, "dtype"),
            channels=tuple(
                ChannelStatistics(
                    reading.finite(reading.take(one, "mean"), "a mean"),
                    reading.finite(reading.take(one, "std"), "a standard deviation"),
                    tuple(
                        reading.finite(p, "a percentile") for p in reading.row(one, "percentiles")
                    ),
                )
                for one in rows
            ),
            modality=reading.text(found, "modality"),
        )


def fingerprint_of(volume: Volume, modality: str = "") -> Fingerprint:
    """Return what a volume is like; it reads a bounded sample of it.

    Parameters
    ----------
    volume : Volume
        Which.
    modality : str
        How the images were made, for people.

    Raises
    ------
    VolumeError
        If it is constant, has no finite value, or cannot be read.
    """
    from brushfire.volumes import measure_percentiles

    known = volume.statistics()
    rows = zip(known.mean, known.std, measure_percentiles(volume, PERCENTILES), strict=True)
    return Fingerprint(
        voxel_size=volume.voxel_size if volume.voxel_size_known else None,
        shape=volume.shape,
        dtype=str(volume.dtype),
        channels=tuple(ChannelStatistics(*one) for one in rows),
        modality=modality,
    )


def distance(one: Fingerprint, other: Fingerprint) -> float:
    """Return how unlike two volumes are; without a unit, symmetric, and 0 for the same.

    The sum of three parts:

    - the logarithm of the ratio of their pixels' sides, 0.7 where one is twice the other, and
      nothing where a size is unknown. Depth is left out: a network sees slices.
    - how far their histograms differ in shape: the mean difference of their percentiles, in
      standard deviations from the mean, since a network sees intensities that way too; of the
      channels that both have.
    - 1 for each channel that only one of them has.
    """
    apart = 0.0
    if one.pixel is not None and other.pixel is not None:
        apart += abs(math.log(one.pixel) - math.log(other.pixel))
    pairs = [(a.shape, b.shape) for a, b in zip(one.channels, other.channels, strict=False)]
    gaps = [abs(p - q) for mine, theirs in pairs for p, q in zip(mine, theirs, strict=True)]
    return apart + sum(gaps) / len(gaps) + abs(len(one.channels) - len(other.channels))


def likeness(apart: float | None) -> str:
    """Return how alike data of a distance are, in a word or two; None is one nobody knows."""
    if apart is None:
        return "unknown"
    if apart <= ALIKE:
        return "alike"
    return "somewhat alike" if apart <= RELATED else "unlike"


def rank(
    cards: Iterable[ModelCard], fingerprint: Fingerprint
) -> list[tuple[ModelCard, float | None]]:
    """Return cards with the distance of their data from a volume's, the nearest first.

    Those of unknown data come last, with None; equals go by name.
    """
    known = [
        (card, None if card.data is None else distance(card.data, fingerprint)) for card in cards
    ]
    return sorted(
        known,
        key=lambda one: (math.inf if one[1] is None else one[1], one[0].name.casefold()),
    )
