"""How good and how fast are small networks that learn from a large one? Dice, and times as fast.

A U-Net learns the dense labels of some slices; MS-D students of several depths learn from it on the
whole volume, without a label. Beside them an MS-D that learned the same labels itself. Slices that
taught nobody's labels score. Then a project's own model, fitted on scribbles, is the teacher.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import brushfire  # noqa: F401  before torch: sets what torch reads when it is loaded

import torch  # isort: skip

from brushfire.annotations import open_annotations
from brushfire.learning import Learner, LearningSettings
from brushfire.learning.distillation import DistillationSettings, distil
from brushfire.networks import ModelSnapshot, NetworkSettings, SegmentationModel, measure_halo
from brushfire.scribbles import scribbles
from densely import classes_in, dice_of, learn_densely, likelihoods, load_dense
from reporting import needed_data_folder, note, parser, report

if TYPE_CHECKING:
    from argparse import Namespace

    from densely import Dense

TEACHER_STEPS = {"isbi2012": 700, "brain_slab_jlf": 600, "msd_hippocampus": 400}
RATE = 1e-2  # of the MS-D that learns labels: as a student's
RUNS = 3  # of both networks in turn
SCRIBBLED = 3  # slices
SHARE = 0.013  # of their pixels
GOALS = {"isbi2012_depth_24": 0.02, "brain_slab_jlf_depth_24": 0.02}
"""How far Dice may be below the teacher's, at five times its speed."""


def teacher_of(dense: Dense, seed: int, args: Namespace) -> SegmentationModel:
    """Return a U-Net that learned the taught slices, now or in an earlier run."""
    place = Path(args.keep) / f"{dense.name}_{seed}_{args.width}.safetensors" if args.keep else None
    if place is not None and place.exists():
        model = SegmentationModel.from_snapshot(ModelSnapshot.from_bytes(place.read_bytes()))
    else:
        network = NetworkSettings(
            architecture="basic_unet", depth=5, width=args.width, features=False
        )
        steps = 20 if args.quick else TEACHER_STEPS[dense.name]
        model = learn_densely(dense, network, seed, steps=steps, say=lambda text: note(args, text))
        if place is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(model.snapshot(1, {}).weights)
    model.halo = measure_halo(model, [dense.slab(dense.taught[0])])
    return model


