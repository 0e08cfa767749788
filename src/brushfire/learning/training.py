"""One network in training: its newest weights, the averaged ones that are shown, its optimiser."""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from brushfire.learning.continuing import follow
from brushfire.learning.convex import class_weights
from brushfire.learning.crossfits import CrossFits
from brushfire.learning.disturbance import disturbed, noise_level
from brushfire.learning.evaluation import places_of, regions_of
from brushfire.learning.fitting import (
    COUNT_POWER,
    fit_pixels,
    index_table,
    start_head,
    with_also,
)
from brushfire.learning.losses import consistency_loss, segmentation_loss
from brushfire.learning.probe import picked, probe
from brushfire.learning.transfer.pace import Pace
from brushfire.learning.workload import counted
from brushfire.networks.architectures import MSD

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brushfire.learning.examples import Examples
    from brushfire.learning.probe import Site
    from brushfire.learning.runs import Labels
    from brushfire.learning.sampler import Block, Patch, SlabCache
    from brushfire.learning.settings import LearningSettings
    from brushfire.networks.model import SegmentationModel

_WARM_UP = 20  # steps until the full learning rate, so that the fit is not shaken
_FALL = 200  # steps after new strokes until it falls noticeably
_GENTLE = 0.05  # of the learning rate, for layers that know shapes already
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
    restored : bool
        Whether the model has learnt already.
    taught : bool
        Whether its layers have, elsewhere, and only its head is new.
    examples : Examples, optional
        Labelled voxels of other volumes, which fits learn beside the strokes.
    seed : int
        Decides how intensities are disturbed, and where low-rank updates begin.

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
        restored: bool,
        taught: bool = False,
        seed: int,
        examples: Examples | None = None,
    ) -> None:
        self.steps = 0
        self.lost = 0
        self._settings, self._seed = settings, seed
        self._restored, self._taught = restored, taught
        self._examples = examples
        self._informed: SegmentationModel | None = None
        self._cross_fits: CrossFits | None = None
        self._generator = torch.Generator().manual_seed(seed)
        self._fitted_at = 0
        self._start = copy.deepcopy(model).requires_grad_(False).eval()
        self._start.start(pretrained=settings.pretrained)
        self.average = copy.deepcopy(model).requires_grad_(False).eval()
        self._model = model.train()
        self._pace = Pace(self._model, settings, seed=seed)
        self._noise = noise_level([self._normalised(slab)[0] for slab in slabs])

    @property
    def classes(self) -> tuple[int, ...]:
        """Class values, in the order of the outputs."""
        return self._model.classes

    @property
    def cross_fits(self) -> CrossFits | None:
        """Fits that do not know some strokes, of the last fit."""
        return self._cross_fits

    @property
    def margin(self) -> int:
        """Pixels around a patch that its features reach into."""
        return 0 if self._model.bank is None else self._model.bank.radius

    def set_classes(self, classes: Sequence[int]) -> None:
        """Give the head these classes; all other layers and the optimiser go on as they were."""
        self._model = self._model.with_classes(classes).train()
        self.average = self.average.with_classes(classes).requires_grad_(False).eval()
        self._start = self._start.with_classes(classes).requires_grad_(False).eval()
        self._cross_fits = None
        before, self._pace = self._pace, Pace(self._model, self._settings, seed=self._seed)
        self._pace.adopt(before)

    @property
    def examples(self) -> tuple[Tensor, Labels] | None:
        """Features and classes of the examples that there are classes for, if any."""
        if self._examples is None or not len(known := self._examples.of(self.classes)):
            return None
        return torch.from_numpy(known.features).to(self.average.device), known.classes

    def forget_fits(self) -> None:
        """Forget the fits that do not know some strokes: the strokes are others now."""
        self._cross_fits = None

    def fit(self, slabs: SlabCache, sites: Sequence[Site], held: Sequence[Site]) -> None:
        """Fit what tells pixels by their features on strokes; what was trained stays beside it.

        Parameters
        ----------
        slabs : SlabCache
            Where intensities come from.
        sites, held : sequence of Site
            The strokes that teach, and those that are held out. What is shown, `for_show`, learns
            from all of them; what is judged does not know the latter.
        """
        average = self.average
        self._fitted_at = self.steps
        if average.pixels is None:
            if not self.trained:
                start_head(average, slabs, sites, taught=self._taught)
                self._model.load_state_dict(average.state_dict())
            return
        raw, classes = probe(average, slabs, sites, picked(average.raw_inputs))
        fit, also = partial(fit_pixels, trees=self._settings.trees), self.examples
        fit(average, *with_also(raw, classes, also))
        self._cross_fits = CrossFits(
            average,
            raw,
            classes,
            regions_of(sites),
            places_of(sites),
            also=also,
            trees=self._settings.trees,
        )
        self._take_pixels(self._model, average)
        self._take_pixels(self._start, average)
        self._informed = None
        if held:
            more, of_more = probe(average, slabs, held, picked(average.raw_inputs))
            self._cross_fits.ask_too(more, of_more, regions_of(held), places_of(held))
            self._informed = copy.deepcopy(average)
            known = with_also(raw, classes, (more, of_more))
            fit(self._informed, *with_also(*known, also))

    def for_show(self, model: SegmentationModel) -> SegmentationModel:
        """Return a candidate as it is shown: what tells pixels has learnt from every stroke.

        A stroke that corrects something must be followed where it was painted, also if it is
        held out.
        """
        if self._informed is None or self._informed.classes != model.classes:
            return model
        shown = copy.deepcopy(model)
        self._take_pixels(shown, self._informed)
        return shown

    @staticmethod
    def _take_pixels(model: SegmentationModel, other: SegmentationModel) -> None:
        assert model.pixels is not None
        assert other.pixels is not None
        model.pixels.load_state_dict(other.pixels.state_dict())

    def candidates(self) -> list[tuple[str, SegmentationModel]]:
        """Return the models that may be shown, each with its kind: "fitted", "trained".

        The fitted one has the layers that it started with, which saw none of these strokes; the
        trained one those that gradient steps made of them.
        """
        if self.average.pixels is None:
            return [("trained", copy.deepcopy(self.average))]
        # The fitted one first: it wins where both answer alike.
        found = [("fitted", copy.deepcopy(self._start))]
        if self.trained:
            found.append(("trained", copy.deepcopy(self.average)))
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
        rate = self._rate()
        self._pace.prepare(self.steps)
        loss = self._loss(patches, counts)
        self._pace.forget_gradients()
        torch.autograd.backward(loss)
        value = float(loss.detach())
        norm = float(torch.nn.utils.clip_grad_norm_(self._model.parameters(), _CLIP))
        if not (math.isfinite(value) and math.isfinite(norm)):
            self.lost += 1
            return value, rate
        self.lost = 0
        self._pace.move(rate, self.steps)
        self.steps += 1
        self._follow()
        return value, rate

    def _rate(self) -> float:
        """Return the learning rate of the next step; it falls until there are new strokes."""
        since = self.steps - self._fitted_at
        gentle = 1.0 if self._model.pixels is None or self._start.by_pixel else _GENTLE
        falling = 1 / math.sqrt(1 + since / _FALL)
        usual = self._settings.learning_rate * self._model.layers.rate
        return usual * gentle * min(falling, (since + 1) / _WARM_UP)

    @property
    def _teacher(self) -> SegmentationModel:
        """What is agreed with where nothing is labelled.

        That is what was known before the first stroke, where there is something: layers that
        follow a few strokes only, which lie in the middle of things, forget where things end.
        """
        nothing = self.average.pixels is None or self._start.by_pixel
        return self.average if nothing else self._start

    def cost(self, patches: Sequence[Patch], counts: Mapping[int, int]) -> int:
        """Return the bytes that a step on these patches takes; nothing is learned from them.

        Parameters
        ----------
        patches, counts
            As for `step`.
        """
        if self._cross_fits is not None:
            self._cross_fits.make()  # made once after new strokes: no part of a step
        with counted(self._model.device, whole=self._model.settings.architecture != MSD) as count:
            torch.autograd.backward(self._loss(patches, counts))
        self._pace.forget_gradients()
        return count.bytes

    def _loss(self, patches: Sequence[Patch], counts: Mapping[int, int]) -> Tensor:
        settings = self._settings
        labels = torch.from_numpy(np.stack([patch.labels for patch in patches]).astype(np.int64))
        agree = settings.consistency > 0
        with torch.no_grad():
            calm = self._raw(patches, disturb=False)
            fitted = self._fitted(calm, patches, labels)
            teacher = self._logits(self._teacher, calm, fitted) if agree else None
            seen = self._raw(patches, disturb=settings.augment)
        logits = self._logits(self._model, seen, fitted)
        target = index_table(self.classes)[labels].to(logits.device)
        weights = class_weights(torch.tensor([counts[c] for c in self.classes]), COUNT_POWER)
        loss = segmentation_loss(
            logits,
            target,
            weights.to(logits),
            smoothing=settings.label_smoothing,
            dice_weight=settings.dice_weight,
        )
        if teacher is None:
            return loss
        return loss + settings.consistency * consistency_loss(logits, target, teacher)

    def _fitted(self, raw: Tensor, patches: Sequence[Patch], labels: Tensor) -> Tensor | None:
        """Return what fits make of patches, and clear the labels that these fits know."""
        pixels = self._model.pixels
        if pixels is None:
            return None
        fits, found = self._cross_fits, []
        for index, patch in enumerate(patches):
            head = pixels
            if fits is not None and patch.labels.any():
                parts = fits.parts(patch.regions)
                # Each part as likely as any other: a large stroke must not silence a small one.
                asked = np.unique(parts[patch.labels > 0])
                part = int(asked[int(torch.randint(len(asked), (), generator=self._generator))])
                labels[index][torch.from_numpy(parts != part)] = 0
                if part >= 0:
                    head = fits.without(part)
            found.append(head(raw[index : index + 1]))
        return torch.cat(found)

    @staticmethod
    def _logits(model: SegmentationModel, raw: Tensor, fitted: Tensor | None) -> Tensor:
        return model.logits_of(raw) if fitted is None else fitted + model.correction(raw, fitted)

    def _raw(self, patches: Sequence[Patch], *, disturb: bool) -> Tensor:
        """Return the inputs of patches; features reach into their margins."""
        model, parts = self._model, []
        for patch in patches:
            x = self._normalised(patch.intensities)
            if disturb:
                x = disturbed(x, self._noise, self._generator)
            above, below, left, right = patch.margins
            height, width = x.shape[2:]
            parts.append(model.raw_inputs(x)[:, :, above : height - below, left : width - right])
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
        follow(self.average, self._model, self._settings.average)
