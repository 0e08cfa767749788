"""What does a second stage with natural class frequencies give? Dice, and how sure it is of what.

A network learns the dense labels of some subjects with all classes made equally important. Beside
it as it is: its last layer fitted anew with the true frequencies, its biases shifted to the true
frequencies and to those that it estimates itself, and a network that learned with the true
frequencies from the start. Other subjects score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import brushfire  # noqa: F401  before torch: sets what torch reads when it is loaded

import torch  # isort: skip

from brushfire.annotations import open_annotations
from brushfire.learning.dual_stage import calibrated, proportions_of, second_stage
from brushfire.learning.probe import find_sites
from brushfire.learning.regions import StrokeRegions
from brushfire.learning.sampler import SlabCache
from brushfire.networks import NetworkSettings
from densely import classes_in, dice_of, learn_densely, likelihoods, load_dense
from reporting import needed_data_folder, note, parser, report

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

    from brushfire.learning.probe import Site
    from brushfire.networks import SegmentationModel
    from densely import Dense

NETWORKS = {
    "msd": NetworkSettings(depth=24, features=False),
    "unet": NetworkSettings(architecture="basic_unet", depth=5, width=16, features=False),
}
STEPS = {"msd": 600, "unet": 300}
FEWEST = 1e-12  # of a probability, so that its logarithm is a number


def dense_sites(dense: Dense) -> list[Site]:
    """Return where the taught slices are labelled: everywhere."""
    store = open_annotations(None, dense.volume.shape)
    for z in dense.taught:
        store[z : z + 1] = dense.truth[z : z + 1]
    regions = StrokeRegions(0.0)
    regions.update(store.snapshot())
    rng = np.random.default_rng(0)
    points = regions.points(held=False)
    return find_sites(points, dense.volume.shape, budget=dense.truth.size, rng=rng)


def stages(
    name: str, dense: Dense, seed: int, sites: list[Site], args: Namespace
) -> Iterator[tuple[str, SegmentationModel]]:
    """Yield what came of each way to learn, with its name."""
    network, steps = NETWORKS[name], 30 if args.quick else STEPS[name]

    def learned(power: float) -> SegmentationModel:
        return learn_densely(dense, network, seed, steps=steps, power=power, dice=0)

    whole = tuple(range(len(dense.truth)))
    taught = dict(zip(dense.classes, dense.shares(dense.taught).tolist(), strict=True))
    known = dict(zip(dense.classes, dense.shares(whole).tolist(), strict=True))
    first = learned(1.0)
    yield "first stage", first
    cache = SlabCache(dense.volume, 0, 64 * 2**20)
    yield "second stage", second_stage(first, cache, sites, taught)
    yield "true shift", calibrated(first, known)
    slabs = [dense.slab(z) for z in whole[:: max(1, len(whole) // 60)]]
    yield "estimated shift", calibrated(first, proportions_of(first, slabs))
    yield "natural only", learned(0.0)


def measured(model: SegmentationModel, dense: Dense) -> dict[str, float]:
    """Return Dice over the rarer classes, and how well probabilities are calibrated."""
    likely = likelihoods(model, dense)
    truth = dense.truth[list(dense.scored)]
    shares = dense.shares(dense.scored).numpy()
    dice = dice_of(classes_in(likely, dense), dense)
    rare = [one for one, share in zip(dice, shares, strict=True) if share < shares.max()]
    index = np.searchsorted(dense.classes, truth)
    of_truth = np.take_along_axis(likely, index[:, None], 1)
    return {
        "dice": float(np.mean(rare)),
        "proportion_error": float(np.abs(likely.mean((0, 2, 3)) - shares).sum() / 2),
        "log_loss": float(-np.log(of_truth.clip(min=FEWEST)).mean()),
    }


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--volumes", nargs="+", default=["msd_hippocampus", "brain_slab_jlf"])
    options.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    options.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    args = options.parse_args()
    if args.quick:
        args.volumes, args.networks, args.seeds = ["msd_hippocampus"], ["msd"], [0]
    data = needed_data_folder()
    torch.set_num_threads(1)
    found: dict[str, list[float]] = {}
    for volume in args.volumes:
        dense = load_dense(data, volume)
        sites = dense_sites(dense)
        for network in args.networks:
            for seed in args.seeds:
                for stage, model in stages(network, dense, seed, sites, args):
                    row = measured(model, dense)
                    told = "  ".join(f"{key} {value:.4f}" for key, value in row.items())
                    note(args, f"{volume:16} {network:5} seed {seed} {stage:16} {told}")
                    for key, value in row.items():
                        name = f"{volume}_{network}_{stage.replace(' ', '_')}_{key}"
                        found.setdefault(name, []).append(value)
    report("dual_stage", {name: float(np.mean(values)) for name, values in found.items()}, {})


if __name__ == "__main__":
    main()
