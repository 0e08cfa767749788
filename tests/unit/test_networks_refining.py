"""What the layers see of a class, and that they treat all classes alike."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor

from brushfire.networks import NetworkSettings, SegmentationModel
from brushfire.networks.features import FeatureBank
from brushfire.networks.refining import GUIDE, INPUTS, class_inputs, guide_of, margins

SETTINGS = [
    NetworkSettings(depth=5, dilations=(1, 2, 3)),
    NetworkSettings(depth=3, width=2, dilations=(1, 4), slices=3),
]


def model_of(settings: NetworkSettings, classes: tuple[int, ...]) -> SegmentationModel:
    torch.manual_seed(1)
    model = SegmentationModel(settings, 2, classes)
    assert model.pixels is not None
    for value in (*model.parameters(), model.pixels.machine.weight, model.pixels.machine.bias):
        torch.nn.init.normal_(value, std=0.2)
    return model


def slabs_for(model: SegmentationModel, images: int = 2) -> Tensor:
    torch.manual_seed(2)
    return torch.randn(images, model.channels * model.settings.slices, 22, 17)


def test_margins_of_two_classes_are_each_other_turned_round() -> None:
    found = margins(torch.randn(3, 2, 4, 5))
    torch.testing.assert_close(found[:, 0], -found[:, 1])


@given(classes=st.integers(2, 9), seed=st.integers(0, 99), scale=st.floats(0, 12))
@examples(max_examples=60, deadline=None)
def test_margins_are_the_log_odds_of_the_probabilities(
    classes: int, seed: int, scale: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(2, classes, 3, 4, generator=generator, dtype=torch.float64)
    chances = logits.softmax(1)
    # Summed over the others: one minus what is nearly one would have no digits left.
    others = torch.stack(
        [
            chances[:, [other for other in range(classes) if other != one]].sum(1)
            for one in range(classes)
        ],
        1,
    )
    torch.testing.assert_close(margins(logits), chances.log() - others.log())


def test_margins_do_not_change_with_what_all_logits_share() -> None:
    logits = torch.randn(1, 4, 3, 3)
    torch.testing.assert_close(margins(logits + 5), margins(logits), rtol=1e-4, atol=1e-4)


def test_a_class_is_seen_beside_the_image_and_nothing_else() -> None:
    margin, guide = torch.randn(2, 3, 16, 18), torch.randn(2, GUIDE, 16, 18)
    found = class_inputs(margin, guide)
    assert found.shape == (6, INPUTS, 16, 18)
    for image in range(2):
        for index in range(3):
            one = class_inputs(margin[image, index][None, None], guide[image][None])
            torch.testing.assert_close(found[3 * image + index], one[0])
    far = class_inputs(torch.full((1, 1, 8, 8), 1e6), guide[:1, :, :8, :8])
    near = class_inputs(torch.full((1, 1, 8, 8), 8.0), guide[:1, :, :8, :8])
    torch.testing.assert_close(far, near)


def test_the_guide_is_the_mean_of_the_channels() -> None:
    bank = FeatureBank()
    image = torch.randn(1, 1, 12, 12)
    both = torch.cat([image, -image], 1)
    assert not guide_of(bank(both), 2, bank.per_channel)[:, :2].abs().max() > 1e-6
    same = guide_of(bank(torch.cat([image, image], 1)), 2, bank.per_channel)
    torch.testing.assert_close(same, bank(image)[:, :GUIDE])


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_order_of_classes_does_not_matter(settings: NetworkSettings) -> None:
    classes = (1, 2, 5)
    model = model_of(settings, classes)
    x = slabs_for(model)
    expected = model.logits(x)
    assert model.pixels is not None
    fitted = model.pixels(model.raw_inputs(x))
    assert (expected - fitted).abs().max() > 0.01, "the layers do something"
    for order in permutations(range(3)):
        other = model.with_classes([classes[index] for index in order])
        torch.testing.assert_close(other.logits(x), expected[:, list(order)], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("classes", [(1, 2), (1, 2, 3, 4)])
def test_class_by_class_is_what_all_together_are(
    settings: NetworkSettings, classes: tuple[int, ...]
) -> None:
    model = model_of(settings, classes)
    x = slabs_for(model)
    together = model.logits(x)
    assert together.requires_grad
    with torch.no_grad():
        singly = model.logits(x)
    torch.testing.assert_close(singly, together.detach(), rtol=1e-4, atol=1e-4)


def test_one_network_learns_from_every_class() -> None:
    model = model_of(SETTINGS[0], (1, 2, 3))
    x = slabs_for(model, 1)
    assert model.head_weight.shape[0] == 1
    for index in range(3):
        slope, *_ = torch.autograd.grad(model.logits(x)[:, index].sum(), model.head_weight)
        assert slope.any()
