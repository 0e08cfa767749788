"""The learner: from strokes to ever better models, one short call at a time."""

from __future__ import annotations

import copy
import math
import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from brushfire.errors import LearningError, ModelError
from brushfire.learning.evaluation import evaluate_model
from brushfire.learning.fitting import COUNT_POWER
from brushfire.learning.probe import CELL, MARGIN, find_sites
from brushfire.learning.proportions import prior_shift
from brushfire.learning.regions import StrokeRegions
from brushfire.learning.reports import Evaluation, Proposal, StepReport
from brushfire.learning.sampler import PatchSampler, SlabCache, square_around
from brushfire.learning.settings import check_patch
from brushfire.learning.training import Trainer, trained_share, warm_up
from brushfire.learning.workload import Workload, choose_workload
from brushfire.networks.halo import measure_halo
from brushfire.networks.model import SegmentationModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brushfire.annotations import AnnotationSnapshot
    from brushfire.learning.probe import Site
    from brushfire.learning.sampler import Block, Patch
    from brushfire.learning.settings import LearningSettings
    from brushfire.networks.settings import NetworkSettings
    from brushfire.networks.snapshot import ModelSnapshot
    from brushfire.volumes import Volume

__all__ = ["Evaluation", "Learner", "Proposal", "StepReport"]

_FIT_PIXELS = 3_000_000  # whose features are computed for a fit: about a second
_SCORE_PIXELS = 500_000  # computed for an evaluation, which comes every few seconds
_PROPORTION_SLABS = 6  # places of the volume from which proportions of classes are estimated
_PROPORTION_SIDE = 192
_SMALLEST_PATCH = 64
_SMALLEST_CELL = 64
_MOST_LOST = 5  # steps in a row that come to nothing, until learning ends
_BATCH = 8  # patches of a step where a processor is not what computes
_HISTORY = 50  # accepted models that can be gone back to
_FRESH_TOLERANCE = 0.02  # of Dice, once after new strokes: they shall be seen
_HALO_ROOM = 112  # pixels around the part on which a halo is measured, whatever memory there is
_HALO_CORE = 64


