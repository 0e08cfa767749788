"""The toolkit-free application model of one viewer."""

from __future__ import annotations

import time
import traceback
from collections import deque
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from brushfire.engine import Engine
from brushfire.engine import messages as m
from brushfire.engine.device import choose_device
from brushfire.errors import (
    AnnotationError,
    BrushfireError,
    ModelError,
    ProjectError,
    VolumeError,
)
from brushfire.geometry import Box
from brushfire.learning.calibrating import Known
from brushfire.learning.patches import classes_along
from brushfire.learning.restoring.settings import check_way
from brushfire.learning.settings import LearningSettings, check_patch
from brushfire.learning.warming import begin_to_warm_up
from brushfire.networks import kernels
from brushfire.networks.features import inputs_of
from brushfire.networks.settings import NetworkSettings
from brushfire.networks.snapshot import answers
from brushfire.prediction import PredictionStore, RestoredTile, Tile
from brushfire.project import ProjectState, Settings, default_folder, open_project
from brushfire.session.appraising import Appraiser
from brushfire.session.board import JobBoard
from brushfire.session.classes import ClassTable
from brushfire.session.denoised import (
    Denoised,
    check_denoised,
    check_not_started,
    learning_bytes,
    prepare_denoised,
    reopen_denoised,
)
from brushfire.session.distilling import (
    DEPTH,
    SECONDS,
    STEPS,
    WIDTH,
    Student,
    prepare_distilling,
)
from brushfire.session.exports import resolve_export
from brushfire.session.judging import (
    EdgeComparison,
    EdgeLine,
    EdgeWatch,
    check_line,
    residual_check,
)
from brushfire.session.keeper import Keeper
from brushfire.session.learning import LearningRecord
from brushfire.session.line import EngineLine
from brushfire.session.measuring import prepare_measuring
from brushfire.session.memory import default_budget, shares
from brushfire.session.newest import Newest
from brushfire.session.opening import (
    TILE,
    check_opening,
    first_classes,
    open_reference,
    reference,
    resolve_opening,
    suggest_network,
)
from brushfire.session.places import PICTURE, Suggestions, read_picture
from brushfire.session.proportions import prepare_calibrating, why_no_second_stage
from brushfire.session.restoration import Restoration, prepare_restoring, reopen
from brushfire.session.saving import prepare_saving
from brushfire.session.shelf import Shelf
from brushfire.session.starting import (
    Lesson,
    check_start,
    match_classes,
    prepare_start,
    same_place,
)
from brushfire.session.states import (
    JobState,
    LearningState,
    Notice,
    ProportionsState,
    SessionEvents,
    TileUpdate,
)
from brushfire.session.status import status_sentence
from brushfire.session.tasks import Tasks
from brushfire.volumes import Volume, build_pyramid, open_volume

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from psygnal import SignalInstance

    from brushfire.annotations import LabelClass, LabelStore
    from brushfire.export import Conversion
    from brushfire.geometry import Scale
    from brushfire.learning.examples import Examples
    from brushfire.learning.patches import Patches
    from brushfire.learning.places import Place
    from brushfire.learning.reports import Correction
    from brushfire.learning.restoring import RestorationSettings, Way
    from brushfire.learning.transfer.schedules import Schedule
    from brushfire.learning.transfer.strategies import StartSettings
    from brushfire.networks.snapshot import ModelSnapshot
    from brushfire.prediction import RestoredStore
    from brushfire.project import Project
    from brushfire.session.opening import Opening
    from brushfire.session.shelf import Offer

ENGINE_FAILED = (
    "Learning and prediction stopped because of something that we did not foresee. All strokes are"
    " safe. Start learning to go on."
)


