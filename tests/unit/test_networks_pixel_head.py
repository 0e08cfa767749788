"""What tells single pixels by their features: a kernel machine, and trees beside it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from brushfire.learning.convex import fit_linear
from brushfire.learning.fitting import fit_pixels
from brushfire.learning.growing import grow_trees
from brushfire.networks import NetworkSettings, SegmentationModel
from brushfire.networks import pixel_head as module
from brushfire.networks.convex_head import STEPS
from brushfire.networks.pixel_head import PixelHead

INPUTS = 5


def random_head(classes: int = 3) -> PixelHead:
    """Return a head whose trees have no say."""
    torch.manual_seed(0)
    head = PixelHead(INPUTS, classes)
    head.look(3 + 2 * torch.randn(200, INPUTS))
    torch.nn.init.normal_(head.machine.weight)
    torch.nn.init.normal_(head.machine.bias)
    return head


@pytest.mark.parametrize("strip", [1, 7, 34, 35, 36, 8192])
def test_logits_are_linear_in_the_terms_wherever_strips_end(
    monkeypatch: pytest.MonkeyPatch, strip: int
) -> None:
    monkeypatch.setattr(module, "_STRIP", strip)
    head = random_head()
    features = 3 + 2 * torch.randn(2, INPUTS, 5, 7)
    found = head(features)
    assert found.shape == (2, 3, 5, 7)
    for image in range(2):
        terms = head.machine.terms(head.standard(features[image].flatten(1)))
        expected = (head.machine.weight @ terms + head.machine.bias[:, None]).view(3, 5, 7)
        torch.testing.assert_close(found[image], expected, rtol=1e-4, atol=1e-4)


def test_features_are_standardised_by_the_labelled_pixels() -> None:
    head = PixelHead(INPUTS, 2)
    features = torch.tensor([10.0, -3.0, 0.0, 5.0, 1.0]) + 2 * torch.randn(500, INPUTS)
    features[:, 4] = 7.0  # constant: no division by zero
    head.look(features)
    torch.testing.assert_close(head.mean, features.mean(0))
    torch.testing.assert_close(head.std[:4], features[:, :4].std(0, correction=0))
    assert head.std[4] > 0
    standard = (features - head.mean) / head.std
    for step, at in enumerate(np.linspace(0, 1, STEPS + 2)[1:-1]):
        below = (standard[:, :4] <= head.machine.thresholds[step, :4] + 1e-5).double().mean(0)
        torch.testing.assert_close(below, torch.full_like(below, at), rtol=0, atol=0.01)
    assert bool(head.machine.terms(head.standard(features.t())).isfinite().all())


def test_neither_scale_nor_offset_of_features_tells() -> None:
    head, other = random_head(), random_head()
    seen, features = torch.randn(300, INPUTS), torch.randn(1, INPUTS, 6, 6)
    scale, offset = torch.tensor([0.5, 3.0, 100.0, 1.0, 7.0]), torch.arange(5.0)
    head.look(seen)
    other.look(seen * scale + offset)
    moved = features * scale[:, None, None] + offset[:, None, None]
    torch.testing.assert_close(other(moved), head(features), rtol=1e-3, atol=1e-3)


def fitted_on(values: Tensor, classes: np.ndarray) -> SegmentationModel:
    model = SegmentationModel(NetworkSettings(depth=2, dilations=(1,)), 1, (1, 2))
    fit_pixels(model, values, classes)
    return model


def test_a_band_of_intensity_is_told_from_what_is_darker_and_what_is_brighter() -> None:
    torch.manual_seed(0)
    bank = SegmentationModel(NetworkSettings(depth=2, dilations=(1,)), 1, (1, 2)).inputs
    values = torch.zeros(600, bank)
    values[:, 0] = torch.linspace(-3, 3, 600)
    values[:, 1:] = torch.randn(600, bank - 1)  # and nothing else tells them
    classes = np.where(values[:, 0].abs() < 1, 2, 1)
    model = fitted_on(values, classes)
    assert model.pixels is not None
    others = torch.randn(bank, 400)
    others[0] = torch.linspace(-2.9, 2.9, 400)
    found = model.pixels.machine(model.pixels.standard(others)).argmax(0)
    expected = (others[0].abs() < 1).long()
    assert (found == expected).double().mean() > 0.9
    start = torch.zeros(2, bank), torch.zeros(2)
    target = torch.from_numpy(classes - 1)
    weight, bias = fit_linear(values, target, torch.ones(2), start, penalty=1e-3)
    linear = (weight @ others + bias[:, None]).argmax(0)
    assert (linear == expected).double().mean() < 0.75, "no linear model separates them"


def test_what_is_far_out_is_not_told_apart() -> None:
    head = random_head()
    direction = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0])
    near, far = (
        (head.mean + sds * direction * head.std)[None, :, None, None] for sds in (6.0001, 1e6)
    )
    inside = (head.mean + 5 * direction * head.std)[None, :, None, None]
    torch.testing.assert_close(head(far), head(near), rtol=1e-4, atol=1e-4)
    assert (head(inside) - head(near)).abs().max() > 1e-3


def test_a_state_brings_it_back() -> None:
    head, other = random_head(), PixelHead(INPUTS, 3)
    other.load_state_dict(head.state_dict())
    features = torch.randn(1, INPUTS, 4, 4)
    assert torch.equal(other(features), head(features))


def test_before_a_fit_it_says_nothing() -> None:
    assert not PixelHead(INPUTS, 3)(torch.randn(1, INPUTS, 4, 4)).any()


def test_no_gradient_flows_back_through_it() -> None:
    head = random_head()
    assert not list(head.parameters())
    features = torch.randn(1, INPUTS, 4, 4, requires_grad=True)
    assert not head(features).requires_grad


def test_trees_have_half_a_say() -> None:
    torch.manual_seed(0)
    head = random_head()
    values = torch.randn(300, INPUTS)
    grow_trees(head.trees, values, (values[:, 0] > 0).long() + (values[:, 1] > 1))
    features = 3 + 2 * torch.randn(1, INPUTS, 6, 8)
    standard = head.standard(features[0].flatten(1))
    mean = (head.machine(standard).softmax(0) + head.trees(standard)) / 2
    torch.testing.assert_close(head(features)[0].flatten(1).softmax(0), mean)
