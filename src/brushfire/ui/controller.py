"""One per viewer: holds the session and everything that ties it to the window."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import Notification, NotificationSeverity, notification_manager
from qtpy.QtCore import QObject, Qt, Signal

from brushfire.errors import AxesError, BrushfireError
from brushfire.session import Session
from brushfire.ui import shortcuts
from brushfire.ui.connections import Connections
from brushfire.ui.dispatch import ClosingWatch, Dispatcher
from brushfire.ui.edges import EdgeLayer
from brushfire.ui.guards import Guards
from brushfire.ui.layers import SessionLayers, load_layers, role_of
from brushfire.ui.marks import DoubtMarks
from brushfire.ui.restored import RestoredLayers
from brushfire.ui.textures import keep_to_own_context, main_window, whole_viewer
from brushfire.ui.viewport import Viewport, show_square

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Layer
    from napari.viewer import Viewer

    from brushfire.engine.messages import Task
    from brushfire.geometry import Box
    from brushfire.learning.doubts import Doubt
    from brushfire.learning.places import Place
    from brushfire.session import Notice

OBJECT_NAME = "brushfire-controller"


@dataclass(frozen=True)
class Unread:
    """A source whose axes or time point must be named, and what it was to be opened with."""

    source: Any
    options: dict[str, Any]
    wants_time: bool

    @property
    def name(self) -> str:
        """What to call it."""
        if isinstance(self.source, str | PathLike):
            return Path(self.source).name
        return str(self.options.get("name") or "the layer")


class Controller(QObject):
    """Ties one session to one viewer; docks are views of it and may come and go.

    Use `Controller.of`, so that a second dock in a window finds the first one's session.

    Parameters
    ----------
    viewer : Viewer
        The napari viewer, or the proxy of it that plugins get.
    session : Session, optional
        An existing session to show; a new one by default.
    """

    said = Signal(str, str, str, object)
    """level, text, detail, and (caption, callback) or None"""
    stepped = Signal(str)
    """the step that the user should look at now: "volume", "paint", "learn", "result" """
    unread = Signal(object)
    """what could not be opened because nobody said what its axes are"""
    tasked = Signal(str)
    """the task whose steps are shown: "segment" or "restore" """

    def __init__(self, viewer: Viewer, session: Session | None = None) -> None:
        viewer = whole_viewer(viewer)
        window = main_window(viewer)
        super().__init__(window)
        self.setObjectName(OBJECT_NAME)
        self.viewer = viewer
        self.session = session if session is not None else Session()
        self.closed = False
        self.task: Task = self.session.task
        load_layers()
        keep_to_own_context(viewer)
        self.layers = SessionLayers(viewer, self.session)
        self._marks = DoubtMarks(self.layers)
        self._doubt: Doubt | None = None
        self.restored = RestoredLayers(viewer, self.session, self.layers)
        self.edge = EdgeLayer(viewer, self.session, self.layers)
        self.guards = Guards(viewer, self.session, self.layers, self.restored, self.say)
        self.viewport = Viewport(viewer, self._layer_in_view, self)
        self.viewport.moved.connect(self._on_moved)
        self._connections = Connections()
        self._connections.connect(self.session.events.notified, self._on_notice)
        self._connections.connect(self.session.events.volume_changed, self._on_volume)
        self._connections.connect(self.session.events.task_changed, self._on_task)
        self._connections.connect(viewer.layers.events.inserted, self._on_inserted)
        self._keys = shortcuts.bind(
            viewer,
            {
                shortcuts.NEXT_CLASS: self.next_class,
                shortcuts.NEXT_SLICE: self.next_slice,
                shortcuts.PREVIOUS_SLICE: lambda: self.next_slice(-1),
                shortcuts.TOGGLE_PREDICTION: self.toggle_prediction,
                shortcuts.START_OR_PAUSE: self.start_or_pause,
            },
        )
        self.dispatcher = Dispatcher(self.session.process_events, self)
        self._watch = ClosingWatch(window, self.close)

    @classmethod
    def of(cls, viewer: Viewer, session: Session | None = None) -> Controller:
        """Return the controller of ``viewer``, making it the first time."""
        viewer = whole_viewer(viewer)
        # The window owns it, so that it ends with the window and no registry outlives either.
        found = main_window(viewer).findChild(
            QObject, OBJECT_NAME, Qt.FindChildOption.FindDirectChildrenOnly
        )
        if isinstance(found, cls) and not found.closed:
            return found
        return cls(viewer, session)

    def close(self) -> None:
        """Flush the strokes, stop the engine, let go of the viewer; harmless when repeated."""
        if self.closed:
            return
        self.closed = True
        self._connections.close()
        for end in (
            self.viewport.close,
            self.guards.close,
            self.layers.close,
            self.restored.close,
            self.edge.close,
            self._marks.close,
            lambda: shortcuts.release(self.viewer, self._keys),
            self.dispatcher.close,
            self._watch.close,
            # A child of the window would keep the viewer alive for as long as the window lives.
            lambda: self.setParent(None),
        ):
            # At the very end of the application Qt may have deleted what a part holds: the
            # others, and the session above all, are ended all the same.
            with suppress(RuntimeError):
                end()
        # There is no window left to tell it in: what the disk refused goes to the terminal.
        self.session.events.notified.connect(_log)
        self.session.close()

    # ------------------------------------------------------------------ telling
    def say(
        self,
        level: str,
        text: str,
        *,
        detail: str = "",
        action: tuple[str, Callable[[], object]] | None = None,
    ) -> None:
        """Show one inline sentence in the docks; errors also become a napari notification."""
        self.said.emit(level, text, detail, action)
        if level == "error":
            notification_manager.dispatch(Notification(text, NotificationSeverity.ERROR))

    def attempt(self, act: Callable[..., Any], *args: Any, **values: Any) -> bool:
        """Call an intention of the session; tell a refusal inline and return False."""
        try:
            act(*args, **values)
        except BrushfireError as error:
            self._tell(error)
            return False
        return True

    def open(self, source: Any, **options: Any) -> bool:
        """Open a volume; where its axes must be named first, ask for them in the docks."""
        try:
            self.session.open_volume(source, **options)
        except AxesError as error:
            self._tell(error)
            self.unread.emit(Unread(source, options, "time point" in error.rule))
            self.stepped.emit("volume")
            return False
        except BrushfireError as error:
            self._tell(error)
            return False
        return True

    def _tell(self, error: BrushfireError) -> None:
        detail = f"{type(error).__name__}\nRule: {error.rule}\nGot: {error.got}\nDo: {error.do}"
        self.say("error", str(error), detail=detail)

    def _on_notice(self, notice: Notice) -> None:
        self.say(notice.level, notice.text, detail=notice.detail)

    # ------------------------------------------------------------------ following
    def _on_volume(self) -> None:
        self.viewport.forget()

    def _layer_in_view(self) -> Layer | None:
        """Return the layer whose voxels on screen count."""
        return self._finer_layer() or self.layers.reference()

    def _finer_layer(self) -> Layer | None:
        """Return the restored layer where its voxels are not those of the volume."""
        volume, restoration = self.session.volume, self.session.restoration
        if self.session.task != "restore" or volume is None or restoration is None:
            return None
        return self.restored.layer if restoration.source.shape != volume.shape else None

    def _on_moved(self, box: Box) -> None:
        self.session.set_view(box, restored=self._finer_layer() is not None)

    def _on_task(self, task: str) -> None:
        # A newer change may be on its way: the session knows.
        self._show_task(self.session.task)

    def _show_task(self, task: Task) -> None:
        if task != self.task:
            self.task = task
            self.restored.follow_task(task)
            self.edge.remove()
            self.viewport.forget()
            self.tasked.emit(task)

    def _on_inserted(self, event: Any) -> None:
        layer = event.value
        if self.session.volume is None and self.source_of(layer) is not None:
            self.use_layer(layer)

    @staticmethod
    def source_of(layer: Layer) -> str | None:
        """Return the path of a layer that our reader opened, else None."""
        if role_of(layer) != "image":
            return None
        source = layer.metadata["brushfire"].get("source")
        return str(source) if source else None

    def use_layer(self, layer: Layer) -> bool:
        """Open the volume that an existing image layer shows, and keep that layer as its image."""
        source = self.source_of(layer)
        data, options = source, dict[str, Any]()
        if source is None:
            try:
                data, options = layer_source(layer)
            except BrushfireError as error:
                self._tell(error)
                return False
        self.layers.adopt(layer)
        opened = self.open(data, **options)
        self.layers.adopt(None)
        return opened

    # ------------------------------------------------------------------ shared intentions
    def choose_task(self, task: Task) -> None:
        """Show the steps of a task, and work on it as soon as that can be."""
        session = self.session
        if task == "segment" or session.restoration is not None:
            if self.attempt(session.work_on, task):
                self._show_task(task)
        else:
            self._show_task(task)

    def paint(self) -> None:
        """Make the strokes layer active and take the brush."""
        strokes = self.layers.show_strokes()
        if strokes is None:
            self.say("info", "Open and confirm a volume first.")
            return
        if self.viewer.dims.ndisplay == 3:
            self.viewer.dims.ndisplay = 2
        strokes.visible = True
        self.viewer.layers.selection.active = strokes
        if strokes.selected_label == 0:
            strokes.selected_label = self.session.active_class
        strokes.mode = "paint"

    def next_class(self) -> None:
        """Choose the next class, after the last the first."""
        values = [entry.value for entry in self.session.classes]
        if values:
            active = self.session.active_class
            at = values.index(active) + 1 if active in values else 0
            self.attempt(self.session.set_active_class, values[at % len(values)])

    def next_slice(self, direction: int = 1) -> None:
        """Go to the next slice that holds strokes."""
        layer = self.layers.reference()
        if layer is None or self.session.labels is None:
            return
        extra = self.viewer.dims.ndim - 3
        here = round(float(layer.world_to_data(self.viewer.dims.point[extra:])[0]))
        ahead = self.session.next_annotated_slice
        found = ahead(here, direction)
        if found is None:  # past the last one, the first comes next
            found = ahead(-1 if direction > 0 else self.session.labels.shape[0], direction)
        if found is None:
            self.say("info", "No slice holds strokes yet.")
            return
        self.go_to_slice(found)

    def go_to_slice(self, z: int) -> None:
        """Show slice ``z`` of the volume."""
        layer = self.layers.reference()
        if layer is not None:
            axis = self.viewer.dims.ndim - 3
            world = layer.data_to_world((z, 0, 0))[0]
            self.viewer.dims.set_point(axis, float(world))

    def go_to_place(self, place: Place) -> None:
        """Show a place in the middle of the canvas, whatever way the volume is sliced."""
        layer = self.layers.reference()
        if layer is not None:
            show_square(self.viewer, layer, (place.z, place.y, place.x), place.side)

    def show_next_doubt(self) -> None:
        """Outline the strokes that contradict others, and show one after the other."""
        doubts, layer = self.session.learning.doubts, self.layers.reference()
        if not doubts or layer is None:
            return
        self._marks.show(doubts)
        at = doubts.index(self._doubt) + 1 if self._doubt in doubts else 0
        self._doubt = doubt = doubts[at % len(doubts)]
        show_square(self.viewer, layer, (doubt.z, doubt.y, doubt.x), max(doubt.box.shape))

    def toggle_prediction(self) -> None:
        """Show or hide the prediction, or what is denoised, whichever is worked on."""
        if self.task == "restore":
            self.restored.toggle()
            return
        layer = self.layers.show_prediction()
        if layer is not None:
            layer.visible = not layer.visible

    def start_or_pause(self) -> None:
        """Start learning, or pause it where it runs."""
        if self.task != self.session.task and not self.attempt(self.session.work_on, self.task):
            return
        running = self.session.learning.running
        if self.attempt(self.session.pause if running else self.session.start) and not running:
            self.stepped.emit("learn")


def layer_source(layer: Layer) -> tuple[Any, dict[str, Any]]:
    """Return what `Session.open_volume` needs to open the data of a napari image layer.

    Raises
    ------
    VolumeError
        If the layer is not a grey image.
    """
    from napari.layers import Image

    from brushfire.errors import VolumeError

    if not isinstance(layer, Image) or layer.rgb:
        raise VolumeError(
            "A volume is a grey image layer with axes z, y and x.",
            got=f"the {'RGB' if getattr(layer, 'rgb', False) else type(layer).__name__} "
            f"layer '{layer.name}'",
            do="Select an image layer in the list at the left.",
        )
    data = list(layer.data) if layer.multiscale else layer.data
    options: dict[str, Any] = {}
    if layer.ndim >= 3 and all(str(unit) != "pixel" for unit in layer.units[-3:]):
        options["voxel_size"] = tuple(
            float((scale * unit).to("micrometer").magnitude)
            for scale, unit in zip(layer.scale[-3:], layer.units[-3:], strict=True)
        )
    return data, options


def _log(notice: Notice) -> None:
    level = logging.ERROR if notice.level == "error" else logging.INFO
    logging.getLogger("brushfire").log(level, notice.text)
