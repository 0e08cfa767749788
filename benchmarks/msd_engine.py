"""MS-D by matrix products against one convolution a layer: inference and a training step."""

from __future__ import annotations

import statistics
import time
from functools import partial
from typing import TYPE_CHECKING

import torch

from brushfire.networks import NetworkSettings, SegmentationModel
from brushfire.networks.msd import MixedScaleDense
from reporting import note, parser, report

if TYPE_CHECKING:
    from collections.abc import Callable

TILE, HALO = 256, 48
GOALS = {
    "tile_ms": "<= 200",
    "inference_depth_100_ratio": ">= 4",
    "training_depth_100_ratio": ">= 6",
}


def interleaved(repeats: int, *acts: Callable[[], object]) -> list[float]:
    """Return the median milliseconds of each, measured in turn so that disturbances are shared."""
    times: list[list[float]] = [[] for _ in acts]
    for act in acts:
        act()
    for _ in range(repeats):
        for act, mine in zip(acts, times, strict=True):
            began = time.perf_counter()
            act()
            mine.append(1000 * (time.perf_counter() - began))
    return [statistics.median(mine) for mine in times]


def infer(layers: MixedScaleDense, x: torch.Tensor, *, plain: bool) -> None:
    with torch.no_grad():
        layers.plain(x) if plain else layers.flat_maps(x)


def learn(layers: MixedScaleDense, x: torch.Tensor, *, plain: bool) -> None:
    layers.zero_grad()
    maps = layers.plain(x) if plain else layers.flat_maps(x)[0]
    torch.autograd.backward(maps.square().mean())


def main() -> None:
    args = parser(__doc__ or "").parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    repeats = 3 if args.quick else 7
    cases = [("depth_30", 30, 1, 256, 128), ("depth_30_features", 30, 21, 256, 192)]
    cases.append(("depth_100", 100, 1, 128 if args.quick else 256, 64 if args.quick else 128))
    figures: dict[str, float] = {}
    for name, depth, channels, wide, narrow in cases:
        layers = MixedScaleDense(channels, depth, 1, range(1, 11), outputs=2)
        for what, act, side in (("inference", infer, wide), ("training", learn, narrow)):
            x = torch.randn(1, channels, side, side)
            fast, plain = interleaved(
                repeats, partial(act, layers, x, plain=False), partial(act, layers, x, plain=True)
            )
            figures[f"{what}_{name}_ms"] = fast
            figures[f"{what}_{name}_ratio"] = plain / fast
            note(args, f"{what:9} {name:18} {side:4} px  {fast:7.1f} ms, plain {plain:8.1f} ms")
    model = SegmentationModel(NetworkSettings(), 1, (1, 2))
    block = torch.randn(1, 1, TILE + 2 * HALO, TILE + 2 * HALO).numpy()
    (figures["tile_ms"],) = interleaved(repeats, lambda: model.probabilities(block))
    note(args, f"a tile of {TILE} with a halo of {HALO}: {figures['tile_ms']:.1f} ms")
    report("msd_engine", figures, GOALS)


if __name__ == "__main__":
    main()
