"""Step 4: how the prediction is shown, and how it leaves the window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QSlider, QWidget

from brushfire.ui.panels.export import ExportForm
from brushfire.ui.widgets import boxed, column, field_name, form_in, label, narrow, row

if TYPE_CHECKING:
    from brushfire.session import LearningState
    from brushfire.ui.connections import Connections
    from brushfire.ui.controller import Controller


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
        self.empty = label("Predictions appear here a few seconds after learning starts.")
        self.looks = self._make_looks()
        self.export = ExportForm(controller, connections, "segment", "masks")
        layout = column(self, margins=(10, 2, 10, 10))
        for part in (self.empty, self.looks, self.export):
            layout.addWidget(part)
        events = controller.session.events
        connections.connect(events.volume_changed, self._on_volume)
        connections.connect(events.learning_changed, self.update_view)
        connections.connect(events.classes_changed, self._fill_classes)
        connections.connect(controller.viewer.layers.events.removed, self._on_removed)
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
        narrow(self.probability)
        self.uncertainty = QCheckBox("where it is unsure")
        self.uncertainty.setToolTip("A layer with the entropy of the class probabilities")
        self.uncertainty.toggled.connect(self._show_extras)
        form = form_in(part)
        form.addRow(field_name("Prediction"), boxed(row(self.visible, self.contour, stretch=1)))
        form.addRow(field_name("Opacity"), self.opacity)
        form.addRow(field_name("Probability"), self.probability)
        form.addRow(field_name("Uncertainty"), self.uncertainty)
        return part

    # ------------------------------------------------------------------ showing
    @property
    def state(self) -> str:
        """One line for the folded step."""
        session = self._controller.session
        if self.export.exporting:
            return "exporting…"
        shown = session.learning.shown_model
        return "no prediction yet" if shown is None else f"model {shown} shown"

    def _on_volume(self) -> None:
        self._fill_classes()
        self.update_view(self._controller.session.learning)

    def update_view(self, state: LearningState) -> None:
        """Show whether there is a prediction to look at."""
        some = state.shown_model is not None
        self.empty.setVisible(not some)
        self.looks.setVisible(some)
        self.export.setVisible(some)

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
