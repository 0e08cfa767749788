"""Labelled crops of other volumes: what gradient steps replay, and what a whole model is asked.

Unlike `Examples` they hold image data, so that they serve networks without features and the layers
of all others. Intensities are normalised, in half precision. Loads without torch.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save

from brushfire.errors import ModelError
from brushfire.learning.tensors import KEY, read_tensors
from brushfire.networks.snapshot import answers

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from numpy.typing import NDArray

    from brushfire.learning.examples import Examples
    from brushfire.learning.settings import LearningSettings
    from brushfire.networks.settings import NetworkSettings
    from brushfire.networks.snapshot import ModelSnapshot

FORMAT = "brushfire-patches"
VERSION = 1
MOST_BYTES = 16 << 20
"""Of the crops that learning replays; those that are asked for come to half of it at most."""
CROP_BYTES = 2 << 20
"""Of a single one."""
FILE_BYTES = 32 << 20
"""A file of them is no larger."""

_MAX_CLASS = 127
_ASKED_PIXELS = 500_000  # a model is asked for all of them whenever another one is shown
_TENSORS = {"intensities": np.float16, "labels": np.uint8, "shapes": np.int32, "asked": np.uint8}


@dataclass(frozen=True, eq=False)
class Crop:
    """A part of a slice and the slices beside it, with labels.

    Parameters
    ----------
    intensities : ndarray
        float16, (channels, slices, y, x), each channel with about mean 0 and standard deviation 1
        in its volume.
    labels : ndarray
        uint8, (y, x), of the middle slice; 0 where nothing is known.
    asked : bool
        Whether models are asked for its labels, and nothing learns from them.
    """

    intensities: NDArray[np.float16]
    labels: NDArray[np.uint8]
    asked: bool

    @property
    def nbytes(self) -> int:
        """Bytes in memory, and about as many on disk."""
        return self.intensities.nbytes + self.labels.nbytes

    @property
    def room(self) -> float:
        """Share of the room for its kind that it takes."""
        if not self.asked:
            return self.nbytes / MOST_BYTES
        return max(2 * self.nbytes / MOST_BYTES, self.labels.size / _ASKED_PIXELS)


@dataclass(frozen=True, eq=False)
class Patches:
    """Crops of volumes with as many channels and slices.

    Parameters
    ----------
    crops : tuple of Crop
        At least one; each has a label.

    Raises
    ------
    ModelError
        If they do not belong together, or hold what is no number or no class.
    """

    crops: tuple[Crop, ...]

    def __post_init__(self) -> None:
        if not self.crops:
            raise _refusal("none")
        for crop in self.crops:
            block, labels = crop.intensities, crop.labels
            fits = (
                block.dtype == np.float16
                and labels.dtype == np.uint8
                and block.ndim == 4
                and block.shape[:2] == self.crops[0].intensities.shape[:2]
                and block.shape[2:] == labels.shape
                and labels.size > 0
            )
            if not fits:
                raise _refusal(f"{block.dtype} {block.shape} with {labels.dtype} {labels.shape}")
            if crop.nbytes > CROP_BYTES:
                raise _refusal(f"{crop.nbytes} bytes in one, more than {CROP_BYTES}")
            if not np.isfinite(block).all():
                raise _refusal("NaN or infinity in the intensities")
            if not 1 <= labels.max() <= _MAX_CLASS:
                raise _refusal(f"classes up to {labels.max()}")

    def __len__(self) -> int:
        return len(self.crops)

    @property
    def nbytes(self) -> int:
        """Bytes in memory, and about as many on disk."""
        return sum(crop.nbytes for crop in self.crops)

    @cached_property
    def counts(self) -> dict[int, int]:
        """Labelled pixels of each class that has any."""
        counts = [np.bincount(crop.labels.ravel(), minlength=_MAX_CLASS + 1) for crop in self.crops]
        total = np.sum(counts, 0)
        return {value: int(total[value]) for value in range(1, len(total)) if total[value]}

    @property
    def taught(self) -> Patches | None:
        """Those that learning replays, if any."""
        return self._those(lambda crop: not crop.asked)

    @property
    def asked(self) -> Patches | None:
        """Those that models are asked for, if any."""
        return self._those(lambda crop: crop.asked)

    def _those(self, wanted: Callable[[Crop], bool]) -> Patches | None:
        found = tuple(crop for crop in self.crops if wanted(crop))
        return Patches(found) if found else None

    def fits(self, network: NetworkSettings, channels: int) -> bool:
        """Whether a network sees such crops: as many slices of as many channels."""
        return self.crops[0].intensities.shape[:2] == (channels, network.slices)

    def renumbered(self, values: Mapping[int, int]) -> Patches | None:
        """Return the classes that ``values`` names, with its values instead; None if none is."""
        table = np.zeros(256, np.uint8)
        table[list(values)] = list(values.values())
        labels = [table[crop.labels] for crop in self.crops]
        found = tuple(
            Crop(crop.intensities, label, crop.asked)
            for crop, label in zip(self.crops, labels, strict=True)
            if label.any()
        )
        return Patches(found) if found else None

    def of(self, classes: Collection[int]) -> Patches | None:
        """Return those of some class values, other labels left out; None if there are none."""
        return self.renumbered({value: value for value in classes})

    def joined(self, other: Patches | None) -> Patches:
        """Return these and others, where the others have as many channels and slices."""
        if other is None or other.crops[0].intensities.shape[:2] != self._kind:
            return self
        return Patches(self.crops + other.crops).thinned()

    @property
    def _kind(self) -> tuple[int, ...]:
        return self.crops[0].intensities.shape[:2]

    def thinned(self) -> Patches:
        """Return as many as there is room for, evenly spaced."""
        kept: list[Crop] = []
        for asked in (False, True):
            crops = [crop for crop in self.crops if crop.asked == asked]
            left, step = 1.0, math.ceil(sum(crop.room for crop in crops))
            for crop in crops[:: max(step, 1)]:
                if crop.room <= left:
                    left -= crop.room
                    kept.append(crop)
        return Patches(tuple(kept))

    def to_bytes(self, start: str = "") -> bytes:
        """Return a safetensors file.

        Parameters
        ----------
        start : str
            Digest of the weights that they came with, see `from_bytes`.
        """
        channels, slices = self._kind
        flat = [np.ascontiguousarray(crop.intensities).ravel() for crop in self.crops]
        arrays = {
            "intensities": np.concatenate(flat),
            "labels": np.concatenate([crop.labels.ravel() for crop in self.crops]),
            "shapes": np.array([crop.labels.shape for crop in self.crops], np.int32),
            "asked": np.array([crop.asked for crop in self.crops], np.uint8),
        }
        about = {
            "format": FORMAT, "version": VERSION, "channels": channels, "slices": slices,
            "start": start,
        }  # fmt: skip
        return bytes(save(arrays, metadata={KEY: json.dumps(about)}))

    @classmethod
    def from_bytes(cls, data: bytes, start: str = "") -> Patches | None:
        """Return what `to_bytes` wrote; None where it came with another start.

        Versions that know nothing of crops leave the file where it is when they start anew.

        Raises
        ------
        ModelError
            If it is damaged, too large, something else, or of a newer version.
        """
        if len(data) > FILE_BYTES:
            raise _refusal(f"{len(data)} bytes, more than {FILE_BYTES}")
        about, arrays = read_tensors(data, FORMAT, VERSION, _refusal)
        if {name: array.dtype for name, array in arrays.items()} != _TENSORS:
            raise _refusal(f"a file of another kind, with {', '.join(sorted(arrays)) or 'nothing'}")
        crops = _crops(arrays, about.get("channels"), about.get("slices"))
        return cls(crops) if about.get("start") == start else None


def classes_along(
    examples: Examples | None,
    patches: Patches | None,
    weights: ModelSnapshot | None,
    network: NetworkSettings,
    learning: LearningSettings,
) -> frozenset[int]:
    """Return the class values that came with a start and are learned, painted or not.

    Parameters
    ----------
    examples, patches, weights
        What came along.
    network, learning
        What learns, and how.
    """
    if network.features:
        there = examples is not None and learning.examples
        return frozenset(examples.counts if there and examples is not None else ())
    # Only the layers know them then, and only where their last one came along.
    known = weights is not None and weights.settings == network and answers(weights)
    taught = patches.taught if patches is not None and known and learning.replay else None
    return frozenset() if taught is None else frozenset(taught.counts)


def _crops(arrays: Mapping[str, NDArray[Any]], channels: Any, slices: Any) -> tuple[Crop, ...]:
    """Return the crops that lie one after the other in flat arrays."""
    block, labels, shapes, asked = (arrays[name] for name in _TENSORS)
    known = isinstance(channels, int) and isinstance(slices, int) and min(channels, slices) > 0
    rows = shapes.ndim == 2 and shapes.shape[1] == 2 and bool((shapes > 0).all())
    if not (known and rows and asked.shape == shapes.shape[:1]):
        raise _refusal(f"{channels} channels, {slices} slices, shapes of another kind")
    sides = [(int(y), int(x)) for y, x in shapes]
    sizes = [y * x for y, x in sides]
    planes = channels * slices
    if labels.shape != (sum(sizes),) or block.shape != (sum(sizes) * planes,):
        raise _refusal(f"{block.shape} and {labels.shape} for crops of {sum(sizes)} pixels")
    places = list(pairwise(accumulate(sizes, initial=0)))
    return tuple(
        Crop(
            block[a * planes : b * planes].reshape(channels, slices, *side),
            labels[a:b].reshape(side),
            bool(kept),
        )
        for (a, b), side, kept in zip(places, sides, asked, strict=True)
    )


def _refusal(got: str) -> ModelError:
    return ModelError(
        "Crops that a start brings along are normalised intensities with labels, as Brushfire"
        " wrote them.",
        got=got,
        do="Press Reset, which forgets the start and keeps the strokes, or start again.",
    )
