"""Every kernel computes what one convolution a layer computes."""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.networks import make_layers, with_gradients

from brushfire.errors import SettingsError
from brushfire.networks.kernels import (
    FlatLayout,
    GroupedKernel,
    KernelChoice,
    Layers,
    PlainKernel,
    choosing,
)
from brushfire.networks.kernels.compiled import CompiledKernel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brushfire.networks.kernels import Border, Kernel
    from brushfire.networks.msd import MixedScaleDense

KERNELS = [PlainKernel(), GroupedKernel(), CompiledKernel()]
BORDERS: st.SearchStrategy[Border] = st.sampled_from(["zero", "reflect", "symmetric"])
SIZES = st.one_of(
    st.tuples(st.integers(1, 45), st.integers(1, 35)),
    st.tuples(st.integers(1, 7), st.integers(1, 12), st.integers(1, 19)),
)
EVERY_KERNEL = pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def outcome(layers: MixedScaleDense, x: torch.Tensor) -> list[torch.Tensor]:
    """Return all maps and their gradients."""
    return with_gradients(layers(x), layers, x)


def reference(layers: MixedScaleDense, x: torch.Tensor) -> list[torch.Tensor]:
    """Return what the outcome should be."""
    return with_gradients(layers.plain(x), layers, x)


@EVERY_KERNEL
@settings(max_examples=20, deadline=None)
@given(
    images=st.integers(1, 3),
    channels=st.integers(1, 3),
    size=SIZES,
    depth=st.integers(1, 24),
    width=st.integers(1, 3),
    dilations=st.lists(st.integers(1, 12), min_size=1, max_size=5).map(tuple),
    border=BORDERS,
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
    layers = make_layers(
        channels, depth if axes == 2 else min(depth, 4), width, dilations, axes, border
    )
    layers.kernel = kernel
    x = torch.randn(images, channels, *size, dtype=torch.float64, requires_grad=True)
    (maps, *gradients), (expected, *slopes) = outcome(layers, x), reference(layers, x)
    torch.testing.assert_close(maps, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients, slopes, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kernel", KERNELS[1:], ids=lambda kernel: kernel.name)
@pytest.mark.parametrize(
    ("size", "depth", "border"),
    [
        ((83, 520), 7, "zero"),
        ((90, 41), 5, "reflect"),
        ((9, 40, 33), 5, "reflect"),
        ((90, 41), 5, "symmetric"),
    ],
)
@pytest.mark.usefixtures("threads")
def test_many_tiles_on_many_threads_give_the_same(
    kernel: Kernel, size: tuple[int, ...], depth: int, border: Border
) -> None:
    layers = make_layers(2, depth, 2, (1, 4, 9), 2 if len(size) == 2 else 3, border)
    layers.kernel = kernel
    x = torch.randn(2, 2, *size, dtype=torch.float64, requires_grad=True)
    for mine, theirs in zip(outcome(layers, x), reference(layers, x), strict=True):
        assert float((mine - theirs).abs().max() / theirs.abs().max()) < 1e-12


@EVERY_KERNEL
def test_single_precision_stays_near_double(kernel: Kernel) -> None:
    double = make_layers(3, 30, 1, tuple(range(1, 11)))
    single = make_layers(3, 30, 1, tuple(range(1, 11))).float()
    single.kernel = kernel
    x = torch.randn(1, 3, 96, 96, dtype=torch.float64, requires_grad=True)
    found = outcome(single, x.detach().float().requires_grad_())
    for mine, theirs in zip(found, reference(double, x), strict=True):
        assert mine.dtype == torch.float32
        assert float((mine.double() - theirs).abs().max() / theirs.abs().max()) < 1e-5


@EVERY_KERNEL
def test_margins_stay_zero(kernel: Kernel) -> None:
    layers = make_layers(1, 7, 2, (1, 3, 5))
    layers.kernel = kernel
    buffer, layout = layers.flat_maps(torch.randn(2, 1, 11, 19, dtype=torch.float64))
    total = float(buffer.detach().abs().sum())
    assert total == pytest.approx(float(layout.images_of(buffer).detach().abs().sum()))
    assert not buffer.detach()[:, layout.inside][:, layout.mask(buffer) == 0].any()


@EVERY_KERNEL
def test_the_gradient_of_the_input_is_left_out_where_nobody_asks(kernel: Kernel) -> None:
    layers = make_layers(2, 3, 1, (1, 2))
    layers.kernel = kernel
    layers(torch.randn(1, 2, 8, 8, dtype=torch.float64)).sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in layers.weights)


@EVERY_KERNEL
def test_gradients_agree_with_finite_differences(kernel: Kernel) -> None:
    layers = make_layers(2, 4, 2, (1, 3))
    layers.kernel = kernel
    x = torch.randn(2, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layers, (x,))


def test_strips_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = make_layers(3, 13, 1, (1, 2, 5))
    layers.kernel = GroupedKernel()
    x = torch.randn(2, 3, 11, 13, dtype=torch.float64)
    whole = layers(x)
    monkeypatch.setattr("brushfire.networks.kernels.grouped._STRIP_VALUES", 1)
    torch.testing.assert_close(layers(x), whole, rtol=1e-12, atol=1e-12)


@given(images=st.integers(1, 3), size=SIZES, margin=st.integers(1, 5), border=BORDERS)
@settings(max_examples=50, deadline=None)
def test_layout_keeps_every_shift_inside(
    images: int, size: tuple[int, ...], margin: int, border: Border
) -> None:
    layout = FlatLayout(images, size, margin, border)
    flat = torch.zeros(1, layout.total)
    inner = layout.images_of(flat)
    assert inner.shape == (1, images, *size)
    inner.fill_(1)
    assert flat[0, layout.inside].sum() == inner.numel() == flat.sum()
    assert torch.equal(flat[0, layout.inside], layout.mask(flat))
    assert max(abs(offset) for offset in layout.offsets(margin)) <= layout.guard
    assert layout.row >= size[-1] + margin


@given(images=st.integers(1, 2), size=SIZES, margin=st.integers(1, 9), border=BORDERS)
@settings(max_examples=50, deadline=None)
def test_every_shift_meets_what_the_border_says(
    images: int, size: tuple[int, ...], margin: int, border: Border
) -> None:
    layout = FlatLayout(images, size, margin, border)
    flat = torch.zeros(1, layout.total)
    inner = layout.images_of(flat)
    inner.copy_(1 + torch.arange(inner.numel()).view_as(inner))
    layout.fill_margins(flat)
    padding = [(0, 0), (0, 0), *[(margin, margin)] * len(size)]
    wide = np.pad(inner.numpy(), padding, mode="constant" if border == "zero" else border)
    for offset, shift in zip(
        layout.offsets(margin), product((-1, 0, 1), repeat=len(size)), strict=True
    ):
        moved = flat.as_strided(inner.shape, inner.stride(), inner.storage_offset() + offset)
        begin = [margin + by * margin for by in shift]
        there = tuple(slice(at, at + count) for at, count in zip(begin, size, strict=True))
        np.testing.assert_array_equal(moved.numpy(), wide[(..., *there)])


class Broken(GroupedKernel):
    def fill(self, buffer: torch.Tensor, layers: Layers, layout: FlatLayout) -> None:
        raise RuntimeError("no such instruction")


class Wrong(GroupedKernel):
    def fill(self, buffer: torch.Tensor, layers: Layers, layout: FlatLayout) -> None:
        super().fill(buffer, layers, layout)
        buffer[-1, layout.guard] += 1


def test_the_compiled_kernel_is_taken_once_it_is_ready() -> None:
    choice = KernelChoice()
    kernel, reason = choice.explain()
    assert kernel.name in ("compiled", "grouped")  # which one is a matter of the machine
    assert "times as" in reason
    assert choice.kernel_for(torch.zeros(1)) is kernel


def test_values_that_cannot_be_compiled_for_are_grouped() -> None:
    choice = KernelChoice()
    assert choice.kernel_for(torch.zeros(1, dtype=torch.bfloat16)).name == "grouped"
    assert choice.kernel_for(torch.zeros(1, dtype=torch.float64)).name == "grouped"
    assert choice.kernel_for(torch.zeros(1, device="meta")).name == "grouped"


@pytest.mark.parametrize(
    ("kernel", "says"), [(Broken, "no such instruction"), (Wrong, "other numbers")]
)
def test_a_kernel_that_fails_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, kernel: type[GroupedKernel], says: str
) -> None:
    monkeypatch.setattr("brushfire.networks.kernels.compiled.CompiledKernel", kernel)
    chosen, reason = KernelChoice().explain()
    assert type(chosen) is GroupedKernel
    assert says in reason


