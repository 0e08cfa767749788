"""Starts: which weights are taken over, and which may move."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from brushfire.errors import SettingsError
from brushfire.learning.settings import LearningSettings
from brushfire.learning.transfer.low_rank import LowRankUpdate
from brushfire.learning.transfer.pace import Pace
from brushfire.learning.transfer.schedules import SCHEDULE_TEXTS, SCHEDULES
from brushfire.learning.transfer.schedules import why_not as why_no_schedule
from brushfire.learning.transfer.strategies import (
    STRATEGIES,
    WEIGHTS,
    StartSettings,
    Weights,
    check_start,
    slimmed,
    why_not,
)
from brushfire.learning.transfer.weights import gabor_filters, started
from brushfire.networks import NetworkSettings, SegmentationModel

MSD = NetworkSettings(depth=8, features=False)
UNET = NetworkSettings(5, 8, features=False, architecture="basic_unet")
DYNUNET = NetworkSettings(4, 8, features=False, architecture="dynunet")
ATTENTION = NetworkSettings(3, 8, features=False, architecture="attention_unet")
SEGRESNET = NetworkSettings(3, 8, features=False, architecture="segresnet")
UNETR = NetworkSettings(4, 4, features=False, architecture="unetr", window=32)
FEATURES = NetworkSettings(depth=8)
EACH = [MSD, UNET, DYNUNET, ATTENTION, SEGRESNET, UNETR, FEATURES]


def named(network: NetworkSettings) -> str:
    return network.architecture + ("-features" if network.features else "")


def learned(
    network: NetworkSettings, channels: int = 1, classes: tuple[int, ...] = (1, 2)
) -> SegmentationModel:
    """Return a model in which no number is what it begins with."""
    torch.manual_seed(1)
    model = SegmentationModel(network, channels, classes)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith(("std", "running_var")):
                value.copy_(torch.rand_like(value) + 0.5)
            elif value.is_floating_point() and not name.startswith(("pixels.trees", "intensity")):
                value.copy_(0.1 * torch.randn_like(value) + 0.02)
        model.intensity_std.fill_(1.0)
    return model.eval()


def start(source: SegmentationModel, settings: StartSettings, **changes: object):
    about = {"channels": 1, "classes": (1, 2), "mean": [0.0], "std": [1.0], **changes}
    return started(source, settings, **about)


def equal_stages(model: SegmentationModel, source: SegmentationModel) -> list[bool]:
    mine, theirs = (dict(one.layers.named_parameters()) for one in (model, source))
    return [
        all(
            mine[name][rows].shape == theirs[name][rows].shape
            and torch.equal(mine[name][rows], theirs[name][rows])
            for name, rows in stage
        )
        for stage in source.layers.stages()
    ]


@pytest.mark.parametrize("network", EACH, ids=named)
def test_all_weights_give_the_same_answers(network: NetworkSettings) -> None:
    source = learned(network)
    model, taken = start(source, StartSettings("all"))
    block = np.random.default_rng(0).standard_normal((1, network.slices, 40, 45))
    assert np.array_equal(
        model.probabilities(block.astype(np.float32)),
        source.probabilities(block.astype(np.float32)),
    )
    assert taken.weights == taken.all
    assert taken.classes == (1, 2)
    assert not taken.remark


@pytest.mark.parametrize("network", EACH[:-2], ids=named)
def test_lower_stages_are_the_source_s_and_the_rest_is_not(network: NetworkSettings) -> None:
    source = learned(network)
    model, taken = start(source, StartSettings("lower", 2))
    equal = equal_stages(model, source)
    assert equal == [True, True] + [False] * (len(equal) - 2)
    assert 0 < taken.weights < taken.all
    assert not model.head_weight.any()


@pytest.mark.parametrize("network", [UNET, DYNUNET, ATTENTION], ids=named)
def test_a_slim_hybrid_keeps_the_lowest_and_halves_the_rest(network: NetworkSettings) -> None:
    source = learned(network)
    model, _ = start(source, StartSettings("slim", 2))
    sizes = [sum(p.numel() for p in one.layers.parameters()) for one in (model, source)]
    assert sizes[0] < 0.8 * sizes[1]
    assert equal_stages(model, source)[:2] == [True, True]
    x = torch.randn(1, 1, 40, 40)
    assert model(x).shape == (1, 2, 40, 40)


def test_statistics_keep_mean_and_spread_and_nothing_else() -> None:
    source = learned(DYNUNET)
    model, taken = start(source, StartSettings("statistics"))
    assert taken.weights == 0
    for name, theirs in source.layers.named_parameters():
        mine, theirs = dict(model.layers.named_parameters())[name].detach(), theirs.detach()
        if mine.numel() > 500:
            assert not torch.equal(mine, theirs)
            assert float(mine.mean()) == pytest.approx(float(theirs.mean()), abs=0.1)
            assert float(mine.std()) == pytest.approx(float(theirs.std()), rel=0.15)


def test_gabor_filters_are_waves_without_a_mean_as_spread_out_as_at_random() -> None:
    like = torch.randn(48, 3, 7, 7)
    found = gabor_filters(like)
    assert found.shape == like.shape
    assert float(found.mean((2, 3)).abs().max()) < 1e-6
    assert float(found.std()) == pytest.approx(float(like.std()), rel=0.01)
    assert len({tuple(one[0].flatten().tolist()) for one in found}) == 48
    model, _ = start(learned(UNET), StartSettings("gabor"))
    first = next(value for value in model.layers.parameters() if value.ndim == 4)
    assert float(first.detach().mean((2, 3)).abs().max()) < 1e-6


@pytest.mark.parametrize("way", ["mean", "copy"])
@pytest.mark.parametrize(("before", "now"), [(1, 4), (4, 2)])
@pytest.mark.parametrize("network", [MSD, UNET, replace(MSD, slices=3)], ids=str)
def test_another_number_of_channels_is_matched(
    network: NetworkSettings, before: int, now: int, way: str
) -> None:
    source = learned(network, before)
    model, taken = start(
        source, StartSettings("all", channels=way), channels=now, mean=[0.0] * now, std=[1.0] * now
    )
    assert f"on {before} channel(s), and here are {now}" in taken.remark
    # Where all channels show the same, it makes no difference how many there are.
    x = torch.randn(1, 1, network.slices, 40, 40)
    seen = [x.expand(-1, count, -1, -1, -1).flatten(1, 2) for count in (before, now)]
    with torch.no_grad():
        for one in (source, model):  # how inputs are standardised is learned with strokes
            one.input_mean.zero_()
            one.input_std.fill_(1.0)
        maps = [one.layers.features_of(x) for one, x in zip((source, model), seen, strict=True)]
    skipped = [before * network.slices, now * network.slices] if network is not UNET else [0, 0]
    if way == "mean":
        torch.testing.assert_close(
            maps[0][:, skipped[0] :], maps[1][:, skipped[1] :], rtol=1e-3, atol=1e-3
        )
    else:
        assert maps[1].isfinite().all()


def test_an_adapter_makes_the_channels_that_were_learned_on_and_learns() -> None:
    source = learned(UNET, 3)
    model, taken = start(source, StartSettings("all", channels="adapter"))
    assert model.settings.adapter == 3
    assert "a layer that learns" in taken.remark
    assert equal_stages(model, source) == [True] * len(source.layers.stages())
    x = torch.randn(1, 1, 40, 40)
    torch.autograd.backward(model.train()(x).logsumexp(1).mean())
    assert model.adapter is not None
    assert model.adapter.grad is not None
    assert bool(model.adapter.grad.any())


def test_known_classes_keep_their_head_and_new_ones_begin_at_zero() -> None:
    source = learned(UNET, classes=(1, 2, 3))
    model, taken = start(source, StartSettings("all"), classes=(2, 7))
    assert taken.classes == (2,)
    assert torch.equal(model.head_weight[0], source.head_weight[1])
    assert not model.head_weight[1].any()


def test_layers_that_correct_are_taken_over_whatever_the_channels() -> None:
    source = learned(FEATURES, 1)
    model, taken = start(source, StartSettings("all"), channels=2, mean=[0, 0], std=[1, 1])
    assert equal_stages(model, source) == [True] * 4
    assert taken.classes == ()
    assert torch.equal(model.head_weight, source.head_weight)


@pytest.mark.parametrize(
    ("weights", "network", "said"),
    [
        ("statistics", UNETR, "do the same at any scale"),
        ("statistics", replace(DYNUNET, norm="instance"), "do the same at any scale"),
        ("slim", MSD, "MS-D have one width"),
        ("slim", SEGRESNET, "SegResNet have one width"),
        ("gabor", MSD, "has one filter"),
        ("gabor", FEATURES, "sees no image"),
        ("gabor", UNETR, "cuts the image into patches"),
        ("gabor", replace(UNET, axes=3, slices=3), "filters of planes"),
    ],
)
def test_what_cannot_work_says_why(weights: Weights, network: NetworkSettings, said: str) -> None:
    assert said in why_not(weights, network)
    with pytest.raises(SettingsError, match=said):
        check_start(StartSettings(weights), network)


def test_each_way_is_told_and_bad_ones_are_refused() -> None:
    assert set(STRATEGIES) == set(WEIGHTS)
    assert set(SCHEDULE_TEXTS) == set(SCHEDULES)
    for bad in ({"weights": "some"}, {"stages": 0}, {"channels": "sum"}):
        with pytest.raises(SettingsError):
            StartSettings(**bad)
    with pytest.raises(SettingsError, match="multi-scale input"):
        check_start(StartSettings(channels="adapter"), FEATURES)
    assert "no linear layers" in why_no_schedule("low-rank", UNET)
    assert not why_no_schedule("low-rank", UNETR)
    for bad in ({"schedule": "some"}, {"rank": 0}, {"grading": 0.0}, {"frozen_steps": -1}):
        with pytest.raises(SettingsError):
            LearningSettings(**bad)


def test_halving_twice_halves_twice() -> None:
    once = slimmed(DYNUNET, 1)
    assert '"filters": [8, 8, 16, 32]' in once.arguments
    assert '"filters": [8, 4, 8, 16]' in slimmed(once, 1).arguments


def moved(network: NetworkSettings, **settings: object) -> tuple[list[float], float]:
    """Return how far the weights of each stage and of the head go in two steps."""
    model = learned(network).train()
    before = copy.deepcopy(model)
    pace = Pace(model, LearningSettings(weight_decay=0.0, **settings), seed=0)
    for step in range(2):
        pace.prepare(step)
        pace.forget_gradients()
        x = torch.randn(1, 1, 32, 32)
        torch.autograd.backward((model(x) * torch.randn(1, 2, 32, 32)).mean())
        pace.move(1e-3, step)
    mine, old = (dict(one.layers.named_parameters()) for one in (model, before))
    stages = [
        max(
            float((mine[name][rows] - old[name][rows]).detach().abs().max()) for name, rows in stage
        )
        for stage in model.layers.stages()
    ]
    for name, value in model.layers.named_buffers():
        if not any(stages):
            assert torch.equal(value, dict(before.layers.named_buffers())[name])
    return stages, float((model.head_weight - before.head_weight).detach().abs().max())


def test_schedules_move_what_they_say() -> None:
    stages, head = moved(UNET, schedule="all")
    assert min(stages) > 0
    assert head > 0
    for schedule in ("head", "frozen"):
        stages, head = moved(UNET, schedule=schedule)
        assert max(stages) == 0
        assert head > 0
    assert min(moved(UNET, schedule="frozen", frozen_steps=1)[0]) > 0
    stages, head = moved(UNET, schedule="graded", grading=0.5)
    assert all(1.5 < after / one < 2.5 for one, after in pairwise(stages))
    assert 1.5 < head / stages[-1] < 2.5


def test_a_last_layer_that_learns_alone_computes_no_other_gradients() -> None:
    for network in (UNET, MSD):
        model = learned(network).train()
        pace = Pace(model, LearningSettings(schedule="head"), seed=0)
        pace.prepare(0)
        torch.autograd.backward((model(torch.randn(1, 1, 32, 32)) ** 2).mean())
        assert all(value.grad is None for value in model.layers.parameters())
        assert model.head_weight.grad is not None


def test_low_rank_updates_change_linear_layers_by_a_few_directions() -> None:
    model = learned(UNETR).train()
    linear = [m for m in model.layers.modules() if isinstance(m, torch.nn.Linear)]
    before = {name: value.detach().clone() for name, value in model.layers.named_parameters()}
    of_linear = {id(module.weight) for module in linear}
    pace = Pace(model, LearningSettings(schedule="low-rank", rank=2), seed=0)
    for step in range(3):
        pace.forget_gradients()
        torch.autograd.backward((model(torch.randn(1, 1, 32, 32)) ** 2).mean())
        pace.move(1e-2, step)
    changed = 0
    for name, value in model.layers.named_parameters():
        change = value.detach() - before[name]
        if id(value) not in of_linear:
            assert not change.any(), f"{name} is no matrix of a linear layer"
        elif change.any():
            changed += 1
            assert int(torch.linalg.matrix_rank(change, atol=1e-5)) <= 2
    assert changed > 10


def test_low_rank_updates_begin_where_the_seed_says() -> None:
    found = []
    for seed in (0, 0, 1):
        model = learned(UNETR).train()
        torch.rand(1 + len(found))  # what others draw makes no difference
        pace = Pace(model, LearningSettings(schedule="low-rank", rank=2), seed=seed)
        for step in range(2):
            pace.prepare(step)
            pace.forget_gradients()
            torch.autograd.backward((model(torch.ones(1, 1, 32, 32)) ** 2).mean())
            pace.move(1e-2, step)
        found.append(torch.cat([value.detach().flatten() for value in model.layers.parameters()]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_gradients_of_thin_factors_are_those_of_their_product() -> None:
    weight = torch.randn(5, 4, requires_grad=True)
    update = LowRankUpdate(weight, 2, torch.Generator().manual_seed(0))
    update.up.normal_()
    x, y = torch.randn(7, 4), torch.randn(7, 5)
    up, down = (factor.clone().requires_grad_() for factor in (update.up, update.down))
    torch.autograd.backward(((x @ (weight.detach() + up @ down).t() - y) ** 2).sum())
    update.apply()
    torch.autograd.backward(((x @ weight.t() - y) ** 2).sum())
    update.take_gradient()
    torch.testing.assert_close(update.up.grad, up.grad)
    torch.testing.assert_close(update.down.grad, down.grad)
