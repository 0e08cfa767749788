"""Is it worth starting from what was learned on other subjects? Mean IoU against strokes.

A user paints some subjects, correcting errors. Another subject is then started from them: from
their labelled voxels and, before any stroke, by the model of the last. Beside it the same user
starts from scratch. The model is the quick fit; slices that nobody paints score.

`--what networks` measures networks that start from learned ones instead: Dice against gradient
steps, see `transfer_networks.py`.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import brushfire  # noqa: F401  before torch: sets what torch reads when it is loaded

import torch  # isort: skip

from arena import classes_of, load_case, scores
from brushfire.learning.rehearsal import collect_examples
from quick_player import QuickPlayer
from reporting import needed_data_folder, note, parser, report
from transfer_networks import NETWORKS, WAYS, networks
from transfer_networks import SOURCES as NETWORK_SOURCES

if TYPE_CHECKING:
    from argparse import Namespace

    from arena import Case
    from brushfire.learning.examples import Examples
    from brushfire.networks import SegmentationModel

SOURCES = {"msd_hippocampus": 3, "brain_slab_jlf": 3, "brats2013_deepmedic": 2}
"""Volumes with several subjects, and how many of those for tuning are painted at most."""

CORRECTIONS = 12


def taught(cases: list[Case]) -> tuple[SegmentationModel, Examples]:
    """Return what is known after some subjects were painted one after the other."""
    known: Examples | None = None
    model: SegmentationModel | None = None
    for seed, case in enumerate(cases):
        player = QuickPlayer(case, seed + 100, known)
        player.learn()
        for _ in range(CORRECTIONS):
            player.user.correct(player.predict)
            player.learn()
        model = player.models[0]
        found = collect_examples(model, case.volume, player.store.snapshot())
        known = found if known is None else found.joined(known).thinned()
    assert model is not None
    assert known is not None
    return model, known


def untouched(model: SegmentationModel, case: Case) -> float:
    """Return mean IoU of another subject's model, without a stroke."""
    model = copy.deepcopy(model)
    statistics = case.volume.statistics()
    model.normalise_by(statistics.mean, statistics.std)
    return scores(case, lambda z: classes_of(model, case, z))["iou"]


def play(case: Case, seed: int, examples: Examples | None) -> list[float]:
    """Return mean IoU after the first strokes and after each correction."""
    player = QuickPlayer(case, seed, examples)
    player.learn()
    curve = [scores(case, player.predict)["iou"]]
    for _ in range(CORRECTIONS):
        player.user.correct(player.predict)
        player.learn()
        curve.append(scores(case, player.predict)["iou"])
    return curve


def projects(args: Namespace) -> None:
    """Measure projects that are started from painted subjects."""
    if args.quick:
        args.volumes, args.seeds = ["msd_hippocampus"], [0]
    data = needed_data_folder()
    torch.set_num_threads(1)
    result: dict[str, float] = {}
    for volume in args.volumes:
        counts = sorted({1, SOURCES[volume]})
        cases = [load_case(data, volume, part, tuning=True) for part in range(counts[-1])]
        known = {count: taught(cases[:count]) for count in counts}
        targets = [load_case(data, volume, seed) for seed in args.seeds]
        curves = {"scratch": [play(c, s, None) for c, s in zip(targets, args.seeds, strict=True)]}
        for count, (model, examples) in known.items():
            before = np.mean([untouched(model, case) for case in targets])
            note(args, f"{volume:20} {count} subject(s), before any stroke: {before:.3f}")
            result[f"{volume}_{count}_before"] = float(before)
            curves[f"{count} subject(s)"] = [
                play(case, seed, examples) for case, seed in zip(targets, args.seeds, strict=True)
            ]
        enough = float(np.mean(curves["scratch"], 0)[-1])
        for name, runs in curves.items():
            mean = np.mean(runs, 0)
            reached = int(np.argmax(mean >= enough)) if (mean >= enough).any() else None
            line = " ".join(f"{value:.3f}" for value in mean)
            note(args, f"{volume:20} {name:12} {line}  {enough:.3f} after {reached} corrections")
            result[f"{volume}_{name.split()[0]}_first"] = float(mean[0])
            result[f"{volume}_{name.split()[0]}_last"] = float(mean[-1])
    report("transfer", result, {})


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--what", default="projects", choices=["projects", "networks"])
    options.add_argument("--volumes", nargs="+", choices=SOURCES)
    options.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    options.add_argument("--ways", nargs="+", choices=WAYS, help="all by default; of networks")
    options.add_argument("--pretraining", type=int, default=1000, help="steps on other subjects")
    options.add_argument("--steps", type=int, default=320, help="steps on the labelled slice")
    options.add_argument("--results", type=Path, help="a file of lines to add to, of networks")
    options.add_argument("--sources", type=Path, help="a folder that keeps what networks learned")
    args = options.parse_args()
    if args.what == "networks":
        args.volumes = args.volumes or list(NETWORK_SOURCES)
        networks(args)
    else:
        args.volumes = args.volumes or list(SOURCES)
        projects(args)


if __name__ == "__main__":
    main()
