"""The one background thread: it owns network, optimiser and device."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Literal

from brushfire.engine import messages as m
from brushfire.engine.coach import Coach
from brushfire.engine.device import choose_device, free_memory, is_out_of_memory, set_up_thread
from brushfire.engine.mailbox import Inbox, Outbox
from brushfire.engine.regions import Regions
from brushfire.engine.streaming import Streamer
from brushfire.errors import ModelError
from brushfire.geometry import Grid
from brushfire.learning.learner import Learner

if TYPE_CHECKING:
    from collections.abc import Callable

    from brushfire.learning.settings import LearningSettings
    from brushfire.networks.settings import NetworkSettings
    from brushfire.networks.snapshot import ModelSnapshot
    from brushfire.volumes import Volume

Turn = Literal["learning", "region", "streaming"]

URGENT_SECONDS = 1.0
"""After a move or a new model, visible tiles go before anything else for this long."""

VISIBLE_SHARE = 0.5
"""Share of the time for visible tiles while learning goes on."""

BEYOND_SHARE = 0.25
"""Share of the time for tiles out of sight and whole regions while learning goes on."""

OUTBOX_BYTES = 64 * 2**20


class Engine:
    """Learns from strokes and predicts tiles of one volume, in a thread of its own.

    The order of work: stop, then commands, then visible tiles, then a training step, then the
    rest. Where two of these have work all the time they share it, so that none starves.

    Parameters
    ----------
    volume : Volume
        What is learned on and predicted; read from this thread too.
    network, learning : NetworkSettings, LearningSettings
        Shape of the network and how it learns.
    tile : int
        Edge of a streamed tile, voxels.
    device : str, optional
        Device to use; the best one by default.
    seed : int
        Of weights and patches.
    revision : int
        Newest model revision in use; new models count up from it, so that none is overwritten.
    """

    def __init__(
        self,
        volume: Volume,
        *,
        network: NetworkSettings,
        learning: LearningSettings,
        tile: int,
        device: str | None = None,
        seed: int = 0,
        revision: int = 0,
    ) -> None:
        self.device = choose_device(device)
        self._volume = volume
        self._settings = (network, learning)
        self._seed = seed
        self._inbox = Inbox()
        self._outbox = Outbox(OUTBOX_BYTES, lambda: self._inbox.urgent)
        emit = self._outbox.put
        self._emit: Callable[[m.Event], None] = emit
        self._coach = Coach(self._make_learner, emit)
        self._streamer = Streamer(volume, Grid(volume.shape, (1, tile, tile)), emit)
        self._regions = Regions(volume, emit)
        self._shown: ModelSnapshot | None = None
        self._newest_revision = revision
        self._owed = 0.0
        self._urgent_until = 0.0
        self._beyond_wanted = True
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

    def close(self, timeout: float = 30.0) -> bool:
        """End the thread and wait for it; safe to call again. Return whether it has ended."""
        self._inbox.put(m.Shutdown())
        if self._thread.is_alive():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    # -- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            set_up_thread()
            self._emit(m.DeviceChosen(self.device))
            while not self._inbox.urgent:
                for command in self._inbox.take(wait=0 if self._has_work() else None):
                    self._obey(command)
                if not self._inbox.urgent:
                    self._work()
            self._coach.stop("cancelled")
            self._regions.cancel_all()
        except Exception as error:  # noqa: BLE001 - the terminal event carries it to the session
            self._emit(m.TurnEnded("engine", "failed", error))
        else:
            self._emit(m.TurnEnded("engine", "finished"))

    def _has_work(self) -> bool:
        return (
            self._coach.working
            or self._streamer.wants_visible
            or self._regions.busy
            or (self._beyond_wanted and self._streamer.model is not None)
        )

    def _work(self) -> None:
        learning = self._coach.working
        if learning and self._owed > 0:
            self._learn()
        elif self._streamer.wants_visible:
            began = time.monotonic()
            self._guard("streaming", self._streamer.predict_visible)
            if began > self._urgent_until:
                self._owe(began, VISIBLE_SHARE)
        elif self._regions.busy or (self._beyond_wanted and self._streamer.model is not None):
            began = time.monotonic()
            if self._regions.busy:
                self._guard("region", self._regions.work)
            else:
                self._guard("streaming", self._predict_beyond)
            self._owe(began, BEYOND_SHARE)
        elif learning:
            self._learn()

    def _learn(self) -> None:
        began = time.monotonic()
        self._coach.visible_seconds = self._streamer.visible_seconds
        self._guard("learning", self._learn_once)
        self._owed = max(0.0, self._owed - (time.monotonic() - began))

    def _learn_once(self) -> None:
        snapshot = self._coach.work()
        if snapshot is not None:
            self._show(snapshot)

    def _predict_beyond(self) -> None:
        self._beyond_wanted = self._streamer.predict_beyond()

    def _owe(self, began: float, share: float) -> None:
        if self._coach.working:
            self._owed += (time.monotonic() - began) * (1 - share) / share

    # -- commands ----------------------------------------------------------------------------

    def _obey(self, command: m.Command) -> None:
        match command:
            case m.SetAnnotations(snapshot):
                self._guard("learning", lambda: self._coach.set_annotations(snapshot))
            case m.SetView(view, fresh):
                self._streamer.set_view(view, fresh)
                self._make_urgent()
            case m.Train():
                self._guard("learning", self._coach.train)
            case m.Pause():
                self._coach.pause()
            case m.Stop():
                self._coach.stop()
            case m.Reset():
                self._coach.reset()
                self._show(None)
            case m.UndoModel():
                self._undo()
            case m.Restore(snapshot=model):
                self._guard("learning", lambda: self._restore(model))
            case m.Configure(network, learning):
                self._settings = (network, learning)
                self._guard("learning", lambda: self._coach.replace(self._make_learner))
            case m.PredictRegion():
                self._add_region(command)
            case m.CancelRegion(job):
                self._regions.cancel(job)
            case _:
                pass

    def _restore(self, snapshot: ModelSnapshot) -> None:
        self._coach.restore(snapshot)
        self._coach.shown(snapshot, snapshot.metrics.get("mean_dice"))
        self._show(snapshot)

    def _undo(self) -> None:
        snapshot = self._coach.undo()
        if snapshot is None:
            self._emit(m.Told("info", "There is no earlier model to go back to."))
        else:
            self._coach.shown(snapshot, snapshot.metrics.get("mean_dice"))
            self._show(snapshot)

    def _add_region(self, command: m.PredictRegion) -> None:
        model = self._streamer.model
        if model is None:
            error = ModelError(
                "A region is predicted with the model that is shown.",
                got="no model",
                do="Start learning, and export once the first prediction is there.",
            )
            self._emit(m.TurnEnded("region", "failed", error, command.job))
        else:
            self._regions.add(command, model)

    def _show(self, snapshot: ModelSnapshot | None) -> None:
        self._shown = snapshot
        if snapshot is not None:
            self._newest_revision = max(self._newest_revision, snapshot.revision)
        self._streamer.set_model(snapshot, self.device)
        self._make_urgent()

    def _make_urgent(self) -> None:
        self._beyond_wanted = True
        self._owed = 0.0
        self._urgent_until = time.monotonic() + URGENT_SECONDS

    def _make_learner(self) -> Learner:
        network, learning = self._settings
        return Learner(
            self._volume,
            network,
            learning,
            device=self.device,
            seed=self._seed,
            revision=self._newest_revision,
        )

    # -- failures ----------------------------------------------------------------------------

    def _guard(self, turn: Turn, work: Callable[[], None]) -> None:
        """Do a piece of work; what goes wrong ends its turn and nothing else."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - the turn's terminal event carries it
            if not (is_out_of_memory(error) and self._relieve(turn)):
                self._fail(turn, error)

    def _fail(self, turn: Turn, error: Exception) -> None:
        if turn == "learning":
            if self._coach.phase == "idle":
                self._emit(m.TurnEnded("learning", "failed", error))
            self._coach.stop("failed", error)
        elif turn == "region":
            self._regions.fail(error)
        else:
            self._streamer.give_up()
            self._beyond_wanted = False
            self._emit(m.TurnEnded("streaming", "failed", error))

    def _relieve(self, turn: Turn) -> bool:
        """Make room after running out of memory; False where nothing more can be done."""
        free_memory()
        if turn == "learning" and self._coach.shrink():
            self._emit(
                m.Told("warning", "Memory ran out. Learning goes on with half the work in a step.")
            )
            return True
        if self.device == "cpu":
            return False
        why = f"Memory ran out on {self.device}. The processor takes over; nothing was lost."
        self.device = "cpu"
        self._coach.replace(self._make_learner)
        if self._shown is not None:
            self._coach.restore(self._shown)
            self._streamer.set_model(self._shown, self.device)
        self._emit(m.DeviceChosen("cpu", why))
        return True
