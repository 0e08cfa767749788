from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from brushfire.learning.convex import class_weights, fit_linear
from brushfire.learning.disturbance import disturbed, noise_level
from brushfire.learning.losses import consistency_loss, segmentation_loss, soft_dice_loss
from brushfire.learning.proportions import estimate_proportions, mean_recall


def test_only_labelled_voxels_count() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 5, 6, requires_grad=True)
    target = torch.full((2, 5, 6), -1)
    target[0, 2, 3], target[1, 0, 0] = 1, 2
    loss = segmentation_loss(logits, target, torch.ones(3))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.abs().sum(1).nonzero().tolist() == [[0, 2, 3], [1, 0, 0]]
    changed = logits.detach() + (target == -1)[:, None] * torch.randn_like(logits)
    assert float(segmentation_loss(changed, target, torch.ones(3))) == pytest.approx(
        float(loss.detach())
    )


def test_nothing_labelled_is_no_loss() -> None:
    logits = torch.randn(1, 2, 4, 4, requires_grad=True)
    loss = segmentation_loss(logits, torch.full((1, 4, 4), -1), torch.ones(2))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert float(loss.detach()) == 0
    assert not gradient.any()


def test_without_dice_it_is_weighted_cross_entropy() -> None:
    logits, target = torch.randn(1, 3, 4, 4), torch.randint(0, 3, (1, 4, 4))
    weights = torch.tensor([1.0, 2.0, 5.0])
    expected = functional.cross_entropy(logits, target, weights)
    torch.testing.assert_close(segmentation_loss(logits, target, weights, dice_weight=0), expected)


def test_dice_of_a_perfect_answer_is_no_loss() -> None:
    target = torch.tensor([0, 0, 0, 2])
    perfect = functional.one_hot(target, 3).float()
    assert float(soft_dice_loss(perfect, target)) == pytest.approx(0)
    assert float(soft_dice_loss(perfect.roll(1, 1), target)) == pytest.approx(1)


def test_consistency_is_zero_with_oneself_and_ignores_labels() -> None:
    logits, other = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    nothing = torch.full((1, 4, 4), -1)
    assert float(consistency_loss(logits, nothing, logits)) == pytest.approx(0, abs=1e-6)
    assert float(consistency_loss(logits, nothing, other)) > 0
    assert float(consistency_loss(logits, torch.zeros(1, 4, 4).long(), other)) == 0


def test_convex_fit_finds_the_minimum_from_anywhere() -> None:
    torch.manual_seed(0)
    values = torch.randn(300, 5, dtype=torch.float64)
    target = (values @ torch.randn(5, 3, dtype=torch.float64)).argmax(1)
    start = torch.zeros(3, 5, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    weights = torch.tensor([1.0, 2.0, 0.5])
    one = fit_linear(values, target, weights, start, penalty=0.1)
    far = torch.randn(3, 5, dtype=torch.float64)
    other = fit_linear(values, target, weights, start, penalty=0.1, first=far)
    torch.testing.assert_close(one[0], other[0], rtol=0, atol=5e-3)
    weight = one[0].clone().requires_grad_(True)
    loss = functional.cross_entropy(values @ weight.t() + one[1], target, weights.double())
    (gradient,) = torch.autograd.grad(loss + 0.05 * weight.square().sum(), weight)
    assert float(gradient.abs().max()) < 1e-3


def test_a_stiff_fit_stays_where_it_started() -> None:
    torch.manual_seed(0)
    start = torch.randn(2, 4), torch.randn(2)
    values, target = torch.randn(50, 4), torch.randint(0, 2, (50,))
    weight, _ = fit_linear(values, target, torch.ones(2), start, penalty=1e6)
    torch.testing.assert_close(weight, start[0], rtol=1e-3, atol=1e-3)


def test_one_voxel_of_each_class_can_be_fitted() -> None:
    start = torch.zeros(2, 3), torch.zeros(2)
    values = torch.tensor([[1.0, 0.0, 2.0], [-1.0, 0.5, 0.0]])
    weight, bias = fit_linear(values, torch.tensor([0, 1]), torch.ones(2), start, penalty=1e-2)
    assert (values @ weight.t() + bias).argmax(1).tolist() == [0, 1]


@pytest.mark.parametrize(("power", "ratio"), [(0.0, 1.0), (0.5, 10.0), (1.0, 100.0)])
def test_rare_classes_weigh_more(power: float, ratio: float) -> None:
    counts = torch.tensor([10_000, 100])
    weights = class_weights(counts, power)
    assert float(weights[1] / weights[0]) == pytest.approx(ratio**1.0, rel=1e-6)
    assert float((weights * counts).sum()) == pytest.approx(10_100)


def test_proportions_are_found_without_labels() -> None:
    torch.manual_seed(0)
    truth = torch.rand(40_000) < 0.1  # the second class is a tenth
    value = torch.randn(40_000) + 2.0 * truth
    logit = 2.0 * value - 2.0  # the right one where both are equally common
    likely = torch.stack([-logit / 2, logit / 2], 1).softmax(1).double()
    found = estimate_proportions(likely, torch.tensor([0.5, 0.5]).double())
    assert float(found[1]) == pytest.approx(0.1, abs=0.02)
    assert float(found.sum()) == pytest.approx(1)


def test_noise_is_measured_beneath_structure() -> None:
    torch.manual_seed(0)
    y, x = torch.meshgrid(torch.arange(100.0), torch.arange(100.0), indexing="ij")
    structure = (x > 50).float() + y / 100
    noisy = structure + 0.05 * torch.randn(100, 100)
    assert noise_level([noisy[None]]) == pytest.approx(0.05, rel=0.1)
    assert noise_level([structure[None]]) == pytest.approx(0, abs=1e-3)
    assert noise_level([10 * noisy[None]]) == 0.15
    assert noise_level([torch.zeros(1, 1, 5)]) == 0


def test_disturbing_is_decided_by_the_generator() -> None:
    x = torch.randn(2, 3, 8, 8)
    first, second = (disturbed(x, 0.1, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, x)
    torch.testing.assert_close(first, x, rtol=0.5, atol=1.0)


def test_mean_recall_counts_every_class_alike() -> None:
    logits = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert mean_recall(logits, torch.tensor([0, 0, 0, 1, 1])) == pytest.approx(0.75)
    assert mean_recall(logits[:3], torch.tensor([0, 0, 0])) == 1
