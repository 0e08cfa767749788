"""Largest difference of probabilities between whole slices and their tiles, after learning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tifffile
import torch

from brushfire.annotations import open_annotations
from brushfire.geometry import Box, Grid
from brushfire.learning import Learner, LearningSettings
from brushfire.networks import NetworkSettings, SegmentationModel
from brushfire.scribbles import scribbles
from brushfire.volumes import open_volume
from reporting import data_folder, note, parser, report

if TYPE_CHECKING:
    from pathlib import Path

    from brushfire.volumes import Volume

TILE = 128
GOALS = {"largest_difference": "< 1e-3", "labels_flipped": "<= 1e-4"}


def opened(folder: Path | None) -> tuple[Volume, np.ndarray]:
    """Real slices where they are at hand, else noisy bands."""
    if folder is not None:
        labels = tifffile.imread(folder / "isbi2012" / "train-labels.tif")
        truth = np.where(labels > 0, 2, 1).astype(np.uint8)
        return open_volume(folder / "isbi2012" / "train-volume.tif", voxel_size=(10, 1, 1)), truth
    y, x = np.mgrid[:512, :512]
    truth = np.stack([(np.sin(y / 20 + z) + np.cos(x / 27) > 0) + 1 for z in range(6)])
    noise = np.random.default_rng(0).normal(0, 0.5, truth.shape)
    return open_volume((truth + noise).astype(np.float32), axes="zyx"), truth.astype(np.uint8)


def whole(model: SegmentationModel, slab: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = model(torch.from_numpy(slab).flatten(0, 1)[None])[0].softmax(0).numpy()
    return found


def tiled(model: SegmentationModel, slab: np.ndarray) -> np.ndarray:
    shape = (1, *slab.shape[2:])
    result = np.empty((len(model.classes), *shape[1:]), np.float32)
    for core in Grid(shape, (1, TILE, TILE)).boxes():
        source = core.grow((0, model.halo, model.halo)).clip(shape)
        part = slab[:, :, *source.slices[1:]]
        wanted = core.slices_in(source)[1:]
        result[:, *core.slices[1:]] = model.probabilities(part, wanted=wanted)[:, 0]
    return result


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--steps", type=int, default=200)
    args = options.parse_args()
    steps = 30 if args.quick else args.steps
    torch.set_num_threads(1)
    volume, truth = opened(data_folder())
    store = open_annotations(None, volume.shape)
    middle = len(truth) // 2
    store[middle] = scribbles(truth[middle], 0.013, np.random.default_rng(0))
    # Without held-out strokes every model is accepted, the one after learning too.
    learning = LearningSettings(held_out=0.0)
    learner = Learner(volume, NetworkSettings(), learning, device="cpu")
    learner.set_annotations(store.snapshot())
    learner.fit()
    models = [learner.propose().snapshot]
    for _ in range(steps):
        learner.step()
    models.append(learner.propose().snapshot)
    differences, flipped = [], []
    for snapshot in (found for found in models if found is not None):
        model = SegmentationModel.from_snapshot(snapshot)
        for z in range(0, len(truth), max(1, len(truth) // 3)):
            slab = volume.read_padded(Box((z, 0, 0), (z + 1, *volume.shape[1:])))
            one, other = whole(model, slab), tiled(model, slab)
            differences.append(float(np.abs(one - other).max()))
            flipped.append(float((one.argmax(0) != other.argmax(0)).mean()))
            note(args, f"step {snapshot.metrics['step']} slice {z} halo {model.halo}: "
                       f"{differences[-1]:.2e}")  # fmt: skip
    figures = {
        "largest_difference": max(differences),
        "labels_flipped": max(flipped),
        "halo": float(model.halo),
    }
    report("tiled_equals_untiled", figures, GOALS)


if __name__ == "__main__":
    main()