def scribbled(dense: Dense, seed: int) -> tuple[SegmentationModel, np.ndarray]:
    """Return what a project shows soon after some scribbles, and these."""
    rng = np.random.default_rng(seed)
    labels = np.zeros_like(dense.truth)
    for place in range(SCRIBBLED):
        z = dense.taught[(2 * place + 1) * len(dense.taught) // (2 * SCRIBBLED)]
        labels[z] = scribbles(dense.truth[z], SHARE, rng)
    store = open_annotations(None, dense.volume.shape)
    store[...] = labels
    learner = Learner(dense.volume, NetworkSettings(), LearningSettings(), device="cpu", seed=seed)
    learner.set_annotations(store.snapshot())
    learner.fit()
    learner.propose()
    assert learner.shown is not None
    return SegmentationModel.from_snapshot(learner.shown), labels


def speeds(models: list[SegmentationModel], dense: Dense) -> list[float]:
    """Return seconds of one thread's processor time a megapixel: runs in turn, the median."""
    slab = dense.slab(dense.scored[0])
    took: list[list[float]] = [[] for _ in models]
    for _ in range(RUNS + 1):
        for model, times in zip(models, took, strict=True):
            began = time.process_time()
            model.probabilities(slab)
            times.append((time.process_time() - began) / slab[0, 0].size * 1e6)
    return [statistics.median(times[1:]) for times in took]  # the first run sets things up


def mean_dice(model: SegmentationModel, dense: Dense) -> float:
    return float(np.mean(dice_of(classes_in(likelihoods(model, dense), dense), dense)))


class Table:
    """Figures by name, each the mean of all seeds, told as they come."""

    def __init__(self, args: Namespace) -> None:
        self._args = args
        self._found: dict[str, list[float]] = {}

    def add(self, name: str, seed: int, **figures: float) -> None:
        told = "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
        note(self._args, f"{name:36} seed {seed}  {told}")
        for key, value in figures.items():
            self._found.setdefault(f"{name}_{key}", []).append(value)

    @property
    def means(self) -> dict[str, float]:
        return {name: float(np.mean(values)) for name, values in self._found.items()}


def compare(
    table: Table,
    name: str,
    dense: Dense,
    teacher: SegmentationModel,
    students: dict[str, SegmentationModel],
    seed: int,
    **about: dict[str, float],
) -> None:
    """Add what was measured of a teacher and its students."""
    theirs = mean_dice(teacher, dense)
    slow, *fast = speeds([teacher, *students.values()], dense)
    weights = sum(parameter.numel() for parameter in teacher.parameters())
    table.add(f"{name}_teacher", seed, dice=theirs, speed=slow, weights=weights)
    for (key, model), speed in zip(students.items(), fast, strict=True):
        dice = mean_dice(model, dense)
        table.add(
            f"{name}_{key}",
            seed,
            dice=dice,
            gap=theirs - dice,
            speed=speed,
            faster=slow / speed,
            weights=sum(parameter.numel() for parameter in model.parameters()),
            **about.get(key, {}),
        )


def from_labels(table: Table, dense: Dense, seed: int, args: Namespace) -> None:
    """A U-Net as the teacher."""
    teacher = teacher_of(dense, seed, args)
    students, about = {}, {}
    for depth in args.depths:
        network = NetworkSettings(depth=depth, features=False)
        settings = DistillationSettings(steps=args.steps, seed=seed)
        key = f"depth_{depth}"
        students[key], found = distil(teacher, dense.volume, network, None, settings)
        about[key] = {"agreement": found.agreement or 0.0, "seconds": found.seconds}
    depth = args.depths[-1]
    network = NetworkSettings(depth=depth, features=False)
    students[f"alone_{depth}"] = learn_densely(dense, network, seed, steps=args.steps, rate=RATE)
    compare(table, dense.name, dense, teacher, students, seed, **about)


def from_scribbles(table: Table, dense: Dense, seed: int, args: Namespace) -> None:
    """The model of a project as the teacher: with the strokes' say, and without."""
    teacher, labels = scribbled(dense, seed)
    store = open_annotations(None, dense.volume.shape)
    store[...] = labels
    network = NetworkSettings(depth=args.depths[-1], features=False)
    students, about = {}, {}
    for mix in (0.0, 0.3):
        settings = DistillationSettings(steps=args.steps, seed=seed, mix=mix)
        key = f"mix_{mix:g}"
        students[key], found = distil(teacher, dense.volume, network, store.snapshot(), settings)
        about[key] = {"agreement": found.agreement or 0.0, "seconds": found.seconds}
    compare(table, f"{dense.name}_scribbles", dense, teacher, students, seed, **about)


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--volumes", nargs="*", default=["isbi2012", "brain_slab_jlf"])
    options.add_argument("--scribbled", nargs="*", default=["isbi2012", "brain_slab_jlf"])
    options.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    options.add_argument("--depths", nargs="+", type=int, default=[6, 12, 24])
    options.add_argument("--steps", type=int, default=DistillationSettings().steps)
    options.add_argument("--width", type=int, default=32, help="of the teacher")
    options.add_argument("--keep", help="folder where teachers are kept for the next run")
    args = options.parse_args()
    if args.quick:
        args.volumes, args.scribbled, args.seeds = ["brain_slab_jlf"], [], [0]
        args.depths, args.steps, args.width = [6], 60, 8
    data = needed_data_folder()
    torch.set_num_threads(1)
    table = Table(args)
    for name in dict.fromkeys([*args.volumes, *args.scribbled]):
        dense = load_dense(data, name)
        for seed in args.seeds:
            if name in args.volumes:
                from_labels(table, dense, seed, args)
            if name in args.scribbled:
                from_scribbles(table, dense, seed, args)
    goals = {f"{name}_gap": f"<= {most}" for name, most in GOALS.items()}
    goals |= {f"{name}_faster": ">= 5" for name in GOALS}
    figures = table.means
    report("distillation", figures, {key: goal for key, goal in goals.items() if key in figures})


if __name__ == "__main__":
    main()
