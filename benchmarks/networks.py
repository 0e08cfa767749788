"""Every network on a real volume: weights, memory, time of a step and of a tile, tiles and whole.

Memory is what one tile, or one step, takes at most, as the network foretells it and as Linux says
it was: run it with `MALLOC_MMAP_THRESHOLD_=65536`, so that what is freed is given back. Each
network learns a few steps from scribbles first, so that what is compared has learned something.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from dataclasses import replace
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from sys import stderr
from typing import TYPE_CHECKING

import numpy as np

import brushfire  # noqa: F401  before torch: sets what torch reads when it is loaded

import torch  # isort: skip

from brushfire.annotations import open_annotations
from brushfire.geometry import Box
from brushfire.learning import Learner, LearningSettings
from brushfire.networks import NetworkSettings, SegmentationModel
from brushfire.networks.architectures import ARCHITECTURES, ENCODERS, architecture_of
from brushfire.networks.backbones import make_backbone
from brushfire.networks.kernels import forget_buffer
from brushfire.prediction.tile import predict_box
from brushfire.scribbles import scribbles
from reporting import data_folder, note, parser, report
from tiled_equals_untiled import opened

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterator

    from brushfire.networks.backbones.protocol import Backbone

TILE = 256
SLICES = 15
WORTH_TELLING = 16 * 2**20  # less is lost among what the allocator keeps
GOALS = {"largest_difference": "< 1e-3", "farthest_estimate": "<= 0.25"}


def resident(key: str) -> int:
    """Return bytes of memory, as Linux says: "VmRSS" now, "VmHWM" at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])


def measured(run: Callable[[], object]) -> int:
    """Return the bytes that a run takes at most."""
    forget_buffer()  # which MS-D keeps from one tile to the next
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    run()
    return resident("VmHWM") - before


def memory(layers: Backbone, side: int) -> list[int]:
    """Return the bytes of one tile, foretold and measured, and those of a step."""
    head = torch.zeros(2, layers.maps), torch.zeros(2)
    x = torch.randn(1, layers.channels, side, side)

    def tile() -> None:
        with torch.no_grad():
            layers.weighed(x, *head)

    def step() -> None:
        torch.autograd.backward(layers.features_of(x).square().mean())

    layers.train()
    step()  # the first loads what the others use
    for one in layers.parameters():
        one.grad = None
    learned = [layers.step_bytes(1, side), measured(step)]
    layers.eval()
    tile()
    return [layers.bytes_of(side, side), measured(tile), *learned]


def footprints(args: Namespace) -> float:
    """Write a table of memory in two and three dimensions, and return how far it was missed."""
    farthest = 0.0
    note(args, "| network | axes | side | tile, MiB | measured | step, MiB | measured |")
    note(args, "|---|---|---|---|---|---|---|")
    for (_, title, usual), axes, side in product(networks(args.only), (2, 3), args.sides):
        if axes not in architecture_of(usual.architecture).axes:
            continue
        settings = replace(usual, axes=axes, slices=SLICES if axes == 3 else 1, window=side)
        found = memory(make_backbone(settings, settings.slices, 2), side)
        off = max(abs(found[0] / found[1] - 1), abs(found[2] / found[3] - 1))
        if found[1] >= WORTH_TELLING:
            farthest = max(farthest, off)
        values = " | ".join(f"{value / 2**20:.0f}" for value in found)
        note(args, f"| {title} | {axes} | {side} | {values} |")
    return farthest


def networks(only: list[str] | None) -> Iterator[tuple[str, str, NetworkSettings]]:
    """Yield name, title and settings of each network that can be had here."""
    for name, kind in ARCHITECTURES.items():
        if only and name not in only:
            continue
        if any(find_spec(package) is None for package in kind.packages):
            print(f"{kind.title} is left out: {', '.join(kind.packages)} are needed.", file=stderr)
            continue
        usual = NetworkSettings(
            kind.depth.usual, kind.width.usual, features=False, architecture=name
        )
        if usual.encoder is None:
            yield name, kind.title, usual
            continue
        for encoder in ENCODERS.values():
            arguments = json.dumps({"encoder": encoder.name})
            yield encoder.name, encoder.title, replace(usual, arguments=arguments)


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--steps", type=int, default=60)
    options.add_argument("--only", nargs="*", choices=list(ARCHITECTURES))
    options.add_argument("--memory-alone", action="store_true", help="no volume, no learning")
    options.add_argument("--sides", type=int, nargs="*", default=[64, 128], help="of memory's maps")
    args = options.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, float] = {"farthest_estimate": footprints(args)}
    if not args.memory_alone:
        at_work(args, figures)
    report("networks", figures, {key: goal for key, goal in GOALS.items() if key in figures})


def at_work(args: Namespace, figures: dict[str, float]) -> None:
    """Write a table of the networks on a real volume."""
    steps = 5 if args.quick else args.steps
    volume, truth = opened(data_folder())
    labels = open_annotations(None, volume.shape)
    rng = np.random.default_rng(0)
    for z in range(0, min(6, volume.shape[0]), 2):
        labels[z : z + 1] = scribbles(truth[z], 0.02, rng)[None]
    figures["largest_difference"] = 0
    note(args, "| network | weights | step, s | tile, s | halo | MiB | measured | apart |")
    note(args, "|---|---|---|---|---|---|---|---|")
    for name, title, network in networks(args.only):
        # Random weights: what others know changes no time and no byte, and may be out of reach.
        learner = Learner(volume, network, LearningSettings(pretrained=False), device="cpu")
        learner.set_annotations(labels.snapshot())
        learner.fit()
        took = [learner.step().seconds for _ in range(steps)]
        snapshot = learner.propose().snapshot
        assert snapshot is not None
        model = SegmentationModel.from_snapshot(snapshot)
        plane = volume.shape[1:]
        whole = predict_box(model, volume, Box((1, 0, 0), (2, *plane)), budget_bytes=2**32)
        core = Box((1, 101, 77), (2, 101 + TILE, 77 + TILE))
        started = time.perf_counter()
        tile = predict_box(model, volume, core, budget_bytes=2**32)
        seconds = time.perf_counter() - started
        apart = float(np.abs(tile - whole[(slice(None), slice(0, 1), *core.slices[1:])]).max())
        window = model.layers.window
        foretold, found, *_ = memory(model.layers, window or TILE + 2 * model.halo)
        weights = sum(value.numel() for value in model.layers.parameters())
        figures["largest_difference"] = max(figures["largest_difference"], apart)
        off = abs(foretold / found - 1)
        figures["farthest_estimate"] = max(figures["farthest_estimate"], off)
        step = statistics.median(took)
        figures |= {f"{name}_step_s": step, f"{name}_tile_s": seconds}
        where = f"windows of {window}" if window else str(model.halo)
        note(
            args,
            f"| {title} | {weights:,} | {step:.2f} | {seconds:.2f} | {where}"
            f" | {foretold / 2**20:.0f} | {found / 2**20:.0f} | {apart:.1e} |",
        )


if __name__ == "__main__":
    os.environ.setdefault("BRUSHFIRE_KERNEL", "compiled")
    main()
