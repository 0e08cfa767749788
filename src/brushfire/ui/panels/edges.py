"""The profile of an edge, as given and denoised, along a line that the user draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPainterPath, QPen
from qtpy.QtWidgets import QFileDialog, QSizePolicy, QVBoxLayout, QWidget

from brushfire.errors import BrushfireError
from brushfire.session.judging import ACROSS
from brushfire.ui.widgets import (
    NAME_WIDTH,
    boxed,
    button,
    column,
    field_name,
    label,
    row,
    set_role,
)

if TYPE_CHECKING:
    from qtpy.QtGui import QPaintEvent

    from brushfire.session import EdgeComparison, EdgeLine
    from brushfire.ui.connections import Connections
    from brushfire.ui.controller import Controller
    from brushfire.ui.style import Palette

HEIGHT = 120
_MARGIN = 6
_BOTTOM = 22  # for the axis
_BARS = 14  # for the two widths

TIP = (
    "Draw a line across an edge in the slice you see, at right angles to it. Its profile, a mean of"
    f" {ACROSS} voxels side by side, tells whether denoising blurs the edge."
)
WIDTH_TIP = (
    "How wide the edge is, from 10 to 90 % of its height, and between what it lies with 90 %"
    " certainty. Noise that is alike in neighbouring voxels makes that less certain."
)
ASKED = "Drag from one side of the edge to the other."


class ProfilePlot(QWidget):
    """Intensities along a line: as given thin and grey, denoised in the accent colour."""

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(HEIGHT)
        self.setMinimumWidth(1)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            "Intensities along the line: grey as given, coloured denoised. The bars below are as"
            " wide as the edge, from 10 to 90 % of its height."
        )
        self.setAccessibleName("Edge profile")
        self._palette: Palette | None = None
        self._shown: EdgeComparison | None = None

    def sizeHint(self) -> QSize:
        """Ask for a small picture."""
        return QSize(NAME_WIDTH, HEIGHT)

    def set_palette(self, palette: Palette) -> None:
        """Take the colours of the theme."""
        self._palette = palette
        self.update()

    def show_edge(self, found: EdgeComparison) -> None:
        """Draw these profiles."""
        self._shown = found
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the curves, a bar for each width, and the axis."""
        palette, found = self._palette, self._shown
        if palette is None or found is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(self.rect(), QColor(palette.background))
        area = QRectF(self.rect()).adjusted(_MARGIN, _MARGIN, -_MARGIN, -_BOTTOM - _BARS)
        length = max(float(one.distances[-1]) for one in (found.given, found.restored)) or 1.0
        low, high = _span(found)
        curves = (found.given, palette.muted, 1.0), (found.restored, palette.accent_text, 2.0)
        for at, (one, color, width) in enumerate(curves):
            painter.setPen(QPen(QColor(color), width))
            x = area.left() + one.distances / length * area.width()
            y = area.bottom() - (one.values - low) / (high - low) * area.height()
            painter.drawPath(_path(x, y))
            if one.width is not None and one.middle is not None:
                left, right = (one.middle + side * one.width / 2 for side in (-1, 1))
                scale, height = area.width() / length, area.bottom() + 5 + 5 * at
                bar = QRectF(area.left() + left * scale, height, (right - left) * scale, 3)
                painter.fillRect(bar, QColor(color))
        self._draw_axis(painter, palette, area, length, found.unit)
        painter.end()

    def _draw_axis(
        self, painter: QPainter, palette: Palette, area: QRectF, length: float, unit: str
    ) -> None:
        bottom = self.height() - _BOTTOM
        painter.setPen(QPen(QColor(palette.line), 1))
        painter.drawLine(QPointF(area.left(), bottom), QPointF(area.right(), bottom))
        painter.setPen(QColor(palette.muted))
        below = QRectF(area.left(), bottom + 2, area.width(), _BOTTOM - 4)
        painter.drawText(below, Qt.AlignmentFlag.AlignLeft, "0")
        painter.drawText(below, Qt.AlignmentFlag.AlignHCenter, f"{length / 2:.3g}")
        painter.drawText(below, Qt.AlignmentFlag.AlignRight, f"{length:.3g} {unit}")


def _span(found: EdgeComparison) -> tuple[float, float]:
    """Return the lowest and highest intensity of both curves."""
    values = np.concatenate([found.given.values, found.restored.values])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    return low, high if high > low else low + 1.0


def _path(x: np.ndarray, y: np.ndarray) -> QPainterPath:
    """Return a curve through points, with gaps where there is no number."""
    path, drawing = QPainterPath(), False
    for at, value in zip(x.tolist(), y.tolist(), strict=True):
        if not np.isfinite(value):
            drawing = False
        elif drawing:
            path.lineTo(at, value)
        else:
            path.moveTo(at, value)
            drawing = True
    return path


class EdgeView(QWidget):
    """The button that draws a line, and what is found along it.

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
        self.draw = button("Draw a line", self._draw, tip=TIP)
        self.remove = button("Remove", controller.edge.remove, role="link", tip="Remove the line")
        self.save_button = button(
            "Save values…", self._ask_where, role="link", tip="Save both profiles as a CSV file"
        )
        self.plot = ProfilePlot()
        self.text = label("", role="value")
        self.text.setToolTip(WIDTH_TIP)
        layout = column(self)
        layout.addLayout(row(field_name("Edge profile"), self.draw, QVBoxLayout(), stretch=2))
        layout.addWidget(self.plot)
        layout.addWidget(self.text)
        self._more = boxed(row(self.save_button, self.remove, QVBoxLayout(), stretch=2))
        layout.addWidget(self._more)
        connections.connect(controller.edge.changed, self._on_line)
        connections.connect(controller.session.events.edge_measured, self._on_measured)
        connections.connect(controller.session.events.restoration_changed, self._on_restoration)
        self._show(None)

    def set_palette(self, palette: Palette) -> None:
        """Take the colours of the theme."""
        self.plot.set_palette(palette)

    def _draw(self) -> None:
        self._controller.edge.draw()
        self._more.show()
        if self._controller.edge.line() is None:
            self._tell(ASKED)

    def _on_restoration(self) -> None:
        if self._controller.session.restoration is not None:
            self._on_line(self._controller.edge.line())

    def _on_line(self, line: EdgeLine | None) -> None:
        """Have the edge measured; where it cannot be, say why."""
        try:
            self._controller.session.measure_edge(line)
        except BrushfireError as error:
            self._show(None)
            self._tell(str(error), "warning")
        else:
            if line is None:
                self._show(None)

    def _on_measured(self, found: EdgeComparison) -> None:
        self._show(found)

    def _show(self, found: EdgeComparison | None) -> None:
        self.plot.setVisible(found is not None)
        self.save_button.setVisible(found is not None)
        self._more.setVisible(self._controller.edge.layer is not None)
        self._tell("" if found is None else found.text)
        if found is not None:
            self.plot.show_edge(found)

    def _tell(self, text: str, role: str = "value") -> None:
        set_role(self.text, role)
        self.text.setText(text)
        self.text.setVisible(bool(text))

    def _ask_where(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save values", "edge.csv", "CSV (*.csv)")
        if path:
            self.save(path)

    def save(self, path: str) -> None:
        """Save both profiles; where that fails, say so."""
        found = self._controller.session.edge
        if found is not None:
            self._controller.attempt(found.save, path)
