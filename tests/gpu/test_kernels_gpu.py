"""The fused kernel on a card: the numbers of the plain form, in every type of values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest
import torch

from brushfire.networks.kernels import FlatLayout, GroupedKernel, KernelChoice, PlainKernel
from brushfire.networks.msd import MixedScaleDense

if TYPE_CHECKING:
    from brushfire.networks.kernels import Border, Kernel

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no CUDA device."),
]


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    pytest.importorskip("triton")
    from brushfire.networks.kernels.fused import FusedKernel

    return FusedKernel()


def make(
    channels: int,
    depth: int,
    width: int = 1,
    *,
    axes: Literal[2, 3] = 2,
    border: Border = "zero",
    dtype: torch.dtype = torch.float64,
) -> MixedScaleDense:
    torch.manual_seed(0)
    layers = MixedScaleDense(
        channels, depth, width, range(1, 11), outputs=2, axes=axes, border=border
    )
    torch.nn.init.normal_(layers.biases, std=0.1)
    return layers.to("cuda", dtype)


def outcome(layers: MixedScaleDense, kernel: Kernel, x: torch.Tensor) -> list[torch.Tensor]:
    """Return the maps, the gradient of the input, and those of all weights."""
    layers.kernel = kernel
    maps = layers(x)
    weights = torch.linspace(-1, 1, maps.numel(), dtype=torch.float64, device=x.device).sin()
    inputs = [x, layers.biases, *layers.weights]
    slope, *others = torch.autograd.grad(maps, inputs, weights.view_as(maps).to(maps))
    return [maps.detach(), slope, torch.cat([one.flatten() for one in others])]


def errors(found: list[torch.Tensor], expected: list[torch.Tensor]) -> list[float]:
    return [float((a.double() - b).norm() / b.norm()) for a, b in zip(found, expected, strict=True)]


@pytest.mark.parametrize("precision", ["tf32x3", "ieee"])
@pytest.mark.parametrize(
    ("images", "size", "depth", "width", "border"),
    [
        (1, (7, 5), 3, 1, "zero"),
        (1, (256, 311), 100, 1, "zero"),
        (3, (97, 130), 25, 1, "reflect"),
        (2, (90, 41), 12, 3, "zero"),
        (1, (64, 70), 4, 12, "reflect"),
        (2, (9, 40, 33), 9, 1, "zero"),
        (1, (12, 21, 33), 5, 2, "reflect"),
    ],
)
def test_single_precision_is_that_of_the_plain_form(
    kernel: Kernel,
    precision: Literal["tf32x3", "ieee"],
    images: int,
    size: tuple[int, ...],
    depth: int,
    width: int,
    border: Border,
) -> None:
    axes: Literal[2, 3] = 2 if len(size) == 2 else 3
    double = make(2, depth, width, axes=axes, border=border)
    single = make(2, depth, width, axes=axes, border=border, dtype=torch.float32)
    x = torch.randn(images, 2, *size, dtype=torch.float64, device="cuda", requires_grad=True)
    found = outcome(single, type(kernel)(precision), x.detach().float().requires_grad_())
    assert max(errors(found, outcome(double, PlainKernel(), x))) < 1e-4


@pytest.mark.parametrize(("dtype", "near"), [(torch.bfloat16, 5e-2), (torch.float16, 1e-2)])
def test_half_precision_stays_near(kernel: Kernel, dtype: torch.dtype, near: float) -> None:
    double, half = make(1, 50), make(1, 50, dtype=dtype)
    x = torch.randn(1, 1, 200, 222, dtype=torch.float64, device="cuda", requires_grad=True)
    maps, _, weights = outcome(half, kernel, x.detach().to(dtype).requires_grad_())
    expected, _, slopes = outcome(double, PlainKernel(), x)
    assert max(errors([maps, weights], [expected, slopes])) < near


def test_a_step_under_autocast_stays_near_one_without(kernel: Kernel) -> None:
    layers = make(1, 30, dtype=torch.float32)
    layers.kernel = kernel
    x = torch.randn(2, 1, 150, 160, device="cuda")
    slopes = []
    for enabled in (False, True):
        layers.zero_grad()
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=enabled):
            maps = layers(x)
        assert maps.dtype == (torch.bfloat16 if enabled else torch.float32)
        maps.float().square().mean().backward()
        assert all(parameter.grad.dtype == torch.float32 for parameter in layers.parameters())
        slopes.append(torch.cat([parameter.grad.flatten() for parameter in layers.parameters()]))
    assert float((slopes[1] - slopes[0]).norm() / slopes[0].norm()) < 5e-2


def test_the_same_step_twice_gives_the_same_bits(kernel: Kernel) -> None:
    layers = make(1, 30, dtype=torch.float32)
    x = torch.randn(1, 1, 400, 410, device="cuda", requires_grad=True)
    for first, second in zip(outcome(layers, kernel, x), outcome(layers, kernel, x), strict=True):
        assert torch.equal(first, second)


def test_a_step_keeps_little_beside_maps_and_slopes(kernel: Kernel) -> None:
    layers = make(1, 100, dtype=torch.float32)
    layers.kernel = kernel
    x = torch.randn(1, 1, 1024, 1024, device="cuda")
    buffer, layout = layers.flat_maps(x)
    towards = torch.ones_like(buffer)
    one = buffer.numel() * buffer.element_size()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    torch.autograd.backward(buffer, towards)
    assert isinstance(layout, FlatLayout)
    assert torch.cuda.max_memory_allocated() - before < 1.4 * one


def test_running_out_of_memory_is_told_as_that(kernel: Kernel) -> None:
    layers = make(1, 100, dtype=torch.float32)
    layers.kernel = kernel
    free, _ = torch.cuda.mem_get_info()
    side = int((free / 4 / 50) ** 0.5)  # twice what there is
    with pytest.raises(torch.OutOfMemoryError), torch.no_grad():
        layers(torch.zeros(1, 1, side, side, device="cuda"))
    torch.cuda.empty_cache()
    with torch.no_grad():
        assert layers(torch.zeros(1, 1, 8, 8, device="cuda")).shape == (1, 101, 8, 8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_kernel_is_chosen(kernel: Kernel, dtype: torch.dtype) -> None:
    choice = KernelChoice()
    x = torch.zeros(1, device="cuda", dtype=dtype)
    assert type(choice.kernel_for(x)) in (GroupedKernel, type(kernel))  # waits for no trial
    chosen, reason = choice.explain(str(x.device), dtype)
    assert "times as" in reason  # it was measured, and its numbers were right
    assert choice.kernel_for(x) is chosen
    assert type(choice.kernel_for(x.double())) is GroupedKernel
