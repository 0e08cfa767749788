"""MS-D's kernels beside the plain form and U-Nets: speed, memory, and what it costs by size.

Correctness first: each kernel's maps and gradients against the plain form in float64. Then medians
of interleaved runs on one thread, as ratios to one convolution a layer (what peers do) and as a
share of the rate of this machine's matrix products. Peers are measured where they are installed.
"""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from layers import outcome, relative_errors
from reporting import note, parser, peak_rss_mb, report, rss_mb

import torch  # isort: skip  # after brushfire, which sets what torch reads when it is loaded
from torch import nn
from torch.nn import functional

from brushfire.networks import NetworkSettings, SegmentationModel
from brushfire.networks.kernels import GroupedKernel, PlainKernel
from brushfire.networks.msd import MixedScaleDense

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from brushfire.networks.kernels import Kernel

TILE, HALO = 256, 48
GOALS = {
    "tile_ms": "<= 200",
    "error_float64": "< 1e-12",
    "error_float32": "< 3e-6",
    "inference_d100_512_grouped": ">= 22",
    "inference_d100_512_compiled": ">= 30",
    "inference_d30_512_grouped": ">= 5",
    "inference_d30_512_compiled": ">= 10",
    "inference_d20w4_256_best": ">= 4",
    "training_d100_256_best": ">= 30",
    "training_d30_128_best": ">= 5",
    "training_d30_256_best": ">= 12",
    "training_d20w4_256_best": ">= 4",
    "memory_training_d100_grouped": "<= 420",
    "memory_training_d100_compiled": "<= 420",
    "budget_512_mb_took": "<= 512",
    "budget_512_mb_difference": "< 1e-3",
    "time_of_twice_the_area_most": "<= 2.3",
    "time_of_twice_the_area_least": ">= 1.7",
    "unet_over_ours_d100_512": ">= 1",
}
INFERENCE = [(30, 1, 256), (30, 1, 512), (100, 1, 256), (100, 1, 512), (20, 4, 256)]
TRAINING = [(30, 1, 128), (30, 1, 256), (100, 1, 128), (100, 1, 256), (20, 4, 256)]
LARGE = [(30, 1), (100, 1), (200, 1), (30, 4)]
SIDES = [256, 512, 1024, 2560]
BUDGET = 512 * 2**20


class UNet(nn.Module):
    """The usual 2D U-Net: four levels, two 3x3 convolutions each, 1.9 million weights."""

    def __init__(self, outputs: int = 2, first: int = 32) -> None:
        super().__init__()
        widths = [first * 2**level for level in range(4)]
        self.down = nn.ModuleList(
            self._twice(a, b) for a, b in zip([1, *widths], widths, strict=False)
        )
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2) for a, b in pairs)
        self.merge = nn.ModuleList(self._twice(2 * b, b) for _, b in pairs)
        self.head = nn.Conv2d(first, outputs, 1)

    @staticmethod
    def _twice(a: int, b: int) -> nn.Sequential:
        first, second = nn.Conv2d(a, b, 3, padding=1), nn.Conv2d(b, b, 3, padding=1)
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for level, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if level else x)
            kept.append(x)
        for up, merge, skip in zip(self.up, self.merge, kept[-2::-1], strict=True):
            x = merge(torch.cat((up(x), skip), 1))
        return self.head(x)


def peers() -> dict[str, Callable[[], nn.Module]]:
    """Return how to make each network that is at hand, our U-Net first."""
    found: dict[str, Callable[[], nn.Module]] = {"unet": UNet}
    with suppress(ImportError):
        basic = import_module("monai.networks.nets").BasicUNet
        found["monai"] = lambda: basic(spatial_dims=2, in_channels=1, out_channels=2)
    with suppress(ImportError):
        layers = import_module("dlsia.core.networks.msdnet").MixedScaleDenseNetwork
        shape = {"num_layers": 30, "max_dilation": 10}
        found["dlsia depth 30"] = lambda: layers(1, 2, activation=nn.ReLU(), **shape)
    return found


