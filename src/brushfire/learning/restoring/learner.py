"""The learner that restores: from pairs or from nothing to ever better models, call by call."""

from __future__ import annotations

import copy
import math
import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from brushfire.learning.continuing import check_continues, diverged
from brushfire.learning.reports import Proposal, StepReport
from brushfire.learning.restoring.fitness import check_series, region_of, statistics_of
from brushfire.learning.restoring.judging import judge, judge_given
from brushfire.learning.restoring.lessons import MARGIN
from brushfire.learning.restoring.reasons import decided
from brushfire.learning.restoring.scans import Scan
from brushfire.learning.restoring.series import Series
from brushfire.learning.restoring.settings import check_way
from brushfire.learning.restoring.training import RestorationTrainer
from brushfire.learning.sampler import square_around
from brushfire.learning.workload import Workload, choose_workload
from brushfire.networks.halo import measure_halo
from brushfire.networks.restoration import RestorationModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brushfire.annotations import AnnotationSnapshot
    from brushfire.errors import LearningError
    from brushfire.geometry import Triple
    from brushfire.learning.reports import Verdict
    from brushfire.learning.restoring.lessons import Lesson
    from brushfire.learning.restoring.reports import RestorationEvaluation
    from brushfire.learning.restoring.settings import RestorationSettings
    from brushfire.learning.sampler import Block
    from brushfire.networks.settings import NetworkSettings
    from brushfire.networks.snapshot import ModelSnapshot
    from brushfire.volumes import Volume

_FIT_PIXELS = 250_000  # whose maps are computed for a fit: about a second
_SCORE_PIXELS = 200_000  # computed for an evaluation, which comes every few seconds
_SCORE_SIDE = 256
_LEAST_SIDE = 64
_MOST_LOST = 5  # steps in a row that come to nothing, until learning ends
_BATCH = 8  # patches of a step where a processor is not what computes
_PATIENCE = 1500  # steps without a better model until learning rests
_HISTORY = 50  # accepted models that can be gone back to
_HALO_SIDE = 352  # pixels of the part on which a halo is measured
_HALO_CORE = 64


