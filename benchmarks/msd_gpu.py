"""MS-D's kernels on a CUDA device: a slice of 2560x2560, depth 100, beside one layer at a time.

Correctness first: the fused kernel's maps and gradients against the plain form in float64. Then
medians of interleaved runs: inference and a training step, in float32 and bfloat16, by the fused
kernel, the grouped one, and one convolution a layer that writes into one buffer, the best that
layer by layer can be. Memory is the most that a run had allocated at once.
"""

from __future__ import annotations

import statistics
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from layers import outcome, relative_errors
from reporting import note, parser, report

import torch  # isort: skip  # after brushfire, which sets what torch reads when it is loaded
from torch.nn import functional

from brushfire.networks.kernels import Gradients, GroupedKernel, PlainKernel
from brushfire.networks.msd import MixedScaleDense

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from brushfire.networks.kernels import FlatLayout, Kernel, Layers

SIDE, DEPTH = 2560, 100
GOALS = {
    "error_float32": "< 1e-4",
    "error_bfloat16": "< 5e-2",
    "inference_float32_fused_ms": "<= 15",
    "inference_bfloat16_fused_ms": "<= 8",
    "step_float32_fused_ms": "<= 45",
    "inference_float32_fused_over_layers": ">= 3",
    "step_float32_fused_over_layers": ">= 3",
    "step_float32_fused_gib": "< 8",
}
GIB = 2**30


class LayerKernel:
    """One convolution a layer, from one buffer into the same: nothing is copied or kept twice."""

    name = "layers"

    def fill(self, buffer: torch.Tensor, layers: Layers, layout: FlatLayout) -> None:
        images = layout.images_of(buffer).transpose(0, 1)
        for layer, (weight, dilation) in enumerate(
            zip(layers.weights, layers.dilations, strict=True)
        ):
            row, end = layers.row(layer), layers.row(layer + 1)
            bias = layers.biases[layer * layers.width : (layer + 1) * layers.width]
            known = images[:, :row]
            maps = functional.conv2d(known, weight, bias, padding=dilation, dilation=dilation)
            torch.clamp(maps, min=0, out=images[:, row:end])

    def gradients(
        self,
        buffer: torch.Tensor,
        slope: torch.Tensor,
        layers: Layers,
        layout: FlatLayout,
        *,
        input_too: bool,
    ) -> Gradients:
        images, slopes = (layout.images_of(flat).transpose(0, 1) for flat in (buffer, slope))
        weights, biases = [], []
        for layer in reversed(range(layers.depth)):
            row, end = layers.row(layer), layers.row(layer + 1)
            dilation, weight = layers.dilations[layer], layers.weights[layer]
            down = slopes[:, row:end] * (images[:, row:end] > 0)
            known = images[:, :row]
            into, found, bias = torch.ops.aten.convolution_backward(
                down, known, weight, [layers.width], [1, 1], [dilation] * 2, [dilation] * 2,
                False, [0, 0], 1, [True, True, True],
            )  # fmt: skip
            slopes[:, :row] += into
            weights.append(found)
            biases.append(bias)
        return Gradients(weights[::-1], torch.cat(biases[::-1]))


def network_of(depth: int, dtype: torch.dtype) -> MixedScaleDense:
    torch.manual_seed(0)
    layers = MixedScaleDense(1, depth, 1, range(1, 11), outputs=2)
    return layers.to("cuda", dtype)


def kernels() -> list[Kernel]:
    """Return what is compared, the fused kernel first."""
    from brushfire.networks.kernels.fused import FusedKernel

    exact = FusedKernel("ieee")
    exact.name = "fused_ieee"
    return [FusedKernel(), exact, GroupedKernel(), LayerKernel()]