def kernels() -> list[Kernel]:
    """Return the fast kernels that are at hand, the fastest last."""
    found: list[Kernel] = [GroupedKernel()]
    with suppress(ImportError):
        found.append(import_module("brushfire.networks.kernels.compiled").CompiledKernel())
    return found


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


def run(layers: MixedScaleDense, kernel: Kernel | None, x: torch.Tensor, *, learn: bool) -> None:
    """Compute all maps, by a kernel or by the plain form; with a 1x1 layer, all gradients too."""
    layers.kernel = kernel
    if not learn:
        if kernel:
            with layers.lent_maps(x):
                return
        with torch.no_grad():
            layers.plain(x)
        return
    layers.zero_grad()
    head = torch.full((2, layers.maps), 1e-3)
    if kernel:
        outputs = torch.mm(head, layers.flat_maps(x)[0])
    else:
        outputs = functional.conv2d(layers.plain(x), head[:, :, None, None])
    torch.autograd.backward(outputs.square().mean())


def run_network(network: nn.Module, x: torch.Tensor, *, learn: bool) -> None:
    if learn:
        network.zero_grad()
        torch.autograd.backward(network(x).square().mean())
    else:
        with torch.no_grad():
            network(x)


def network_of(depth: int, width: int) -> MixedScaleDense:
    torch.manual_seed(0)
    return MixedScaleDense(1, depth, width, range(1, 11), outputs=2)


def operations(depth: int, width: int, side: int, *, learn: bool) -> float:
    """Return the floating-point operations of all convolutions."""
    pairs = sum((1 + layer * width) * width for layer in range(depth))
    return pairs * 18 * side**2 * (3 if learn else 1)


def worst_error(dtype: torch.dtype) -> float:
    """Return the largest relative error of maps and gradients, of all kernels."""
    worst = 0.0
    for depth, width, side in ((30, 1, 96), (100, 1, 64), (12, 4, 70)):
        exact, layers = network_of(depth, width).double(), network_of(depth, width).to(dtype)
        x = torch.randn(1, 1, side, side, dtype=torch.float64)
        expected = outcome(exact, PlainKernel(), x)
        for kernel in kernels():
            worst = max(worst, *relative_errors(outcome(layers, kernel, x.to(dtype)), expected))
    return worst


