"""What tells pixels follows the strokes at once; gradient steps change the layers beside it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from tests.support.memory import empty_labels, paint_bars, stripes, volume_of
from torch import Tensor

from brushfire.learning import LearningSettings
from brushfire.learning.probe import Site, find_sites, probe
from brushfire.learning.regions import StrokeRegions
from brushfire.learning.sampler import PatchSampler, SlabCache
from brushfire.learning.training import Trainer
from brushfire.networks import NetworkSettings, SegmentationModel

SHAPE = (3, 96, 80)


class Strokes:
    """Strokes on a volume, and a trainer that was fitted on them."""

    def __init__(
        self,
        *,
        features: bool = True,
        usual: bool = False,
        trees: bool = True,
        network: NetworkSettings | None = None,
    ) -> None:
        network = network or NetworkSettings(depth=4, dilations=(1, 2), features=features)
        if usual:  # which begins with weights
            network = NetworkSettings()
        store = empty_labels(SHAPE)
        paint_bars(store, stripes(SHAPE), 1)
        self.regions = StrokeRegions(0.0)
        self.regions.update(store.snapshot())
        self.slabs = SlabCache(volume_of(stripes(SHAPE)), network.context, 2**24)
        rng = np.random.default_rng(0)
        self.sampler = PatchSampler(self.slabs, self.regions, SHAPE, rng)
        torch.manual_seed(0)
        model = SegmentationModel(network, 1, (1, 2))
        model.start()
        self.trainer = Trainer(
            model, LearningSettings(patch=64, trees=trees), [], restored=False, seed=0
        )
        self.trainer.fit(self.slabs, self.sites, [])

    @property
    def sites(self) -> list[Site]:
        points = self.regions.points(held=False)
        return find_sites(points, SHAPE, budget=10**6, rng=np.random.default_rng(0))

    def train(self, steps: int) -> None:
        for _ in range(steps):
            patches = self.sampler.draw(1, 64, margin=self.trainer.margin, vary=True)
            self.trainer.step(patches, self.regions.counts(held=False))


@pytest.fixture
def strokes() -> Strokes:
    return Strokes()


def head(model: SegmentationModel) -> Tensor:
    return torch.cat([model.head_weight.detach(), model.head_bias.detach()[:, None]], 1)


def test_averaging_begins_at_the_fit(strokes: Strokes) -> None:
    fitted = head(strokes.trainer.average)
    strokes.train(1)
    newest = head(strokes.trainer._model)
    expected = fitted + (1 - LearningSettings().average) * (newest - fitted)
    torch.testing.assert_close(head(strokes.trainer.average), expected)


def right(model: SegmentationModel, strokes: Strokes) -> float:
    """Return the share of stroke voxels that a model gets right."""
    logits, truth = probe(model, strokes.slabs, strokes.sites, model.logits_at)
    classes = np.asarray(model.classes)[logits.argmax(1).numpy()]
    return float((classes == truth).mean())


def test_the_fit_alone_agrees_with_the_strokes_and_so_does_what_is_trained(
    strokes: Strokes,
) -> None:
    strokes.train(30)
    found = dict(strokes.trainer.candidates())
    assert set(found) == {"trained", "fitted"}
    assert not found["fitted"].head_weight.any()
    assert found["trained"].head_weight.any()
    assert right(found["fitted"], strokes) > 0.95
    assert right(found["trained"], strokes) > 0.95


def test_a_patch_is_told_by_a_fit_that_does_not_know_what_it_teaches(strokes: Strokes) -> None:
    trainer = strokes.trainer
    fits = trainer.cross_fits
    assert fits is not None
    seen = set()
    for patch in strokes.sampler.draw(12, 64, margin=trainer.margin, vary=True):
        raw = trainer._raw([patch], disturb=False)
        labels = torch.from_numpy(patch.labels.astype(np.int64))[None]
        fitted = trainer._fitted(raw, [patch], labels)
        left = labels[0].numpy() > 0
        (part,) = np.unique(fits.parts(patch.regions)[left])
        assert np.array_equal(labels[0].numpy()[left], patch.labels[left])
        assert part >= 0
        torch.testing.assert_close(fitted, fits.without(int(part))(raw))
        seen.add(int(part))
    assert len(seen) > 1
    trainer.forget_fits()
    labels = torch.from_numpy(patch.labels.astype(np.int64))[None]
    fitted = trainer._fitted(raw, [patch], labels)
    assert np.array_equal(labels[0], patch.labels), "all of them, while strokes are newer"
    torch.testing.assert_close(fitted, trainer._model.pixels(raw))


def test_where_nothing_is_labelled_layers_stay_with_what_they_knew(strokes: Strokes) -> None:
    assert strokes.trainer._teacher is strokes.trainer.average, "these began at nothing"
    usual = Strokes(usual=True).trainer
    assert not usual._start.by_pixel
    assert usual._teacher is usual._start
    slow, fast = usual._rate(), strokes.trainer._rate()
    assert slow < 0.1 * fast


def test_parts_can_be_switched_off(strokes: Strokes) -> None:
    bare = Strokes(trees=False).trainer
    assert strokes.trainer.average.pixels.trees.grown
    assert not bare.average.pixels.trees.grown


def test_a_fit_leaves_what_was_trained(strokes: Strokes) -> None:
    strokes.train(10)
    trainer = strokes.trainer
    before = copy.deepcopy(trainer.average)
    trainer.fit(strokes.slabs, strokes.sites, [])
    for mine, was in zip(trainer.average.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(mine, was)
    for one in (trainer.average, trainer._model):
        assert one.pixels is not None
        assert one.pixels.machine.weight.any()


def test_without_features_there_is_one_candidate_fitted_on_intensities() -> None:
    strokes = Strokes(features=False)
    ((kind, model),) = strokes.trainer.candidates()
    assert kind == "trained"
    assert model.pixels is None
    assert model.head_weight[:, : model.inputs].any()
    assert not model.head_weight[:, model.inputs :].any(), "nothing was trained yet"
    assert right(model, strokes) > 0.8


def test_a_class_that_joins_leaves_the_fit_of_the_others(strokes: Strokes) -> None:
    strokes.train(10)
    before = strokes.trainer.average.pixels
    assert before is not None
    layers = head(strokes.trainer.average)
    strokes.trainer.set_classes((1, 2, 5))
    after = strokes.trainer.average.pixels
    assert after is not None
    torch.testing.assert_close(after.machine.weight[:2], before.machine.weight)
    torch.testing.assert_close(after.trees.votes[:, :2], before.trees.votes)
    assert not after.machine.weight[2].any()
    assert not after.trees.votes[:, 2].any()
    torch.testing.assert_close(head(strokes.trainer.average), layers)


def test_gradients_that_are_not_finite_change_nothing(strokes: Strokes) -> None:
    strokes.train(2)
    trainer = strokes.trainer
    before = copy.deepcopy(trainer._model.state_dict())

    def explode(slope: Tensor) -> Tensor:
        return slope * float("inf")

    trainer._model.head_bias.register_hook(explode)
    patches = strokes.sampler.draw(1, 64, margin=trainer.margin, vary=True)
    counts = strokes.regions.counts(held=False)
    losses = [trainer.step(patches, counts)[0] for _ in range(5)]
    assert np.isfinite(losses).all()
    assert (trainer.lost, trainer.steps) == (5, 2)
    after = trainer._model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_cost_of_a_step_grows_with_its_patches_and_learns_nothing(strokes: Strokes) -> None:
    trainer = strokes.trainer
    before = copy.deepcopy(trainer._model.state_dict())
    costs = []
    for side in (32, 64):
        patches = strokes.sampler.draw(1, side, margin=trainer.margin, vary=True)
        costs.append(trainer.cost(patches, strokes.regions.counts(held=False)))
    maps = trainer._model.layers.maps
    assert costs[0] < costs[1]
    assert costs[1] > 3 * 4 * maps * 64**2, "the maps, their gradient and a copy of it"
    assert trainer.steps == 0
    after = trainer._model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_gradient_steps_begin_where_a_fit_of_random_layers_ends() -> None:
    unet = NetworkSettings(5, 8, features=False, architecture="basic_unet")
    strokes = Strokes(network=unet)
    patches = strokes.sampler.draw(1, 64, margin=strokes.trainer.margin, vary=True)
    loss, _ = strokes.trainer.step(patches, strokes.regions.counts(held=False))
    assert loss < 3  # a hundred and more where layers are normalised by nothing that they saw