class Session:
    """One volume, its strokes, its network and its predictions.

    A session is used from one thread, the one that calls `process_events`; there it emits the
    signals of `events`. Intentions return at once: what they start is told by signals.

    Parameters
    ----------
    project_folder : path, optional
        Folder of the project. By default ``NAME.brushfire`` beside the volume, or in the user's
        data folder where that place is read-only.
    memory_budget_bytes : int, optional
        Upper bound for what the session holds. By default what the project says; of a new
        project half of the machine's memory, at most 16 GiB.
    device : str, optional
        Where the network runs; the best device by default.
    autosave : bool
        Whether strokes, models and settings go to the project folder. Without it they live in
        memory only.
    seed : int
        Of weights and patches.
    suggest : bool
        Whether to look for places where another stroke would teach most, see `places`.
    """

    def __init__(
        self,
        project_folder: str | Path | None = None,
        memory_budget_bytes: int | None = None,
        device: str | None = None,
        *,
        autosave: bool = True,
        seed: int = 0,
        suggest: bool = True,
    ) -> None:
        self.events = SessionEvents()
        self.volume: Volume | None = None
        self.labels: LabelStore | None = None
        self.confirmed = False
        self._device = choose_device(device)
        if self._device == "cpu":
            # It holds the interpreter for a tenth of a second twice: now, while a window is made
            # and nothing moves in it, rather than at the first stroke.
            kernels.choice.prepare()
        begin_to_warm_up()
        self._autosave = autosave
        self._wanted_folder = Path(project_folder) if project_folder else None
        self._seed = seed
        self._suggest = suggest
        self._wanted_budget = memory_budget_bytes
        self._budget = default_budget() if memory_budget_bytes is None else memory_budget_bytes
        shares(self._budget)
        self._settings: Settings | None = None
        self._examples: Examples | None = None
        self._patches: Patches | None = None
        self._weights: ModelSnapshot | None = None
        self._student: Student | None = None
        self._proportions = ProportionsState()
        self._table = ClassTable()
        self._line: EngineLine | None = None
        self._view: Box | None = None
        self._tasks = Tasks(self._device)
        self._board = JobBoard(lambda job: self._later(self.events.job_changed, job), self._error)
        self._keeper = Keeper(None)
        self._suggestions = Suggestions()
        self._shelf = Shelf()
        self._appraiser = Appraiser()
        self._edge, self._residual = EdgeWatch(), Newest()
        self.events.restored_tiles_changed.connect(self._edge.see_tiles)
        self.events.restored_reset.connect(self._edge.see_all)
        # What happened in the background is taken in as a whole before it is told, so that a
        # listener that raises leaves nothing half done.
        self._news: deque[Callable[[], None]] = deque()
        self._told_revision = 0
        self._told_learning = self._record.state
        self._told_disk: set[str] = set()
        self._was_failing = False
        self._journal_told: BrushfireError | None = None
        self._status = ""
        self._closed = False

    # -- state -------------------------------------------------------------------------------

    @property
    def classes(self) -> tuple[LabelClass, ...]:
        """The classes, by value."""
        return self._table.classes

    @property
    def task(self) -> m.Task:
        """What is worked on: "segment" or "restore", see `work_on`."""
        return self._tasks.active

    @property
    def restoration(self) -> Restoration | None:
        """What is restored, and from what; None before `restore_from` is done."""
        return self._tasks.restoration

    @property
    def predictions(self) -> PredictionStore | None:
        """Tiles of labels; None without a volume."""
        return self._tasks.labels

    @property
    def restored(self) -> RestoredStore | None:
        """Tiles of restored intensities, in voxels of ``restoration.source``."""
        return self._tasks.restored

    @property
    def denoised(self) -> Denoised | None:
        """The denoised volume that is segmented; None where that is the volume as it is."""
        return self._tasks.denoised

    @property
    def restorer(self) -> int | None:
        """Revision of the model that restores now, whatever is worked on; None without one."""
        shown = self._tasks.records["restore"].snapshot
        return None if shown is None else shown.revision

    @property
    def denoises_as_shown(self) -> bool:
        """Whether what is segmented is what the model makes that restores now."""
        denoised = self._tasks.denoised
        return denoised is not None and denoised.revision == self.restorer

    @property
    def denoised_problem(self) -> str:
        """Why what is denoised cannot be segmented, or ""."""
        shown = self._tasks.records["restore"].snapshot
        try:
            check_denoised(self.volume, self._tasks.restoration, shown)
        except ProjectError as error:
            return str(error)
        return ""

    @property
    def segmented(self) -> Volume | None:
        """What segmentation learns on and predicts: `volume`, or what is denoised of it."""
        denoised, volume = self._tasks.denoised, self.volume
        if denoised is None or volume is None:
            return volume
        known = volume.voxel_size_known
        return denoised.volume.with_voxel_size(volume.voxel_size) if known else denoised.volume

    @property
    def _record(self) -> LearningRecord:
        """What is known of learning the task that is worked on."""
        return self._tasks.records[self.task]

    @property
    def _segments(self) -> LearningRecord:
        return self._tasks.records["segment"]

    @property
    def model_revision(self) -> int | None:
        """The model that is shown, or will be as soon as it is loaded; None where there is none."""
        return None if self._record.snapshot is None else self._record.snapshot.revision

    @property
    def awaits_strokes(self) -> bool:
        """Whether layers were taken over that tell no classes before strokes are learned."""
        start = self._weights
        return start is not None and self._segments.snapshot is None and not answers(start)

    @property
    def started_from(self) -> str:
        """What was learned elsewhere and taken over, by its name, or ""."""
        return "" if self._weights is None else str(self._weights.metrics.get("started_from", ""))

    @property
    def layers_from(self) -> str:
        """Where the layers come from that wait for strokes, or ""."""
        return self.started_from if self.awaits_strokes else ""

    @property
    def classes_from_start(self) -> frozenset[int]:
        """Class values that are learned from what the project started with, painted or not."""
        network, learning = self.settings.network, self.settings.learning
        examples = self._examples
        channels = 1 if self.segmented is None else len(self.segmented.channels)
        if examples is not None:  # they may be of a network that was gone back from
            examples = examples.for_inputs(inputs_of(network, channels))
        return classes_along(examples, self._patches, self._weights, network, learning)

    @property
    def active_class(self) -> int:
        """The class value that the brush paints."""
        return self._table.active

    @property
    def settings(self) -> Settings:
        """Network, learning, memory budget and tile."""
        if self._settings is None:
            return Settings(
                network=NetworkSettings(),
                learning=LearningSettings(cache_bytes=shares(self._budget).learning),
                memory_budget_bytes=self._budget,
                tile=TILE,
            )
        return self._settings

    @property
    def learning(self) -> LearningState:
        """What learning does and how well."""
        return self._record.state

    @property
    def places(self) -> tuple[Place, ...]:
        """Where another stroke would teach most, the best place first; at most five."""
        return self._suggestions.places

    @property
    def jobs(self) -> tuple[JobState, ...]:
        """Every job of this session, ended ones included."""
        return self._board.states

    @property
    def project(self) -> Project | None:
        """The folder on disk; None without autosave."""
        return self._keeper.project

    @property
    def status(self) -> str:
        """What goes on, in a sentence."""
        return status_sentence(self)

    # -- volume and project ------------------------------------------------------------------

    def open_volume(
        self,
        source: Any,
        *,
        axes: str | None = None,
        voxel_size: Scale | None = None,
        time: int | None = None,
        name: str | None = None,
    ) -> None:
        """Open a volume, with the strokes and the model that were made on it before.

        Parameters
        ----------
        source : path or array-like
            OME-Zarr, TIFF, folder of TIFFs, array, or list of arrays that form a pyramid.
        axes : str, optional
            Axes of the source where its metadata does not tell, such as "zyx".
        voxel_size : tuple of float, optional
            Micrometres, z, y, x.
        time : int, optional
            Which time point of a series.
        name : str, optional
            Name of an array.

        Raises
        ------
        VolumeError, AnnotationError, ProjectError, StorageError
            What cannot be opened leaves the session as it was. Only where the same project was
            open already, and cannot be opened again, is it closed.
        """
        volume = open_volume(
            source,
            axes=axes,
            voxel_size=voxel_size,
            name=name,
            time=time,
            cache_bytes=self._cache_bytes,
        )
        self._adopt(volume, self._wanted_folder)

    def open_project(self, folder: str | Path) -> None:
        """Open a project folder and the volume that it names.

        Raises
        ------
        ProjectError, VolumeError
            The folder is no project, or its volume is gone or has changed.
        """
        project = open_project(Path(folder))
        reference = project.state.volume
        if reference.source is None:
            raise ProjectError(
                "A project without a volume on disk is opened with its array.",
                got=folder,
                do="Open the array with the project folder as its project_folder.",
            )
        self._adopt(open_reference(reference, self._cache_bytes), project.folder)

    def confirm_volume(self, voxel_size: Scale | None = None) -> None:
        """Say that axes and voxel size are right, or correct the voxel size (um, z, y, x).

        Raises
        ------
        VolumeError
            It is no voxel size, or a zoomed scan was placed by the one before.
        """
        volume, restoration = self._need_volume(), self.restoration
        if voxel_size is not None and tuple(voxel_size) != volume.voxel_size:
            if restoration is not None and restoration.state.offset is not None:
                raise VolumeError(
                    "The voxel size is corrected before a zoomed scan is placed by it.",
                    got=f"{tuple(voxel_size)} beside a zoomed scan",
                    do="Close the volume, open it with that voxel size, and choose the scan again.",
                )
            self.volume = volume.with_voxel_size(voxel_size)
            suggested = suggest_network(volume)
            if self._segments.snapshot is None and self.settings.network == suggested:
                self.configure(network=suggest_network(self.volume))
        self.confirmed = True
        self._save()
        self.events.volume_changed.emit()
        self._tell_status()

    def build_pyramid(self) -> int:
        """Start building the missing levels into the project folder; return the job's id.

        While they are built already, that job's id is returned.
        """
        volume = self._need_volume()
        folder = self._keeper.folder / "pyramid"
        budget = shares(self._budget).blocks

        def work(progress: Callable[[int, int], None], cancelled: Callable[[], bool]) -> Volume:
            return build_pyramid(
                volume, folder, budget_bytes=budget, progress=progress, cancelled=cancelled
            )

        job = self._board.start_pyramid(str(folder), work)
        self._tell_news()
        return job

    def close_volume(self) -> None:
        """Let go of the volume; strokes and models are on disk before this returns."""
        if self.volume is None:
            return
        self._end_work()
        self.volume = self.labels = None
        self._line = self._view = None
        self._keeper = Keeper(None)
        self._settings, self._table, self.confirmed = None, ClassTable(), False
        self._examples = self._patches = self._weights = None
        self._tasks = Tasks(self._device)
        self._forget_asides()
        self._tell_everything()

    def configure(
        self,
        network: NetworkSettings | None = None,
        learning: LearningSettings | None = None,
        memory_budget_bytes: int | None = None,
    ) -> None:
        """Change settings of segmentation while learning goes on, see `configure_restoration`.

        Another network shape starts from random weights; with the same one learning goes on from
        the shown model. The model that is shown stays until there is a new one.

        Raises
        ------
        SettingsError
            The budget is too small, a dilation as large as a training patch, or the network sees
            something else than what the project started with.
        """
        old = self.settings
        budget = old.memory_budget_bytes if memory_budget_bytes is None else memory_budget_bytes
        parts = shares(budget)
        if network is not None or learning is not None:
            check_patch(network or old.network, learning or old.learning)
        if network is not None and self._examples is not None:
            check_start(network, old.network)
        self._budget = budget
        self._settings = replace(
            old,
            network=network or old.network,
            learning=replace(learning or old.learning, cache_bytes=parts.learning),
            memory_budget_bytes=budget,
        )
        self._tasks.limit(parts.predictions)
        new = self._settings
        if self._tasks.denoised is not None:
            cached = learning_bytes(budget, self._tasks.denoised)
            new = replace(new, learning=replace(new.learning, cache_bytes=cached))
        # How much is cached is taken up by the next learner: it is no reason for a new one.
        as_before = replace(new.learning, cache_bytes=old.learning.cache_bytes)
        changed = (new.network, as_before) != (old.network, old.learning)
        if changed and self.task == "segment":
            self._send(m.Configure(new.network, new.learning))
        if budget != old.memory_budget_bytes:
            self._send(m.LimitMemory(parts.network))
        self._save()

    def configure_restoration(
        self,
        network: NetworkSettings | None = None,
        learning: RestorationSettings | None = None,
    ) -> None:
        """Change how is restored while learning goes on, as `configure` does for segmentation.

        With another loss learning goes on from the shown model; another network begins anew.

        Raises
        ------
        ProjectError
            Nothing is restored yet, or the way would be another one, which `restore_from` changes.
        SettingsError
            The network cannot learn so, or its package is not installed.
        """
        self._need_volume()
        made = self._tasks.configure(network, learning)
        if self.task == "restore":
            learning = made.learning(shares(self._budget).learning)
            self._send(m.Configure(made.state.network, learning))
        self._save()
        self.events.restoration_changed.emit()

    def appraise(self, network: NetworkSettings, learning: LearningSettings | None = None) -> None:
        """Find out what a network would be here; `network_appraised` follows with an `Appraisal`.

        Parameters
        ----------
        network : NetworkSettings
            Which; nothing is changed.
        learning : LearningSettings, optional
            How it would learn; as now by default.
        """
        before, started = self.settings, self._examples is not None
        learns = learning or before.learning

        def check() -> None:
            if started:
                check_start(network, before.network)
            check_patch(network, learns)

        self._appraiser.look(
            network,
            learns,
            channels=1 if self.segmented is None else len(self.segmented.channels),
            classes=max(2, len(self.classes)),
            device=self._device,
            network_bytes=shares(before.memory_budget_bytes).network,
            check=check,
        )

    def appraise_restoration(
        self, network: NetworkSettings, learning: RestorationSettings | None = None
    ) -> None:
        """Find out what a network that restores would be here, as `appraise` does for others.

        Raises
        ------
        ProjectError
            Nothing is restored yet.
        """
        restoration = self._tasks.need_restoration()
        learns = learning or restoration.state.learning
        channels = len(restoration.source.channels)
        self._appraiser.look(
            network,
            learns,
            channels=channels,
            classes=0,
            device=self._device,
            network_bytes=shares(self._budget).network,
            check=lambda: check_way(learns, network, channels),
        )

    # -- classes and strokes -----------------------------------------------------------------

    def add_class(self, name: str | None = None, color: str | None = None) -> LabelClass:
        """Add a class with the next free value; name and colour ("#rrggbb") are optional."""
        self._need_volume()
        new = self._table.add(name, color)
        self._classes_changed()
        return new

    def rename_class(self, value: int, name: str) -> None:
        """Rename a class."""
        self._table.change(value, name=name)
        self._classes_changed()

    def recolor_class(self, value: int, color: str) -> None:
        """Give a class another colour, "#rrggbb"."""
        self._table.change(value, color=color)
        self._classes_changed()

    def remove_class(self, value: int) -> None:
        """Remove a class and every stroke of it."""
        active = self.active_class
        self._table.remove(value)
        self._need_labels().replace(value, 0)
        if any(part and value in part.counts for part in (self._examples, self._patches)):
            left = {one.value for one in self.classes}
            examples = None if self._examples is None else self._examples.of(left)
            self._learn_beside(examples or None, self._patches and self._patches.of(left))
        self._classes_changed()
        if self.active_class != active:
            self.events.active_class_changed.emit(self.active_class)

    def set_active_class(self, value: int) -> None:
        """Choose the class that the brush paints; 0 erases."""
        if value != 0:
            self._table.find(value)
        if value != self._table.active:
            self._table.active = value
            self.events.active_class_changed.emit(value)

    def paint(self, box: Box, block: NDArray[np.uint8]) -> None:
        """Paint from a script.

        Parameters
        ----------
        box : Box
            Voxels at level 0.
        block : ndarray of uint8, shape of ``box``
            Class values; 0 leaves a voxel as it is.

        Raises
        ------
        AnnotationError
            A value is no class, or the box is not inside the volume.
        """
        labels = self._need_labels()
        if block.shape != box.shape or not Box.of_shape(labels.shape).contains(box):
            raise AnnotationError(
                f"Strokes lie inside the volume {labels.shape} and have their box's shape.",
                got=f"box {box}, block {block.shape}",
                do="Give a block of the box's shape inside the volume.",
            )
        for value in np.unique(block[block > 0]):
            self._table.find(int(value))
        before = labels[box.slices]
        labels[box.slices] = block + before * (block == 0)

    def next_annotated_slice(self, z: int, direction: int = 1) -> int | None:
        """Return the nearest slice after ``z`` with strokes (before, with direction -1)."""
        slices = self._need_labels().annotated_slices()
        if direction > 0:
            return min((s for s in slices if s > z), default=None)
        return max((s for s in slices if s < z), default=None)

    # -- learning ----------------------------------------------------------------------------

    def start(self) -> None:
        """Start learning from the strokes, or go on after a pause."""
        self._need_engine().send_strokes()
        self._send(m.Train())

    def pause(self) -> None:
        """Stop taking steps; `start` goes on from here."""
        self._send(m.Pause())

    def stop(self) -> None:
        """End learning; the shown model stays."""
        self._send(m.Stop())

    def restore_from(
        self,
        way: Way,
        *,
        target: Any = None,
        splits: Sequence[Any] = (),
        offset: Scale | None = None,
        refine: bool = True,
        others: Sequence[Any] = (),
        network: NetworkSettings | None = None,
        learning: RestorationSettings | None = None,
    ) -> int:
        """Open and check what is restored from, then work on that; return the job's id.

        Nothing is learned before `start`. What was restored before is given up; its models stay in
        the project's folder.

        Parameters
        ----------
        way : {"pairs", "splits", "blind", "neighbours"}
            What is learned from, see `brushfire.learning.restoring.FACTS`.
        target : path, array or Volume, optional
            In the way "pairs": the clean volume, on the grid of the session's; or, with ``offset``,
            a zoomed scan of a part of it.
        splits : sequence of path, array or Volume
            In the way "splits": reconstructions of parts of the scan, on the grid of the
            session's volume; none where these are its channels.
        offset : tuple of float, optional
            Micrometres z, y, x from the first corner of the volume to that of the zoomed scan. What
            is restored then has the voxels of the zoomed scan.
        refine : bool
            Whether the zoomed scan is looked for near there.
        others : sequence of path, array or Volume
            Further scans of a series to learn from, with voxels of one size and as many channels;
            in the way "pairs" each a tuple of the scan and its clean one.
        network, learning : NetworkSettings, RestorationSettings, optional
            Shape of the network and how it learns; what suits by default.

        Raises
        ------
        ProjectError
            What was given does not belong to this way. That volumes do not fit each other fails
            the job; what is only doubtful is told by `notified` when it is done.
        """
        self._need_volume()
        work = prepare_restoring(
            self, way, target=target, splits=splits, offset=offset, refine=refine, others=others,
            network=network, learning=learning,
        )  # fmt: skip
        job = self._board.start_restoring(work)
        self._tell_news()
        return job

    def work_on(self, task: m.Task) -> None:
        """Segment, or restore, from now on: learning stops, models and tiles of both are kept.

        Raises
        ------
        ProjectError
            Nothing is restored yet.
        """
        self._need_volume()
        if task == self.task:
            return
        if task == "restore":
            self._tasks.need_restoration()
        self._tasks.active = task
        self._change_task()

    def segment_on(self, what: Literal["given", "denoised"]) -> int | None:
        """Segment the volume as it is given, or as the model that restores now denoises it.

        Both networks then run where a tile is predicted. Other intensities are learned anew:
        strokes stay, models of before stay in the project's folder, and where there was a model or
        learning went on it begins by itself. Denoising may go on learning; what is segmented
        stays as it is until this is asked for again.

        Returns
        -------
        int or None
            The job of looking at what is denoised; None where there is nothing to look at.

        Raises
        ------
        ProjectError
            Nothing is denoised yet, its voxels are finer than those of the volume, or what was
            learned elsewhere was taken over for the one that is segmented.
        """
        volume = self._need_volume()
        started = any(part is not None for part in (self._weights, self._examples, self._patches))
        if what == "given":
            if self._tasks.denoised is not None:
                check_not_started(started)
                self._begin_to_segment(None)
                self._tell_news()
            return None
        if self.denoises_as_shown:
            return None
        work = prepare_denoised(
            volume, self._tasks.restoration, self._tasks.records["restore"].snapshot,
            started=started, device=self._device, budget_bytes=self._budget,
        )  # fmt: skip
        job = self._board.start_denoised(work)
        self._tell_news()
        return job

    @property
    def edge(self) -> EdgeComparison | None:
        """The edge along the line of `measure_edge`, as given and restored; None before that."""
        return self._edge.newest

    def measure_edge(self, line: EdgeLine | None) -> None:
        """Measure the edge that a line crosses, until there is another; `edge_measured` follows.

        It follows again whenever something new is restored along the line.

        Parameters
        ----------
        line : EdgeLine or None
            In one slice of the volume; None to measure no more.

        Raises
        ------
        ProjectError
            Nothing is restored yet, or the line is too long, or outside the volume.
        """
        self._edge.follow(None)
        if line is not None:
            check_line(line, self._need_volume(), self._tasks.need_restoration())
            self._edge.follow(line)

    def check_residual(self, box: Box) -> None:
        """Find out whether what was removed from a slice has structure.

        `residual_checked` follows with a `Finding`, unless nothing is restored there yet or
        another slice is asked for meanwhile.

        Parameters
        ----------
        box : Box
            Voxels of ``restoration.source``, one thick along one axis.

        Raises
        ------
        ProjectError
            Nothing is restored yet.
        """
        restoration, store = self._tasks.need_restoration(), self.restored
        assert store is not None
        work = residual_check(restoration, store, box)
        if work is not None:
            self._residual.start(work)

    def start_from(
        self,
        place: str | Path,
        *,
        start: StartSettings | None = None,
        schedule: Schedule | None = None,
        replace: bool = False,
    ) -> int:
        """Take over what was learned elsewhere; return the job's id.

        The model is shown at once, and the labelled voxels that come with it are learned beside the
        strokes; segmentation is worked on from then on. Classes are matched by name, and those that
        lack are added; where nobody has painted or named a class yet, the others take their place.

        Parameters
        ----------
        place : path or str
            Another project, which nobody else has open; or a model file; or the name of a model in
            the library.
        start : StartSettings, optional
            Which of its weights are taken over; all by default. Where that leaves nothing that
            tells classes apart, no model is shown until the first strokes are learned.
        schedule : str, optional
            Which of them learn from then on, and when, see `SCHEDULES`; as now by default.
        replace : bool
            Whether that takes the place of what was learned here.

        Raises
        ------
        ProjectError
            It is the project that is open, or that one has learned something already.
        """
        self._need_volume()
        self.work_on("segment")
        prepared = prepare_start(self, place, start, schedule, replace=replace)
        job = self._board.start_lesson(*prepared)
        self._tell_news()
        return job

    def save_to_library(
        self,
        name: str,
        *,
        licence: str = "unknown",
        modality: str = "",
        description: str = "",
        replace: bool = False,
        student: bool = False,
        crops: bool = False,
    ) -> int:
        """Keep the shown model, and what the strokes taught it, for others; return the job's id.

        Parameters
        ----------
        name : str
            What to call it.
        licence : str
            SPDX text, for those it is given to.
        modality, description : str
            How the images were made, and what there is to say beside it.
        replace : bool
            Whether it takes the place of a model that has the name.
        student : bool
            Whether to keep `student` instead, which strokes have not taught.
        crops : bool
            Whether labelled crops come along, against forgetting: they are parts of the images, of
            this volume and of those that it started from.

        Raises
        ------
        ModelError
            There is no model, or the name cannot be one. A name that is taken fails the job.
        """
        self._need_volume()
        model, examples, patches = self._segments.snapshot, self._examples, self._patches
        if student:
            model = None if self._student is None else self._student.model
            examples = patches = None
        work = prepare_saving(
            self, model, examples, patches, name, replace=replace, crops=crops and not student,
            licence=licence, modality=modality, description=description,
        )  # fmt: skip
        job = self._board.start_saving(name, work)
        self._tell_news()
        return job

    @property
    def offers(self) -> tuple[Offer, ...]:
        """Models of the library, the most fitting first, as the last `browse_library` found."""
        return self._shelf.offers

    @property
    def scratch_score(self) -> float | None:
        """What `Offer.score` is for no start at all; None while there are too few strokes."""
        return self._shelf.scratch

    def measure_start(self, steps: int = 100) -> int:
        """Measure what the start was worth, beside what goes on; return the job's id.

        The network learns twice from the strokes that are there, with the start and from scratch,
        and both are asked for the same held-out strokes; the job's message is the answer.

        Parameters
        ----------
        steps : int
            Gradient steps of each.

        Raises
        ------
        ProjectError
            The project started from nothing.
        """
        work = prepare_measuring(
            self, self._weights, self._examples, self._patches, steps,
            step_bytes=shares(self._budget).network // 2,  # the engine's steps go on
        )  # fmt: skip
        job = self._board.start_measuring(work)
        self._tell_news()
        return job

    def distil(
        self,
        *,
        depth: int = DEPTH,
        width: int = WIDTH,
        steps: int = STEPS,
        seconds: float = SECONDS,
    ) -> int:
        """Teach a small, fast network what the shown model says; return the job's id.

        All else goes on meanwhile. What comes of it is `student`.

        Parameters
        ----------
        depth, width : int
            Layers of the small network, and maps that each adds.
        steps, seconds : int, float
            How long it learns at most.

        Raises
        ------
        ModelError, SettingsError
            There is no model, or no such network. What else is in the way fails the job.
        """
        self._need_volume()
        work = prepare_distilling(
            self, self._segments.snapshot,
            depth=depth, width=width, steps=steps, seconds=seconds, seed=self._seed,
        )  # fmt: skip
        job = self._board.start_distilling(work)
        self._tell_news()
        return job

    @property
    def student(self) -> Student | None:
        """The small network that the last `distil` made, until it is shown or dropped."""
        return self._student

    def show_student(self) -> None:
        """Show `student`, and learn on from it and with its network; `undo_model` goes back.

        Raises
        ------
        ModelError
            There is none.
        """
        if self._student is None:
            raise ModelError(
                "A small network is shown once it has been made.", got="none", do="Make it first."
            )
        self.work_on("segment")
        self._need_engine().send(m.Adopt(self._student.model))
        self._student = None

    def drop_student(self) -> None:
        """Forget `student`; what is shown stays."""
        self._student = None

    @property
    def proportions(self) -> ProportionsState:
        """How common classes are, as far as was asked for."""
        return self._proportions

    @property
    def known_shares(self) -> dict[int, float]:
        """What the user gave of how common classes are: the shown model is kept to it."""
        known = Known.of(self._segments.snapshot)
        return {} if known is None else dict(known.shares)

    @property
    def second_stage_problem(self) -> str:
        """Why the second stage cannot be, or ""."""
        return why_no_second_stage(self, self._segments.snapshot)

    def estimate_proportions(self) -> None:
        """Find out how common classes are by the shown model; `proportions_changed` follows."""
        self._need_volume()
        self.work_on("segment")
        self._need_engine().send(m.Estimate())

    def calibrate(
        self, shares: Mapping[int, float] | None = None, how: Correction = "calibrated"
    ) -> None:
        """Show a model in which classes are as common as they are; `proportions_changed` follows.

        `undo_model` goes back. Models that are learned later are kept to what is given here, until
        something else is given.

        Parameters
        ----------
        shares : mapping, optional
            Which part of the volume a class is, for some classes or all; the others share what is
            left. By default the model estimates it, for this once.
        how : {"calibrated", "second stage", "as learned"}
            Shift the biases; fit the last layer of a network without features anew; or do without
            either from now on.

        Raises
        ------
        ModelError, LearningError, SettingsError
            It cannot be, and nothing is changed.
        """
        self._need_volume()
        command = prepare_calibrating(self, self._segments.snapshot, shares, how)
        self.work_on("segment")
        self._need_engine().send(command)

    def browse_library(self) -> None:
        """Look what the library offers for this volume; `library_changed` follows."""
        self._need_volume()
        assert self.segmented is not None
        self._shelf.look(self.segmented, self._need_labels().snapshot())

    def reset(self) -> None:
        """Forget what was learned of the task, here and where it started from; strokes stay."""
        if self.task == "restore":
            self._send(m.Reset())
            return
        if self._weights is not None:
            self._weights = None
            self._keeper.save_start(self._examples, self._patches, None)
        self._learn_beside(None, None)
        self._send(m.Reset())

    def undo_model(self) -> None:
        """Show the model that was shown before this one."""
        self._send(m.UndoModel())

    def picture_of(self, place: Place) -> NDArray[np.uint8] | None:
        """Return a small picture of one of `places`, read already; None where it cannot be."""
        return self._suggestions.picture(place)

    def read_thumbnail(self, place: Place, size: int = PICTURE) -> NDArray[np.uint8]:
        """Read a picture of a place, (size, size) greys; any thread may call it.

        It waits for the disk: in a window take `picture_of`.

        Raises
        ------
        VolumeError
            If no volume is open, or it cannot be read.
        """
        return read_picture(self._need_volume(), place, size)

    # -- prediction and export ---------------------------------------------------------------

    def set_view(self, box: Box, *, restored: bool = False) -> None:
        """Say which voxels are visible: level 0, one voxel thick along the sliced axis.

        Parameters
        ----------
        box : Box
            Voxels of the volume.
        restored : bool
            Whether they are of ``restoration.source`` instead, whose voxels may be finer.
        """
        if self.volume is None:
            return
        if restored:
            if self._tasks.see(box):
                self._send_view()
            return
        visible = box.clip(self.volume.shape)
        if visible.size:
            self._view = visible
            self._tasks.seen = None
            self._send_view()

    def export(
        self,
        path: str | Path,
        *,
        format: str = "ome-zarr",
        region: Box | None = None,
        overwrite: bool = False,
        conversion: Conversion | None = None,
    ) -> int:
        """Start exporting masks, or what is restored, of a region; return the job's id.

        Which of both is the task that is worked on.

        Parameters
        ----------
        path : path
            Target: a folder for OME-Zarr, a file for TIFF.
        format : {"ome-zarr", "tiff"}
            Multiscale OME-Zarr, or BigTIFF.
        region : Box, optional
            Voxels at level 0, of ``restoration.source`` where that is what is restored; the whole
            volume by default.
        overwrite : bool
            Whether an earlier export of the same format there is replaced, once this one is
            complete.
        conversion : Conversion, optional
            How restored intensities become numbers of the file; float32 as they are by default.

        Raises
        ------
        ExportError, StorageError
            There is no model, or the target or the region cannot be.
        """
        volume = self._need_volume()
        export = resolve_export(
            self._board.next_id,
            path,
            format=format,
            region=region,
            overwrite=overwrite,
            volume=volume,
            model=self._record.snapshot,
            classes=self.classes,
            predictions_folder=self._keeper.folder / "predictions",
            running=self._board.exports,
            segmented=self.segmented or volume,
            restoration=self._tasks.restoring,
            conversion=conversion,
        )
        self._need_engine()
        self._board.add_export(export)
        self._send(export.command())
        self._tell_news()
        return export.job

    def cancel(self, job: int) -> None:
        """Ask a job to end; what it finished is kept where it can be continued."""
        self._board.cancel(job)
        self._send(m.CancelRegion(job))
        self._tell_news()

    # -- the loop ----------------------------------------------------------------------------

    def process_events(self, budget_ms: float = 8.0) -> None:
        """Take in what happened in the background and emit signals; call it 20 times a second.

        Parameters
        ----------
        budget_ms : float
            Time after which the rest waits for the next call.
        """
        if self._closed:
            return
        tiles: list[Tile | RestoredTile] = []
        if self._line is not None:
            for event in self._line.events(time.monotonic() + budget_ms / 1000):
                self._take(event, tiles)
        self._tell_tiles(tiles)
        for result in self._board.fetch():
            if isinstance(result, Lesson) and self.volume is not None:
                self._begin_with(result)
            if isinstance(result, Student) and self.volume is not None:
                self._student = result
            if isinstance(result, Restoration) and self.volume is not None:
                self._begin_to_restore(result)
            if isinstance(result, Denoised) and self.volume is not None:
                self._begin_to_segment(result)
            if isinstance(result, Volume) and self.volume is not None:
                # The voxel size may have been corrected while the levels were built.
                known = self.volume.voxel_size_known
                self.volume = result.with_voxel_size(self.volume.voxel_size) if known else result
                self._later(self.events.volume_changed)
        self._look_at_learning()
        self._look_at_strokes()
        self._look_at_places()
        self._look_at_shelf()
        self._look_at_appraiser()
        self._look_at_judges()
        self._look_at_disk()
        self._tell_news()
        self._tell_status()

    def wait_for(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Process events until ``condition()`` holds; return False after ``timeout`` seconds."""
        until = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > until:
                return False
            self.process_events()
            time.sleep(0.005)
        return True

    def close(self) -> None:
        """End all work; strokes are on disk before this returns. Safe to call again."""
        if self._closed:
            return
        self._end_work()
        self._closed = True

    # -- inside: opening and closing ---------------------------------------------------------

    def _adopt(self, volume: Volume, folder: Path | None) -> None:
        try:
            opening, budget = self._resolve(volume, folder)
            parts = shares(budget)
        except BaseException:
            volume.close()
            raise
        settings = opening.state.settings
        self._end_work()
        self.volume, self.labels = opening.volume, opening.labels
        self._keeper = Keeper(opening.project)
        self._budget = budget
        self._settings = replace(
            settings,
            learning=replace(settings.learning, cache_bytes=parts.learning),
            memory_budget_bytes=budget,
        )
        denoised, lost = self._denoised_as_before(opening)
        model = None if lost else opening.model
        self._examples, self._weights = opening.examples, opening.weights
        self._patches = opening.patches
        self._table = ClassTable(opening.state.classes, model.classes if model else ())
        self._tasks = Tasks(self._device, model)
        self._tasks.denoised = denoised
        self._forget_asides()
        self._told_revision = 0
        self.confirmed = opening.state.volume.confirmed
        self._tasks.labels = PredictionStore(
            volume.shape,
            tile=self._settings.tile,
            budget_bytes=parts.predictions,
        )
        doubt = self._restore_as_before(opening.state)
        self._keeper.note("opened", volume=volume.source, fingerprint=volume.fingerprint)
        self._view = None
        self._line = EngineLine(self._make_engine, opening.labels)
        self._need_engine()
        self._tell_everything()
        for warning in filter(None, (*opening.warnings, doubt, lost)):
            self.events.notified.emit(Notice("warning", warning))

    def _forget_asides(self) -> None:
        """Forget what was found out beside learning."""
        self._student, self._proportions = None, ProportionsState()

    @property
    def _cache_bytes(self) -> int:
        return shares(self._wanted_budget or default_budget()).reading

    def _resolve(self, volume: Volume, folder: Path | None) -> tuple[Opening, int]:
        """Return what belongs to a volume, open, and the memory budget in bytes."""
        place = (folder or default_folder(volume)) if self._autosave else None
        check_opening(volume, place)
        if (
            place is not None
            and self.project is not None
            and same_place(place, self.project.folder)
        ):
            self.close_volume()  # a project is open once at a time
        budget = self._wanted_budget or default_budget()
        opening = resolve_opening(volume, place, budget_bytes=budget)
        return opening, self._wanted_budget or opening.state.settings.memory_budget_bytes

    def _tell_everything(self) -> None:
        self._told_learning = self.learning
        self.events.volume_changed.emit()
        self.events.classes_changed.emit()
        self.events.active_class_changed.emit(self.active_class)
        self.events.annotations_changed.emit(self.labels.revision if self.labels else 0)
        self.events.learning_changed.emit(self.learning)
        self.events.predictions_reset.emit()
        self.events.restoration_changed.emit()
        self.events.restored_reset.emit()
        self.events.task_changed.emit(self.task)
        self.events.segmented_changed.emit()
        self.events.places_changed.emit(self.places)
        self._tell_status()

    def _end_work(self) -> None:
        """End engine and jobs, write what is to be written, release the volume."""
        with ExitStack() as endings:  # each of them happens, whatever another raises
            endings.callback(self._tell_news)
            endings.callback(self._look_at_disk)
            if self.volume is not None:
                endings.callback(self.volume.close)
            endings.callback(self._keeper.close)
            endings.callback(self._save)
            if self.labels is not None:
                endings.callback(self.labels.close)
            endings.callback(self._board.close)
            endings.callback(self._suggestions.close)
            endings.callback(self._shelf.close)
            endings.callback(self._appraiser.close)
            endings.callback(self._edge.close)
            endings.callback(self._residual.close)
            endings.callback(self._end_engine)

    # -- inside: the engine ------------------------------------------------------------------

    def _make_engine(self) -> Engine:
        settings = self.settings
        return Engine(
            self._need_volume(),
            network=settings.network,
            learning=settings.learning,
            tile=settings.tile,
            network_bytes=shares(settings.memory_budget_bytes).network,
            device=self._device,
            seed=self._seed,
            scout=self._suggest,
            revision=self._newest("segment"),
            examples=self._examples,
            patches=self._patches,
            weights=self._weights,
        )

    def _need_engine(self) -> EngineLine:
        """Start the engine where none runs: at first, or after it ended by an error."""
        self._need_volume()
        assert self._line is not None
        if not self._line.open:
            self._end_engine()
            self._tasks.engine_started()
            task: m.LearnToRestore | m.LearnToSegment | None = None
            if self._tasks.restoring is not None:
                task = self._restore_command(self._tasks.restoring)
            elif self._tasks.denoised is not None:
                task = self._segment_command()
            self._line.connect(self._record.snapshot, self._view_command(), task)
        return self._line

    def _newest(self, task: m.Task) -> int:
        """Return the newest revision in use of models for a task."""
        kept = self.project.models(restores=task == "restore") if self.project else ()
        return max([*kept, self._tasks.records[task].newest])

    def _restore_command(self, restoration: Restoration) -> m.LearnToRestore:
        self._tasks.asked()
        cache = shares(self._budget).learning
        return restoration.command(self._newest("restore"), cache)

    def _segment_command(self) -> m.LearnToSegment:
        self._tasks.asked()
        settings, denoised = self.settings, self._tasks.denoised
        cached = learning_bytes(self._budget, denoised)
        return m.LearnToSegment(
            settings.network,
            replace(settings.learning, cache_bytes=cached),
            self._newest("segment"),
            None if denoised is None else denoised.volume,
            0 if denoised is None else denoised.revision,
        )

    def _change_task(self) -> None:
        """Tell the engine what is worked on now, and what is known of it."""
        if self._line is not None and self._line.open:
            restoring = self._tasks.restoring
            if restoring is not None:
                self._send(self._restore_command(restoring))
            else:
                self._send(self._segment_command())
            if self._record.snapshot is not None:
                self._send(m.Restore(self._record.snapshot))
            self._send_view()
        self._save()
        self._later(self.events.task_changed, self.task)
        self._later(self.events.model_changed, self.learning.shown_model)
        self._look_at_learning()

    def _begin_to_restore(self, restoration: Restoration) -> None:
        """Take over what was opened and checked."""
        self._tasks.restore(restoration, self.settings.tile)
        self._tasks.limit(shares(self._budget).predictions)
        self._keeper.note(
            "restoring", way=restoration.state.learning.way, sources=restoration.paths
        )
        self._later(self.events.restoration_changed)
        self._later(self.events.restored_reset)
        self._change_task()
        for warning in restoration.warnings:
            self._later(self.events.notified, Notice("warning", warning))

    def _begin_to_segment(self, denoised: Denoised | None) -> None:
        """Segment another volume from now on, and learn it where something had been learned."""
        learn = self._segments.snapshot is not None or self._segments.state.running
        self._tasks.segment(denoised)
        self._forget_asides()
        if self._suggestions.clear():
            self._later(self.events.places_changed, self.places)
        self._keeper.note("segmenting", model=None if denoised is None else denoised.revision)
        self._later(self.events.predictions_reset)
        self._later(self.events.segmented_changed)
        if self.task == "segment":
            self._change_task()
            if learn:
                self.start()
        self._save()

    def _denoised_as_before(self, opening: Opening) -> tuple[Denoised | None, str]:
        """Return what the project segments in place of its volume, and why not, or ""."""
        if opening.project is None:
            return None, ""
        try:
            found = reopen_denoised(
                opening.volume, opening.project, device=self._device, budget_bytes=self._budget
            )
        except BrushfireError as error:
            return None, (
                "The denoised volume that was segmented cannot be made again. What was learned on"
                f" it is not shown; strokes are learned on the volume as it is. {error}"
            )
        return found, ""

    def _restore_as_before(self, state: ProjectState) -> str:
        """Open again what the project was restored from; return why not, or ""."""
        if state.restoration is None:
            return ""
        try:
            found, shown = reopen(
                self._need_volume(), state.restoration, self.project, budget_bytes=self._budget
            )
        except BrushfireError as error:
            self._tasks.kept = state.restoration
            return f"The volume cannot be restored as before: choose again what from. {error}"
        self._tasks.restore(found, self.settings.tile, shown)
        self._tasks.active = state.task
        self._tasks.limit(shares(self._budget).predictions)
        return ""

    def _tell_tiles(self, tiles: list[Tile | RestoredTile]) -> None:
        for kind, signal in (
            (Tile, self.events.tiles_changed),
            (RestoredTile, self.events.restored_tiles_changed),
        ):
            told = tuple(TileUpdate(t.box, t.revision) for t in tiles if isinstance(t, kind))
            if told:
                self._later(signal, told)

    def _end_engine(self) -> None:
        """End the engine and take in the last that it said: a model may be among it."""
        if self._line is not None:
            self._line.close()
            for event in self._line.events(float("inf")):
                self._take(event, [])
        self._look_at_learning()

    def _send(self, command: m.Command) -> None:
        if self._line is not None:
            self._line.send(command)

    def _view_command(self) -> m.SetView | None:
        if self._view is None or self.volume is None:
            return None
        return self._tasks.view(self._view, self.volume, len(self.classes))

    def _send_view(self) -> None:
        view = self._view_command()
        if view is not None:
            self._send(view)

    def _look_at_learning(self) -> None:
        if self.learning is not self._told_learning:
            self._told_learning = self.learning
            self._later(self.events.learning_changed, self.learning)

    def _look_at_strokes(self) -> None:
        if self.labels is None or self._line is None:
            return
        if self.labels.revision != self._told_revision:
            self._told_revision = self.labels.revision
            self._later(self.events.annotations_changed, self._told_revision)
            if self._suggestions.leave_painted(self.labels):
                self._later(self.events.places_changed, self.places)
            if self._record.leave_repainted(self.labels):
                self._later(self.events.learning_changed, self.learning)
        self._line.follow_strokes()

    def _look_at_places(self) -> None:
        if self._suggestions.fetch():
            if self.labels is not None:
                self._suggestions.leave_painted(self.labels)
            self._later(self.events.places_changed, self.places)

    def _look_at_shelf(self) -> None:
        changed, error = self._shelf.fetch()
        if error is not None:
            self._error(error)
        if changed:
            self._later(self.events.library_changed, self.offers)

    def _look_at_appraiser(self) -> None:
        found, error = self._appraiser.fetch()
        if error is not None:
            self._error(error)
        if found:
            self._later(self.events.network_appraised, self._appraiser.newest)

    def _look_at_judges(self) -> None:
        found, error = self._edge.fetch()
        if found:
            self._later(self.events.edge_measured, self._edge.newest)
        if self.volume is not None and self.restoration is not None and self.restored is not None:
            self._edge.work(self.volume, self.restoration, self.restored)
        checked = self._residual.fetch()
        if checked is not None and checked.result is not None:
            self._later(self.events.residual_checked, checked.result)
        for failed in (error, None if checked is None else checked.error):
            if failed is not None:
                self._error(failed)

    def _take(self, event: m.Event, tiles: list[Tile | RestoredTile]) -> None:
        record = self._tasks.heard_record or LearningRecord(self._device)  # of none: dropped
        match event:
            case m.TaskChanged(task):
                self._tasks.changed(task)
            case m.TilePredicted(tile=tile):
                if self._tasks.put(tile):
                    tiles.append(tile)
            case m.ModelShown() | m.ModelForgotten() if self._tasks.heard_record is None:
                pass
            case m.ModelShown(snapshot=snapshot):
                record.take(event)
                segments = self._tasks.heard == "segment"
                if segments and self._suggestions.go_back(snapshot.revision):
                    self._later(self.events.places_changed, self.places)
                self._show(snapshot.revision)
                self._save()
                self._keeper.note("model shown", revision=snapshot.revision, **snapshot.metrics)
            case m.ModelForgotten():
                record.take(event)
                segments = self._tasks.heard == "segment"
                if segments:
                    self._forget_asides()
                    self._later(self.events.proportions_changed, self._proportions)
                store = self._tasks.store(self._tasks.heard)
                if store is not None:
                    store.clear()
                if segments and self._suggestions.clear():
                    self._later(self.events.places_changed, self.places)
                self._show(0)
                self._save()
            case m.NetworkTaken(network):
                self._settings = replace(self.settings, network=network)
            case m.ProportionsTold(found, done, error):
                before, shown = self._proportions, self.model_revision
                if done is None and error is None and before.model == shown:
                    done = before.calibration
                problem = "" if error is None else str(error)
                self._proportions = ProportionsState(shown, found, done, problem)
                self._later(self.events.proportions_changed, self._proportions)
            case m.RegionProgress(job, done, total):
                self._board.progress(job, done, total)
            case m.TurnEnded(turn="region", job=int(job)):
                self._region_ended(job, event)
            case m.PlacesFound():
                if self.volume is not None:
                    self._suggestions.take(self.volume, event)
            case m.TurnEnded(turn="places", error=error):
                if error is not None and self._suggestions.is_news(error):
                    self._error(error)
            case m.TurnEnded(turn="engine", outcome="failed", error=error):
                record.take(event)
                self._board.engine_ended()
                self._tell_error(ENGINE_FAILED, error)
            case m.TurnEnded(error=error):
                record.take(event)
                if error is not None:
                    self._error(error)
            case m.Told(level, text):
                self._later(self.events.notified, Notice(level, text))
            case m.DeviceChosen(why=why):
                for each in self._tasks.records.values():
                    each.take(event)
                if why:
                    self._later(self.events.notified, Notice("warning", why))
            case _:
                record.take(event)

    def _begin_with(self, lesson: Lesson) -> None:
        """Take over what was learned elsewhere."""
        fresh = self.classes == first_classes() and not self._need_labels().counts()
        classes, values = match_classes(self.classes, lesson.classes, fresh=fresh)
        model, known = lesson.model, lesson.examples
        examples = None if known is None else known.renumbered(values)
        patches = None if lesson.patches is None else lesson.patches.renumbered(values)
        model = model.renamed(tuple(values[value] for value in model.classes))
        # From here on nothing can fail.
        self._table.replace(classes)
        learning = self.settings.learning
        if lesson.schedule is not None:
            learning = replace(learning, schedule=lesson.schedule)
        self._settings = replace(self.settings, network=model.settings, learning=learning)
        self._examples, self._patches, self._weights = examples, patches, model
        self.work_on("segment")
        line = self._need_engine()
        if lesson.schedule is not None:
            line.send(m.Configure(model.settings, learning))
        line.send(m.Begin(model, examples, patches))
        self._save()
        self._keeper.save_start(examples, patches, model)
        self._keeper.note("started", source=lesson.name, voxels=len(known or ()))
        self._later(self.events.classes_changed)
        self._later(self.events.active_class_changed, self.active_class)
        if lesson.remark:
            self._later(self.events.notified, Notice("warning", lesson.remark))

    def _learn_beside(self, examples: Examples | None, patches: Patches | None) -> None:
        """Learn labels of other volumes beside the strokes from now on, or none."""
        if (self._examples, self._patches) != (examples, patches):
            self._examples, self._patches = examples, patches
            self._send(m.SetExamples(examples, patches))
            self._keeper.save_start(examples, patches, self._weights)

    def _show(self, revision: int) -> None:
        task = self._tasks.heard
        store = self._tasks.store(task)
        if store is not None:
            store.revision = revision
        if task == self.task:
            self._later(self.events.model_changed, self.learning.shown_model)
        segments = task == "segment"
        self._later(self.events.predictions_reset if segments else self.events.restored_reset)

    def _region_ended(self, job: int, ended: m.TurnEnded) -> None:
        if ended.outcome == "finished" and self.volume is not None:
            self._board.region_predicted(job, self.volume, shares(self._budget).blocks)
        elif ended.outcome != "finished":
            self._board.end(job, ended.outcome, ended.error)

    # -- inside: saving and telling ----------------------------------------------------------

    def _classes_changed(self) -> None:
        self._save()
        self.events.classes_changed.emit()

    def _save(self) -> None:
        if self.volume is not None:
            self._keeper.save(
                ProjectState(
                    volume=reference(self.volume, confirmed=self.confirmed),
                    classes=self.classes,
                    settings=self.settings,
                    restoration=self._tasks.state,
                    task=self.task,
                    denoised=None if self.denoised is None else self.denoised.state,
                ),
                self._segments.snapshot,
                self._tasks.records["restore"].snapshot,
            )

    def _later(self, signal: SignalInstance, *values: Any) -> None:
        """Emit a signal once everything is taken in."""
        self._news.append(lambda: signal.emit(*values))

    def _tell_news(self) -> None:
        """Emit what waits; what a listener raises comes out after everybody was told."""
        raised: Exception | None = None
        while self._news:
            try:
                self._news.popleft()()
            except Exception as error:  # noqa: BLE001 - raised again below
                raised = raised or error
        if raised is not None:
            raise raised

    def _error(self, error: Exception) -> None:
        text = str(error)
        if not isinstance(error, BrushfireError):
            text = f"Something went wrong that we did not foresee: {error or type(error).__name__}"
        self._tell_error(text, error)

    def _tell_error(self, text: str, error: Exception | None, *, note: bool = True) -> None:
        detail = "".join(traceback.format_exception(error)) if error is not None else ""
        if note:
            self._keeper.note("error", text=text, detail=detail)
        self._later(self.events.notified, Notice("error", text, detail))

    def _look_at_disk(self) -> None:
        for failed in self._keeper.errors():
            # Once, not at every attempt; and not to the log, which is on the same disk.
            if str(failed) not in self._told_disk:
                self._told_disk.add(str(failed))
                self._tell_error(str(failed), failed, note=False)
        was_failing, self._was_failing = self._was_failing, self._keeper.failing
        if was_failing and not self._was_failing:
            self._told_disk.clear()
        error = self.labels.journal_error if self.labels is not None else None
        if error is not None and self._journal_told is None:
            self._tell_error(str(error), error, note=False)
        if error is None and self._journal_told is not None:
            self._later(self.events.notified, Notice("info", "All strokes are on disk again."))
        self._journal_told = error

    def _tell_status(self) -> None:
        status = self.status
        if status != self._status:
            self._status = status
            self.events.status_changed.emit(status)

    def _need_volume(self) -> Volume:
        if self._closed:
            raise VolumeError(
                "A session is used until it is closed.", got="a closed one", do="Make a new one."
            )
        if self.volume is None:
            raise VolumeError(
                "This needs an open volume.", got="none", do="Open a volume or drop it here first."
            )
        return self.volume

    def _need_labels(self) -> LabelStore:
        self._need_volume()
        assert self.labels is not None
        return self.labels
