"""What of a result leaves the window, as what, and to where."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QComboBox, QFileDialog, QGridLayout, QLineEdit, QWidget

from brushfire.errors import ExportError
from brushfire.geometry import Box, triple
from brushfire.ui.viewport import visible_box
from brushfire.ui.widgets import (
    NumberField,
    ProgressRow,
    boxed,
    button,
    column,
    field_name,
    form_in,
    label,
    narrow,
    row,
)

if TYPE_CHECKING:
    from brushfire.engine.messages import Task
    from brushfire.geometry import Triple
    from brushfire.session import JobState
    from brushfire.ui.connections import Connections
    from brushfire.ui.controller import Controller

REST_MS = 250
"""A path is suggested for the slice on which the slider came to rest."""

REGIONS = ("This slice", "A box", "Whole volume")
FORMATS = {"OME-Zarr": ("ome-zarr", ".ome.zarr"), "BigTIFF": ("tiff", ".tif")}


class ExportForm(QWidget):
    """Region, format and place of an export, its button, and how it goes.

    Parameters
    ----------
    controller : Controller
        The window's controller.
    connections : Connections
        Where connections are remembered until the dock goes.
    task : {"segment", "restore"}
        Whose result it is.
    what : str
        What is exported, in a word: part of the button and of the suggested name.
    """

    def __init__(
        self, controller: Controller, connections: Connections, task: Task, what: str
    ) -> None:
        super().__init__()
        self.setProperty("role", "plain")
        self._controller = controller
        self._task: Task = task
        self._what = what
        self._job: int | None = None
        self._suggested = self._filled = ""
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._suggest_path)
        self.form = self._make_form()
        self.progress = ProgressRow()
        self.progress.cancelled.connect(self._cancel)
        self.done = label("", role="value")
        self.done.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.done.hide()
        self.button = button(f"Export {what}", self._export)
        layout = column(self)
        for part in (self.form, self.button, self.progress, self.done):
            layout.addWidget(part)
        events = controller.session.events
        connections.connect(events.volume_changed, self.follow_volume)
        connections.connect(events.restoration_changed, self.follow_volume)
        connections.connect(events.job_changed, self._on_job)
        connections.connect(controller.viewer.dims.events.current_step, self._on_slice)
        self.follow_volume()

    # ------------------------------------------------------------------ building
    def _make_form(self) -> QWidget:
        part = QWidget()
        part.setProperty("role", "plain")
        self.region = QComboBox()
        self.region.addItems(REGIONS)
        self.region.currentIndexChanged.connect(self._on_region)
        self.format = QComboBox()
        self.format.addItems(list(FORMATS))
        self.format.currentIndexChanged.connect(self._suggest_path)
        self.path = QLineEdit()
        self.path.setMinimumWidth(1)
        self.path.textEdited.connect(self._suggest_path)
        self.browse = button("…", self._browse, tip=f"Choose where the {self._what} go")
        self.browse.setFixedWidth(30)
        for combo in (self.region, self.format):
            narrow(combo)
        self.box = self._make_box()
        self.rows = form_in(part)
        self.rows.addRow(field_name("Export"), self.region)
        self.rows.addRow(field_name(""), self.box)
        self.rows.setRowVisible(self.box, False)
        self.rows.addRow(field_name("Format"), self.format)
        self._add_rows()
        self.rows.addRow(field_name("To"), boxed(row(self.path, self.browse, stretch=0)))
        return part

    def _add_rows(self) -> None:
        """Add what else is asked, between format and place."""

    def _make_box(self) -> QWidget:
        part = QWidget()
        part.setProperty("role", "plain")
        grid = QGridLayout(part)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        self.corners: list[tuple[NumberField, NumberField]] = []
        for at, axis in enumerate("zyx"):
            first, last = (
                NumberField(0, 1, f"First voxel along {axis}"),
                NumberField(1, 1, f"End along {axis}, not included"),
            )
            self.corners.append((first, last))
            grid.addWidget(label(axis), at, 0)
            grid.addWidget(first, at, 1)
            grid.addWidget(label("to"), at, 2)
            grid.addWidget(last, at, 3)
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(3, 1)
        grid.addWidget(button("Take what is on screen", self._take_view), 3, 1, 1, 3)
        return part

    # ------------------------------------------------------------------ the grid
    @property
    def _shape(self) -> Triple | None:
        """Voxels of what is exported, which may be finer than those of the volume."""
        session = self._controller.session
        if self._task == "restore":
            return None if session.restoration is None else session.restoration.source.shape
        return None if session.volume is None else session.volume.shape

    def follow_volume(self) -> None:
        """Begin anew for another volume, and leave what was typed for the same one."""
        volume, shape = self._controller.session.volume, self._shape
        self.done.hide()
        # A corrected voxel size or a new pyramid leave what was typed as it is.
        known = self._filled
        self._filled = f"{volume.fingerprint} {shape}" if volume is not None and shape else ""
        if shape is not None and known != self._filled:
            self.path.clear()
            for (first, last), length in zip(self.corners, shape, strict=True):
                first.set_range(0, length - 1)
                last.set_range(1, length)
                first.set_value(0)
                last.set_value(length)
            self._suggest_path()

    @property
    def exporting(self) -> bool:
        """Whether an export of this runs."""
        return self._job is not None

    def chosen_region(self) -> Box | None:
        """Return the box to export, None for the whole volume.

        Raises
        ------
        ExportError
            If the box holds no voxel, or no slice is on screen.
        """
        kind = self.region.currentText()
        if self._shape is None or kind == REGIONS[2]:
            return None
        if kind == REGIONS[1]:
            start = triple([int(first.value()) for first, _ in self.corners])
            stop = triple([int(last.value()) for _, last in self.corners])
            if any(b <= a for a, b in zip(start, stop, strict=True)):
                raise ExportError(
                    "A box ends after its start on each axis.",
                    got=", ".join(f"{a}:{b}" for a, b in zip(start, stop, strict=True)),
                    do="Correct the numbers, or take what is on screen.",
                )
            return Box(start, stop)
        return self._slice_box()

    def _shown(self) -> Box | None:
        """Return the voxels on screen, of what is exported; None where there is no slice."""
        session, layer = self._controller.session, self._controller.layers.reference()
        box = visible_box(self._controller.viewer, layer) if layer is not None else None
        if box is None or self._task == "segment" or session.restoration is None:
            return box
        assert session.volume is not None
        return session.restoration.on_source(box, session.volume)

    def _view(self) -> Box:
        box = self._shown()
        if box is None:
            raise ExportError(
                "A slice is on screen while it is exported.",
                got="a 3D view, or a view beside the volume",
                do="Go back to 2D and to the slice.",
            )
        return box

    def _slice_box(self) -> Box:
        shape = self._shape
        assert shape is not None
        view = self._view()
        sides = [
            (a, b) if b - a == 1 and n > 1 and axis in self._sliced_axes() else (0, n)
            for axis, (a, b, n) in enumerate(zip(view.start, view.stop, shape, strict=True))
        ]
        return Box(triple([a for a, _ in sides]), triple([b for _, b in sides]))

    def _sliced_axes(self) -> list[int]:
        dims = self._controller.viewer.dims
        extra = dims.ndim - 3
        return [axis for axis in range(3) if axis + extra not in dims.displayed]

    def _take_view(self) -> None:
        def take() -> None:
            view = self._view()
            for (first, last), a, b in zip(self.corners, view.start, view.stop, strict=True):
                first.set_value(a)
                last.set_value(b)

        self._controller.attempt(take)

    def _on_region(self, *_: object) -> None:
        self.rows.setRowVisible(self.box, self.region.currentText() == REGIONS[1])
        self._suggest_path()

    def _on_slice(self, event: object = None) -> None:
        if self.region.currentText() == REGIONS[0]:
            self._rest.start()

    def _suggest_path(self, *_: object) -> None:
        session = self._controller.session
        self._rest.stop()
        if session.volume is None or self.path.text() not in ("", self._suggested):
            return  # somebody chose another place
        suffix = FORMATS[self.format.currentText()][1]
        folder = session.project.folder.parent if session.project else Path.home()
        name = f"{session.volume.name}-{self._what}{self._tag()}{suffix}"
        self._suggested = str(folder / name)
        self.path.setText(self._suggested)
        self.path.setCursorPosition(len(self._suggested))

    def _tag(self) -> str:
        kind = self.region.currentText()
        if kind == REGIONS[1]:
            return "-box"
        view = self._shown() if kind == REGIONS[0] else None
        axes = self._sliced_axes()
        return "" if view is None or not axes else f"-{'zyx'[axes[0]]}{view.start[axes[0]]}"

    def _browse(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, f"Export {self._what}", self.path.text())
        if path:
            self.path.setText(path)

    # ------------------------------------------------------------------ export
    def options(self) -> dict[str, Any]:
        """Return what else the export is told."""
        return {}

    def _export(self) -> None:
        def start() -> None:
            if self._rest.isActive():
                self._suggest_path()
            region = self.chosen_region()
            name = FORMATS[self.format.currentText()][0]
            self._job = self._controller.session.export(
                self.path.text(), format=name, region=region, **self.options()
            )

        self.done.hide()
        if self._controller.attempt(start):
            self.button.setEnabled(False)

    def _cancel(self) -> None:
        if self._job is not None:
            self._controller.session.cancel(self._job)

    def _on_job(self, job: JobState) -> None:
        if job.kind != "export":
            return
        if job.state == "running":
            # One that a script began belongs to what is worked on.
            if self._job is None and self._controller.session.task == self._task:
                self._job = job.id
            if self._job == job.id:
                self.progress.show_progress(f"{job.title}: {job.message}", job.done, job.total)
        elif self._job == job.id:
            self._job = None
            self.progress.hide()
            self.button.setEnabled(True)
            self.done.setText(job.message)
            self.done.setVisible(bool(job.message))
