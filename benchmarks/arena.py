"""What the contestants of `few_strokes.py` meet: labelled volumes, and a user who corrects."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from scipy import ndimage

from brushfire.geometry import Box
from brushfire.samples import make_foam
from brushfire.scribbles import draw_stroke
from brushfire.volumes import Volume, open_volume

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from brushfire.networks import SegmentationModel

PAINTED = 3  # slices that the user paints on
SCORED = 10  # at most, of the slices that nobody paints
STROKE = 0.2  # length of a stroke in sides of a slice
RADIUS = 1  # of the brush, pixels
FIRST = 2  # strokes of each class before anything is learned
FEWEST = 0.002  # share of a slice from which a person would notice a class

Slices = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """A volume, the truth (z, y, x) with classes from 1, and which slices are for what."""

    name: str
    volume: Volume
    truth: np.ndarray
    painted: Slices
    scored: Slices

    @property
    def classes(self) -> list[int]:
        return [int(value) for value in np.unique(self.truth) if value]

    def slab(self, z: int, context: int) -> np.ndarray:
        """Return (channels, 2 * context + 1, y, x) around a slice."""
        _, height, width = self.volume.shape
        box = Box((z - context, 0, 0), (z + 1 + context, height, width))
        return np.asarray(self.volume.read_padded(box), np.float32)


def make_case(name: str, image: np.ndarray, truth: np.ndarray, spacing: float) -> Case:
    """Return a case of an image (z, y, x) or (c, z, y, x) and its classes from 1."""
    axes = "zyx" if image.ndim == 3 else "czyx"
    volume = open_volume(np.ascontiguousarray(image), axes=axes, voxel_size=(spacing, 1, 1))
    kinds = np.array([_kinds(slice_) for slice_ in truth])
    rich = np.flatnonzero(kinds == kinds.max())
    painted = tuple(sorted({int(rich[int(at * len(rich))]) for at in _spread(PAINTED)}))
    others = [z for z in range(len(truth)) if z not in painted and truth[z].any()]
    scored = tuple(sorted({others[int(at * len(others))] for at in _spread(SCORED)}))
    return Case(name, volume, truth.astype(np.uint8), painted, scored)


def _kinds(truth: np.ndarray) -> int:
    counts = np.bincount(truth.ravel(), minlength=2)[1:]
    return int((counts >= FEWEST * truth.size).sum())


def _spread(count: int) -> list[float]:
    return [(index + 0.5) / count for index in range(count)]


def _isbi(folder: Path, part: int, *, tuning: bool) -> Case:
    slices = slice(0, 10) if tuning else slice(10, None)
    image = tifffile.imread(folder / "train-volume.tif")[slices]
    membrane = tifffile.imread(folder / "train-labels.tif")[slices] == 0
    return make_case("isbi2012", image, np.where(membrane, 1, 2), 12.5)


def _sandstone(folder: Path, part: int, *, tuning: bool) -> Case:
    image = tifffile.imread(folder / "images.tif")
    half = slice(0, image.shape[2] // 2) if tuning else slice(image.shape[2] // 2, None)
    truth = tifffile.imread(folder / "labels.tif")[:, :, half] + 1
    return make_case("sandstone_xrm", image[:, :, half], truth, 50)


def _brats(folder: Path, part: int, *, tuning: bool) -> Case:
    patients = sorted(folder.glob("*.npz"))
    # Those that count have more than a few hundred voxels of every class.
    patients = patients[1:3] if tuning else [patients[0], patients[3]]
    with np.load(patients[part % len(patients)]) as data:
        image = np.stack([data["flair"], data["t1c"]]).astype(np.float32)
        return make_case("brats2013_deepmedic", image, data["label"] + 1, 1)


def _hippocampus(folder: Path, part: int, *, tuning: bool) -> Case:
    with np.load(folder / "hippocampus_80.npz") as data:
        names = sorted(key.removesuffix("_image") for key in data if key.endswith("_image"))
        name = (names[70:] if tuning else names[:70])[part]
        return make_case("msd_hippocampus", data[f"{name}_image"], data[f"{name}_label"] + 1, 1)


def _brain(folder: Path, part: int, *, tuning: bool) -> Case:
    with np.load(folder / "jlf12.npz") as data:
        subject = (9 if tuning else 0) + part
        image, truth = data["image"][subject], data["label"][subject]
    return make_case("brain_slab_jlf", image.astype(np.float32), truth + 1, 1)


def _foam(folder: Path, part: int, *, tuning: bool) -> Case:
    with tempfile.TemporaryDirectory() as scratch:
        paths = make_foam(Path(scratch) / "foam.ome.zarr", seed=part + (100 if tuning else 0))
        image, truth = open_volume(paths.volume), open_volume(paths.truth)
        whole = Box.of_shape(image.shape)
        return make_case("foam", image.read(whole)[0], truth.read(whole)[0], 1)


_LOADERS: Mapping[str, Callable[..., Case]] = {
    "isbi2012": _isbi,
    "sandstone_xrm": _sandstone,
    "brats2013_deepmedic": _brats,
    "msd_hippocampus": _hippocampus,
    "brain_slab_jlf": _brain,
    "foam": _foam,
}
NAMES = tuple(_LOADERS)


def load_case(data: Path, name: str, seed: int, *, tuning: bool = False) -> Case:
    """Return a case; other subjects for other seeds where there are several.

    Parameters
    ----------
    data : Path
        The folder of real data.
    name : str
        One of `NAMES`.
    seed : int
        Of the run.
    tuning : bool
        Whether to return what settings may be chosen on: other slices, parts or subjects than
        those that count.
    """
    return _LOADERS[name](data / name, seed, tuning=tuning)


class User:
    """Paints a few strokes of each class, then one on the largest wrong region at a time.

    Parameters
    ----------
    case : Case
        What is painted on; never on the scored slices.
    seed : int
        Where strokes begin and turn.
    first : int
        Strokes of each class before anything is learned.
    """

    def __init__(self, case: Case, seed: int, *, first: int = FIRST) -> None:
        self._case = case
        self._rng = np.random.default_rng(seed)
        self.labels = np.zeros_like(case.truth)
        self.strokes = 0
        height, width = case.truth.shape[1:]
        self._length = max(8, round((2 * RADIUS + 1) * STROKE * np.sqrt(height * width)))
        middle = case.painted[len(case.painted) // 2]
        for value in case.classes:
            sizes = {z: int((case.truth[z] == value).sum()) for z in case.painted}
            enough = sizes[middle] >= FEWEST * height * width
            z = middle if enough else max(sizes, key=lambda z: sizes[z])
            for _ in range(first if sizes[z] else 0):
                places = np.argwhere((case.truth[z] == value) & (self.labels[z] == 0))
                if len(places):
                    mask = case.truth[z] == value
                    self._paint(z, value, mask, places[self._rng.integers(len(places))])

    def correct(self, predict: Callable[[int], np.ndarray]) -> bool:
        """Paint a stroke in the largest wrong region; False where nothing is wrong.

        Parameters
        ----------
        predict : callable
            Returns the classes (y, x) that are shown in a slice.
        """
        worst: tuple[int, int, int, np.ndarray] | None = None
        for z in self._case.painted:
            found = predict(z)
            for value in self._case.classes:
                truth = self._case.truth[z] == value
                size, region = _largest(truth & (found != value) & (self.labels[z] == 0))
                if size and (worst is None or size > worst[0]):
                    worst = size, z, value, region
        if worst is None:
            return False
        _, z, value, region = worst
        depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
        self._paint(z, value, region, np.array(np.unravel_index(depth.argmax(), depth.shape)))
        return True

    def paint_in(self, place: Box, found: np.ndarray) -> None:
        """Paint in the largest wrong region of a place, or in its middle where all is right.

        Parameters
        ----------
        place : Box
            One slice thick.
        found : ndarray
            The classes (y, x) that are shown in its slice.
        """
        z, part = place.start[0], place.slices[1:]
        inside = np.zeros(found.shape, bool)
        inside[part] = True
        truth, free = self._case.truth[z], self.labels[z] == 0
        best: tuple[int, int, np.ndarray] | None = None
        for value in self._case.classes:
            wrong = inside & free & (truth == value) & (found != value)
            size, region = _largest(wrong)
            if size and (best is None or size > best[0]):
                best = size, value, region
        if best is not None:
            _, value, region = best
            depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
            start = np.array(np.unravel_index(depth.argmax(), depth.shape))
            self._paint(z, value, truth == value, start)
            return
        middle = [(a + b) // 2 for a, b in zip(place.start[1:], place.stop[1:], strict=True)]
        value = int(truth[tuple(middle)])
        if value:
            self._paint(z, value, truth == value, np.array(middle))
        else:  # what nobody knows is no place to paint, and the look has cost as much
            self.strokes += 1

    def _paint(self, z: int, value: int, mask: np.ndarray, start: np.ndarray) -> None:
        painted = self.labels[z] > 0
        before = painted.copy()
        draw_stroke(mask, painted, start, self._length, RADIUS, self._rng)
        self.labels[z][painted & ~before] = value
        self.strokes += 1


def _largest(wrong: np.ndarray) -> tuple[int, np.ndarray]:
    """Return the size and the mask of the largest region, thin rims of others left aside."""
    # What is one or two pixels wide along a border is no place for a brush.
    solid = ndimage.binary_opening(wrong, np.ones((3, 3), bool))
    regions, count = ndimage.label(solid if solid.any() else wrong, np.ones((3, 3)))
    if not count:
        return 0, wrong
    sizes = np.bincount(regions.ravel())[1:]
    return int(sizes.max()), regions == 1 + sizes.argmax()


def classes_of(model: SegmentationModel, case: Case, z: int) -> np.ndarray:
    """Return the classes (y, x) that a model tells in a slice."""
    likely = model.probabilities(case.slab(z, model.context))[:, 0]
    return np.asarray(model.classes)[likely.argmax(0)]


def scores(case: Case, predict: Callable[[int], np.ndarray]) -> dict[str, float]:
    """Return mean IoU and mean Dice over classes, on all scored slices together."""
    found = np.stack([predict(z) for z in case.scored])
    truth = case.truth[list(case.scored)]
    overlaps, dices = [], []
    for value in np.unique(truth[truth > 0]):
        here, there = (found == value) & (truth > 0), truth == value
        both, either = (here & there).sum(), (here | there).sum()
        overlaps.append(both / either)
        dices.append(2 * both / (both + either))
    return {"iou": float(np.mean(overlaps)), "dice": float(np.mean(dices))}
