"""The live plot of Dice on held-out strokes and of the training loss, over time or strokes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyqtgraph as pg
from numpy.lib.stride_tricks import sliding_window_view
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QButtonGroup, QLabel, QPushButton, QVBoxLayout, QWidget

from brushfire.ui.widgets import button, column, row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from brushfire.annotations import LabelClass
    from brushfire.session import LearningState, ScorePoint
    from brushfire.ui.style import Palette

TREND = 21
"""Steps over which the trend of the loss is taken, odd."""
Axis = Literal["minutes", "strokes"]

_LOSS_HEIGHT = 72
INTERVAL_MS = 500
"""A redraw takes tens of milliseconds, so there are at most two a second."""


def trend(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the running median of ``values``, of the same length.

    Patches differ much more in loss than the network improves in a minute.
    """
    if len(values) < TREND:
        return values
    padded = np.pad(values, TREND // 2, mode="reflect")
    found: NDArray[np.float64] = np.median(sliding_window_view(padded, TREND), axis=-1)
    return found


class LearningPlot(pg.GraphicsLayoutWidget):
    """Dice of each class above, training loss below, on one axis of minutes of learning.

    Over the number of strokes there is Dice alone: the best view of what painting more brings.
    """

    score = "Dice"
    told = "Above: Dice, one line a class. Below: training loss. Over minutes of learning."

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(160)
        self.setMinimumWidth(1)
        self.axis: Axis = "minutes"
        self.dice = self._plot(0, self.score)
        self.loss = self._plot(1, "Loss")
        # The loss comes with every step, Dice only now and then: the loss sets the range.
        self.dice.setXLink(self.loss)
        self.dice.setYRange(0, 1, padding=0.04)
        self._loss_curve = self.loss.plot()
        self._loss_trend = self.loss.plot()
        self._dice_curves: dict[int, pg.PlotDataItem] = {}
        self._palette: Palette | None = None
        self._pending: tuple[LearningState, tuple[LabelClass, ...]] | None = None
        self._drawn: tuple[LearningState, tuple[LabelClass, ...]] | None = None
        self.redraws = 0
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(INTERVAL_MS)
        self._timer.timeout.connect(self._flush)
        self.set_axis("minutes")

    def _plot(self, at: int, title: str) -> pg.PlotItem:
        plot = self.addPlot(row=at, col=0)
        plot.setMenuEnabled(False)
        plot.setMouseEnabled(x=False, y=False)
        plot.hideButtons()
        plot.setLabel("left", title)
        plot.getAxis("left").setWidth(54)
        plot.getAxis("left").enableAutoSIPrefix(False)
        plot.getAxis("bottom").setStyle(showValues=at == 1)
        plot.getAxis("bottom").setHeight(18 if at == 1 else 4)
        return plot

    def set_palette(self, palette: Palette) -> None:
        """Take the colours of the theme."""
        self._palette = palette
        self.setBackground(palette.background)
        for plot in (self.dice, self.loss):
            for side in ("left", "bottom"):
                axis = plot.getAxis(side)
                axis.setPen(palette.line)
                axis.setTextPen(palette.muted)
        self._loss_curve.setPen(pg.mkPen(palette.line, width=1))
        self._loss_trend.setPen(pg.mkPen(palette.text, width=1.5))

    def set_axis(self, axis: Axis) -> None:
        """Draw over minutes of learning, or over the number of strokes."""
        self.axis = axis
        over_time = axis == "minutes"
        self.loss.setVisible(over_time)
        self.ci.layout.setRowStretchFactor(0, 3)
        self.ci.layout.setRowStretchFactor(1, 2 if over_time else 0)
        self.ci.layout.setRowMaximumHeight(1, _LOSS_HEIGHT if over_time else 0)
        self.dice.setXLink(self.loss if over_time else None)
        bottom = self.dice.getAxis("bottom")
        bottom.setStyle(showValues=not over_time)
        bottom.setHeight(4 if over_time else 18)
        if not over_time:
            self.dice.enableAutoRange(axis="x")
        self.setToolTip(
            self.told if over_time else "Dice of each class over the number of strokes."
        )
        self._pending = self._pending or self._drawn
        self._flush()

    def show_state(self, state: LearningState, classes: Sequence[LabelClass]) -> None:
        """Draw ``state`` soon; newer states replace one that waits."""
        self._pending = (state, tuple(classes))
        if not self._timer.isActive():
            self._flush()
            self._timer.start()

    def _flush(self) -> None:
        if self._pending is None or not self.isVisible():
            return
        (state, classes), self._pending = self._pending, None
        self._drawn = (state, classes)
        self.redraws += 1
        minutes = np.array([at for *_, at in state.loss], np.float64) / 60
        loss = np.array([value for _, value, _ in state.loss], np.float64)
        self._loss_curve.setData(minutes, loss)
        self._loss_trend.setData(minutes, trend(loss))
        self._show_scores(state, classes)
        self._timer.start()

    def _show_scores(self, state: LearningState, classes: Sequence[LabelClass]) -> None:
        colors = {entry.value: entry.color for entry in classes}
        for value in set(self._dice_curves) - set(colors):
            self.dice.removeItem(self._dice_curves.pop(value))
        for value, color in colors.items():
            points = curve_of(state.scores, value, self.axis)
            curve = self._dice_curves.get(value)
            if curve is None:
                curve = self._dice_curves[value] = self.dice.plot()
            curve.setPen(pg.mkPen(color, width=2))
            dots = self.axis == "strokes" or len(points) < 3
            curve.setData(
                [x for x, _ in points], [y for _, y in points],
                symbol="o" if dots else None, symbolSize=5, symbolBrush=color, symbolPen=None,
            )  # fmt: skip
        self.dice.setYRange(floor_of(state.scores), 1, padding=0.06)


class RestoringPlot(LearningPlot):
    """Decibels of the shown model above, training loss below, over minutes of learning."""

    score = "dB"
    told = (
        "Above: how near the shown model comes to what it was not taught, in decibels. Below:"
        " training loss. Over minutes of learning."
    )

    def __init__(self) -> None:
        super().__init__()
        self._decibels = self.dice.plot()
        self.dice.enableAutoRange(axis="y")

    def set_palette(self, palette: Palette) -> None:
        """Take the colours of the theme."""
        super().set_palette(palette)
        self._decibels.setPen(pg.mkPen(palette.accent_text, width=2))
        self._decibels.setSymbolBrush(palette.accent_text)
        self._decibels.setSymbolPen(None)

    def _show_scores(self, state: LearningState, classes: Sequence[LabelClass]) -> None:
        points = [(p.seconds / 60, p.decibels) for p in state.scores if p.decibels is not None]
        dots = "o" if len(points) < 3 else None
        self._decibels.setData(
            [x for x, _ in points], [y for _, y in points], symbol=dots, symbolSize=5
        )


def floor_of(scores: Sequence[ScorePoint]) -> float:
    """Return where the axis of Dice begins: at a quarter below all of it, so that it is seen."""
    least = min((dice for point in scores for dice in point.dice.values()), default=0.0)
    return max(0.0, math.floor(4 * (least - 0.05)) / 4)


def curve_of(scores: Sequence[ScorePoint], value: int, axis: Axis) -> list[tuple[float, float]]:
    """Return the Dice of a class over minutes, or over strokes the last of each number of them."""
    known = [point for point in scores if value in point.dice]
    if axis == "minutes":
        return [(point.seconds / 60, point.dice[value]) for point in known]
    return sorted({point.strokes: point.dice[value] for point in known}.items())


class CurveView(QWidget):
    """The plot, and a small switch for what it goes over."""

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "plain")
        self.plot = LearningPlot()
        self.minutes = self._choice("minutes", "Dice over minutes of learning")
        self.strokes = self._choice("strokes", "Dice over the number of strokes")
        self.minutes.setChecked(True)
        group = QButtonGroup(self)
        for one in (self.minutes, self.strokes):
            group.addButton(one)
        name = QLabel("Dice over")
        name.setProperty("role", "muted")
        layout = column(self, spacing=2)
        layout.addLayout(row(name, self.minutes, self.strokes, QVBoxLayout(), stretch=3))
        layout.addWidget(self.plot)

    def _choice(self, axis: Axis, tip: str) -> QPushButton:
        made = button(axis, lambda: self.plot.set_axis(axis), role="choice", tip=tip)
        made.setCheckable(True)
        return made
