"""The learner: from strokes to ever better models, one short call at a time."""

from __future__ import annotations

import copy
import math
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from brushfire.errors import LearningError, ModelError
from brushfire.learning.calibrating import (
    NOTED,
    Known,
    completed,
    found_in,
    in_proportion,
    notes,
    prior_of,
    shares_of,
)
from brushfire.learning.continuing import check_continues, diverged
from brushfire.learning.crossvalidation import cross_validate
from brushfire.learning.doubts import find_doubts
from brushfire.learning.dual_stage import calibrated, proportions_of
from brushfire.learning.evaluation import describe, evaluate_model, regions_of
from brushfire.learning.fitting import COUNT_POWER, index_table
from brushfire.learning.gate import mean_dice
from brushfire.learning.patches import classes_along
from brushfire.learning.probe import CELL, MARGIN, find_sites, picked, probe
from brushfire.learning.proportions import prior_shift
from brushfire.learning.race import Entrant, Race, Strokes
from brushfire.learning.reasons import kind_of
from brushfire.learning.regions import StrokeRegions
from brushfire.learning.replay import Replay
from brushfire.learning.reports import (
    Calibration,
    Evaluation,
    Proportions,
    Proposal,
    Remembered,
    StepReport,
    Verdict,
)
from brushfire.learning.sampler import PatchSampler, SlabCache, square_around
from brushfire.learning.settings import check_patch
from brushfire.learning.training import Trainer
from brushfire.learning.transfer.forgetting import SHARE, Memory
from brushfire.learning.warming import warm_up
from brushfire.learning.workload import Workload, choose_workload
from brushfire.networks.architectures import architecture_of, check_installed
from brushfire.networks.encoder_weights import EncoderWeights
from brushfire.networks.halo import measure_halo
from brushfire.networks.model import SegmentationModel
from brushfire.networks.sliced import BUDGET_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brushfire.annotations import AnnotationSnapshot
    from brushfire.learning.crossfits import CrossFits
    from brushfire.learning.doubts import Doubt
    from brushfire.learning.examples import Examples
    from brushfire.learning.gate import Answers
    from brushfire.learning.patches import Patches
    from brushfire.learning.probe import Site
    from brushfire.learning.race import Finish
    from brushfire.learning.reports import Correction
    from brushfire.learning.sampler import Block, Patch
    from brushfire.learning.settings import LearningSettings
    from brushfire.networks.settings import NetworkSettings
    from brushfire.networks.snapshot import ModelSnapshot
    from brushfire.volumes import Volume

__all__ = ["Evaluation", "Learner", "Proposal", "StepReport", "Verdict"]

