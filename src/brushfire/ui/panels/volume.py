"""Step 1: open a volume, confirm how it is read, build a pyramid where it has none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFileDialog,
    QMenu,
    QVBoxLayout,
    QWidget,
)

from brushfire.ui.layers import role_of
from brushfire.ui.panels.reading import AskReading, ReadingRows, can_be_read_otherwise
from brushfire.ui.widgets import (
    NumberField,
    ProgressRow,
    button,
    column,
    field_name,
    form_in,
    label,
    row,
)

if TYPE_CHECKING:
    from brushfire.session import JobState
    from brushfire.ui.connections import Connections
    from brushfire.ui.controller import Controller, Unread

EMPTY = "Open a volume or drop it here."
TIMES = "\N{MULTIPLICATION SIGN}"
KINDS = "OME-Zarr, TIFF, a folder of TIFFs, or an image layer that napari already shows."


class VolumePanel(QWidget):
    """Opens, shows once for confirmation, and builds a pyramid.

    Parameters
    ----------
    controller : Controller
        The window's controller.
    connections : Connections
        Where connections are remembered until the dock goes.
    """

    def __init__(self, controller: Controller, connections: Connections) -> None:
        super().__init__()
        self.setProperty("role", "plain")
        self._controller = controller
        self._job: int | None = None
        self._asking = self._rereading = False
        self.empty = self._make_empty()
        self.ask = AskReading(self._end_asking)
        self.ask.opened.connect(self._open_as_said)
        self.form = self._make_form()
        self.pyramid = self._make_pyramid()
        self.more = button("Open another…", self._show_menu, role="link")
        self.close_button = button("Close volume", self._close, role="link")
        self.reread = button(
            "Change axes…", self._reread, role="link",
            tip="Read the file with other axes, or at another time point, as a volume of its own.",
        )  # fmt: skip
        self._links = QWidget()
        self._links.setProperty("role", "plain")
        links = row(self.more, self.reread, self.close_button, QVBoxLayout(), stretch=3)
        self._links.setLayout(links)
        layout = column(self, margins=(10, 2, 10, 10))
        for part in (self.empty, self.ask, self.form, self.pyramid, self._links):
            layout.addWidget(part)
        events, viewer = controller.session.events, controller.viewer
        connections.connect(events.volume_changed, self.update_view)
        connections.connect(events.job_changed, self._on_job)
        controller.unread.connect(self._ask)
        connections.connect(viewer.layers.selection.events.active, self._update_layer_button)
        connections.connect(viewer.layers.events.removed, self._update_layer_button)
        self.update_view()

    # ------------------------------------------------------------------ building
    def _make_empty(self) -> QWidget:
        part = QWidget()
        part.setProperty("role", "plain")
        self.open_button = button(
            "Open a volume…", self._show_menu, role="primary", tip="You can also drop it here."
        )
        self.layer_button = button(
            "Use the selected layer", self._use_layer, tip="Learn on an image that napari shows."
        )
        layout = column(part)
        layout.addWidget(label(EMPTY, role="value"))
        layout.addWidget(label(KINDS))
        layout.addWidget(self.open_button)
        layout.addWidget(self.layer_button)
        return part

    def _make_form(self) -> QWidget:
        part = QWidget()
        part.setProperty("role", "plain")
        table = QWidget()
        table.setProperty("role", "plain")
        self._rows = form_in(table)
        self.voxel = tuple(
            NumberField(1e-6, 1e6, f"Voxel size along {axis} in micrometres") for axis in "zyx"
        )
        self._voxel_row = QWidget()
        self._voxel_row.setProperty("role", "plain")
        self._voxel_row.setLayout(row(*self.voxel))
        self._unknown = label("The file does not say how large a voxel is: check it.")
        self._unknown.setProperty("role", "warning")
        self.confirm = button(
            "Use this volume", self._confirm, role="primary", tip="Read it as shown above."
        )
        self.reading = ReadingRows()
        self.reading.changed.connect(self._read_as_said)
        layout = column(part, spacing=4)
        layout.addWidget(self.reading)
        layout.addWidget(table)
        layout.addWidget(self._unknown)
        layout.addWidget(self.confirm)
        return part

    def _make_pyramid(self) -> QWidget:
        part = QWidget()
        part.setProperty("role", "plain")
        self._pyramid_text = label(
            "This volume has one resolution only, so moving through it is slow. "
            "A pyramid makes it fast; the file itself stays as it is."
        )
        self.build = button("Build pyramid", self._build)
        self.progress = ProgressRow()
        self.progress.cancelled.connect(self._cancel)
        layout = column(part)
        for widget in (self._pyramid_text, self.build, self.progress):
            layout.addWidget(widget)
        return part

    # ------------------------------------------------------------------ showing
    @property
    def state(self) -> str:
        """One line for the folded step."""
        volume = self._controller.session.volume
        if volume is None:
            return "none open"
        if not self._controller.session.confirmed:
            return "check and confirm"
        return f"{volume.name} · " + f" {TIMES} ".join(str(n) for n in volume.shape)

    def update_view(self) -> None:
        """Show what the session's volume is now."""
        session = self._controller.session
        volume = session.volume
        if volume is None:
            self._rereading = False
        self.ask.setVisible(self._asking)
        self.empty.setVisible(volume is None and not self._asking)
        self.form.setVisible(volume is not None and not self._asking)
        self._links.setVisible(volume is not None and not self._asking)
        self._update_layer_button()
        if volume is not None:
            self._fill_rows(editable=not session.confirmed)
            otherwise = can_be_read_otherwise(volume) and not self._rereading
            self.reread.setVisible(session.confirmed and otherwise)
            self.confirm.setVisible(not session.confirmed)
            self._unknown.setVisible(not session.confirmed and not volume.voxel_size_known)
        self._update_pyramid()

    def _fill_rows(self, *, editable: bool) -> None:
        volume = self._controller.session.volume
        assert volume is not None
        self._voxel_row.setParent(None)
        while self._rows.rowCount():
            self._rows.removeRow(0)
        for field, size in zip(self.voxel, volume.voxel_size, strict=True):
            field.set_value(size)
        replaced = self.reading.show_volume(volume, wanted=editable or self._rereading)
        for name, value in volume.summary():
            if name in replaced:
                continue
            if editable and name == "Voxel size":
                self._rows.addRow(field_name("Voxel µm"), self._voxel_row)
                self._voxel_row.show()
            else:
                shown = label(_short(value), role="value")
                shown.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
                self._rows.addRow(field_name(name), shown)

    def _update_pyramid(self) -> None:
        session = self._controller.session
        volume = session.volume
        needed = volume is not None and session.confirmed and volume.needs_pyramid
        running = self._job is not None
        self.pyramid.setVisible(needed or running)
        self.build.setVisible(not running)
        self._pyramid_text.setVisible(not running)

    def _update_layer_button(self, event: object = None) -> None:
        layer = self._controller.viewer.layers.selection.active
        usable = layer is not None and type(layer).__name__ == "Image"
        self.layer_button.setVisible(
            any(type(one).__name__ == "Image" for one in self._controller.viewer.layers)
        )
        self.layer_button.setEnabled(usable)
        name = layer.name if usable and layer is not None else ""
        self.layer_button.setText(f"Use layer “{name[:24]}”" if name else "Use the selected layer")

    # ------------------------------------------------------------------ axes and time
    def _ask(self, unread: Unread) -> None:
        self._asking = True
        self.ask.ask(unread)
        self.update_view()

    def _end_asking(self) -> None:
        self._asking = False
        self.update_view()

    def _open_as_said(self, source: Any, options: dict[str, Any]) -> None:
        if self._controller.open(source, **options):
            self._end_asking()

    def _reread(self) -> None:
        self._rereading = True
        self.update_view()

    def _read_as_said(self, axes: str | None, time: int | None) -> None:
        session = self._controller.session
        if session.volume is None:
            return
        self._rereading = False
        source = session.volume.source
        if not self._controller.attempt(session.open_volume, source, axes=axes, time=time):
            self.update_view()

    # ------------------------------------------------------------------ acting
    def open_path(self, path: str) -> None:
        """Open a volume or, for a ``.brushfire`` folder, a project."""
        if Path(path).suffix == ".brushfire":
            self._controller.attempt(self._controller.session.open_project, path)
        else:
            self._controller.open(path)

    def _show_menu(self) -> None:
        menu = QMenu(self)
        menu.addAction("OME-Zarr or folder of TIFFs…", self._ask_folder)
        menu.addAction("TIFF file…", self._ask_file)
        menu.addAction("Brushfire project…", self._ask_folder)
        menu.addSeparator()
        menu.addAction("Sample: foam", self._open_sample)
        at = self.open_button if self.open_button.isVisible() else self.more
        menu.popup(at.mapToGlobal(at.rect().bottomLeft()))

    def _ask_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Open a volume or project folder")
        if path:
            self.open_path(path)

    def _ask_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Open a volume", "", "TIFF (*.tif *.tiff *.btf);;All files (*)"
        )
        if path:
            self.open_path(path)

    def _open_sample(self) -> None:
        # Making the phantom is not needed to start the window.
        from brushfire.ui.readers import sample_path

        self.open_path(str(sample_path()))

    def _use_layer(self) -> None:
        layer = self._controller.viewer.layers.selection.active
        if layer is not None and role_of(layer) in (None, "image"):
            self._controller.use_layer(layer)

    def _confirm(self) -> None:
        z, y, x = (field.value() for field in self.voxel)
        session = self._controller.session
        if self._controller.attempt(session.confirm_volume, (z, y, x)):
            self._controller.stepped.emit("paint")

    def _close(self) -> None:
        self._controller.attempt(self._controller.session.close_volume)

    def _build(self) -> None:
        def start() -> None:
            self._job = self._controller.session.build_pyramid()

        self._controller.attempt(start)
        self._update_pyramid()

    def _cancel(self) -> None:
        if self._job is not None:
            self._controller.session.cancel(self._job)

    def _on_job(self, job: JobState) -> None:
        if job.kind != "pyramid":
            return
        running = job.state == "running"
        self._job = job.id if running else None
        if running:
            self.progress.show_progress(job.title, job.done, job.total)
        else:
            self.progress.hide()
        self._update_pyramid()


def _short(value: str) -> str:
    """Return a row of `Volume.summary` so that it fits in one line."""
    for long, short in ((" voxels", ""), (" (z, y, x)", ""), (" x ", f" {TIMES} ")):
        value = value.replace(long, short)
    return value
