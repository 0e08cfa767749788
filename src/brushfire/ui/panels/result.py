"""Step 4: how the prediction is shown, and how it leaves the window."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QLineEdit,
    QSlider,
    QWidget,
)

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
    row,
)

if TYPE_CHECKING:
    from brushfire.session import JobState, LearningState
    from brushfire.ui.connections import Connections
    from brushfire.ui.controller import Controller

REST_MS = 250
"""A path is suggested for the slice on which the slider came to rest."""

REGIONS = ("This slice", "A box", "Whole volume")
FORMATS = {"OME-Zarr": ("ome-zarr", ".ome.zarr"), "BigTIFF": ("tiff", ".tif")}


class ResultPanel(QWidget):
    """Looks of the prediction, and export.

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
        self._suggested = self._volume = ""
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._suggest_path)
        self.empty = label("Predictions appear here a few seconds after learning starts.")
        self.looks = self._make_looks()
        self.export_form = self._make_export()
        self.progress = ProgressRow()
        self.progress.cancelled.connect(self._cancel)
        self.done = label("", role="value")
        self.done.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.done.hide()
        self.export_button = button("Export masks", self._export)
        layout = column(self, margins=(10, 2, 10, 10))
        for part in (
            self.empty, self.looks, self.export_form, self.export_button, self.progress, self.done,
        ):  # fmt: skip
            layout.addWidget(part)
        events = controller.session.events
        connections.connect(events.volume_changed, self._on_volume)
        connections.connect(events.learning_changed, self.update_view)
        connections.connect(events.classes_changed, self._fill_classes)
        connections.connect(events.job_changed, self._on_job)
        connections.connect(controller.viewer.layers.events.removed, self._on_removed)
        connections.connect(controller.viewer.dims.events.current_step, self._on_slice)
        self._on_volume()

    # ------------------------------------------------------------------ building
    def _make_looks(self) -> QWidget:
        part = QWidget()
        part.setProperty("role", "plain")
        self.visible = QCheckBox("shown")
        self.visible.setChecked(True)
        self.visible.setToolTip("Show or hide the prediction (H)")
        self.visible.clicked.connect(self._set_visible)
        self.contour = QCheckBox("contours")
        self.contour.setToolTip("Show the borders of classes instead of areas")
        self.contour.toggled.connect(lambda on: self._controller.layers.set_contour(2 if on else 0))
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.setValue(round(100 * self._controller.layers.opacity))
        self.opacity.setToolTip("How much the prediction covers the image")
        self.opacity.setMinimumWidth(1)
        self.opacity.valueChanged.connect(lambda v: self._controller.layers.set_opacity(v / 100))
        self.probability = QComboBox()
        self.probability.setToolTip("A layer with the probability of one class")
        self.probability.currentIndexChanged.connect(self._show_extras)
        _narrow(self.probability)
        self.uncertainty = QCheckBox("where it is unsure")
        self.uncertainty.setToolTip("A layer with the entropy of the class probabilities")
        self.uncertainty.toggled.connect(self._show_extras)
        form = form_in(part)
        form.addRow(field_name("Prediction"), boxed(row(self.visible, self.contour, stretch=1)))
        form.addRow(field_name("Opacity"), self.opacity)
        form.addRow(field_name("Probability"), self.probability)
        form.addRow(field_name("Uncertainty"), self.uncertainty)
        return part

    def _make_export(self) -> QWidget:
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
        self.browse = button("…", self._browse, tip="Choose where the masks go")
        self.browse.setFixedWidth(30)
        for combo in (self.region, self.format):
            _narrow(combo)
        self.box = self._make_box()
        form = form_in(part)
        form.addRow(field_name("Export"), self.region)
        form.addRow(field_name(""), self.box)
        form.setRowVisible(self.box, False)
        self._export_rows = form
        form.addRow(field_name("Format"), self.format)
        form.addRow(field_name("To"), boxed(row(self.path, self.browse, stretch=0)))
        return part

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

    # ------------------------------------------------------------------ showing
    @property
    def state(self) -> str:
        """One line for the folded step."""
        session = self._controller.session
        if self._job is not None:
            return "exporting…"
        shown = session.learning.shown_model
        return "no prediction yet" if shown is None else f"model {shown} shown"

    def _on_volume(self) -> None:
        volume = self._controller.session.volume
        self.done.hide()
        # A corrected voxel size or a new pyramid leave what was typed as it is.
        known, self._volume = self._volume, volume.fingerprint if volume is not None else ""
        if volume is not None and known != self._volume:
            self.path.clear()
            for (first, last), length in zip(self.corners, volume.shape, strict=True):
                first.set_range(0, length - 1)
                last.set_range(1, length)
                first.set_value(0)
                last.set_value(length)
            self._suggest_path()
        self._fill_classes()
        self.update_view(self._controller.session.learning)

    def update_view(self, state: LearningState) -> None:
        """Show whether there is a prediction to look at."""
        some = state.shown_model is not None
        self.empty.setVisible(not some)
        self.looks.setVisible(some)
        self.export_form.setVisible(some)
        self.export_button.setVisible(some)
        self.export_button.setEnabled(self._job is None)

    def sync(self) -> None:
        """Follow what was changed in napari's own layer controls."""
        layer = self._controller.layers.prediction
        if layer is None or self.opacity.isSliderDown():
            return
        self._controller.layers.opacity = layer.opacity
        self._controller.layers.contour = layer.contour
        shown = layer.visible and layer in self._controller.viewer.layers
        for widget, value in (
            (self.visible, shown),
            (self.contour, layer.contour > 0),
            (self.opacity, round(100 * layer.opacity)),
        ):
            widget.blockSignals(True)
            if isinstance(widget, QSlider):
                widget.setValue(value)
            else:
                widget.setChecked(value)
            widget.blockSignals(False)

    def _fill_classes(self) -> None:
        chosen = self.probability.currentData()
        self.probability.blockSignals(True)
        self.probability.clear()
        self.probability.addItem("not shown", None)
        for entry in self._controller.session.classes:
            self.probability.addItem(f"of “{entry.name}”", entry.value)
        self.probability.setCurrentIndex(max(self.probability.findData(chosen), 0))
        self.probability.blockSignals(False)

    def _on_removed(self, event: Any) -> None:
        # The user may take an extra layer out of napari's list instead of switching it off here.
        layers = self._controller.layers
        if layers.removing:
            return
        gone = [role for role, layer in layers.extra.items() if layer is event.value]
        if "uncertainty" in gone:
            self.uncertainty.setChecked(False)
        if "probability" in gone:
            self.probability.setCurrentIndex(0)

    # ------------------------------------------------------------------ looks
    def _set_visible(self, on: bool) -> None:
        layer = self._controller.layers.show_prediction()
        if layer is not None:
            layer.visible = on

    def _show_extras(self, *_: object) -> None:
        value = self.probability.currentData()
        unsure = self.uncertainty.isChecked()
        layers = self._controller.layers
        if value is None:
            layers.hide_extra("probability")
        else:
            layers.show_extra("probability", value)
        if not unsure:
            layers.hide_extra("uncertainty")
        elif "uncertainty" not in layers.extra:
            layers.show_extra("uncertainty")

    # ------------------------------------------------------------------ export
    def chosen_region(self) -> Box | None:
        """Return the box to export, None for the whole volume.

        Raises
        ------
        ExportError
            If the box holds no voxel, or no slice is on screen.
        """
        volume = self._controller.session.volume
        kind = self.region.currentText()
        if volume is None or kind == REGIONS[2]:
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

    def _view(self) -> Box:
        layer = self._controller.layers.reference()
        box = visible_box(self._controller.viewer, layer) if layer is not None else None
        if box is None:
            raise ExportError(
                "A slice is on screen while it is exported.",
                got="a 3D view, or a view beside the volume",
                do="Go back to 2D and to the slice.",
            )
        return box

    def _slice_box(self) -> Box:
        volume = self._controller.session.volume
        assert volume is not None
        view = self._view()
        sides = [
            (a, b) if b - a == 1 and n > 1 and axis in self._sliced_axes() else (0, n)
            for axis, (a, b, n) in enumerate(zip(view.start, view.stop, volume.shape, strict=True))
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
        self._export_rows.setRowVisible(self.box, self.region.currentText() == REGIONS[1])
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
        self._suggested = str(folder / f"{session.volume.name}-masks{self._tag()}{suffix}")
        self.path.setText(self._suggested)
        self.path.setCursorPosition(len(self._suggested))

    def _tag(self) -> str:
        kind = self.region.currentText()
        if kind == REGIONS[1]:
            return "-box"
        layer = self._controller.layers.reference()
        if kind == REGIONS[2] or layer is None:
            return ""
        view = visible_box(self._controller.viewer, layer)
        axes = self._sliced_axes()
        return "" if view is None or not axes else f"-{'zyx'[axes[0]]}{view.start[axes[0]]}"

    def _browse(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Export masks", self.path.text())
        if path:
            self.path.setText(path)

    def _export(self) -> None:
        def start() -> None:
            if self._rest.isActive():
                self._suggest_path()
            region = self.chosen_region()
            name = FORMATS[self.format.currentText()][0]
            self._job = self._controller.session.export(
                self.path.text(), format=name, region=region
            )

        self.done.hide()
        if self._controller.attempt(start):
            self.export_button.setEnabled(False)

    def _cancel(self) -> None:
        if self._job is not None:
            self._controller.session.cancel(self._job)

    def _on_job(self, job: JobState) -> None:
        if job.kind != "export":
            return
        if job.state == "running":
            self._job = job.id
            self.progress.show_progress(f"{job.title}: {job.message}", job.done, job.total)
            return
        self._job = None
        self.progress.hide()
        self.export_button.setEnabled(True)
        self.done.setText(job.message)
        self.done.setVisible(bool(job.message))


def _narrow(combo: QComboBox) -> None:
    # A combo box otherwise asks for the width of its longest entry, a class name perhaps.
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(6)
