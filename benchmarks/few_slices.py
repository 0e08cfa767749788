"""Mean IoU on slices that nobody painted, against seconds of learning, beside a random forest.

Random-walk scribbles on 1, 3 or 5 slices of real data; the shown model after 3, 30, 60 and 180 s
of learning (scoring the unpainted slices is not counted). Unpainted slices only score: they
choose nothing.
"""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tifffile
import torch
from sklearn.ensemble import RandomForestClassifier

from brushfire.annotations import open_annotations
from brushfire.geometry import Box
from brushfire.learning import Learner, LearningSettings
from brushfire.networks import NetworkSettings, SegmentationModel
from brushfire.networks.features import FeatureBank
from brushfire.scribbles import scribbles
from brushfire.volumes import Volume, open_volume
from reporting import needed_data_folder, note, parser, report

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator
    from pathlib import Path

PROPOSE_EVERY = 3.0  # seconds, as the engine does
GOALS = {"isbi2012_3_slices_at_3_s": ">= 0.64", "isbi2012_3_slices_at_180_s": ">= 0.67"}


@dataclass(frozen=True)
class Case:
    """A labelled volume and which of its slices score."""

    name: str
    volume: Volume
    truth: np.ndarray
    stride: int

    def painted(self, count: int) -> list[int]:
        depth = len(self.truth)
        return [round((index + 0.5) * depth / count - 0.5) for index in range(count)]

    def scored(self, count: int) -> list[int]:
        painted = self.painted(count)
        return [z for z in range(len(self.truth)) if z not in painted][:: self.stride]


def load(folder: Path, *, quick: bool) -> Case:
    name = folder.name
    if name == "isbi2012":
        volume, labels = folder / "train-volume.tif", tifffile.imread(folder / "train-labels.tif")
        truth, stride = np.where(labels > 0, 2, 1), 3
    else:
        volume, truth, stride = folder / "images.tif", tifffile.imread(folder / "labels.tif") + 1, 1
    stride *= 3 if quick else 1
    # The slices of both are far apart or thick: the voxel size says so.
    return Case(name, open_volume(volume, voxel_size=(10, 1, 1)), truth.astype(np.uint8), stride)


def paint(case: Case, count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    labels = np.zeros_like(case.truth)
    for z in case.painted(count):
        labels[z] = scribbles(case.truth[z], 0.013, rng)
    return labels


def mean_iou(found: np.ndarray, truth: np.ndarray) -> float:
    scores = []
    for value in np.unique(truth):
        here, there = found == value, truth == value
        scores.append((here & there).sum() / (here | there).sum())
    return float(np.mean(scores))


def read_slab(volume: Volume, z: int, context: int) -> np.ndarray:
    return volume.read_padded(Box((z - context, 0, 0), (z + 1 + context, *volume.shape[1:])))


def score(case: Case, model: SegmentationModel, slices: list[int]) -> float:
    found = []
    for z in slices:
        likely = model.probabilities(read_slab(case.volume, z, model.context))[:, 0]
        found.append(np.asarray(model.classes)[likely.argmax(0)])
    return mean_iou(np.stack(found), case.truth[slices])


def learn(case: Case, labels: np.ndarray, count: int, seed: int, args: Namespace) -> Iterator[dict]:
    """Learn as the engine does and score the shown model at each mark."""
    now = time.process_time if args.processor_time else time.perf_counter
    learner = Learner(case.volume, NetworkSettings(), LearningSettings(), device="cpu", seed=seed)
    store = open_annotations(None, case.volume.shape)
    store[...] = labels
    case.volume.statistics()
    started = now()
    learner.set_annotations(store.snapshot())
    learner.fit()
    learner.propose()
    first = proposed = now() - started
    clock = first
    for mark in args.seconds:
        while clock < mark:
            before = now()
            learner.step()
            if clock - proposed >= PROPOSE_EVERY:
                learner.propose()
                proposed = clock
            clock += now() - before
        shown = learner.shown
        assert shown is not None
        iou = score(case, SegmentationModel.from_snapshot(shown), case.scored(count))
        yield {"method": "brushfire", "seconds": mark, "steps": learner.step_count, "iou": iou}


def forest(case: Case, labels: np.ndarray, count: int, seed: int) -> dict:
    """A random forest of 100 trees on the same features but the raw intensity."""
    bank = FeatureBank()
    statistics_ = case.volume.statistics()

    def features(z: int) -> np.ndarray:
        image = (read_slab(case.volume, z, 0)[:, 0] - statistics_.mean[0]) / statistics_.std[0]
        return bank(torch.from_numpy(image.astype(np.float32))[None])[0, 1:].numpy()

    started = time.perf_counter()
    painted = case.painted(count)
    inputs = np.concatenate([features(z)[:, labels[z] > 0].T for z in painted])
    targets = np.concatenate([labels[z][labels[z] > 0] for z in painted])
    trees = RandomForestClassifier(100, random_state=seed, n_jobs=1).fit(inputs, targets)
    seconds = time.perf_counter() - started
    slices = case.scored(count)
    shape = case.truth.shape[1:]
    found = [trees.predict(features(z).reshape(inputs.shape[1], -1).T) for z in slices]
    iou = mean_iou(np.stack(found).reshape(-1, *shape), case.truth[slices])
    return {"method": "forest", "seconds": seconds, "steps": 0, "iou": iou}


def describe(case: Case, count: int, seed: int, row: dict) -> str:
    return (
        f"{case.name} {count} slices seed {seed} {row['method']:9} {row['seconds']:6.1f} s "
        f"{row['steps']:5d} steps  mean IoU {row['iou']:.3f}"
    )


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--data", nargs="+", default=["isbi2012", "sandstone_xrm"])
    options.add_argument("--slices", nargs="+", type=int, default=[1, 3, 5])
    options.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options.add_argument("--seconds", nargs="+", type=float, default=[3, 30, 60, 180])
    options.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    options.add_argument("--no-forest", action="store_true")
    options.add_argument(
        "--processor-time",
        action="store_true",
        help="count one thread's processor time, where other programs run beside",
    )
    args = options.parse_args()
    if args.quick:
        args.data, args.slices, args.seeds, args.seconds = args.data[:1], [3], [0], [3, 15]
    folder = needed_data_folder()
    torch.set_num_threads(1 if args.processor_time else args.threads)
    found: dict[str, list[float]] = {}
    for name in args.data:
        case = load(folder / name, quick=args.quick)
        for count in args.slices:
            for seed in args.seeds:
                for row in compare(case, count, seed, args):
                    note(args, describe(case, count, seed, row))
                    key = f"{name}_{count}_slices"
                    key += "_forest" if row["method"] == "forest" else f"_at_{row['seconds']:g}_s"
                    found.setdefault(key, []).append(row["iou"])
    for key, values in found.items():
        spread = f"{min(values):.3f} to {max(values):.3f}, {len(values)} seed(s)"
        note(args, f"{key:40} median {statistics.median(values):.3f}  ({spread})")
    figures = {key: statistics.median(values) for key, values in found.items()}
    report("few_slices", figures, {key: goal for key, goal in GOALS.items() if key in figures})


def compare(case: Case, count: int, seed: int, args: Namespace) -> Iterator[dict]:
    labels = paint(case, count, seed)
    yield from learn(case, labels, count, seed, args)
    if not args.no_forest:
        yield forest(case, labels, count, seed)


if __name__ == "__main__":
    main()