def test_a_program_that_ends_during_the_trial_ends_well() -> None:
    code = (
        "import torch, time\n"
        "from brushfire.networks.kernels import choice\n"
        "choice.kernel_for(torch.zeros(1)); time.sleep({})"
    )
    for seconds in (0, 0.7):
        done = subprocess.run([sys.executable, "-c", code.format(seconds)], check=False)
        assert done.returncode == 0


def test_gradients_of_gradients_are_refused() -> None:
    layers = make_layers(1, 3, 1, (1, 2))
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(layers(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


@EVERY_KERNEL
def test_no_images_have_no_maps(kernel: Kernel) -> None:
    layers = make_layers(1, 3, 1, (1, 2))
    layers.kernel = kernel
    assert layers(torch.zeros(0, 1, 8, 8, dtype=torch.float64)).shape == (0, 4, 8, 8)


def test_without_what_compiles_the_grouped_kernel_is_used_and_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['numba'] = sys.modules['triton'] = None\n"
        "from brushfire.networks.kernels import choice\n"
        "for device in ('cpu', 'cuda'):\n"
        "    kernel, reason = choice.explain(device); print(kernel.name, reason)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here, card = done.stdout.splitlines()
    assert here.startswith("grouped")
    assert "napari-brushfire[fast]" in here
    assert card.startswith("grouped triton, which comes with torch for CUDA")


def test_each_device_and_type_of_values_has_a_trial_of_its_own() -> None:
    choice = KernelChoice()
    kernel, reason = choice.explain("cpu", torch.bfloat16)
    assert type(kernel) is GroupedKernel
    assert "only one" in reason
    for device in ("mps", "xpu"):
        assert type(choice.explain(device)[0]) is GroupedKernel


@pytest.mark.skipif(torch.cuda.is_available(), reason="There is a card.")
def test_a_trial_on_a_card_that_is_not_there_changes_nothing_here() -> None:
    choice = KernelChoice()
    here = choice.explain()
    kernel, reason = choice.explain("cuda", torch.bfloat16)
    assert type(kernel) is GroupedKernel
    assert "fused" in reason or "triton" in reason
    assert choice.explain() == here


@pytest.mark.parametrize(("faster", "name"), [(True, "swift"), (False, "grouped")])
def test_a_candidate_is_taken_if_it_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, faster: bool, name: str
) -> None:
    class Swift(GroupedKernel):
        name = "swift"

    monkeypatch.setattr("brushfire.networks.kernels.compiled.CompiledKernel", Swift)
    times = iter([2.0, 1.0 if faster else 1.9] * 6)
    real = choosing._run
    monkeypatch.setattr(choosing, "_run", lambda *args: (next(times), real(*args)[1]))
    kernel, reason = KernelChoice().explain()
    assert kernel.name == name
    assert ("2.0 times as fast" in reason) is faster


def pinned(monkeypatch: pytest.MonkeyPatch, name: str) -> KernelChoice:
    monkeypatch.setenv("BRUSHFIRE_KERNEL", name)
    return KernelChoice()


@pytest.mark.parametrize("name", ["plain", "grouped", "compiled"])
def test_a_kernel_can_be_pinned(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    choice = pinned(monkeypatch, name)
    choice.prepare()
    assert choice.kernel_for(torch.zeros(1)).name == name
    kernel, reason = choice.explain()
    assert kernel.name == name
    assert "BRUSHFIRE_KERNEL" in reason


@pytest.mark.parametrize(
    ("name", "dtype", "says"),
    [
        ("swift", torch.float32, "plain, grouped, compiled, fused"),
        ("compiled", torch.bfloat16, "on the processor"),
        ("fused", torch.float32, "CUDA"),
    ],
)
def test_a_pinned_kernel_that_cannot_be_used_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, dtype: torch.dtype, says: str
) -> None:
    with pytest.raises(SettingsError, match=says):
        pinned(monkeypatch, name).kernel_for(torch.zeros(1, dtype=dtype))


def test_a_pinned_kernel_whose_package_is_missing_says_what_to_install() -> None:
    code = (
        "import os, sys; sys.modules['numba'] = None; os.environ['BRUSHFIRE_KERNEL'] = 'compiled'\n"
        "from brushfire.cli import main; main(['doctor'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install" in done.stdout
    assert "BRUSHFIRE_KERNEL" in done.stdout
