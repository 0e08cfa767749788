"""One network in training: its newest weights, the averaged ones that are shown, its optimiser."""

from __future__ import annotations

import copy
import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from brushfire.learning.adamw import AdamW
from brushfire.learning.convex import class_weights, fit_linear
from brushfire.learning.disturbance import disturbed, noise_level
from brushfire.learning.fitting import COUNT_POWER, fit_first, index_table, refit
from brushfire.learning.losses import consistency_loss, segmentation_loss
from brushfire.learning.workload import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brushfire.learning.probe import Site
    from brushfire.learning.sampler import Block, Patch, SlabCache
    from brushfire.learning.settings import LearningSettings
    from brushfire.networks.model import SegmentationModel

_Head = tuple[Tensor, Tensor]  # weights and biases

_WARM_UP = 20  # steps until the full learning rate, so that the fit is not shaken
_EVIDENCE = 10_000  # labelled voxels at which what was trained counts as much as what was fitted
_CLIP = 1.0  # norm of a gradient


class Trainer:
    """Trains a model, step by step.

    Parameters
    ----------
    model : SegmentationModel
        Where training starts; taken over.
    settings : LearningSettings
        How it learns.
    slabs : sequence of ndarray
        Intensities anywhere in the volume, (channels, slices, y, x), to see how noisy it is.
    share : float or None
        For a model that has learnt already, so that a fit refines it instead of starting it: the
        share of the trained head in its own, see `blended`.
    seed : int
        Decides how intensities are disturbed.

    Attributes
    ----------
    average : SegmentationModel
        The moving average of the weights, which begins at the fit.
    steps : int
        Gradient steps so far.
    lost : int
        How many in a row came to nothing since then, for want of finite numbers.
    """

    def __init__(
        self,
        model: SegmentationModel,
        settings: LearningSettings,
        slabs: Sequence[Block],
        *,
        share: float | None,
        seed: int,
    ) -> None:
        self.steps = 0
        self.lost = 0
        self._settings = settings
        self._restored = share is not None
        self._generator = torch.Generator().manual_seed(seed)
        self._fitted: _Head | None = None
        if share is not None:
            # The blend comes out as it was, and the trained part of it goes on in full.
            maps = slice(model.inputs, model.layers.maps)
            self._fitted, trained = _head(model), _head(model)
            self._fitted[0][:, maps] = 0
            trained[0][:, maps] /= share
            _set_head(model, trained)
        self._model = model.train()
        self.average = copy.deepcopy(model).requires_grad_(False)
        self._optimiser = self._new_optimiser()
        self._noise = noise_level([self._normalised(slab)[0] for slab in slabs])

    @property
    def classes(self) -> tuple[int, ...]:
        """Class values, in the order of the outputs."""
        return self._model.classes

    @property
    def margin(self) -> int:
        """Pixels around a patch that its features reach into."""
        return 0 if self._model.bank is None else self._model.bank.radius

    def set_classes(self, classes: Sequence[int]) -> None:
        """Give the head these classes; all other layers and the optimiser go on as they were."""
        if self._fitted is not None:
            fitted = copy.deepcopy(self.average)
            _set_head(fitted, self._fitted)
            self._fitted = _head(fitted.with_classes(classes))
        old, memory = self._model, self._optimiser.state
        self._model = old.with_classes(classes).train()
        self.average = self.average.with_classes(classes).requires_grad_(False)
        self._optimiser = self._new_optimiser()
        for mine, theirs in zip(self._model.parameters(), old.parameters(), strict=True):
            if mine.shape == theirs.shape and theirs in memory:
                self._optimiser.state[mine] = memory[theirs]

    def fit_first(self, slabs: SlabCache, sites: Sequence[Site], held: Sequence[Site]) -> None:
        """Fit the head on the features alone."""
        fit_first(self.average, slabs, sites, held)
        self._model.load_state_dict(self.average.state_dict())
        self._fitted = _head(self.average)

    def refit(self, slabs: SlabCache, sites: Sequence[Site]) -> None:
        """Move the heads as little as the strokes at the sites ask for."""
        before = _head(self.average)
        trained, self._fitted = refit(self.average, self._fitted or before, slabs, sites)
        _set_head(self.average, trained)
        # The newest weights follow by the same change, so that averaging does not undo it.
        weight, bias = _head(self._model)
        newest = (weight + trained[0] - before[0], bias + trained[1] - before[1])
        _set_head(self._model, newest)

    def blended(self, voxels: int) -> SegmentationModel:
        """Return the averaged weights, the head between the fitted and the trained one.

        On few strokes a network of many weights finds what holds for these strokes only, which
        the convex fit cannot, and held-out strokes in the same slices do not tell. So the trained
        head counts by its evidence, see `trained_share`.

        Parameters
        ----------
        voxels : int
            Labelled voxels that teach.
        """
        model = copy.deepcopy(self.average)
        if self._fitted is not None:
            share = trained_share(voxels)
            weight, bias = _head(self.average)
            _set_head(
                model, (self._fitted[0].lerp(weight, share), self._fitted[1].lerp(bias, share))
            )
        return model

    def fitted_model(self) -> SegmentationModel | None:
        """Return a model with the fitted head, which leaves the layers out; None before a fit."""
        if self._fitted is None:
            return None
        model = copy.deepcopy(self.average)
        _set_head(model, self._fitted)
        return model

    def candidates(self, voxels: int) -> list[tuple[str, SegmentationModel]]:
        """Return the models that may be shown, each with its kind: "trained", "fitted".

        Parameters
        ----------
        voxels : int
            As for `blended`.
        """
        fitted = self.fitted_model()
        found = [] if fitted is None else [("fitted", fitted)]
        if self.trained or fitted is None:
            found.insert(0, ("trained", self.blended(voxels)))
        return found

    @property
    def trained(self) -> bool:
        """Whether there is more than a first fit."""
        return self._restored or self.steps > 0

    def step(self, patches: Sequence[Patch], counts: Mapping[int, int]) -> tuple[float, float]:
        """Make one gradient step and return its loss and learning rate.

        A loss or gradients that are not finite change nothing but `lost`.

        Parameters
        ----------
        patches : sequence of Patch
            Of one size.
        counts : mapping
            Labelled voxels of each class.
        """
        rate = self._settings.learning_rate * min(1.0, (self.steps + 1) / _WARM_UP)
        loss = self._loss(patches, counts)
        self._optimiser.forget_gradients()
        torch.autograd.backward(loss)
        value = float(loss.detach())
        norm = float(torch.nn.utils.clip_grad_norm_(self._model.parameters(), _CLIP))
        if not (math.isfinite(value) and math.isfinite(norm)):
            self.lost += 1
            return value, rate
        self.lost = 0
        self._optimiser.step(rate)
        self.steps += 1
        self._follow()
        return value, rate

    def cost(self, patches: Sequence[Patch], counts: Mapping[int, int]) -> int:
        """Return the bytes that a step on these patches takes; nothing is learned from them.

        Parameters
        ----------
        patches, counts
            As for `step`.
        """
        with counted(self._model.device) as count:
            torch.autograd.backward(self._loss(patches, counts))
        self._optimiser.forget_gradients()
        return count.bytes

    def _loss(self, patches: Sequence[Patch], counts: Mapping[int, int]) -> Tensor:
        settings = self._settings
        logits = self._model.logits_of(self._inputs(patches, disturb=settings.augment))
        labels = np.stack([patch.labels for patch in patches]).astype(np.int64)
        target = index_table(self.classes)[torch.from_numpy(labels)].to(logits.device)
        weights = class_weights(torch.tensor([counts[c] for c in self.classes]), COUNT_POWER)
        loss = segmentation_loss(
            logits,
            target,
            weights.to(logits),
            smoothing=settings.label_smoothing,
            dice_weight=settings.dice_weight,
        )
        if settings.consistency == 0:
            return loss
        with torch.no_grad():
            teacher = self.average.logits_of(self._inputs(patches, disturb=False))
        return loss + settings.consistency * consistency_loss(logits, target, teacher)

    def _inputs(self, patches: Sequence[Patch], *, disturb: bool) -> Tensor:
        """Return what the layers see of patches; features reach into their margins."""
        model, parts = self._model, []
        with torch.no_grad():
            for patch in patches:
                x = self._normalised(patch.intensities)
                if disturb:
                    x = disturbed(x, self._noise, self._generator)
                above, below, left, right = patch.margins
                height, width = x.shape[2:]
                raw = model.raw_inputs(x)[:, :, above : height - below, left : width - right]
                parts.append(model.standardise(raw))
        return torch.cat(parts)

    def _normalised(self, slab: Block) -> Tensor:
        """Return (1, channels * slices, y, x) of (channels, slices, y, x)."""
        values = torch.from_numpy(np.ascontiguousarray(slab)).to(self._model.device)
        return self._model.normalise(values.flatten(0, 1)[None])

    def _follow(self) -> None:
        """Move the averaged weights towards the newest.

        From the first step on with the full decay: they begin at a fit, which is worth keeping,
        and they are the teacher where nothing is labelled.
        """
        decay = self._settings.average
        pairs = zip(self.average.parameters(), self._model.parameters(), strict=True)
        with torch.no_grad():
            for mean, new in pairs:
                mean.lerp_(new, 1 - decay)

    def _new_optimiser(self) -> AdamW:
        return AdamW(self._model.parameters(), weight_decay=self._settings.weight_decay)


def trained_share(voxels: int) -> float:
    """Return what a trained head counts beside the fitted one, 0 to 1.

    The credibility ``n / (n + 10000)`` of ``n`` labelled voxels (Buehlmann 1967).
    """
    return voxels / (voxels + _EVIDENCE)


def _head(model: SegmentationModel) -> _Head:
    """Return copies of a model's last weights and biases."""
    return model.head_weight.detach().clone(), model.head_bias.detach().clone()


def _set_head(model: SegmentationModel, head: _Head) -> None:
    with torch.no_grad():
        model.head_weight.copy_(head[0])
        model.head_bias.copy_(head[1])


@cache
def warm_up() -> None:
    """Make torch set up what it sets up on first use, before the first stroke."""
    values = torch.tensor([[0.0], [1.0]])
    start = torch.zeros(2, 1), torch.zeros(2)
    fit_linear(values, torch.tensor([0, 1]), torch.ones(2), start, penalty=1.0)
    torch.autograd.backward(torch.zeros(1, requires_grad=True).sum())
