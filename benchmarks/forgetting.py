"""What a model forgets of one subject while it learns another, with and without replay: mean Dice.

A user paints subject A: strokes on three slices. A network learns
them. A project of subject B is started from it, with its labels, and taught by a few strokes on one
slice. The averaged weights, as they are shown, are asked for all other slices of both.
"""

from __future__ import annotations

import copy
import statistics
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

import brushfire  # noqa: F401  before torch: sets what torch reads when it is loaded

import torch  # isort: skip

from arena import User, load_case, scores
from brushfire.annotations import open_annotations
from brushfire.learning import Learner, LearningSettings
from brushfire.learning.rehearsal import collect_examples
from brushfire.learning.replay import collect_patches, divided
from brushfire.networks import NetworkSettings, SegmentationModel
from reporting import needed_data_folder, note, parser, report

if TYPE_CHECKING:
    from argparse import Namespace

    from arena import Case
    from brushfire.annotations import AnnotationSnapshot
    from brushfire.learning.examples import Examples
    from brushfire.learning.patches import Patches
    from brushfire.networks import ModelSnapshot

NETWORKS = {
    "unet": NetworkSettings(5, 8, features=False, architecture="basic_unet"),
    "msd": NetworkSettings(24, 1, features=False),
    "features": NetworkSettings(24, 1),
}
VOLUMES = ("brain_slab_jlf", "msd_hippocampus")
PATCH = 64
WAYS = {"without": 0.0, "1 in 4": 0.25, "1 in 2": 0.5}


def painted(case: Case, seed: int, strokes: int) -> AnnotationSnapshot:
    """Return a few strokes of each class on each slice that is painted.

    Parameters
    ----------
    case : Case
        What is painted.
    seed : int
        Of the strokes.
    strokes : int
        Of each class, in each slice.
    """
    store = open_annotations(None, case.volume.shape)
    for number, z in enumerate(case.painted):
        one = replace(case, painted=(z,))
        store[z : z + 1] = User(one, 100 * seed + number, first=strokes).labels[z : z + 1]
    return store.snapshot()


def dice(case: Case, model: SegmentationModel) -> float:
    """Return mean Dice on the slices of a subject that nobody paints."""
    asked = copy.deepcopy(model)
    seen = case.volume.statistics()
    asked.normalise_by(seen.mean, seen.std)
    known = np.asarray(asked.classes)

    def predict(z: int) -> np.ndarray:
        return known[asked.probabilities(case.slab(z, asked.context))[:, 0].argmax(0)]

    return scores(case, predict)["dice"]


def current(learner: Learner) -> SegmentationModel:
    """Return the model that the newest weights make, whether or not it would be shown."""
    trainer = learner._ready_trainer()
    return trainer.for_show(trainer.candidates()[-1][1])


def learn_first(
    case: Case, network: NetworkSettings, seed: int, steps: int
) -> tuple[ModelSnapshot, Examples | None, Patches]:
    """Return what was learned of a subject, and the labels that come along."""
    labels = painted(case, seed, 3)
    learner = Learner(case.volume, network, LearningSettings(patch=PATCH), device="cpu", seed=seed)
    learner.set_annotations(labels)
    learner.fit()
    for _ in range(steps):
        learner.step()
    held = {"held_out_regions": [list(one) for one in learner._regions.seeds]}
    snapshot = current(learner).snapshot(1, held)
    model = SegmentationModel.from_snapshot(snapshot)
    regions = divided(held, labels)
    patches = collect_patches(model, case.volume, labels, regions, side=PATCH)
    assert patches is not None
    examples = None
    if network.features:
        examples = collect_examples(model, case.volume, labels, regions)
    return snapshot, examples, patches


def learn_second(
    old: Case, new: Case, learned: tuple[ModelSnapshot, Examples | None, Patches], seed: int,
    steps: int, share: float,
) -> dict[str, float]:  # fmt: skip
    """Return Dice on both subjects after learning the second for so many steps, and seconds."""
    snapshot, examples, patches = learned
    model = SegmentationModel.from_snapshot(snapshot)
    seen = new.volume.statistics()
    model.normalise_by(seen.mean, seen.std)
    start = model.snapshot(1, {"started_from": old.name})
    learning = LearningSettings(patch=PATCH, replay=share)
    learner = Learner(
        new.volume, start.settings, learning, device="cpu", seed=seed, examples=examples,
        patches=patches, weights=start,
    )  # fmt: skip
    learner.restore([start])
    middle = new.painted[len(new.painted) // 2]
    learner.set_annotations(painted(replace(new, painted=(middle,)), seed + 50, 3))
    learner.fit()
    began = time.process_time()
    for _ in range(steps):
        learner.step()
    seconds = time.process_time() - began
    after = current(learner)
    asked = learner._memory.ask(after) if learner._memory is not None else None
    return {
        "old": dice(old, after), "new": dice(new, after), "seconds": seconds,
        "strokes": float("nan") if asked is None else asked.dice,
        "strokes_before": float("nan") if asked is None else asked.at_start or float("nan"),
    }  # fmt: skip


def play(name: str, volume: str, seed: int, args: Namespace) -> dict[str, dict[str, float]]:
    """Return what each way reaches for one network, pair of subjects and seed."""
    data = needed_data_folder()
    old = load_case(data, volume, seed, tuning=True)
    new = load_case(data, volume, seed)
    learned = learn_first(old, NETWORKS[name], seed, args.first)
    model = SegmentationModel.from_snapshot(learned[0])
    found = {"before": {"old": dice(old, model), "new": dice(new, model)}}
    for way in args.ways:
        found[way] = learn_second(old, new, learned, seed, args.steps, WAYS[way])
    return found


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    options.add_argument("--volumes", nargs="+", default=list(VOLUMES), choices=VOLUMES)
    options.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    options.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options.add_argument("--first", type=int, default=300, help="steps on the first subject")
    options.add_argument("--steps", type=int, default=200, help="steps on the second")
    args = options.parse_args()
    torch.set_num_threads(1)
    if args.quick:
        args.networks, args.volumes, args.seeds = ["msd"], ["msd_hippocampus"], [0]
        args.first, args.steps = 60, 60
    figures: dict[str, float] = {}
    for volume in args.volumes:
        for name in args.networks:
            runs = [play(name, volume, seed, args) for seed in args.seeds]
            for way in runs[0]:
                each = {key: [run[way][key] for run in runs] for key in runs[0][way]}
                texts = [f"{key} {' '.join(f'{v:.3f}' for v in vs)}" for key, vs in each.items()]
                note(args, f"{volume:15} {name:9} {way:8} {' | '.join(texts)}")
                for key in ("old", "new"):
                    stem = f"{volume}_{name}_{way.replace(' ', '_')}"
                    figures[f"{stem}_{key}"] = statistics.mean(each[key])
    report("forgetting", figures, {})


if __name__ == "__main__":
    main()