class RestorationLearner:
    """Network, optimiser and lessons of one scan or a series; used by one thread.

    Parameters
    ----------
    volume : Volume
        What is restored; in the way "splits" each channel is a reconstruction of a part of a scan.
    target : Volume or None
        What it should look like, in the way "pairs": on the same grid, of all or a part of it.
    network : NetworkSettings
        Shape of the network.
    settings : RestorationSettings
        How it learns.
    target_origin : tuple of int
        Voxel of the volume, z, y, x, where the target begins; without it both have one shape.
    others : sequence of Scan
        Further scans of a series: of the same voxel size and channels, of any shape.
    device : str
        Where, as torch names it: "cpu", "cuda".
    seed : int
        Decides first weights and patches.
    revision : int
        The newest revision that was used before; models count up from it.
    step_bytes : float
        Memory that a step, or a look at some slices, may take; without a limit by default.

    Raises
    ------
    SettingsError
        If network, way and volumes do not fit each other.
    LearningError
        If the target lies outside of the volume, or there are too few slices.
    VolumeError
        If a volume is constant, or has no finite value.
    """

    def __init__(
        self,
        volume: Volume,
        target: Volume | None,
        network: NetworkSettings,
        settings: RestorationSettings,
        *,
        target_origin: Triple | None = None,
        others: Sequence[Scan] = (),
        device: str,
        seed: int = 0,
        revision: int = 0,
        step_bytes: float = math.inf,
    ) -> None:
        check_way(settings, network, len(volume.channels))
        self._scans = (Scan(volume, target, target_origin), *others)
        check_series(self._scans)
        self._regions = [
            region_of(scan.volume, scan.target, settings, network, scan.origin)
            for scan in self._scans
        ]
        self._volume = volume
        self._network, self._settings = network, settings
        self._device = torch.device(device)
        self._seed = seed
        self._rng = np.random.default_rng(seed)
        self._divide(())
        self._step_bytes = step_bytes
        usual = 1 if self._device.type == "cpu" else _BATCH
        self._wanted = Workload(settings.patch, settings.batch or usual)
        self._workload: Workload | None = None
        self._largest_side = _SCORE_SIDE
        self._better_at = 0
        self._seconds = 0.0
        self._revision = revision
        self._history: list[ModelSnapshot] = []
        self._found: RestorationEvaluation | None = None  # of the shown model
        self._left: RestorationEvaluation | None = None  # of one that the user went back from
        self._judged: tuple[list[Lesson], RestorationEvaluation | None] | None = None
        self._trainer: RestorationTrainer | None = None
        self._block: Block | None = None

    def _divide(self, kept: Sequence[Sequence[int]]) -> None:
        self._lessons = Series(
            self._scans, self._regions, self._settings, context=self._network.context, kept=kept
        )
        self._judged = None

    @property
    def ready(self) -> str | None:
        """None: all that is needed is there from the beginning."""
        return None

    @property
    def step_count(self) -> int:
        """Gradient steps so far, those that a restored model had behind it included."""
        return 0 if self._trainer is None else self._trainer.steps

    @property
    def seconds(self) -> float:
        """How long it has learnt, those of a restored model included; pauses are not."""
        return self._seconds

    @property
    def stroke_count(self) -> int:
        """0: nothing is painted."""
        return 0

    @property
    def held_out(self) -> tuple[int, ...]:
        """Slices of the first scan that nothing is learned from.

        None where parts of all slices are held out.
        """
        return self._lessons.divisions[0].slices

    @property
    def settled(self) -> bool:
        """Whether many steps have made no model that is better."""
        return self.step_count - self._better_at >= _PATIENCE

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

    def set_annotations(self, snapshot: AnnotationSnapshot) -> None:
        """Do nothing: strokes say nothing of what a volume should look like."""

    @property
    def awaited(self) -> str:
        """Nothing: networks that restore begin with random weights."""
        return ""

    def fetch(self) -> None:
        """Do nothing, see `awaited`."""

    def fit(self) -> None:
        """Fit the last layer by least squares, in about a second; trained layers stay as they are.

        Before the first gradient step that is the whole answer.
        """
        started = time.perf_counter()
        trainer = self._ready_trainer()
        self._better_at = self.step_count
        if self.step_count == 0:
            side = min(self._settings.patch, self._side())
            count = max(1, _FIT_PIXELS // side**2)
            rng = np.random.default_rng(self._seed)
            model = trainer.average
            trainer.fit(self._lessons.draw(model, 1, side, rng) for _ in range(count))
        self._seconds += time.perf_counter() - started

    def step(self) -> StepReport:
        """Make one gradient step on patches anywhere but in held-out slices.

        Raises
        ------
        LearningError
            If learning has run into numbers that are not finite. Then it is back at the shown
            model.
        """
        started = time.perf_counter()
        trainer = self._ready_trainer()
        if self._workload is None:
            self._workload = self._choose_workload(trainer)
        loss, rate = trainer.step(self._lesson(trainer, self._workload))
        if not math.isfinite(loss):
            raise self._diverged(f"a loss of {loss} in step {trainer.steps + 1}")
        if trainer.lost >= _MOST_LOST:
            raise self._diverged(f"gradients that are not, {trainer.lost} times in a row")
        took = time.perf_counter() - started
        self._seconds += took
        return StepReport(trainer.steps, loss, rate, took)

    def _lesson(self, trainer: RestorationTrainer, work: Workload) -> Lesson:
        return self._lessons.draw(trainer.average, work.batch, work.patch, self._rng)

    def _choose_workload(self, trainer: RestorationTrainer) -> Workload:
        if math.isinf(self._step_bytes):
            return self._wanted
        return choose_workload(
            lambda work: trainer.cost(self._lesson(trainer, work)),
            self._wanted,
            smallest=self._network.smallest_patch,
            limit=self._step_bytes,
        )

    def _diverged(self, got: str) -> LearningError:
        """Go back to the shown model, or to nothing, and return what to say."""
        self._trainer = None
        if self._history:
            self._load(self._history[-1])
        return diverged(got, kept=bool(self._history))

    def evaluate(self) -> RestorationEvaluation:
        """Return how what was learned does on held-out slices."""
        return self._evaluate(self._ready_trainer().average)

    def _evaluate(self, model: RestorationModel) -> RestorationEvaluation:
        truth = self._settings.way == "pairs"
        if self._judged is None:
            side = self._side()
            while side > _LEAST_SIDE and len(self._scans) * side**2 > _SCORE_PIXELS:
                side //= 2
            area = math.prod(min(side, size) for size in self._volume.shape[1:])
            lessons = self._lessons.judged(model, side, max(1, _SCORE_PIXELS // area))
            self._judged = lessons, judge_given(model, lessons, truth=truth)
        lessons, given = self._judged
        return judge(model, lessons, given, truth=truth, held_out=self._lessons.any_held)

    def _side(self) -> int:
        """Return the side of the squares in which slices are looked at: as large as fits."""
        side = self._largest_side
        model = self._ready_trainer().average
        while side > _LEAST_SIDE and (
            model.bytes_of(side + 2 * MARGIN, side + 2 * MARGIN) > self._step_bytes
        ):
            side //= 2
        return side

    def propose(self) -> Proposal[RestorationEvaluation]:
        """Show what was learned, if it is better on held-out slices than what is shown."""
        started = time.perf_counter()
        trainer = self._ready_trainer()
        kind = "trained" if trainer.steps else "fitted"
        found, before = self._evaluate(trainer.average), self._found
        verdict = decided(kind, found, before, self._left)
        snapshot = None
        if verdict.accepted:
            snapshot = self._accept(trainer.average, found, verdict)
            self._found, self._left, self._better_at = found, None, trainer.steps
        self._seconds += time.perf_counter() - started
        return Proposal(snapshot, found, before, verdict)

    def _accept(
        self, average: RestorationModel, found: RestorationEvaluation, verdict: Verdict
    ) -> ModelSnapshot:
        self._revision += 1
        model = copy.deepcopy(average)
        model.halo = self._halo(model)
        metrics = {
            "kind": verdict.shown,
            "reason": verdict.reason,
            "step": self.step_count,
            "seconds": self._seconds,
            "way": self._settings.way,
            "held_out_slices": list(self.held_out),
            "held_out_of_others": [list(one.slices) for one in self._lessons.divisions[1:]],
            **found.to_metrics(),
        }
        snapshot = model.snapshot(self._revision, metrics)
        self._history = [*self._history[1 - _HISTORY :], snapshot]
        return snapshot

    def _halo(self, model: RestorationModel) -> int:
        """Return the halo of a model, measured in the middle of what the first scan teaches."""
        if self._block is None:
            middle = [
                (low + high) // 2
                for low, high in zip(self._regions[0].start, self._regions[0].stop, strict=True)
            ]
            side = _HALO_SIDE
            while side > 2 * _HALO_CORE and model.bytes_of(side, side) > self._step_bytes:
                side //= 2
            box = square_around(middle[0], middle[1:], side, self._volume.shape)
            self._block = self._volume.read_padded(box.grow((self._network.context, 0, 0)))
        return measure_halo(model, [self._block], core=_HALO_CORE)

    def undo(self) -> ModelSnapshot | None:
        """Go back to the accepted model before the shown one; None where there is none.

        Learning goes on from its weights. The next model that is shown is better than the one
        that was left.
        """
        if not self.can_undo:
            return None
        self._history.pop()
        left = self._left or self._found
        self._load(self._history[-1])
        self._left = left
        return self._history[-1]

    def restore(self, models: Sequence[ModelSnapshot]) -> None:
        """Show and train on from a saved model.

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
        check_continues(snapshot, self._network, len(self._volume.channels))
        held = [snapshot.metrics.get("held_out_slices", ())]
        held += snapshot.metrics.get("held_out_of_others", ())
        self._divide([[int(z) for z in slices] for slices in held])
        self._load(snapshot)
        self._revision = max(self._revision, *(model.revision for model in models))
        self._seconds = float(snapshot.metrics.get("seconds", 0.0))
        self._history = list(models)

    def _load(self, snapshot: ModelSnapshot) -> None:
        model = RestorationModel.from_snapshot(snapshot, self._device)
        self._better_at = int(snapshot.metrics.get("step", 0))
        self._trainer = RestorationTrainer(model, self._settings, steps=self._better_at)
        self._judged = None
        self._found, self._left = self._evaluate(self._trainer.average), None

    def shrink(self) -> bool:
        """Halve the work of a step after running out of memory; False when nothing is left."""
        work = self._workload or self._wanted
        if work.batch > 1:
            smaller = Workload(work.patch, work.batch // 2)
        elif work.patch >= 2 * self._network.smallest_patch:
            smaller = Workload(work.patch // 2, 1)
        else:
            return False
        self._largest_side = max(_LEAST_SIDE, self._largest_side // 2)
        self._wanted = smaller
        if self._workload is not None:
            self._workload = smaller
        self._look_again()
        return True

    def limit(self, step_bytes: float) -> None:
        """Change the memory that a step, or a look at some slices, may take from now on."""
        self._step_bytes = step_bytes
        self._workload = None
        self._look_again()

    def _look_again(self) -> None:
        """Judge by other squares from now on, the shown model included."""
        self._judged = self._block = None
        self._left = None
        if self._history:
            shown = RestorationModel.from_snapshot(self._history[-1], self._device)
            self._found = self._evaluate(shown)

    def _ready_trainer(self) -> RestorationTrainer:
        """Return what trains; make it, with a new network, where there is none yet."""
        if self._trainer is None:
            mean, std = statistics_of([scan.volume for scan in self._scans])
            target_mean, target_std = self._of_target(mean, std)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self._seed)
                model = RestorationModel(
                    self._network,
                    len(self._volume.channels),
                    mean=mean,
                    std=std,
                    target_mean=target_mean,
                    target_std=target_std,
                )
            self._trainer = RestorationTrainer(model.to(self._device), self._settings)
        return self._trainer

    def _of_target(
        self, mean: Sequence[float], std: Sequence[float]
    ) -> tuple[Sequence[float], Sequence[float]]:
        """Return mean and standard deviation of each restored channel."""
        targets = [scan.target for scan in self._scans if scan.target is not None]
        if targets:
            return statistics_of(targets)
        if self._settings.way == "splits":
            return [float(np.mean(mean))], [float(np.mean(std))]
        return mean, std
