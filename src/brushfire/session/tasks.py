"""What a session works on, to segment or to restore, and what is known of each."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from brushfire.engine import messages as m
from brushfire.errors import ProjectError
from brushfire.learning.restoring.settings import check_way
from brushfire.networks.architectures import architecture_of, check_installed
from brushfire.prediction import PredictionStore, RestoredStore, RestoredTile
from brushfire.session.learning import LearningRecord

if TYPE_CHECKING:
    from brushfire.engine.messages import Task
    from brushfire.geometry import Box
    from brushfire.learning.restoring import RestorationSettings
    from brushfire.networks.settings import NetworkSettings
    from brushfire.networks.snapshot import ModelSnapshot
    from brushfire.prediction import Tile
    from brushfire.project import RestorationState
    from brushfire.session.denoised import Denoised
    from brushfire.session.restoration import Restoration
    from brushfire.volumes import Volume


class Tasks:
    """The two tasks of a session, each with its models and tiles; one is worked on at a time.

    Parameters
    ----------
    device : str
        Where the network runs.
    shown : ModelSnapshot, optional
        The model that segments first.

    Attributes
    ----------
    active : {"segment", "restore"}
        What the user works on.
    heard : {"segment", "restore"}
        What the engine works on: it follows a little later.
    records : dict
        What is known of learning each of them.
    restoration : Restoration or None
        What is restored; None before anybody asked for that.
    kept : RestorationState or None
        What the project keeps of restoring where it could not be opened again.
    labels, restored : PredictionStore, RestoredStore or None
        Tiles of each.
    denoised : Denoised or None
        What is segmented; None for the volume as it is.
    seen : Box or None
        Voxels of what is restored that are visible, where its own were named; None where those of
        the volume count.
    """

    def __init__(self, device: str, shown: ModelSnapshot | None = None) -> None:
        self.active: Task = "segment"
        self.heard: Task = "segment"
        self._device = device
        self.records: dict[Task, LearningRecord] = {
            "segment": LearningRecord(device, shown),
            "restore": LearningRecord(device),
        }
        self.restoration: Restoration | None = None
        self.kept: RestorationState | None = None
        self.labels: PredictionStore | None = None
        self.restored: RestoredStore | None = None
        self.denoised: Denoised | None = None
        self.seen: Box | None = None
        self._asked = self._answered = 0
        # From which answer on the engine works on what each task is about now.
        self._since: dict[Task, int] = {"segment": 0, "restore": 0}

    @property
    def restoring(self) -> Restoration | None:
        """What is restored, while that is what is worked on."""
        return self.restoration if self.active == "restore" else None

    @property
    def state(self) -> RestorationState | None:
        """What the project keeps of restoring."""
        return self.kept if self.restoration is None else self.restoration.state

    def store(self, task: Task) -> PredictionStore | RestoredStore | None:
        """Return the tiles of a task."""
        return self.labels if task == "segment" else self.restored

    def restore(
        self, restoration: Restoration, tile: int, shown: ModelSnapshot | None = None
    ) -> None:
        """Restore this from now on; tiles of what was restored before are forgotten."""
        newest = self.records["restore"].newest
        self.restoration, self.active, self.seen = restoration, "restore", None
        self._since["restore"] = self._asked + 1
        self.records["restore"] = LearningRecord(self._device, shown)
        self.records["restore"].newest = max(newest, self.records["restore"].newest)
        # The budget is set right after: a store is never without one.
        self.restored = RestoredStore(restoration.source.shape, tile=tile, budget_bytes=1)
        self.restored.revision = shown.revision if shown else 0

    def need_restoration(self) -> Restoration:
        """Return what is restored.

        Raises
        ------
        ProjectError
            Nothing is, yet.
        """
        if self.restoration is None:
            raise ProjectError(
                "A volume is restored from something: a clean one, parts of a scan, or itself.",
                got="no choice so far",
                do="Choose what to restore from first.",
            )
        return self.restoration

    def configure(
        self, network: NetworkSettings | None, learning: RestorationSettings | None
    ) -> Restoration:
        """Take over other settings for restoring, see `Session.configure_restoration`."""
        before = self.need_restoration()
        state = before.state
        state = replace(
            state, network=network or state.network, learning=learning or state.learning
        )
        if state.learning.way != before.state.learning.way:
            raise ProjectError(
                "Another way to learn is chosen with what it learns from.",
                got=f"{state.learning.way!r} in place of {before.state.learning.way!r}",
                do="Choose again what to restore from.",
            )
        check_way(state.learning, state.network, len(before.source.channels))
        check_installed(architecture_of(state.network.architecture))
        self.restoration = replace(before, state=state)
        return self.restoration

    def segment(self, denoised: Denoised | None) -> None:
        """Segment another volume from now on; what was learned of the one before is put away."""
        newest = self.records["segment"].newest
        self.denoised = denoised
        self._since["segment"] = self._asked + 1
        self.records["segment"] = LearningRecord(self._device)
        self.records["segment"].newest = newest
        if self.labels is not None:
            self.labels.clear()
            self.labels.revision = 0

    def limit(self, budget_bytes: int) -> None:
        """Let all tiles together take so much."""
        stores = [store for store in (self.labels, self.restored) if store is not None]
        for store in stores:
            store.limit(budget_bytes // len(stores))

    def view(self, box: Box, volume: Volume, classes: int) -> m.SetView | None:
        """Return what the engine is told of a visible box of the volume; None before tiles."""
        store = self.store(self.active)
        if store is None:
            return None
        restoring = self.restoring
        if restoring is not None:
            box = restoring.on_source(box, volume) if self.seen is None else self.seen
        store.touch(box)
        room = store.room(classes if restoring is None else restoring.outputs)
        beside = self._denoised_view(box) if restoring is None else None
        return m.SetView(box, store.revision, store.fresh(), room, beside)

    def _denoised_view(self, box: Box) -> m.SetView | None:
        """Return what is asked for of what is segmented; None where something newer is shown."""
        store = self.restored
        if self.denoised is None or store is None or store.revision != self.denoised.revision:
            return None
        store.touch(box)
        room = store.room(len(self.denoised.volume.channels))
        return m.SetView(box, store.revision, store.fresh(), room)

    def see(self, box: Box) -> bool:
        """Note which voxels of what is restored are visible; return whether any are."""
        visible = box.clip(self.need_restoration().source.shape)
        if visible.size:
            self.seen = visible
        return bool(visible.size)

    def put(self, tile: Tile | RestoredTile) -> bool:
        """Keep a tile of either kind; return whether it was kept."""
        if self._moot:
            return False
        if isinstance(tile, RestoredTile):
            return self.restored is not None and self.restored.put(tile)
        return self.labels is not None and self.labels.put(tile)

    # -- what the engine was asked and has answered ------------------------------------------

    def asked(self) -> None:
        """Note that the engine is told another task."""
        self._asked += 1

    def changed(self, task: Task) -> None:
        """Note that the engine has taken up a task."""
        self._answered += 1
        self.heard = task

    def engine_started(self) -> None:
        """Note that a new engine works, which segments until it is told otherwise."""
        self.heard = "segment"
        self._asked = self._answered = 0
        self._since = {"segment": 0, "restore": 0}

    @property
    def heard_record(self) -> LearningRecord | None:
        """Where events of learning belong; None for those of what was worked on before."""
        return None if self._moot else self.records[self.heard]

    @property
    def _moot(self) -> bool:
        return self._answered < self._since[self.heard]