_FIT_PIXELS = 3_000_000  # whose features are computed for a fit: about a second
_SCORE_PIXELS = 500_000  # computed for an evaluation, which comes every few seconds
_PROPORTION_SLABS = 6  # places of the volume from which proportions of classes are estimated
_PROPORTION_SIDE = 128
_SMALLEST_CELL = 64
_MOST_LOST = 5  # steps in a row that come to nothing, until learning ends
_BATCH = 8  # patches of a step where a processor is not what computes
_PATIENCE = 600  # steps, a minute or two, without a better model until learning rests
_HISTORY = 50  # accepted models that can be gone back to
_FIRST_HALO = 112  # pixels: a step more than was ever measured of layers that begin with weights
_HALO_ROOM = 144  # pixels around the part on which a halo is measured, whatever memory there is
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
    examples : Examples, optional
        Labelled voxels of other volumes to start from.
    patches : Patches, optional
        Labelled crops of them, which gradient steps replay and shown models are asked for; of no
        use to a network that sees other channels or slices.
    weights : ModelSnapshot, optional
        What the project started from: where it is of the same shape, the layers of a new network
        begin with its.
    known : Known, optional
        What the user said of how common classes are, until a restored model says more.

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
        examples: Examples | None = None,
        patches: Patches | None = None,
        weights: ModelSnapshot | None = None,
        known: Known | None = None,
    ) -> None:
        check_patch(network, learning)
        self._volume = volume
        self._network = network
        self._learning = learning
        self._examples = examples if learning.examples else None
        crops = patches if patches and patches.fits(network, len(volume.channels)) else None
        taught, asked = (crops.taught, crops.asked) if crops else (None, None)
        kept = None
        if self._examples is not None and asked is None:
            self._examples, kept = self._examples.split(SHARE)
        self._memory: Memory | None = None
        if kept or asked:
            self._memory = Memory(kept, asked, weights, self._examples, trees=learning.trees)
        self._replay = Replay(taught, learning.replay, seed) if taught and learning.replay else None
        self._along = classes_along(examples, crops, weights, network, learning)
        self._weights = weights if weights is not None and weights.settings == network else None
        encoder = network.encoder if learning.pretrained and self._weights is None else None
        self._encoder = None if encoder is None else EncoderWeights(encoder)
        self._device = torch.device(device)
        self._seed = seed
        self._rng = np.random.default_rng(seed)
        self._regions = StrokeRegions(learning.held_out, seed)
        self._cache = SlabCache(volume, network.context, learning.cache_bytes)
        self._sampler = PatchSampler(self._cache, self._regions, volume.shape, self._rng)
        self._step_bytes = step_bytes
        self._smallest_patch = network.smallest_patch
        usual = 1 if self._device.type == "cpu" else _BATCH
        self._wanted = Workload(learning.patch, learning.batch or usual)
        self._workload: Workload | None = None
        self._largest_cell = CELL
        self._fit_pixels, self._score_pixels = _FIT_PIXELS, _SCORE_PIXELS
        self._changed: tuple[int, ...] = ()
        self._doubted: tuple[CrossFits | None, tuple[Doubt, ...]] = (None, ())
        self._given = self._fitted = self._new = 0
        self._steps = self._better_at = 0
        self._seconds = 0.0
        self._revision = revision
        self._history: list[ModelSnapshot] = []
        self._known_before = known
        self._race = Race(self._answers, self._cross_validate)
        self._fit: Entrant | None = None  # kept, so that it is measured once
        self._knows_all = False  # whether the shown model knows the held-out strokes
        self._slabs: list[Block] | None = None
        self._trainer: Trainer | None = None
        warm_up()

    @property
    def step_count(self) -> int:
        """Gradient steps so far, those that a restored model had behind it included."""
        return self._steps

    @property
    def settled(self) -> bool:
        """Whether many steps since the last stroke have made no model that is better.

        Never where nothing is held out: then the newest is always the one to show.
        """
        return self._steps - self._better_at >= _PATIENCE

    @property
    def seconds(self) -> float:
        """How long it has learnt, those of a restored model included; pauses are not."""
        return self._seconds

    @property
    def stroke_count(self) -> int:
        """Connected stroke regions, those included that are held out."""
        return sum(sum(self._regions.strokes(held=held).values()) for held in (False, True))

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
            if len(self._along) > 1:
                return "Paint a stroke where the prediction is wrong to start learning."
            return "Paint a few strokes of two classes to start learning."
        if len(classes) == 1:
            return "Paint a second class: learning needs strokes of at least two."
        return None

    def fetch(self) -> None:
        """Begin to fetch what a new network begins with, if it is not there; returns at once.

        What needs it waits for it: a caller with other work does that while `awaited` says what.

        Raises
        ------
        SettingsError
            If the package of the network is not installed, so that it would be of no use.
        """
        if self._encoder is not None and self._trainer is None:
            check_installed(architecture_of(self._network.architecture))
            self._encoder.fetch()

    @property
    def awaited(self) -> str:
        """What is being fetched, in a sentence, or ""."""
        if self._encoder is None or not self._encoder.pending:
            return ""
        return f"Fetching {self._encoder.encoder.title}, which is done once."

    @property
    def _classes(self) -> tuple[int, ...]:
        painted = set(self._regions.counts(held=False))
        return tuple(sorted(painted | self._along)) if painted else ()

    @property
    def _counts(self) -> dict[int, int]:
        """Voxels of each class that teach; 0 for one that only examples have."""
        return dict.fromkeys(self._classes, 0) | self._regions.counts(held=False)

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
            self._new = self._given
            if self._trainer is not None:
                self._trainer.forget_fits()
        self._match_classes()

    def _match_classes(self) -> None:
        trainer = self._trainer
        if self.ready is None and trainer is not None and trainer.classes != self._classes:
            trainer.set_classes(self._classes)
            self._fit = None

    def fit(self) -> None:
        """Fit what tells pixels by their features on all strokes, in about a second.

        Before the first gradient step that is the whole answer.

        Raises
        ------
        LearningError
            If learning is not possible yet, see `ready`.
        """
        started = time.perf_counter()
        sites = self._sites(held=False, budget=self._fit_pixels)
        held = self._sites(held=True, budget=self._fit_pixels)
        self._ready_trainer().fit(self._cache, sites, held)
        self._fitted, self._changed, self._fit = self._given, (), None
        self._better_at = self._steps
        if self._knows_all and self._race.shown is not None:
            self._race.show(self._judged(self._race.shown))
        self._knows_all = False
        self._seconds += time.perf_counter() - started

    def _judged(self, shown: Entrant) -> Entrant:
        """Return a loaded model as it is judged: by a fit that does not know held-out strokes."""
        twin = self._ready_trainer().average
        model = copy.deepcopy(shown.model)
        if model.pixels is None or twin.pixels is None or model.classes != twin.classes:
            return shown
        model.pixels.load_state_dict(twin.pixels.state_dict())
        return Entrant(shown.kind, model, shown.seen)

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
        loss, rate = trainer.step(*self._lesson(trainer, self._workload))
        if not math.isfinite(loss):
            raise self._diverged(f"a loss of {loss} in step {self._steps + 1}")
        if trainer.lost >= _MOST_LOST:
            raise self._diverged(f"gradients that are not, {trainer.lost} times in a row")
        self._steps += trainer.lost == 0
        took = time.perf_counter() - started
        self._seconds += took
        return StepReport(self._steps, loss, rate, took)

    def _choose_workload(self, trainer: Trainer) -> Workload:
        def cost(work: Workload) -> int:
            return trainer.cost(self._patches(trainer, work), self._counts)

        if math.isinf(self._step_bytes):
            return self._wanted
        return choose_workload(
            cost, self._wanted, smallest=self._smallest_patch, limit=self._step_bytes
        )

    def _lesson(self, trainer: Trainer, work: Workload) -> tuple[list[Patch], dict[int, int]]:
        """Return the patches of a step, and the labelled voxels of each class they are from."""
        replay = self._replay
        if replay is None or not replay.due(self._steps, self._classes):
            return self._patches(trainer, work), self._counts
        # No larger than patches here, whose cost is known.
        side = min(work.patch, *self._volume.shape[1:])
        drawn = replay.draw(work.batch, side, trainer.average, vary=self._learning.augment)
        return drawn, dict.fromkeys(self._classes, 0) | replay.counts

    def _patches(self, trainer: Trainer, work: Workload) -> list[Patch]:
        return self._sampler.draw(
            work.batch, work.patch, margin=trainer.margin, vary=self._learning.augment
        )

    def _diverged(self, got: str) -> LearningError:
        """Go back to the shown model, or to nothing, and return what to say."""
        self._trainer = None
        if self._history:
            self._race.show(self._load(self._history[-1]))
        return diverged(got, kept=bool(self._history))

    def evaluate(self) -> Evaluation:
        """Return how the shown model does, or what was learned where none is shown.

        Raises
        ------
        LearningError
            If learning is not possible yet, see `ready`.
        """
        return self._race.evaluate(self._entrants(), self._judges())

    def answers(self) -> Answers | None:
        """Return what the model of `evaluate` answers on held-out strokes, region by region.

        None where too few are held out.

        Raises
        ------
        LearningError
            If learning is not possible yet, see `ready`.
        """
        return self._race.answers(self._entrants(), self._judges())

    def propose(self) -> Proposal[Evaluation]:
        """Show the better of what was fitted and what was trained, if it is good enough.

        `Race` says when that is.

        Raises
        ------
        LearningError
            If learning is not possible yet, see `ready`.
        """
        started = time.perf_counter()
        finish = self._race.run(self._entrants(), self._judges())
        snapshot = None if finish.winner is None else self._accept(finish.winner, finish)
        if snapshot is not None:
            self._better_at = self._steps
        self._seconds += time.perf_counter() - started
        doubts = self._doubts()
        return Proposal(snapshot, finish.evaluation, finish.shown, finish.verdict, doubts)

    def _doubts(self) -> tuple[Doubt, ...]:
        """Return the strokes that contradict others; those known before while fits are made."""
        fits = self._ready_trainer().cross_fits
        if fits is not None and fits.complete and self._doubted[0] is not fits:
            self._doubted = fits, find_doubts(fits)
        return self._doubted[1]

    def _entrants(self) -> list[Entrant]:
        """Return the models that may be shown."""
        entrants = []
        for kind, model in self._ready_trainer().candidates():
            entrant = Entrant(kind, model, self._fitted)
            if kind == "fitted":
                # The network's steps do not change it: it is measured once for each fit.
                self._fit = entrant = self._fit or entrant
            entrants.append(entrant)
        return entrants

    def _judges(self) -> Strokes:
        return Strokes.of(self._regions, changed=self._new, held_out=self._learning.held_out)

    def _answers(self, model: SegmentationModel) -> Answers:
        """Return what a model answers on the held-out strokes."""
        sites = self._sites(held=True, budget=self._score_pixels)
        return evaluate_model(model, self._cache, sites, self._classes, self._judged_shift(model))

    def _judged_shift(self, model: SegmentationModel) -> Tensor | float:
        """Return the shift with which models are judged: in the proportions of the shown one."""
        shares = shares_of(self._history[-1]) if self._history else None
        if shares is None or tuple(shares) != model.classes:
            return 0.0
        prior = dict(zip(model.classes, self._prior(model).tolist(), strict=True))
        return calibrated(model, shares, prior=prior).prior_shift

    def _cross_validate(self) -> Answers | None:
        """Return what convex fits answer on strokes that they have not seen."""
        trainer = self._ready_trainer()
        model = trainer.average
        sites = [
            site
            for held in (False, True)
            for site in self._sites(held=held, budget=self._fit_pixels)
        ]
        raw, classes = probe(model, self._cache, sites, picked(model.raw_inputs))
        # Lifted after most voxels are left out: terms are an order of magnitude more than features.
        return cross_validate(
            raw,
            classes,
            regions_of(sites),
            model.classes,
            also=trainer.examples,
            lift=model.terms,
        )

    def _accept(self, winner: Entrant, finish: Finish) -> ModelSnapshot:
        self._revision += 1
        model, about = self._proportioned(self._ready_trainer().for_show(winner.model))
        model.halo = self._halo(model)
        metrics = {
            "kind": winner.kind,
            "reason": finish.verdict.reason,
            "step": self.step_count,
            "seconds": self._seconds,
            "annotations": winner.seen,
            "held_out_regions": [list(seed) for seed in self._regions.seeds],
            **finish.evaluation.to_metrics(),
            **about,
        }
        remembered = self._remembered(model, finish.evaluation)
        if remembered is not None:
            metrics["before"] = remembered.to_metrics()
        snapshot = model.snapshot(self._revision, metrics)
        if self._history and shares_of(self._history[-1]) and not shares_of(snapshot):
            self._race.forget()  # an estimate held for the model before: judged without it now
        self._history = [*self._history[1 - _HISTORY :], snapshot]
        self._race.show(winner)
        return snapshot

    def _remembered(self, model: SegmentationModel, found: Evaluation) -> Remembered | None:
        """Return what a model knows of what it started from, and the start of what is here."""
        remembered = self._memory.ask(model) if self._memory is not None else None
        if remembered is None or self._memory is None or found.how != "held out":
            return remembered

        def measure(start: SegmentationModel) -> float:
            return float(mean_dice(self._answers(start.to(self._device))))

        before = self._memory.start_here(self._regions.version, measure)
        return replace(remembered, here=found.mean, here_at_start=before)

    def _halo(self, model: SegmentationModel) -> int:
        """Return the halo of a model: measured, but for the first answer, which is waited for."""
        if model.pixels is not None and not self._history:
            return model.feature_reach if model.by_pixel else min(_FIRST_HALO, model.safe_halo)
        return measure_halo(model, self._halo_blocks(), core=_HALO_CORE)

    @property
    def _known(self) -> Known | None:
        """What the user said of how common classes are: it goes with the models that are shown."""
        return Known.of(self._history[-1]) if self._history else self._known_before

    def _proportioned(self, model: SegmentationModel) -> tuple[SegmentationModel, dict[str, Any]]:
        """Return a model in the proportions that are known, and what is noted of that."""
        known = self._known
        prior = dict(zip(model.classes, self._prior(model).tolist(), strict=True))
        if known is None:
            model.prior_shift.copy_(self._shift(model))
            return model, notes(prior)
        shares = completed(known.shares, proportions_of(model, self._anywhere(), prior))
        how = known.how
        try:
            made, noted = in_proportion(model, shares, how, prior, self._labelled)
        except (ModelError, LearningError):  # another network, or strokes of a class are gone
            how = "calibrated"
            made, noted = in_proportion(model, shares, how, prior, self._labelled)
        return made, notes(noted, known, shares, staged=how == "second stage")

    def _labelled(self) -> tuple[SlabCache, list[Site]]:
        """Return where strokes are that teach."""
        return self._cache, self._sites(held=False, budget=self._fit_pixels)

    def _shift(self, model: SegmentationModel) -> Tensor:
        """Return what corrects a model for the proportions of its strokes."""
        if not self._learning.proportions:
            return torch.zeros_like(model.prior_shift)
        return prior_shift(model, self._anywhere(), self._prior(model), self._answered(model))

    def _answered(self, model: SegmentationModel) -> tuple[Tensor, Tensor]:
        """Return a machine's logits at strokes that teach, and the index of their classes."""
        fits = self._ready_trainer().cross_fits
        if fits is None or model.pixels is None:
            sites = self._sites(held=False, budget=self._score_pixels)
            ask = partial(model.logits_at, machine=True)
            logits, classes = probe(model, self._cache, sites, ask)
        else:
            raw, classes = fits.taught
            logits = model.pixels(raw.t()[None], trees=False)[0].t()
        known = torch.from_numpy(classes.astype(np.int64))
        return logits, index_table(model.classes)[known].to(logits.device)

    def _prior(self, model: SegmentationModel) -> Tensor:
        """Return the proportions of classes that a model learns from, weights included."""
        counts = Counter(self._counts)
        if self._examples is not None and model.pixels is not None:
            counts.update(self._examples.counts)
        elif self._replay is not None and model.pixels is None:
            counts.update(self._replay.counts)
        shares = torch.tensor([max(counts[value], 1) for value in model.classes]).double()
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

    def proportions(self) -> Proportions:
        """Return how common classes are in what the shown model predicts, and by its estimate.

        Raises
        ------
        ModelError
            If there is none of this network.
        """
        shown = self._need_shown()
        model = SegmentationModel.from_snapshot(shown, self._device)
        estimated = proportions_of(model, self._anywhere(), prior_of(shown))
        return Proportions(self._found(model), estimated)

    def calibrate(
        self, typed: Mapping[int, float], how: Correction
    ) -> tuple[ModelSnapshot, Calibration]:
        """Show a model in which classes are as common as they are known to be.

        What is learned goes on as it was, and models that come of it are kept to what was typed.

        Parameters
        ----------
        typed : mapping
            Which part of the volume some classes are, see `check_shares`. The others share what is
            left, and all have what the model estimates where nothing was typed.
        how : {"calibrated", "second stage", "as learned"}
            What to do; the last forgets what was typed before.

        Raises
        ------
        ModelError
            If there is no model of this network, or it has features, for the second stage.
        LearningError
            If strokes of a class are missing, for the second stage.
        """
        shown = self._need_shown()
        before = SegmentationModel.from_snapshot(shown, self._device)
        base = self._as_learned(shown) if how == "as learned" else shown
        prior: Mapping[int, float] | None = prior_of(base)
        shares: dict[int, float] = {}
        if how == "as learned":
            made = self._own_shift(SegmentationModel.from_snapshot(base, self._device))
        else:
            shares = completed(typed, proportions_of(before, self._anywhere(), prior))
            made, prior = in_proportion(before, shares, how, prior, self._labelled)
        made.halo = self._halo(made) if how == "second stage" else made.halo
        scores = self._shown_scores(before, made)
        means = (None, None) if scores is None else (scores[0].mean, scores[1].mean)
        told = Calibration(how, dict(typed), shares, self._found(before), self._found(made), *means)
        self._revision += 1
        about = {key: value for key, value in base.metrics.items() if key not in NOTED}
        about |= {"mean_dice": None} if scores is None else scores[1].to_metrics()
        staged = how == "second stage" or bool(base.metrics.get("second_stage"))
        about |= notes(prior, Known(typed, how) if typed else None, shares, staged=staged)
        snapshot = made.snapshot(self._revision, {**about, "reason": told.reason})
        self._history = [*self._history[1 - _HISTORY :], snapshot]
        self._race.forget()  # from now on candidates are judged in these proportions
        return snapshot, told

    def _as_learned(self, shown: ModelSnapshot) -> ModelSnapshot:
        """Return the newest model without a second stage, or the shown one."""
        learned = (one for one in reversed(self._history) if not one.metrics.get("second_stage"))
        return next(learned, shown)

    def _own_shift(self, model: SegmentationModel) -> SegmentationModel:
        """Return a model as it would be had nobody said anything."""
        known = self.ready is None and model.classes == self._classes
        model.prior_shift.copy_(
            self._shift(model) if known else torch.zeros_like(model.prior_shift)
        )
        return model

    def _found(self, model: SegmentationModel) -> dict[int, float]:
        """Return the share of each class in what a model predicts at the slabs."""
        return found_in(model, self._anywhere(), int(min(self._step_bytes, BUDGET_BYTES)))

    def _shown_scores(
        self, before: SegmentationModel, after: SegmentationModel
    ) -> tuple[Evaluation, Evaluation] | None:
        """Return what two shown models reach on held-out strokes; None if they know those."""
        shown = self._race.shown
        if shown is None or self.ready is not None:
            return None
        if before.pixels is not None and (self._knows_all or before.classes != shown.model.classes):
            return None
        strokes = self._judges()
        if strokes.judge != "held out":
            return None
        sites = self._sites(held=True, budget=self._score_pixels)

        def score(model: SegmentationModel) -> Evaluation:
            # What tells pixels in a model that is shown has learnt from every stroke.
            judged = model if model.pixels is None else shown.model
            shift = model.prior_shift
            answers = evaluate_model(judged, self._cache, sites, self._classes, shift)
            return describe(answers, strokes.classes, strokes.judge, strokes.wanting)

        return score(before), score(after)

    def _need_shown(self) -> ModelSnapshot:
        if not self._history:
            raise ModelError(
                "How common classes are is told by the model that is shown and learned on.",
                got="none of the chosen network",
                do="Start learning first.",
            )
        return self._history[-1]

    def undo(self) -> ModelSnapshot | None:
        """Go back to the accepted model before the shown one; None where there is none.

        Learning goes on from its weights. What was left comes back only after new strokes, or
        when it is clearly better.
        """
        if not self.can_undo:
            return None
        self._history.pop()
        self._race.forget()
        self._race.go_back(self._load(self._history[-1]), self._regions.version)
        if self.ready is None:
            self.fit()
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
        check_continues(snapshot, self._network, len(self._volume.channels))
        self._race.show(self._load(snapshot))
        self._revision = max(self._revision, *(model.revision for model in models))
        self._steps = self._better_at = int(snapshot.metrics.get("step", 0))
        self._seconds = float(snapshot.metrics.get("seconds", 0.0))
        self._history = list(models)
        self._regions.adopt(snapshot.metrics.get("held_out_regions", ()))

    def _load(self, snapshot: ModelSnapshot) -> Entrant:
        """Go on from a model; return it as it is shown."""
        model = SegmentationModel.from_snapshot(snapshot, self._device)
        self._fitted = int(snapshot.metrics.get("annotations", 0))
        shown = Entrant(kind_of(snapshot), copy.deepcopy(model), self._fitted)
        # One that was learned elsewhere knows no stroke of this volume.
        self._knows_all = "annotations" in snapshot.metrics
        self._trainer, self._fit = self._new_trainer(model, restored=True), None
        self._match_classes()
        return shown

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
        self._race.forget()
        self._wanted = smaller
        if self._workload is not None:
            self._workload = smaller
        return True

    def limit(self, step_bytes: float) -> None:
        """Change the memory that a step, or a look at some strokes, may take from now on."""
        self._step_bytes = step_bytes
        self._workload = None
        self._race.forget()

    def _ready_trainer(self) -> Trainer:
        """Return what trains; make it, with a new network, where there is none yet."""
        missing = self.ready
        if missing is not None:
            raise LearningError(
                "Learning needs strokes of at least two classes.",
                got=f"{len(self._classes)} class(es)",
                do=missing,
            )
        if self._trainer is None and self._weights is not None and self._learning.pretrained:
            model = SegmentationModel.from_snapshot(self._weights).with_classes(self._classes)
            self._trainer = self._new_trainer(model.to(self._device), restored=False, taught=True)
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
                if self._encoder is not None:
                    self._encoder.give(model)
            model.start(pretrained=self._learning.pretrained)
            self._trainer = self._new_trainer(model.to(self._device), restored=False)
        return self._trainer

    def _new_trainer(
        self, model: SegmentationModel, *, restored: bool, taught: bool = False
    ) -> Trainer:
        examples = self._examples
        if examples is not None and examples.features.shape[1] != model.inputs:
            raise LearningError(
                "What a project starts from has the features that its network sees.",
                got=f"{examples.features.shape[1]} features for {model.inputs}",
                do="Choose the network that the start was made with, or begin from scratch.",
            )
        return Trainer(
            model,
            self._learning,
            self._anywhere(),
            restored=restored,
            taught=taught,
            seed=self._seed,
            examples=examples,
        )
