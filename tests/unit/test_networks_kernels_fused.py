"""The fused kernel in Triton's interpreter: what one convolution a layer computes, on any machine.

The interpreter runs the kernel's programs one after the other on the processor. What a card adds
to that, how it multiplies and how fast, is tested where there is one.
"""

from __future__ import annotations

import importlib
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.support.networks import make_layers, with_gradients

from brushfire.networks import kernels
from brushfire.networks.kernels import (
    FlatLayout,
    GroupedKernel,
    KernelChoice,
    Layers,
    PlainKernel,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

    from brushfire.networks.kernels import Border, Kernel
    from brushfire.networks.msd import MixedScaleDense

triton = pytest.importorskip("triton", reason="Triton is made for Linux only.")
GPUTarget = importlib.import_module("triton.backends.compiler").GPUTarget

MODULES = ("fused", "fused_loops")
SIZES = st.one_of(
    st.tuples(st.integers(1, 16), st.integers(1, 20)),
    st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 9)),
)


def fresh(patch: pytest.MonkeyPatch) -> ModuleType:
    """Import the kernel as if for the first time, until the patch is undone."""
    for name in MODULES:
        patch.delitem(sys.modules, f"{kernels.__name__}.{name}", raising=False)
        patch.delattr(kernels, name, raising=False)
    return importlib.import_module(f"{kernels.__name__}.fused")


def forget() -> None:
    for name in MODULES:
        sys.modules.pop(f"{kernels.__name__}.{name}", None)
        vars(kernels).pop(name, None)