class Learner:
    """Network, optimiser and strokes of one volume; used by one thread.

    Parameters
    ----------
    volume : Volume
        What is segmented.
    network : NetworkSettings
        Shape of the network.
    learning : LearningSettings
        How it learns.
    device : str
        Where, as torch names it: "cpu", "cuda".
    seed : int
        Decides first weights, patches and what is held out.
    revision : int
        The newest revision that was used before; models count up from it.
    step_bytes : float
        Memory that a step, or a look at some strokes, may take; without a limit by default.

    Raises
    ------
    SettingsError
        If a dilation is as large as a patch.
    """

    def __init__(
        self,
        volume: Volume,
        network: NetworkSettings,
        learning: LearningSettings,
        *,
        device: str,
        seed: int = 0,
        revision: int = 0,
        step_bytes: float = math.inf,
    ) -> None:
        check_patch(network, learning)
        self._volume = volume
        self._network = network
        self._learning = learning
        self._device = torch.device(device)
        self._seed = seed
        self._rng = np.random.default_rng(seed)
        self._regions = StrokeRegions(learning.held_out, seed)
        self._cache = SlabCache(volume, network.context, learning.cache_bytes)
        self._sampler = PatchSampler(self._cache, self._regions, volume.shape, self._rng)
        self._step_bytes = step_bytes
        self._smallest_patch = max(_SMALLEST_PATCH, network.largest_dilation + 1)
        usual = 1 if self._device.type == "cpu" else _BATCH
        self._wanted = Workload(learning.patch, learning.batch or usual)
        self._workload: Workload | None = None
        self._largest_cell = CELL
        self._fit_pixels, self._score_pixels = _FIT_PIXELS, _SCORE_PIXELS
        self._changed: tuple[int, ...] = ()
        self._fresh = False
        self._given = self._fitted = 0
        self._steps = 0
        self._revision = revision
        self._history: list[ModelSnapshot] = []
        self._shown_model: SegmentationModel | None = None
        self._shown_score: tuple[int, Evaluation] | None = None
        self._slabs: list[Block] | None = None
        self._trainer: Trainer | None = None
        warm_up()

    @property
    def step_count(self) -> int:
        """Gradient steps so far, those that a restored model had behind it included."""
        return self._steps

    @property
    def history(self) -> tuple[ModelSnapshot, ...]:
        """The accepted models that can be gone back to, the shown one last."""
        return tuple(self._history)

    @property
    def shown(self) -> ModelSnapshot | None:
        """The newest accepted model."""
        return self._history[-1] if self._history else None

    @property
    def can_undo(self) -> bool:
        """Whether there is an accepted model before the shown one."""
        return len(self._history) > 1

    @property
    def ready(self) -> str | None:
        """None when learning is possible, else a sentence that says what is missing."""
        classes = self._classes
        if not classes:
            return "Paint a few strokes of two classes to start learning."
        if len(classes) == 1:
            return "Paint a second class: learning needs strokes of at least two."
        return None

    @property
    def _classes(self) -> tuple[int, ...]:
        return tuple(self._regions.counts(held=False))

    @property
    def _voxels(self) -> int:
        """Labelled voxels that teach."""
        return sum(self._regions.counts(held=False).values())

    def set_annotations(self, snapshot: AnnotationSnapshot) -> None:
        """Take over newer strokes; learning goes on with them, and new classes join the head.

        Raises
        ------
        LearningError
            If the labels have another shape than the volume.
        """
        if tuple(snapshot.shape) != tuple(self._volume.shape):
            raise LearningError(
                f"Labels have the shape of the volume, {self._volume.shape}.",
                got=snapshot.shape,
                do="Paint on this volume, or open the one that the labels belong to.",
            )
        self._given = snapshot.revision
        changed = self._regions.update(snapshot)
        if changed:
            self._changed = tuple(sorted({*self._changed, *changed}))
            self._fresh = True
        self._match_classes()

    def _match_classes(self) -> None:
        trainer = self._trainer
        if self.ready is None and trainer is not None and trainer.classes != self._classes:
            trainer.set_classes(self._classes)

    def fit(self) -> None:
        """Fit the convex part on all strokes, in about a second.

        Before the first gradient step that is the whole answer.

        Raises
        ------
        LearningError
            If learning is not possible yet, see `ready`.
        """
        sites = self._sites(held=False, budget=self._fit_pixels)
        self._ready_trainer().fit(self._cache, sites)
        self._fitted, self._changed = self._given, ()

    def _sites(self, *, held: bool, budget: int) -> list[Site]:
        """Return where strokes are, as much of it as the budget of pixels allows."""
        return find_sites(
            self._regions.points(held=held),
            self._volume.shape,
            budget=budget,
            cell=self._cell(),
            first=() if held else self._changed,
            # The same held-out strokes for every model, so that scores can be compared.
            rng=np.random.default_rng(self._seed) if held else self._rng,
        )

    def _cell(self) -> int:
        """Return the side of the squares in which strokes are looked at: as large as fits."""
        cell = self._largest_cell
        model = self._ready_trainer().average
        while cell > _SMALLEST_CELL and (
            model.bytes_of(cell + 2 * MARGIN, cell + 2 * MARGIN) > self._step_bytes
        ):
            cell //= 2
        return cell

    def step(self) -> StepReport:
        """Make one gradient step on patches around the strokes.

        Raises
        ------
        LearningError
            If learning is not possible yet, see `ready`, or has run into numbers that are not
            finite. Then it is back at the shown model.
        """
        started = time.perf_counter()
        trainer = self._ready_trainer()
        if self._workload is None:
            self._workload = self._choose_workload(trainer)
        patches = self._patches(trainer, self._workload)
        loss, rate = trainer.step(patches, self._regions.counts(held=False))
        if not math.isfinite(loss):
            raise self._diverged(f"a loss of {loss} in step {self._steps + 1}")
        if trainer.lost >= _MOST_LOST:
            raise self._diverged(f"gradients that are not, {trainer.lost} times in a row")
        self._steps += trainer.lost == 0
        return StepReport(self._steps, loss, rate, time.perf_counter() - started)

    def _choose_workload(self, trainer: Trainer) -> Workload:
        def cost(work: Workload) -> int:
            return trainer.cost(self._patches(trainer, work), self._regions.counts(held=False))

        if math.isinf(self._step_bytes):
            return self._wanted
        return choose_workload(
            cost, self._wanted, smallest=self._smallest_patch, limit=self._step_bytes
        )

    def _patches(self, trainer: Trainer, work: Workload) -> list[Patch]:
        return self._sampler.draw(
            work.batch, work.patch, margin=trainer.margin, turn=self._learning.augment
        )

    def _diverged(self, got: str) -> LearningError:
        """Go back to the shown model, or to nothing, and return what to say."""
        self._trainer = None
        if self._history:
            self._load(self._history[-1])
        kept = "The last good model is kept. " if self._history else ""
        return LearningError(
            "The loss of a training step and its gradients are finite numbers.",
            got=got,
            do=f"{kept}Choose a lower learning rate, look for extreme intensities in the volume, "
            "and start again.",
        )

    def evaluate(self) -> Evaluation:
        """Return how what was learned does on the held-out strokes.

        Raises
        ------
        LearningError
            If learning is not possible yet, see `ready`.
        """
        return self._evaluate(self._ready_trainer().blended(self._voxels))

    def _evaluate(self, model: SegmentationModel) -> Evaluation:
        sites = self._sites(held=True, budget=self._score_pixels)
        return evaluate_model(model, self._cache, sites, self._classes)

    def propose(self) -> Proposal:
        """Show what was learned if it is not worse on the held-out strokes.

        Without held-out strokes, without a shown model, or with other classes than the shown
        model's, it is always accepted. Once after new strokes it may be worse by 0.02 Dice.

        Raises
        ------
        LearningError
            If learning is not possible yet, see `ready`.
        """
        model = self._ready_trainer().blended(self._voxels)
        evaluation = self._evaluate(model)
        shown = self._evaluate_shown()
        accepted = True
        if shown is not None and self._shown_model is not None and shown.mean is not None:
            slack = _FRESH_TOLERANCE if self._fresh else 0.0
            same = self._shown_model.classes == model.classes
            accepted = not same or (evaluation.mean or 0.0) >= shown.mean - slack
        if not accepted:
            return Proposal(None, evaluation, shown)
        return Proposal(self._accept(model, evaluation), evaluation, shown)

    def _evaluate_shown(self) -> Evaluation | None:
        """Return how the shown model does; computed again only when strokes changed."""
        if self._shown_model is None:
            return None
        if self._shown_score is None or self._shown_score[0] != self._regions.version:
            self._shown_score = self._regions.version, self._evaluate(self._shown_model)
        return self._shown_score[1]

    def _accept(self, model: SegmentationModel, evaluation: Evaluation) -> ModelSnapshot:
        self._revision += 1
        self._fresh = False
        model.prior_shift.copy_(prior_shift(model, self._anywhere(), self._prior(model)))
        model.halo = measure_halo(model, self._halo_blocks(), core=_HALO_CORE)
        metrics = {
            "step": self.step_count,
            "annotations": self._fitted,
            "trained_share": trained_share(self._voxels),
            "dice": {str(value): dice for value, dice in evaluation.dice.items()},
            "mean_dice": evaluation.mean,
            "held_out_voxels": evaluation.voxels,
            "held_out_regions": [list(seed) for seed in self._regions.seeds],
        }
        snapshot = model.snapshot(self._revision, metrics)
        self._history = [*self._history[1 - _HISTORY :], snapshot]
        self._shown_model = model
        self._shown_score = self._regions.version, evaluation
        return snapshot

    def _prior(self, model: SegmentationModel) -> Tensor:
        """Return the proportions of classes that a model learns from, weights included."""
        counts = self._regions.counts(held=False)
        shares = torch.tensor([counts[value] for value in model.classes]).double()
        shares = shares ** (1 - COUNT_POWER)
        return shares / shares.sum()

    def _anywhere(self) -> list[Block]:
        """Return slabs all over the volume, always the same ones."""
        if self._slabs is None:
            rng = np.random.default_rng(self._seed)
            depth, *plane = self._volume.shape
            count = _PROPORTION_SLABS
            self._slabs = [
                self._cache.read(
                    square_around(
                        int((index + rng.random()) * depth / count),
                        [int(rng.integers(size)) for size in plane],
                        _PROPORTION_SIDE,
                        self._volume.shape,
                    )
                )
                for index in range(count)
            ]
        return self._slabs

    def _halo_blocks(self) -> list[Block]:
        """Return real slabs around strokes, wide enough to measure a halo."""
        points = self._regions.points(held=False)
        z = int(self._rng.choice(list(points)))
        y, x = self._rng.choice(points[z].voxels)
        side = _HALO_CORE + 2 * _HALO_ROOM
        return [self._cache.read(square_around(z, (int(y), int(x)), side, self._volume.shape))]

    def undo(self) -> ModelSnapshot | None:
        """Go back to the accepted model before the shown one; None where there is none.

        Learning goes on from its weights.
        """
        if not self.can_undo:
            return None
        self._history.pop()
        self._load(self._history[-1])
        return self._history[-1]

    def restore(self, models: Sequence[ModelSnapshot]) -> None:
        """Show and train on from a saved model, before the first strokes are given.

        Parameters
        ----------
        models : sequence of ModelSnapshot
            The one to go on from last, after those that can be gone back to.

        Raises
        ------
        ModelError
            If it was made for other settings or channels, or is damaged.
        """
        snapshot = models[-1]
        if snapshot.settings != self._network or snapshot.channels != len(self._volume.channels):
            raise ModelError(
                "A model continues with the network settings and channels it was made with.",
                got=f"{snapshot.settings}, {snapshot.channels} channel(s)",
                do="Choose those settings, or reset learning.",
            )
        self._load(snapshot)
        self._revision = max(self._revision, *(model.revision for model in models))
        self._steps = int(snapshot.metrics.get("step", 0))
        self._history = list(models)
        self._regions.adopt(snapshot.metrics.get("held_out_regions", ()))

    def _load(self, snapshot: ModelSnapshot) -> None:
        model = SegmentationModel.from_snapshot(snapshot, self._device)
        self._shown_model, self._shown_score = copy.deepcopy(model), None
        # Models of before had all of the trained head.
        share = min(max(float(snapshot.metrics.get("trained_share", 1.0)), 1e-6), 1.0)
        self._trainer = self._new_trainer(model, share=share)
        self._match_classes()

    def shrink(self) -> bool:
        """Halve the work of a step after running out of memory; False when nothing is left."""
        work = self._workload or self._wanted
        if work.batch > 1:
            smaller = Workload(work.patch, work.batch // 2)
        elif work.patch >= 2 * self._smallest_patch:
            smaller = Workload(work.patch // 2, 1)
            self._fit_pixels //= 2
            self._score_pixels //= 2
        else:
            return False
        self._largest_cell = max(_SMALLEST_CELL, self._largest_cell // 2)
        self._wanted = smaller
        if self._workload is not None:
            self._workload = smaller
        return True

    def limit(self, step_bytes: float) -> None:
        """Change the memory that a step, or a look at some strokes, may take from now on."""
        self._step_bytes = step_bytes
        self._workload = None

    def _ready_trainer(self) -> Trainer:
        """Return what trains; make it, with a new network, where there is none yet."""
        missing = self.ready
        if missing is not None:
            raise LearningError(
                "Learning needs strokes of at least two classes.",
                got=f"{len(self._classes)} class(es)",
                do=missing,
            )
        if self._trainer is None:
            statistics = self._volume.statistics()
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self._seed)
                model = SegmentationModel(
                    self._network,
                    len(self._volume.channels),
                    self._classes,
                    mean=statistics.mean,
                    std=statistics.std,
                )
            self._trainer = self._new_trainer(model.to(self._device), share=None)
        return self._trainer

    def _new_trainer(self, model: SegmentationModel, *, share: float | None) -> Trainer:
        slabs = self._anywhere()
        return Trainer(model, self._learning, slabs, share=share, seed=self._seed)
