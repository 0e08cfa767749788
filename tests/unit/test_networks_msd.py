from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brushfire.networks.model import SegmentationModel
from brushfire.networks.msd import FlatLayout, MixedScaleDense
from brushfire.networks.settings import NetworkSettings


def make(channels: int, depth: int, width: int, dilations: tuple[int, ...]) -> MixedScaleDense:
    torch.manual_seed(0)
    layers = MixedScaleDense(channels, depth, width, dilations, outputs=2).double()
    torch.nn.init.normal_(layers.biases, std=0.1)
    return layers


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 23), st.integers(1, 23)),
    depth=st.integers(1, 24),
    width=st.integers(1, 3),
    dilations=st.lists(st.integers(1, 12), min_size=1, max_size=5).map(tuple),
)
def test_fast_form_equals_plain_form(
    shape: tuple[int, int, int, int], depth: int, width: int, dilations: tuple[int, ...]
) -> None:
    layers = make(shape[1], depth, width, dilations)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    fast, plain = layers(x), layers.plain(x)
    torch.testing.assert_close(fast, plain, rtol=1e-12, atol=1e-12)
    inputs = [x, layers.biases, *layers.weights]
    towards = torch.randn_like(plain)
    mine = torch.autograd.grad(fast, inputs, towards)
    theirs = torch.autograd.grad(plain, inputs, towards)
    torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


def test_gradients_agree_with_finite_differences() -> None:
    layers = make(2, 4, 2, (1, 3))
    x = torch.randn(2, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layers, (x,))


def test_strips_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = make(3, 13, 1, (1, 2, 5))
    x = torch.randn(2, 3, 40, 33, dtype=torch.float64)
    whole = layers(x)
    monkeypatch.setattr("brushfire.networks.msd._STRIP_VALUES", 1)
    torch.testing.assert_close(layers(x), whole, rtol=1e-12, atol=1e-12)


def test_gradient_is_skipped_where_nobody_asks_for_it() -> None:
    layers = make(2, 3, 1, (1, 2))
    layers(torch.randn(1, 2, 8, 8, dtype=torch.float64)).sum().backward()
    assert all(weight.grad is not None for weight in layers.weights)


@given(
    images=st.integers(1, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    margin=st.integers(1, 5),
)
@settings(max_examples=50, deadline=None)
def test_layout_keeps_every_shift_inside(images: int, height: int, width: int, margin: int) -> None:
    layout = FlatLayout(images, height, width, margin)
    flat = torch.zeros(1, layout.total)
    inner = layout.images_of(flat)
    assert inner.shape == (1, images, height, width)
    inner.fill_(1)
    assert flat[0, layout.inside].sum() == images * height * width == flat.sum()
    assert torch.equal(flat[0, layout.inside], layout.mask(flat))
    assert max(abs(offset) for offset in layout.offsets(margin)) <= layout.guard


@pytest.mark.parametrize(
    ("depth", "channels", "classes", "count"),
    [(100, 3, 11, 48_494), (200, 3, 11, 186_944), (100, 1, 1, 45_652)],
)
def test_weights_are_as_many_as_published(
    depth: int, channels: int, classes: int, count: int
) -> None:
    shape = NetworkSettings(depth=depth, features=False)
    model = SegmentationModel(shape, channels, range(1, classes + 1))
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_first_weights_have_the_published_spread() -> None:
    torch.manual_seed(0)
    layers = MixedScaleDense(3, 100, 1, range(1, 11), outputs=11)
    everything = torch.cat([weight.detach().flatten() for weight in layers.weights])
    assert float(everything.std()) == pytest.approx((2 / (9 * (3 + 99) + 11)) ** 0.5, rel=0.02)
    assert abs(float(everything.mean())) < 1e-3
    assert not layers.biases.any()
