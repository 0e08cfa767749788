"""A small model with everything that a model file holds."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from brushfire.annotations import LabelClass
from brushfire.learning.examples import Examples
from brushfire.learning.patches import Crop, Patches
from brushfire.library import Fingerprint, Making, ModelFile, model_file
from brushfire.library.fingerprints import ChannelStatistics
from brushfire.networks import NetworkSettings, SegmentationModel

CLASSES = (LabelClass(1, "wall", "#56b4e9"), LabelClass(2, "pore", "#e69f00"))


def fingerprint(
    *, pixel: float | None = 0.5, skew: float = 0.0, channels: int = 1, modality: str = "micro-CT"
) -> Fingerprint:
    """Return a made-up fingerprint; ``skew`` moves the middle of its histogram."""
    percentiles = (0.0, 10.0, 40.0, 50.0 + 20 * skew, 80.0 + 10 * skew, 100.0, 120.0)
    size = None if pixel is None else (1.0, pixel, pixel)
    one = ChannelStatistics(50.0, 20.0, percentiles)
    return Fingerprint(size, (12, 96, 96), "uint8", (one,) * channels, modality)


@cache
def small_model(channels: int = 1, classes: tuple[int, ...] = (1, 2)) -> SegmentationModel:
    torch.manual_seed(0)
    return SegmentationModel(NetworkSettings(depth=1), channels, classes)


def examples(inputs: int | None = None) -> Examples:
    inputs = small_model().inputs if inputs is None else inputs
    values = np.random.default_rng(0).standard_normal((20, inputs)).astype(np.float32)
    return Examples(values, (1 + np.arange(20) % 2).astype(np.uint8))


def patches(slices: int = 1) -> Patches:
    """Return two crops of one channel, of which one is asked for."""
    block = np.random.default_rng(0).standard_normal((1, slices, 6, 5)).astype(np.float16)
    labels = np.tile(np.array([1, 2, 0, 0, 1], np.uint8), (6, 1))
    return Patches(tuple(Crop(block, labels, asked) for asked in (False, True)))


def small_file(name: str = "foam", *, with_examples: bool = True, **about: object) -> ModelFile:
    """Return a model file of two classes."""
    made = Making(project="foam", strokes=6, voxels=320, steps=40, seconds=3.5)
    about = {"data": fingerprint(), "licence": "CC-BY-4.0", **about}
    snapshot = small_model().snapshot(3, {"step": 40, "mean_dice": 0.9})
    return model_file(
        name, snapshot, CLASSES, examples=examples() if with_examples else None, made=made,
        metrics=snapshot.metrics, **about,
    )  # fmt: skip
