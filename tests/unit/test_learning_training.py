"""What is shown lies between the convex fit and what gradient steps made of it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from tests.support.memory import empty_labels, paint_bars, stripes, volume_of
from torch import Tensor

from brushfire.learning import LearningSettings
from brushfire.learning.probe import Site, find_sites, picked, probe
from brushfire.learning.regions import StrokeRegions
from brushfire.learning.sampler import PatchSampler, SlabCache
from brushfire.learning.training import Trainer, trained_share
from brushfire.networks import NetworkSettings, SegmentationModel

SHAPE = (3, 96, 80)


class Strokes:
    """Strokes on a volume, and a trainer that was fitted on them."""

    def __init__(self) -> None:
        network = NetworkSettings(depth=4, dilations=(1, 2))
        store = empty_labels(SHAPE)
        paint_bars(store, stripes(SHAPE), 1)
        self.regions = StrokeRegions(0.0)
        self.regions.update(store.snapshot())
        self.slabs = SlabCache(volume_of(stripes(SHAPE)), network.context, 2**24)
        rng = np.random.default_rng(0)
        self.sampler = PatchSampler(self.slabs, self.regions, SHAPE, rng)
        torch.manual_seed(0)
        model = SegmentationModel(network, 1, (1, 2))
        self.trainer = Trainer(model, LearningSettings(patch=64), [], share=None, seed=0)
        self.trainer.fit_first(self.slabs, self.sites, ())

    @property
    def sites(self) -> list[Site]:
        points = self.regions.points(held=False)
        return find_sites(points, SHAPE, budget=10**6, rng=np.random.default_rng(0))

    def train(self, steps: int) -> None:
        for _ in range(steps):
            patches = self.sampler.draw(1, 64, margin=self.trainer.margin, turn=True)
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


@pytest.mark.parametrize(("voxels", "share"), [(0, 0.0), (10_000, 0.5), (90_000, 0.9)])
def test_the_trained_head_counts_by_its_evidence(
    strokes: Strokes, voxels: int, share: float
) -> None:
    fitted = head(strokes.trainer.average)
    strokes.train(30)
    trained = head(strokes.trainer.average)
    assert (trained - fitted).abs().max() > 1e-3
    shown = strokes.trainer.blended(voxels)
    torch.testing.assert_close(head(shown), fitted + share * (trained - fitted))
    torch.testing.assert_close(shown.layers.biases, strokes.trainer.average.layers.biases)


def test_a_refit_agrees_with_the_strokes_in_both_heads(strokes: Strokes) -> None:
    strokes.train(30)
    trainer = strokes.trainer
    for _ in range(5):
        trainer.refit(strokes.slabs, strokes.sites)
    for voxels in (0, 5000, 10**9):
        shown = trainer.blended(voxels)
        logits, truth = probe(shown, strokes.slabs, strokes.sites, picked(shown.logits))
        classes = np.asarray(trainer.classes)[logits.argmax(1).numpy()]
        assert (classes == truth).mean() > 0.95
    maps = slice(trainer.average.inputs, trainer.average.layers.maps)
    assert not trainer.blended(0).head_weight[:, maps].any(), "the fit knows no maps"


def test_a_restored_model_shows_the_same_and_trains_on_in_full(strokes: Strokes) -> None:
    strokes.train(30)
    voxels = 2500
    shown = strokes.trainer.blended(voxels)
    share = trained_share(voxels)
    again = Trainer(copy.deepcopy(shown), LearningSettings(patch=64), [], share=share, seed=0)
    torch.testing.assert_close(head(again.blended(voxels)), head(shown))
    maps = slice(shown.inputs, shown.layers.maps)
    torch.testing.assert_close(
        again.average.head_weight[:, maps], strokes.trainer.average.head_weight[:, maps]
    )


def test_without_a_fit_the_trained_head_is_all(strokes: Strokes) -> None:
    model = copy.deepcopy(strokes.trainer.average)
    bare = Trainer(model, LearningSettings(patch=64), [], share=None, seed=0)
    torch.testing.assert_close(head(bare.blended(10)), head(bare.average))


def test_a_class_that_joins_leaves_the_fit_of_the_others(strokes: Strokes) -> None:
    strokes.train(10)
    before = head(strokes.trainer.blended(5000))
    strokes.trainer.set_classes((1, 2, 5))
    after = head(strokes.trainer.blended(5000))
    torch.testing.assert_close(after[:2], before)
    assert not after[2].any()


def test_gradients_that_are_not_finite_change_nothing(strokes: Strokes) -> None:
    strokes.train(2)
    trainer = strokes.trainer
    before = copy.deepcopy(trainer._model.state_dict())

    def explode(slope: Tensor) -> Tensor:
        return slope * float("inf")

    trainer._model.head_bias.register_hook(explode)
    patches = strokes.sampler.draw(1, 64, margin=trainer.margin, turn=True)
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
        patches = strokes.sampler.draw(1, side, margin=trainer.margin, turn=True)
        costs.append(trainer.cost(patches, strokes.regions.counts(held=False)))
    maps = trainer._model.layers.maps
    assert costs[0] < costs[1]
    assert costs[1] > 3 * 4 * maps * 64**2, "the maps, their gradient and a copy of it"
    assert trainer.steps == 0
    after = trainer._model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
