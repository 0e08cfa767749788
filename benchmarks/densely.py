"""What `distillation.py` and `dual_stage.py` share: dense labels, and who learns them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tifffile

import brushfire  # noqa: F401  before torch: sets what torch reads when it is loaded

import torch  # isort: skip

from brushfire.geometry import Box
from brushfire.learning.adamw import AdamW
from brushfire.learning.convex import class_weights
from brushfire.learning.fitting import index_table
from brushfire.learning.losses import segmentation_loss
from brushfire.learning.warming import warm_up
from brushfire.networks import NetworkSettings, SegmentationModel
from brushfire.volumes import Volume, open_volume

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RATE = 2e-3
WARM_UP = 20  # steps
SUBJECTS = 12  # of the brain; as many of the hippocampus twice


@dataclass(frozen=True)
class Dense:
    """A volume of which every voxel has a class from 1, and which slices are for what."""

    name: str
    volume: Volume
    truth: np.ndarray
    taught: tuple[int, ...]
    scored: tuple[int, ...]

    @property
    def classes(self) -> tuple[int, ...]:
        return tuple(int(value) for value in np.unique(self.truth))

    def shares(self, slices: tuple[int, ...]) -> torch.Tensor:
        """Return how common each class is in some slices, (classes,)."""
        counts = np.bincount(self.truth[list(slices)].ravel(), minlength=max(self.classes) + 1)
        found = torch.from_numpy(counts[list(self.classes)]).double()
        return found / found.sum()

    def slab(self, z: int) -> np.ndarray:
        """Return a slice, (channels, 1, y, x)."""
        _, height, width = self.volume.shape
        box = Box((z, 0, 0), (z + 1, height, width))
        return np.asarray(self.volume.read_padded(box), np.float32)


def _isbi(folder: Path) -> Dense:
    image = tifffile.imread(folder / "train-volume.tif")
    truth = np.where(tifffile.imread(folder / "train-labels.tif") == 0, 1, 2)
    slices = range(len(truth))
    return _dense("isbi2012", image, truth, slices[:20], slices[20:])


def _brain(folder: Path) -> Dense:
    with np.load(folder / "jlf12.npz") as data:
        images = [_standard(one) for one in data["image"][:SUBJECTS].astype(np.float32)]
        truth = np.concatenate(list(data["label"][:SUBJECTS])) + 1
    each = len(images[0])
    return _dense("brain_slab_jlf", np.concatenate(images), truth, *_divided(SUBJECTS, each))


def _hippocampus(folder: Path) -> Dense:
    with np.load(folder / "hippocampus_80.npz") as data:
        names = sorted(key.removesuffix("_image") for key in data if key.endswith("_image"))
        names = names[: 2 * SUBJECTS]
        images = [_standard(data[f"{name}_image"].astype(np.float32)) for name in names]
        labels = [data[f"{name}_label"] + 1 for name in names]
    size = [min(image.shape[axis] for image in images) for axis in range(3)]
    image = np.concatenate([_middle(one, size) for one in images])
    truth = np.concatenate([_middle(one, size) for one in labels])
    return _dense("msd_hippocampus", image, truth, *_divided(len(images), size[0]))


def _standard(image: np.ndarray) -> np.ndarray:
    """Return a subject's intensities with mean 0 and standard deviation 1."""
    return (image - image.mean()) / image.std()