def errors(kernel: Kernel, dtype: torch.dtype) -> float:
    """Return the largest relative error of maps and of gradients."""
    worst = 0.0
    for depth, side in ((30, 333), (100, 200)):
        image = torch.randn(1, 1, side, side, dtype=torch.float64, device="cuda")
        expected = outcome(network_of(depth, torch.float64), PlainKernel(), image)
        found = outcome(network_of(depth, dtype), kernel, image.to(dtype))
        worst = max(worst, *relative_errors(found, expected))
    return worst


def infer(layers: MixedScaleDense, kernel: Kernel, x: torch.Tensor) -> None:
    layers.kernel = kernel
    with torch.no_grad():
        layers.flat_maps(x)


def step(layers: MixedScaleDense, kernel: Kernel, x: torch.Tensor) -> None:
    """Compute all gradients, those of a 1x1 layer with them."""
    layers.kernel = kernel
    layers.zero_grad()
    head = torch.full((2, layers.maps), 1e-3, device="cuda", dtype=x.dtype, requires_grad=True)
    outputs = torch.mm(head, layers.flat_maps(x)[0])
    torch.autograd.backward(outputs.float().square().mean())


def interleaved(repeats: int, *acts: Callable[[], object]) -> list[float]:
    """Return the median milliseconds of each, measured in turn so that disturbances are shared."""
    times: list[list[float]] = [[] for _ in acts]
    for act in acts:
        act()
        act()
    for _ in range(repeats):
        for act, mine in zip(acts, times, strict=True):
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            began.record()
            act()
            ended.record()
            ended.synchronize()
            mine.append(began.elapsed_time(ended))
    return [statistics.median(mine) for mine in times]


def peak_gib(act: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    act()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() / GIB


def compare(
    args: Namespace,
    figures: dict[str, float],
    what: str,
    act: Callable[[MixedScaleDense, Kernel, torch.Tensor], None],
    dtype: torch.dtype,
) -> None:
    """Time all kernels, and note their memory and how many times as fast the fused one is."""
    side = SIDE // 2 if args.quick else SIDE
    layers, x = network_of(DEPTH, dtype), torch.randn(1, 1, side, side, device="cuda").to(dtype)
    acts = [partial(act, layers, kernel, x) for kernel in kernels()]
    times = interleaved(3 if args.quick else 9, *acts)
    case = f"{what}_{str(dtype).removeprefix('torch.')}"
    told = []
    for kernel, taken, one in zip(kernels(), times, acts, strict=True):
        memory = figures[f"{case}_{kernel.name}_gib"] = peak_gib(one)
        figures[f"{case}_{kernel.name}_ms"] = taken
        figures[f"{case}_fused_over_{kernel.name}"] = taken / times[0]
        told.append(f"{kernel.name} {taken:.1f} ms, {memory:.1f} GiB")
    note(args, f"{case}, {side} px: " + "; ".join(told))


def main() -> None:
    args = parser(__doc__ or "").parse_args()
    figures: dict[str, float] = {}
    missing = "a CUDA device" if not torch.cuda.is_available() else ""
    missing = missing or ("" if find_spec("triton") else "triton")
    if missing:
        note(args, f"Nothing was measured: this benchmark needs {missing}.")
        report("msd_gpu", figures, {})
        return
    note(args, torch.cuda.get_device_name())
    types = (torch.float32, torch.bfloat16)
    for dtype in types:
        for kernel in kernels():
            name = str(dtype).removeprefix("torch.")
            error = errors(kernel, dtype)
            figures[f"error_{name}" + ("" if kernel.name == "fused" else f"_{kernel.name}")] = error
            note(args, f"relative error of {kernel.name}, {name}: {error:.1e}")
    for dtype in types:
        compare(args, figures, "inference", infer, dtype)
        compare(args, figures, "step", step, dtype)
    goals = {key: goal for key, goal in GOALS.items() if key in figures}
    if args.quick:  # of a quarter of the pixels
        goals = {key: goal for key, goal in goals.items() if not key.endswith(("_ms", "_gib"))}
    report("msd_gpu", figures, goals)


if __name__ == "__main__":
    main()
