"""Step 3 of denoising: before and after, what was removed, and how the result leaves the window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QCheckBox, QSlider, QWidget

from brushfire.errors import ExportError
from brushfire.export import Conversion
from brushfire.export.intensities import WHOLE
from brushfire.ui.panels.edges import EdgeView
from brushfire.ui.panels.export import ExportForm
from brushfire.ui.widgets import (
    Choice,
    NumberField,
    boxed,
    column,
    field_name,
    form_in,
    label,
    row,
    set_role,
)

if TYPE_CHECKING:
    from brushfire.learning.restoring.checks import Finding
    from brushfire.ui.connections import Connections
    from brushfire.ui.controller import Controller

REST_MS = 500
"""The residual is checked for structure once nothing new came for as long."""
STEPS = 1000  # of the slider
FLOAT = "float32"


class IntensityExport(ExportForm):
    """Export of what is restored: as it is, or as whole numbers in a way that is chosen.

    Parameters
    ----------
    controller : Controller
        The window's controller.
    connections : Connections
        Where connections are remembered until the dock goes.
    """

    def __init__(self, controller: Controller, connections: Connections) -> None:
        super().__init__(controller, connections, "restore", "intensities")

    def _add_rows(self) -> None:
        self.type = Choice("Numbers of the file")
        self.how = Choice("How real numbers become whole ones")
        self.how.add("choose…", "", "Nothing is clipped or scaled unless you say so")
        self.how.add("clip", "clip", "Round; what lies beyond the type's range becomes its end")
        self.how.add("rescale", "rescale", "Bring these two intensities to the ends of the range")
        self.low, self.high = (
            NumberField(-1e30, 1e30, f"Intensity that becomes the {end} value")
            for end in ("lowest", "highest")
        )
        to = label("to")
        to.setWordWrap(False)
        self._range = boxed(row(self.low, to, self.high))
        self.rows.addRow(field_name("Type"), self.type)
        self.rows.addRow(field_name("Convert"), self.how)
        self.rows.addRow(field_name("From"), self._range)
        self.type.currentIndexChanged.connect(self._update_rows)
        self.how.currentIndexChanged.connect(self._update_rows)
        self._update_rows()

    def follow_volume(self) -> None:
        """Begin anew for another volume, and offer its type."""
        super().follow_volume()
        restoration = self._controller.session.restoration
        if restoration is None:
            return
        like = restoration.source if restoration.target is None else restoration.target
        self.type.blockSignals(True)
        chosen = self.type.chosen
        self.type.clear()
        self.type.add(FLOAT, FLOAT, "As they are, without a loss")
        for dtype in dict.fromkeys((restoration.source.dtype, like.dtype)):
            if str(dtype) in WHOLE:
                self.type.add(str(dtype), str(dtype), "The type of the volume")
        self.type.setCurrentIndex(max(self.type.findData(chosen), 0))
        self.type.blockSignals(False)
        known = like.statistics()
        self.low.set_value(known.low[0])
        self.high.set_value(known.high[0])
        self._update_rows()

    def _update_rows(self, *_: object) -> None:
        whole = self.type.chosen not in (None, FLOAT)
        self.rows.setRowVisible(self.how, whole)
        self.rows.setRowVisible(self._range, whole and self.how.chosen == "rescale")

    def options(self) -> dict[str, Any]:
        """Return how intensities become numbers of the file.

        Raises
        ------
        ExportError
            Nobody has said how.
        """
        dtype, how = self.type.chosen, self.how.chosen
        if dtype == FLOAT:
            return {"conversion": Conversion()}
        if not how:
            raise ExportError(
                f"What is restored are real numbers, and {dtype} holds whole ones of a range.",
                got="no choice",
                do="Choose clip or rescale under Convert, or the type float32.",
            )
        if how == "clip":
            return {"conversion": Conversion(dtype, "clip")}
        return {"conversion": Conversion(dtype, "rescale", self.low.value(), self.high.value())}


class RestoredPanel(QWidget):
    """Looks of what is restored, and export.

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
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._check)
        self.empty = label("Denoised tiles appear here a few seconds after learning starts.")
        self.looks = self._make_looks()
        self.found = label("")
        self.edge = EdgeView(controller, connections)
        self.export = IntensityExport(controller, connections)
        layout = column(self, margins=(10, 2, 10, 10))
        for part in (self.empty, self.looks, self.found, self.edge, self.export):
            layout.addWidget(part)
        events = controller.session.events
        connections.connect(events.restoration_changed, self._on_restoration)
        connections.connect(events.learning_changed, self.update_view)
        connections.connect(events.restored_tiles_changed, self._check_soon)
        connections.connect(events.residual_checked, self._on_checked)
        connections.connect(controller.viewer.dims.events.current_step, self._check_soon)
        connections.connect(controller.viewer.layers.events.removed, self._on_removed)
        controller.tasked.connect(self._on_task)
        self._on_restoration()

    def _make_looks(self) -> QWidget:
        part = QWidget()
        part.setProperty("role", "plain")
        self.visible = QCheckBox("shown")
        self.visible.setChecked(True)
        self.visible.setToolTip("Show or hide what is denoised (H)")
        self.visible.clicked.connect(self._controller.restored.set_visible)
        self.divider = QSlider(Qt.Orientation.Horizontal)
        self.divider.setRange(0, STEPS)
        self.divider.setMinimumWidth(1)
        self.divider.setToolTip("Left of it the volume before, right of it after denoising")
        self.divider.setAccessibleName("Before and after")
        self.divider.valueChanged.connect(self._divide)
        self.residual = QCheckBox("what was removed")
        self.residual.toggled.connect(self._show_residual)
        form = form_in(part)
        form.addRow(field_name("Denoised"), self.visible)
        ends = row(label("Before"), self.divider, label("After"), stretch=1)
        form.addRow(field_name("Compare"), boxed(ends))
        form.addRow(field_name("Residual"), self.residual)
        return part

    # ------------------------------------------------------------------ showing
    @property
    def state(self) -> str:
        """One line for the folded step."""
        if self.export.exporting:
            return "exporting…"
        shown = self._shown_model
        return "nothing denoised yet" if shown is None else f"model {shown} shown"

    @property
    def _shown_model(self) -> int | None:
        session = self._controller.session
        return session.learning.shown_model if session.task == "restore" else None

    def _on_task(self, task: str) -> None:
        if task != "restore":
            self.residual.setChecked(False)  # it would cover what is painted on
        self.update_view()

    def _on_restoration(self) -> None:
        self.divider.setValue(0)
        self.residual.setChecked(False)
        reason = self._controller.restored.no_residual
        self.residual.setEnabled(not reason)
        self.residual.setToolTip(
            reason or "A layer of the volume minus what is denoised: nothing but noise, at best"
        )
        self.update_view()

    def update_view(self, *_: object) -> None:
        """Show whether there is something to look at."""
        some = self._shown_model is not None
        self.empty.setVisible(not some)
        self.looks.setVisible(some)
        self.edge.setVisible(some)
        self.export.setVisible(some)
        self.found.setVisible(some and self.residual.isChecked() and bool(self.found.text()))

    def sync(self) -> None:
        """Follow what was changed in napari's own layer controls."""
        restored = self._controller.restored
        shown = any(one.visible for one in restored.planes if one in restored.shown)
        self.visible.blockSignals(True)
        self.visible.setChecked(shown)
        self.visible.blockSignals(False)

    def _on_removed(self, event: Any) -> None:
        restored = self._controller.restored
        if not restored.removing and event.value is restored.residual:
            self.residual.setChecked(False)

    # ------------------------------------------------------------------ looks
    def _divide(self, value: int) -> None:
        self._controller.restored.divide(value / STEPS)

    def _show_residual(self, on: bool) -> None:
        restored = self._controller.restored
        self.found.setText("")
        if on:
            restored.show_residual()
            self._check_soon()
        else:
            restored.hide_residual()
        self.update_view()

    def _check_soon(self, *_: object) -> None:
        if self.residual.isChecked():
            self._rest.start()

    def _check(self) -> None:
        """Have the slice on screen checked for structure in what was removed."""
        box = self._controller.restored.checked()
        if box is not None and self._controller.session.restoration is not None:
            self._controller.session.check_residual(box)

    def _on_checked(self, finding: Finding) -> None:
        self.found.setText(finding.text)
        set_role(self.found, "warning" if finding.severity != "fine" else "muted")
        self.update_view()