def _middle(image: np.ndarray, size: list[int]) -> np.ndarray:
    starts = [(have - want) // 2 for have, want in zip(image.shape, size, strict=True)]
    return image[tuple(slice(a, a + n) for a, n in zip(starts, size, strict=True))]


def _divided(subjects: int, each: int) -> tuple[range, range]:
    """Return the slices of the first two thirds of all subjects, and those of the others."""
    cut = 2 * subjects // 3 * each
    return range(cut), range(cut, subjects * each)


def _dense(name: str, image: np.ndarray, truth: np.ndarray, taught: range, scored: range) -> Dense:
    volume = open_volume(np.ascontiguousarray(image), axes="zyx")
    return Dense(name, volume, truth.astype(np.uint8), tuple(taught), tuple(scored))


_LOADERS: dict[str, Callable[[Path], Dense]] = {
    "isbi2012": _isbi,
    "brain_slab_jlf": _brain,
    "msd_hippocampus": _hippocampus,
}
NAMES = tuple(_LOADERS)


def load_dense(data: Path, name: str) -> Dense:
    """Return a volume: subjects one after the other, where there are several.

    Parameters
    ----------
    data : Path
        The folder of real data.
    name : str
        One of `NAMES`.
    """
    return _LOADERS[name](data / name)


def learn_densely(
    dense: Dense,
    network: NetworkSettings,
    seed: int,
    *,
    steps: int,
    side: int = 192,
    rate: float = RATE,
    power: float = 0.5,
    dice: float = 0.5,
    say: Callable[[str], None] = lambda text: None,
) -> SegmentationModel:
    """Return a network without features that learned the labels of the taught slices.

    Parameters
    ----------
    dense : Dense
        What it learns.
    network : NetworkSettings
        Its shape, one slice.
    seed : int
        Of weights and patches.
    steps : int
        Each on a square as large as 192 pixels, or as many whole slices as have its pixels.
    side : int
        Of the squares.
    rate : float
        Step size of AdamW in the beginning.
    power : float
        Classes weigh by their count to the power of minus this: with 1 all the same.
    dice : float
        Weight of soft Dice in the loss.
    say : callable
        Hears how far it is.
    """
    warm_up()
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    seen = dense.volume.statistics()
    channels = len(dense.volume.channels)
    model = SegmentationModel(network, channels, dense.classes, mean=seen.mean, std=seen.std)
    model.train()
    optimiser = AdamW(model.parameters(), weight_decay=1e-2)
    weights = class_weights((dense.shares(dense.taught) * 1e6).long(), power).float()
    table = index_table(dense.classes)
    images = {z: dense.slab(z)[:, 0] for z in dense.taught}
    height, width = dense.truth.shape[1:]
    count = max(1, round(side**2 / (min(side, height) * min(side, width))))
    for step in range(steps):
        xs, targets = zip(
            *(_patch(images, dense.truth, side, rng) for _ in range(count)), strict=True
        )
        logits = model.logits(model.normalise(torch.from_numpy(np.stack(xs))))
        target = table[torch.from_numpy(np.stack(targets).astype(np.int64))]
        loss = segmentation_loss(logits, target, weights, dice_weight=dice)
        optimiser.forget_gradients()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        falling = 0.5 + 0.5 * math.cos(math.pi * step / steps)
        optimiser.step(rate * min((step + 1) / WARM_UP, falling))
        if step % 100 == 99:
            say(f"{dense.name} seed {seed}: step {step + 1}, loss {float(loss.detach()):.3f}")
    return model.requires_grad_(False).eval()


def _patch(
    images: dict[int, np.ndarray], truth: np.ndarray, side: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return a square of a taught slice and its classes, turned and flipped."""
    z = int(rng.choice(list(images)))
    starts = [int(rng.integers(max(size - side, 0) + 1)) for size in truth.shape[1:]]
    part = tuple(slice(at, at + side) for at in starts)
    image, labels = images[z][(slice(None), *part)], truth[z][part]
    quarters = int(rng.integers(4)) if len(set(labels.shape)) == 1 else 2 * int(rng.integers(2))
    image, labels = np.rot90(image, quarters, (1, 2)), np.rot90(labels, quarters)
    if rng.integers(2):
        image, labels = image[:, :, ::-1], labels[:, ::-1]
    return image.copy(), labels.copy()


def likelihoods(model: SegmentationModel, dense: Dense) -> np.ndarray:
    """Return what a model makes of the scored slices, (slices, classes, y, x)."""
    return np.stack([model.probabilities(dense.slab(z))[:, 0] for z in dense.scored])


def dice_of(found: np.ndarray, dense: Dense) -> list[float]:
    """Return the Dice of each class over all scored slices together; of classes, not indices."""
    truth = dense.truth[list(dense.scored)]
    pairs = [(found == value, truth == value) for value in dense.classes]
    return [
        2 * float((here & there).sum()) / float(here.sum() + there.sum()) for here, there in pairs
    ]


def classes_in(likely: np.ndarray, dense: Dense) -> np.ndarray:
    """Return the classes (slices, y, x) of `likelihoods`."""
    return np.asarray(dense.classes)[likely.argmax(1)]
