"""The one background thread: it owns network, optimiser and device."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from brushfire.engine import messages as m
from brushfire.engine.coach import Coach
from brushfire.engine.device import (
    choose_device,
    free_memory,
    is_out_of_memory,
    network_budget,
    set_up_thread,
)
from brushfire.engine.mailbox import Inbox, Outbox
from brushfire.engine.regions import Regions
from brushfire.engine.scouting import Scout
from brushfire.engine.streaming import Streamer
from brushfire.engine.turns import Turns, Work
from brushfire.errors import BrushfireError, ModelError, SettingsError
from brushfire.geometry import Grid
from brushfire.learning.calibrating import Known
from brushfire.learning.learner import Learner
from brushfire.learning.restoring.learner import RestorationLearner
from brushfire.learning.restoring.settings import RestorationSettings
from brushfire.networks.architectures import architecture_of, check_installed
from brushfire.networks.features import inputs_of
from brushfire.networks.kernels import forget_buffer
from brushfire.networks.model import SegmentationModel
from brushfire.networks.snapshot import answers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from brushfire.annotations import AnnotationSnapshot
    from brushfire.learning.examples import Examples
    from brushfire.learning.patches import Patches
    from brushfire.learning.pupil import Pupil
    from brushfire.learning.reports import Calibration, Correction
    from brushfire.learning.settings import LearningSettings
    from brushfire.networks.settings import NetworkSettings
    from brushfire.networks.snapshot import ModelSnapshot
    from brushfire.volumes import Volume

Turn = Literal["learning", "region", "streaming", "places"]

SHARES: dict[Work, float] = {"learning": 3, "visible": 3, "region": 1, "beyond": 1, "places": 0.75}
"""How the time is divided between kinds of work that all have something to do."""

VISIBLE_AHEAD = 1.0
"""Visible tiles go before their turn until they are this many seconds ahead of the others."""

OUTBOX_BYTES = 64 * 2**20


class Engine:
    """Learns from strokes and predicts tiles of one volume, in a thread of its own.

    Or it learns to restore a volume, one of the two at a time (`LearnToRestore`).

    The order of work: stop, then commands, then visible tiles, then a training step, then the
    rest. Where two of these have work all the time they share it (`SHARES`), so that none starves.

    Parameters
    ----------
    volume : Volume
        What is learned on and predicted; read from this thread too.
    network, learning : NetworkSettings, LearningSettings
        Shape of the network and how it learns.
    tile : int
        Edge of a streamed tile, voxels.
    network_bytes : int
        Memory that the network may take for a tile, and as much for a training step.
    device : str, optional
        Device to use; the best one by default.
    seed : int
        Of weights and patches.
    revision : int
        Newest model revision in use; new models count up from it, so that none is overwritten.
    scout : bool
        Whether to look for places where another stroke would teach most.
    examples : Examples, optional
        Labelled voxels of other volumes, which are learned beside the strokes.
    patches : Patches, optional
        Labelled crops of them, see `Learner`.
    weights : ModelSnapshot, optional
        What a network without a model begins with, see `Learner`.
    """

    def __init__(
        self,
        volume: Volume,
        *,
        network: NetworkSettings,
        learning: LearningSettings,
        tile: int,
        network_bytes: int,
        device: str | None = None,
        seed: int = 0,
        revision: int = 0,
        scout: bool = True,
        examples: Examples | None = None,
        patches: Patches | None = None,
        weights: ModelSnapshot | None = None,
    ) -> None:
        self.device = choose_device(device)
        self._volume = self._segmented = volume
        self._settings = (network, learning)
        self._restoring: m.LearnToRestore | None = None
        self._strokes: AnnotationSnapshot | None = None
        self._tile = tile
        self._seed = seed
        self._examples, self._patches, self._weights = examples, patches, weights
        self._network_bytes = self._tile_bytes = network_bytes
        self._inbox = Inbox()
        self._outbox = Outbox(OUTBOX_BYTES, lambda: self._inbox.urgent)
        emit = self._outbox.put
        self._emit: Callable[[m.Event], None] = emit
        self._coach = Coach(self._make_learner, network, emit)
        self._streamer = self._make_streamer(volume)
        self._beside: Streamer | None = None  # of the denoised volume that is segmented
        self._regions = Regions(volume, self.device, emit)
        self._make_scout = partial(Scout, emit=emit, seed=seed, wanted=scout)
        self._scout = self._make_scout(volume)
        self._turns = Turns({kind: share / max(SHARES.values()) for kind, share in SHARES.items()})
        self._shown: ModelSnapshot | None = None
        self._newest_revision = revision
        self._thread = threading.Thread(target=self._run, name="brushfire-engine", daemon=True)

    # -- called by the session ---------------------------------------------------------------

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def send(self, command: m.Command) -> None:
        """Hand in a command; returns at once."""
        self._inbox.put(command)

    def drain(self, limit: int = 64, wait: float = 0.0) -> list[m.Event]:
        """Return up to ``limit`` events, oldest first; blocks at most ``wait`` seconds."""
        return self._outbox.drain(limit, wait)

    @property
    def ended(self) -> bool:
        """Whether the thread has ended; what it said last may still wait to be drained."""
        return self._thread.ident is not None and not self._thread.is_alive()

    def close(self, timeout: float = 30.0) -> bool:
        """End the thread and wait for it; safe to call again. Return whether it has ended."""
        self._inbox.put(m.Shutdown())
        if self._thread.is_alive():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    # -- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        failure: Exception | None = None
        try:
            set_up_thread()
            # Here and not where the engine is made: asking a card wakes it, which takes a while.
            self._limit(self._network_bytes)
            self._emit(m.DeviceChosen(self.device))
            while not self._inbox.urgent:
                for command in self._inbox.take(wait=0 if self._able() else self._due_in()):
                    self._obey(command)
                if not self._inbox.urgent:
                    self._work()
        except Exception as error:  # noqa: BLE001 - the terminal event carries it to the session
            failure = error
        self._coach.stop("cancelled")
        self._regions.end_all("failed" if failure else "cancelled", failure)
        self._scout.end("cancelled")
        self._emit(m.TurnEnded("engine", "failed" if failure else "finished", failure))

    def _able(self) -> list[Work]:
        """Return the kinds of work that there are now."""
        able: list[Work] = []
        if any(one.wants_visible for one in self._streamers):
            able.append("visible")
        if self._coach.working:
            able.append("learning")
        if self._regions.busy:
            able.append("region")
        elif "visible" not in able and any(one.wants_beyond for one in self._streamers):
            able.append("beyond")
        if not self._regions.busy and self._scout.due_in() == 0:
            able.append("places")
        return able

    def _due_in(self) -> float | None:
        """Return the seconds until there may be work without a command; None for never."""
        due = [one for one in (self._scout.due_in(), self._coach.due_in) if one is not None]
        return min(due, default=None)

    def _work(self) -> None:
        able = self._able()
        if not able:
            return
        kind = self._turns.choose(able, first="visible", ahead=VISIBLE_AHEAD)
        began = time.monotonic()
        match kind:
            case "visible":
                self._guard("streaming", self._predict_visible)
            case "learning":
                self._guard("learning", self._learn)
            case "region":
                self._guard("region", lambda: self._regions.work(self._tile_bytes))
            case "beyond":
                self._guard("streaming", self._predict_beyond)
            case "places":
                self._guard("places", lambda: self._scout.work(self._tile_bytes))
        self._turns.charge(kind, time.monotonic() - began)

    @property
    def _streamers(self) -> tuple[Streamer, ...]:
        # What is segmented comes first: it is read for the labels, which cost little more then.
        return (self._streamer,) if self._beside is None else (self._beside, self._streamer)

    def _predict_visible(self) -> None:
        next(one for one in self._streamers if one.wants_visible).predict_visible(self._tile_bytes)

    def _predict_beyond(self) -> None:
        next(one for one in self._streamers if one.wants_beyond).predict_beyond(self._tile_bytes)

    def _learn(self) -> None:
        snapshot = self._coach.work(self._streamer.visible_seconds)
        if snapshot is not None:
            self._guard("streaming", lambda: self._show(snapshot))

    # -- commands ----------------------------------------------------------------------------

    def _obey(self, command: m.Command) -> None:
        match command:
            case m.SetView():
                self._guard("streaming", lambda: self._set_view(command))
            case m.PredictRegion():
                self._guard("region", lambda: self._regions.add(command))
            case m.LimitMemory(network_bytes):
                self._limit(network_bytes)
            case m.CancelRegion(job):
                self._guard("region", lambda: self._regions.cancel(job))
            case _:
                self._guard("learning", lambda: self._obey_about_learning(command))

    def _set_view(self, view: m.SetView) -> None:
        self._streamer.set_view(view)
        if self._beside is not None and view.denoised is not None:
            self._beside.set_view(view.denoised)

    def _obey_about_learning(self, command: m.Command) -> None:
        match command:
            case m.SetAnnotations(snapshot):
                self._strokes = snapshot
                if self._restoring is None:
                    self._coach.set_annotations(snapshot)
                    self._scout.set_annotations(snapshot)
            case m.Train():
                self._coach.train()
            case m.Pause():
                self._coach.pause()
            case m.Stop():
                self._coach.stop()
            case m.Reset():
                if self._restoring is None:
                    self._weights = None
                self._coach.reset()
                self._show(None)
            case m.UndoModel():
                self._undo()
            case m.Restore(snapshot=model):
                self._restore(model)
            case m.Begin():
                self._begin(command)
            case m.Adopt(model=model):
                self._adopt(model)
            case m.Estimate():
                self._tell_proportions()
            case m.Calibrate(typed, how):
                self._calibrate(typed, how)
            case m.SetExamples(examples, patches):
                self._examples, self._patches = examples, patches
                if self._restoring is None:
                    self._coach.replace(self._make_learner, self._network)
            case m.Configure():
                self._configure(command)
            case m.LearnToRestore() | m.LearnToSegment():
                self._change_task(command)

    @property
    def _network(self) -> NetworkSettings:
        return self._settings[0] if self._restoring is None else self._restoring.network

    def _configure(self, new: m.Configure) -> None:
        network, learning = new.network, new.learning
        if self._restoring is None:
            assert not isinstance(learning, RestorationSettings)
            self._settings = (network, learning)
        else:
            assert isinstance(learning, RestorationSettings)
            self._restoring = replace(self._restoring, network=network, learning=learning)
        self._coach.replace(self._make_learner, network)

    def _change_task(self, new: m.LearnToRestore | m.LearnToSegment) -> None:
        strokes, self._beside = self._strokes, None
        self._scout.set_model(None, self.device)
        if isinstance(new, m.LearnToRestore):
            self._restoring, volume, strokes = new, new.source, None
        else:
            self._restoring, volume = None, new.source or self._volume
            self._settings = (new.network, new.learning)
            self._segment(volume, new.restorer)
        self._coach.change_task(self._make_learner, new.network, strokes)
        self._streamer = self._make_streamer(volume)
        self._shown, self._newest_revision = None, new.revision
        if strokes is not None:
            self._scout.set_annotations(strokes)
        self._emit(m.TaskChanged("segment" if self._restoring is None else "restore"))

    def _segment(self, volume: Volume, restorer: int) -> None:
        """Learn and predict labels of this volume from now on."""
        if volume is not self._segmented:
            self._segmented, self._scout = volume, self._make_scout(volume)
        if volume is not self._volume:
            self._beside = self._make_streamer(volume)
            self._beside.show_as_read(restorer)

    def _make_streamer(self, volume: Volume) -> Streamer:
        return Streamer(volume, Grid(volume.shape, (1, self._tile, self._tile)), self._emit)

    def _limit(self, network_bytes: int) -> None:
        self._network_bytes = network_bytes
        self._tile_bytes = network_budget(self.device, network_bytes)
        self._coach.limit(self._tile_bytes)
        forget_buffer()

    def _restore(self, snapshot: ModelSnapshot) -> None:
        """Show a stored model; learning goes on from it where the settings are those it has."""
        check_installed(architecture_of(snapshot.settings.architecture))  # or all stays as it is
        self._coach.restore(snapshot)
        try:
            self._show(snapshot)
        except (ModelError, SettingsError):
            self._coach.reset()
            self._show(None)
            raise

    def _begin(self, start: m.Begin) -> None:
        """Go on from a model of another volume, and from what it was taught by."""
        network = start.model.settings
        check_installed(architecture_of(network.architecture))  # or all stays as it is
        self._examples, self._patches = start.examples, start.patches
        self._settings = (network, self._settings[1])
        self._coach.replace(self._make_learner, network)
        self._weights = start.model
        if not answers(start.model):
            self._coach.reset()
            self._show(None)
            return
        model = SegmentationModel.from_snapshot(start.model)
        # Numbered here, where models are made: nobody else knows the newest.
        self._restore(model.snapshot(self._newest_revision + 1, start.model.metrics))

    def _adopt(self, made: ModelSnapshot) -> None:
        """Show a model that was made of a shown one, and go on from it."""
        model = SegmentationModel.from_snapshot(made)
        snapshot = model.snapshot(self._newest_revision + 1, made.metrics)
        self._coach.adopt(snapshot)
        self._take_network(snapshot)
        self._show(snapshot)

    def _take_network(self, snapshot: ModelSnapshot) -> None:
        """Learn with the network of a model."""
        if self._restoring is None and snapshot.settings != self._settings[0]:
            self._settings = (snapshot.settings, self._settings[1])
            self._emit(m.NetworkTaken(snapshot.settings))

    def _calibrate(self, typed: Mapping[int, float], how: Correction) -> None:
        try:
            snapshot, told = self._coach.calibrate(typed, how)
        except BrushfireError as error:  # learning has nothing to do with it, and goes on
            self._emit(m.ProportionsTold(None, error=error))
            return
        self._show(snapshot)
        self._tell_proportions(told)

    def _tell_proportions(self, done: Calibration | None = None) -> None:
        try:
            self._emit(m.ProportionsTold(self._coach.proportions(), done))
        except BrushfireError as error:
            self._emit(m.ProportionsTold(None, done, error))

    def _undo(self) -> None:
        snapshot = self._coach.undo()
        if snapshot is None:
            self._emit(m.Told("info", "There is no earlier model to go back to."))
        else:
            self._take_network(snapshot)
            self._show(snapshot)

    def _show(self, snapshot: ModelSnapshot | None) -> None:
        # Noted first, so that running out of memory here shows it on another device instead.
        self._shown = snapshot
        self._streamer.set_model(snapshot, self.device)
        if self._restoring is None:
            self._scout.set_model(snapshot, self.device)
        if snapshot is not None:
            self._newest_revision = max(self._newest_revision, snapshot.revision)
            self._coach.shown(snapshot)

    def _make_learner(self) -> Pupil:
        network, learning = self._settings
        step_bytes = network_budget(self.device, self._network_bytes)
        if self._restoring is not None:
            return RestorationLearner(
                self._restoring.source,
                self._restoring.target,
                self._restoring.network,
                self._restoring.learning,
                target_origin=self._restoring.target_origin,
                others=self._restoring.others,
                device=self.device,
                seed=self._seed,
                revision=self._newest_revision,
                step_bytes=step_bytes,
            )
        examples = self._examples
        if examples is not None:  # they may be of the network that is gone back to
            examples = examples.for_inputs(inputs_of(network, len(self._segmented.channels)))
        return Learner(
            self._segmented,
            network,
            learning,
            device=self.device,
            seed=self._seed,
            revision=self._newest_revision,
            step_bytes=step_bytes,
            examples=examples,
            patches=self._patches,
            weights=self._weights,
            known=Known.of(self._shown),
        )

    # -- failures ----------------------------------------------------------------------------

    def _guard(self, turn: Turn, work: Callable[[], None]) -> None:
        """Do a piece of work; what goes wrong ends its turn and nothing else."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - the turn's terminal event carries it
            try:
                if is_out_of_memory(error) and self._relieve(turn):
                    return
            except Exception as another:  # noqa: BLE001 - making room may fail as well
                another.__context__ = error
                error = another
            self._fail(turn, _told(error))

    def _fail(self, turn: Turn, error: Exception) -> None:
        if turn == "learning":
            if self._coach.phase == "idle":
                self._emit(m.TurnEnded("learning", "failed", error))
            self._coach.stop("failed", error)
        elif turn == "region":
            self._regions.fail(error)
        elif turn == "places":
            self._scout.fail(error)
        else:
            for streamer in self._streamers:
                streamer.give_up()
            self._emit(m.TurnEnded("streaming", "failed", error))

    def _relieve(self, turn: Turn) -> bool:
        """Make room after running out of memory; False where nothing more can be done."""
        free_memory()
        forget_buffer()
        if turn == "places":
            return False  # what can be done without is no reason to leave a device
        if turn == "learning" and self._coach.shrink():
            self._emit(
                m.Told("warning", "Memory ran out. Learning goes on with half the work in a step.")
            )
            return True
        if self.device == "cpu":
            return False
        why = f"Memory ran out on {self.device}. The processor takes over; nothing was lost."
        self.device = "cpu"
        self._regions.move(self.device)
        self._coach.replace(self._make_learner, self._network)
        self._limit(self._network_bytes)
        self._show(self._shown)
        self._emit(m.DeviceChosen("cpu", why))
        return True


def _told(error: Exception) -> Exception:
    """Return ``error`` as a sentence where it says that there is no memory left."""
    if not is_out_of_memory(error):
        return error
    told = SettingsError(
        "A step and a tile fit into the memory that is free.",
        got=str(error) or type(error).__name__,
        do="Close other programs or choose a smaller network, then start again.",
    )
    told.__cause__ = error
    return told