@pytest.fixture(scope="module")
def fused() -> Iterator[ModuleType]:
    """The module of the kernel, whose programs are interpreted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")  # read when a function is made
        yield fresh(patch)
        forget()


@pytest.fixture(scope="module")
def kernel(fused: ModuleType) -> Kernel:
    made: Kernel = fused.FusedKernel()
    return made


def outcome(layers: MixedScaleDense, kernel: Kernel, x: torch.Tensor) -> list[torch.Tensor]:
    """Return all maps, and the gradients of a sum of them with fixed weights."""
    layers.kernel = kernel
    return with_gradients(layers(x), layers, x)


def worst(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    """Return the largest error of a tensor, in parts of its largest value."""
    return max(
        float((a.double() - b).abs().max() / b.abs().max())
        for a, b in zip(found, expected, strict=True)
    )


# Looking for the least example that fails would take the interpreter minutes.
@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    images=st.integers(1, 2),
    channels=st.integers(1, 2),
    size=SIZES,
    depth=st.integers(1, 5),
    width=st.integers(1, 3),
    dilations=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    border=st.sampled_from(["zero", "reflect"]),
)
def test_maps_and_gradients_are_those_of_the_plain_form(
    kernel: Kernel,
    images: int,
    channels: int,
    size: tuple[int, ...],
    depth: int,
    width: int,
    dilations: tuple[int, ...],
    border: Border,
) -> None:
    axes: Literal[2, 3] = 2 if len(size) == 2 else 3
    layers = make_layers(channels, min(depth, 9 // axes), width, dilations, axes, border)
    x = torch.randn(images, channels, *size, dtype=torch.float64, requires_grad=True)
    found, expected = outcome(layers, kernel, x), outcome(layers, PlainKernel(), x)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("size", "depth", "width", "border"),
    [
        ((11, 13), 21, 1, "zero"),  # three blocks
        ((7, 9), 11, 1, "reflect"),
        ((9, 11), 3, 5, "zero"),  # a block of two layers
        ((9, 11), 2, 12, "zero"),  # a layer with more rows than a program works on
        ((4, 6, 9), 5, 1, "zero"),
        ((2, 4, 5), 3, 2, "reflect"),
    ],
)
def test_blocks_and_batches_do_not_show(
    kernel: Kernel, size: tuple[int, ...], depth: int, width: int, border: Border
) -> None:
    layers = make_layers(2, depth, width, (1, 4, 2), 2 if len(size) == 2 else 3, border)
    x = torch.randn(2, 2, *size, dtype=torch.float64, requires_grad=True)
    assert worst(outcome(layers, kernel, x), outcome(layers, PlainKernel(), x)) < 1e-12


@pytest.mark.parametrize("border", ["zero", "reflect"])
def test_strips_do_not_show(
    fused: ModuleType, kernel: Kernel, border: Border, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = make_layers(1, 12, 1, (1, 2), border=border)
    x = torch.randn(1, 1, 24, 11, dtype=torch.float64)
    layers.kernel = kernel
    whole = layers(x)
    calls = []
    fold = fused._Forward._fold
    monkeypatch.setattr(fused._Forward, "_fold", lambda *args: calls.append(1) or fold(*args))
    monkeypatch.setattr(fused, "_STRIP_VALUES", 1)
    assert torch.equal(layers(x), whole)
    assert len(calls) > 4  # two blocks in several strips each


def test_shares_of_the_pixels_do_not_show(
    fused: ModuleType, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = make_layers(1, 3, 1, (1, 2))
    x = torch.randn(1, 1, 40, 45, dtype=torch.float64, requires_grad=True)
    monkeypatch.setattr(fused, "_COLLECT", {**fused._COLLECT, "PIXELS": 16})
    assert worst(outcome(layers, kernel, x), outcome(layers, PlainKernel(), x)) < 1e-12


@pytest.mark.parametrize("dilations", [(17, 1), (65, 2)])
def test_long_dilations_are_right(kernel: Kernel, dilations: tuple[int, ...]) -> None:
    layers = make_layers(1, 3, 1, dilations)
    x = torch.randn(1, 1, 9, 70, dtype=torch.float64, requires_grad=True)
    assert worst(outcome(layers, kernel, x), outcome(layers, PlainKernel(), x)) < 1e-12


def test_single_precision_stays_near_double(kernel: Kernel) -> None:
    double, single = make_layers(3, 12, 1, (1, 2, 3)), make_layers(3, 12, 1, (1, 2, 3)).float()
    x = torch.randn(1, 3, 13, 15, dtype=torch.float64, requires_grad=True)
    found = outcome(single, kernel, x.detach().float().requires_grad_())
    assert {one.dtype for one in found} == {torch.float32}
    assert worst(found, outcome(double, PlainKernel(), x)) < 3e-6


@pytest.mark.parametrize(("dtype", "near"), [(torch.bfloat16, 2e-2), (torch.float16, 3e-3)])
def test_half_precision_stays_near_double(kernel: Kernel, dtype: torch.dtype, near: float) -> None:
    double, half = make_layers(1, 12, 1, (1, 2, 3)), make_layers(1, 12, 1, (1, 2, 3)).to(dtype)
    x = torch.randn(1, 1, 9, 11, dtype=torch.float64, requires_grad=True)
    found = outcome(half, kernel, x.detach().to(dtype).requires_grad_())
    expected = outcome(double, PlainKernel(), x)
    assert {one.dtype for one in found} == {dtype}
    assert worst(found[:1], expected[:1]) < near
    # The sign of a map that is nearly zero stops a slope or not, so that single ones differ.
    mine, theirs = (
        torch.cat([one.flatten().double() for one in part[2:]]) for part in (found, expected)
    )
    assert float((mine - theirs).norm() / theirs.norm()) < 4e-2


def test_gradients_of_half_precision_are_summed_in_single(kernel: Kernel) -> None:
    layers = make_layers(1, 2, 1, (1, 2)).float()
    layers.kernel = kernel
    x = torch.randn(1, 1, 20, 24)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = layers(x)
    assert maps.dtype == torch.bfloat16
    maps.float().sum().backward()
    gradients = [weight.grad for weight in layers.parameters()]
    assert all(gradient.dtype == torch.float32 for gradient in gradients)
    # Digits that bfloat16 has not got.
    assert any((gradient != gradient.bfloat16()).any() for gradient in gradients)


def test_margins_stay_zero(kernel: Kernel) -> None:
    layers = make_layers(1, 4, 2, (1, 3))
    layers.kernel = kernel
    buffer, layout = layers.flat_maps(torch.randn(2, 1, 11, 19, dtype=torch.float64))
    flat = buffer.detach().clone()
    layout.images_of(flat).zero_()
    assert not flat.any()


def test_what_is_no_number_is_not_hidden(kernel: Kernel) -> None:
    layers = make_layers(1, 12, 1, (1, 2))
    layers.kernel = kernel
    with torch.no_grad():
        layers.biases[0] = layers.biases[11] = torch.nan
        maps = layers(torch.zeros(1, 1, 5, 5, dtype=torch.float64))
    assert maps[:, 1].isnan().all()
    assert maps[:, 12].isnan().all()


def test_no_images_have_no_maps(kernel: Kernel) -> None:
    layers = make_layers(1, 3, 1, (1, 2))
    layers.kernel = kernel
    x = torch.zeros(0, 1, 8, 8, dtype=torch.float64)
    assert layers(x).shape == (0, 4, 8, 8)
    layers(x).sum().backward()
    assert all(not weight.grad.any() for weight in layers.parameters())


class Launches:
    """Notes what programs are started with, and starts none."""

    def __init__(self) -> None:
        self.notes: list[tuple[int, tuple[Any, ...]]] = []

    def __getitem__(self, grid: tuple[int]) -> Callable[..., None]:
        return lambda *args, **_: self.notes.append((grid[0], args))


@pytest.mark.parametrize("size", [(2560, 2560), (192, 192, 192)])
def test_products_of_a_large_image_stay_small(
    fused: ModuleType, size: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    axes = len(size)
    like: dict[str, Any] = {"device": "meta", "dtype": torch.float32}
    weights = [torch.zeros(1, 1 + n, *[3] * axes, **like) for n in range(100)]
    layers = Layers(1, [1 + n % 10 for n in range(100)], weights, torch.zeros(100, **like))
    layout = FlatLayout(1, size, 10)
    buffer = torch.zeros(101, layout.total, **like)
    functions = {name: Launches() for name in ("multiply", "fold", "add_near")}
    monkeypatch.setattr(fused, "loops", SimpleNamespace(**functions, INTERPRETED=False))
    fused.FusedKernel().fill(buffer, layers, layout)
    product = functions["multiply"].notes[0][1][3]
    assert product.numel() < 0.15 * buffer.numel()
    filled = sum(args[8] for _, args in functions["fold"].notes)  # pixels of each strip
    assert filled % layout.span == 0
    numbers = [arg for notes in functions.values() for _, args in notes.notes for arg in args]
    assert max(arg for arg in numbers if isinstance(arg, int)) < 2**31


# -- without the interpreter -------------------------------------------------------------------


class Card:
    """As much of a card as compiling for it needs: an H200."""

    def get_current_target(self) -> Any:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int = 0) -> int:
        return 0


class Compiled:
    """Compiles a program for what it is started with, and starts none."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.starts: list[Any] = []

    def __getitem__(self, grid: tuple[int]) -> Callable[..., None]:
        return lambda *args, **names: self.starts.append(
            self.function.warmup(*args, grid=grid, **names)
        )


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Compiled]]:
    """The programs of the kernel that can be imported meanwhile, which is not interpreted."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    names = ("multiply", "fold", "add_near", "spread", "collect")
    monkeypatch.setattr(triton.runtime.driver, "_active", Card())
    with pytest.MonkeyPatch.context() as patch:
        module = fresh(patch)
        made = {name: Compiled(getattr(module.loops, name)) for name in names}
        patch.setattr(module, "loops", SimpleNamespace(**made, INTERPRETED=False))
        yield made
        forget()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_programs_compile_for_a_card_that_is_not_there(
    programs: dict[str, Compiled], dtype: torch.dtype
) -> None:
    """What the interpreter takes is not always what the compiler takes."""
    like: dict[str, Any] = {"dtype": dtype}
    weights = [torch.zeros(1, 1 + n, 3, 3, **like) for n in range(42)]
    layers = Layers(1, [1 + n % 10 for n in range(42)], weights, torch.zeros(42, **like))
    layout = FlatLayout(1, (20, 30), 10)
    buffer = torch.zeros(43, layout.total, **like)
    made = sys.modules[f"{kernels.__name__}.fused"].FusedKernel()
    made.fill(buffer, layers, layout)
    made.gradients(buffer, buffer.clone(), layers, layout, input_too=True)
    for name, program in programs.items():
        kinds = {id(one): one for one in program.starts}.values()
        # No number that differs from block to block makes it compile again.
        assert len(kinds) == (2 if name == "add_near" else 1)
        for one in kinds:
            assert one.metadata.shared <= 227 * 1024
            on_tensor_cores = name in ("multiply", "spread", "collect")
            assert ("mma" in one.asm["ptx"]) == on_tensor_cores
    (multiply,) = {id(one): one for one in programs["multiply"].starts}.values()
    assert "shfl" not in multiply.asm["ptx"]  # taps are shifted through shared memory


def test_a_machine_without_a_card_says_why_its_kernel_is_grouped() -> None:
    if torch.cuda.is_available():
        pytest.skip("There is a card.")
    kernel, reason = KernelChoice().explain("cuda")
    assert type(kernel) is GroupedKernel
    assert "fused kernel fails here" in reason