def matrix_rate() -> float:
    """Return the gigaflops of this machine's matrix products on one thread."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    return 2 * 1024**3 / interleaved(7, partial(torch.mm, a, b))[0] / 1e6


def compare(args: Namespace, figures: dict[str, float], rate: float, *, learn: bool) -> None:
    """Time each case and note the ratios to the plain form."""
    what = "training" if learn else "inference"
    for depth, width, side in TRAINING if learn else INFERENCE:
        if args.quick and depth * side > 30 * 256:
            continue
        layers, x = network_of(depth, width), torch.randn(1, 1, side, side)
        acts = [partial(run, layers, kernel, x, learn=learn) for kernel in (*kernels(), None)]
        slow = depth * side >= 100 * 256
        *ours, plain = interleaved(3 if slow or args.quick else 7, *acts)
        case = f"{what}_d{depth}{f'w{width}' if width > 1 else ''}_{side}"
        speed = operations(depth, width, side, learn=learn) / min(ours) / 1e6
        told = []
        for kernel, taken in zip(kernels(), ours, strict=True):
            figures[f"{case}_{kernel.name}"] = plain / taken
            told.append(f"{kernel.name} {taken:.1f} ms ({plain / taken:.1f}x)")
        figures[f"{case}_best"] = plain / min(ours)
        figures[f"{case}_ms"] = min(ours)
        told.append(f"plain {plain:.0f} ms; {speed:.0f} GF/s, {speed / rate:.0%} of sgemm")
        note(args, f"{case:24} " + ", ".join(told))


def compare_peers(args: Namespace, figures: dict[str, float]) -> None:
    """Time the best kernel at depth 100 beside U-Nets."""
    best = kernels()[-1]
    for learn, side in ((False, 512), (True, 256)):
        layers, x = network_of(100, 1), torch.randn(1, 1, side, side)
        made = {name: make() for name, make in peers().items()}
        acts = [partial(run_network, network, x, learn=learn) for network in made.values()]
        ours, *theirs = interleaved(3, partial(run, layers, best, x, learn=learn), *acts)
        what = "training" if learn else "inference"
        told = [f"{name} {taken:.0f} ms" for name, taken in zip(made, theirs, strict=True)]
        note(args, f"{what} {side} px: MS-D depth 100 {ours:.0f} ms, " + ", ".join(told))
        figures[f"unet_over_ours_d100_{side}"] = theirs[0] / ours


def model_of(depth: int, width: int = 1) -> SegmentationModel:
    """Return a model without features and with weights that pass values on."""
    torch.manual_seed(0)
    settings = NetworkSettings(depth=depth, width=width, features=False)
    model = SegmentationModel(settings, 1, (1, 2))
    torch.nn.init.normal_(model.head_weight, std=0.1)
    model.layers.kernel = kernels()[-1]
    model.halo = 64  # with which random weights differ from the whole by 1e-5
    return model


def grow(args: Namespace, figures: dict[str, float]) -> None:
    """Predict larger and larger slices under one budget: the cost of a pixel stays the same."""
    sides = SIDES[:3] if args.quick else SIDES
    for depth, width in LARGE[:1] if args.quick else LARGE:
        model = model_of(depth, width)
        blocks = [torch.randn(1, 1, side, side).numpy() for side in sides]
        repeats = 1 if depth > 30 or width > 1 else 5
        # Each is timed in its second pass, which uses the memory of the first as usual.
        rounds = [
            [
                interleaved(1, partial(model.probabilities, b, budget_bytes=BUDGET))[0]
                for b in blocks
            ]
            for _ in range(repeats)
        ]
        taken = [statistics.median(times) for times in zip(*rounds, strict=True)]
        costs = [1e6 * ms / side**2 for side, ms in zip(sides, taken, strict=True)]
        if (depth, width) == (30, 1):
            figures["pixel_cost_spread"] = max(costs) / min(costs)
            twice = [
                (big / small) ** (1 / (2 * math.log2(b / a)))
                for small, big, a, b in zip(taken, taken[1:], sides, sides[1:], strict=False)
            ]
            figures["time_of_twice_the_area_most"] = max(twice)
            figures["time_of_twice_the_area_least"] = min(twice)
        told = []
        for side, ms, cost in zip(sides, taken, costs, strict=True):
            figures[f"prediction_d{depth}w{width}_{side}_ms"] = ms
            told.append(f"{side} px {ms:.0f} ms ({cost:.0f} ns a pixel)")
        note(args, f"prediction, depth {depth}, width {width}: " + ", ".join(told))


def bounded(args: Namespace, figures: dict[str, float]) -> None:
    """Predict a large slice under a small budget, in a process of its own."""
    side = 1024 if args.quick else 2560
    command = [sys.executable, __file__, "--budget", str(side)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    taken, difference = map(float, done.stdout.split())
    figures["budget_512_mb_took"], figures["budget_512_mb_difference"] = taken, difference
    told = f"{side} px at depth 100 under 512 MiB: {taken:.0f} MiB"
    note(args, f"{told}, at most {difference:.1e} from what it is without a limit")


def print_budget(side: int) -> None:
    """Print what a prediction under the budget takes in MiB, and how it differs from a whole."""
    model, block = model_of(100), torch.randn(1, 1, side, side).numpy()
    model.probabilities(block[:, :, :64, :64])
    before = peak_rss_mb()
    found = model.probabilities(block, budget_bytes=BUDGET)
    taken = (peak_rss_mb() - before) * 1e6 / 2**20 - found.nbytes / 2**20
    whole = model.probabilities(block, budget_bytes=2**40)
    print(taken, float(abs(found - whole).max()))


def limits(args: Namespace, figures: dict[str, float], rate: float) -> None:
    """Count operations and bytes: what no code on this processor can be faster than."""
    source = torch.zeros(2**26)
    target = torch.empty_like(source)
    (ms,) = interleaved(7, partial(target.copy_, source))
    band = figures["copy_gbs"] = 2 * source.nbytes / ms / 1e6
    note(args, f"copying: {band:.1f} GB/s")
    for what, learn, cases in (("inference", False, INFERENCE), ("training", True, TRAINING)):
        for depth, width, side in cases:
            maps = 1 + depth * width
            # At the least every map is written once and read once for each block after it, and
            # so are the gradients.
            blocks = -(-depth * width // 15)
            floats = maps * (1 + (blocks + 1) / 2) * (3 if learn else 1)
            by_bytes = 4 * floats * side**2 / band / 1e6
            by_operations = operations(depth, width, side, learn=learn) / rate / 1e6
            note(
                args,
                f"{what}, depth {depth}, width {width}, {side} px: at the least "
                f"{by_operations:.1f} ms for operations, {by_bytes:.1f} ms for bytes",
            )


def memory_of(name: str, depth: int, side: int, *, learn: bool) -> float:
    """Return the floats a pixel that one run of a kernel takes, in a process of its own."""
    mode = "learn" if learn else "infer"
    command = [sys.executable, __file__, "--memory", name, str(depth), str(side), mode]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def print_memory(name: str, depth: int, side: int, mode: str) -> None:
    """Run a kernel once and print how many floats a pixel were resident more than before."""
    kernel = next(kernel for kernel in kernels() if kernel.name == name)
    layers, small = network_of(depth, 1), torch.randn(1, 1, 64, 64)
    run(layers, kernel, small, learn=mode == "learn")
    before, x = rss_mb(), torch.randn(1, 1, side, side)
    run(layers, kernel, x, learn=mode == "learn")
    print((peak_rss_mb() - before) * 1e6 / 4 / side**2)


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--memory", nargs=4, metavar=("KERNEL", "DEPTH", "SIDE", "MODE"))
    options.add_argument("--budget", type=int, metavar="SIDE")
    args = options.parse_args()
    torch.set_num_threads(1)
    if args.memory:
        name, depth, side, mode = args.memory
        print_memory(name, int(depth), int(side), mode)
        return
    if args.budget:
        print_budget(args.budget)
        return
    figures = {
        "error_float64": worst_error(torch.float64),
        "error_float32": worst_error(torch.float32),
    }
    note(args, "relative errors: {error_float64:.1e}, {error_float32:.1e}".format(**figures))
    rate = figures["matrix_gflops"] = matrix_rate()
    note(args, f"matrix products: {rate:.0f} GF/s")
    compare(args, figures, rate, learn=False)
    compare(args, figures, rate, learn=True)
    limits(args, figures, rate)
    compare_peers(args, figures)
    grow(args, figures)
    bounded(args, figures)
    side = 512 if args.quick else 1024
    for what, learn in (("inference", False), ("training", True)):
        for kernel in kernels():
            floats = memory_of(kernel.name, 100, side, learn=learn)
            figures[f"memory_{what}_d100_{kernel.name}"] = floats
            note(args, f"memory of {what}, depth 100, {kernel.name}: {floats:.0f} floats a pixel")
    model = SegmentationModel(NetworkSettings(), 1, (1, 2))
    model.layers.kernel = kernels()[-1]
    block = torch.randn(1, 1, TILE + 2 * HALO, TILE + 2 * HALO).numpy()
    (figures["tile_ms"],) = interleaved(7, lambda: model.probabilities(block))
    note(args, f"a tile of {TILE} with a halo of {HALO}: {figures['tile_ms']:.1f} ms")
    goals = {key: goal for key, goal in GOALS.items() if key in figures} if args.quick else GOALS
    report("msd_engine", figures, goals)


if __name__ == "__main__":
    main()
