"""The live plot of Dice on held-out strokes and of the training loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from numpy.lib.stride_tricks import sliding_window_view
from qtpy.QtCore import QTimer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from brushfire.annotations import LabelClass
    from brushfire.session import LearningState
    from brushfire.ui.style import Palette

TREND = 21
"""Steps over which the trend of the loss is taken, odd."""
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
    """Dice of each class above, training loss below, on one axis of steps."""

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(160)
        self.setMinimumWidth(1)
        self.setToolTip("Above: Dice on held-out strokes, one line a class. Below: training loss.")
        self.dice = self._plot(0, "Dice")
        self.loss = self._plot(1, "Loss")
        # The loss comes with every step, Dice only now and then: the loss sets the range.
        self.dice.setXLink(self.loss)
        self.dice.setYRange(0, 1, padding=0.04)
        self._loss_curve = self.loss.plot()
        self._loss_trend = self.loss.plot()
        self._dice_curves: dict[int, pg.PlotDataItem] = {}
        self._palette: Palette | None = None
        self._pending: tuple[LearningState, tuple[LabelClass, ...]] | None = None
        self.redraws = 0
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(INTERVAL_MS)
        self._timer.timeout.connect(self._flush)

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
        self.redraws += 1
        steps = np.array([s for s, _ in state.loss], float)
        loss = np.array([v for _, v in state.loss], float)
        self._loss_curve.setData(steps, loss)
        self._loss_trend.setData(steps, trend(loss))
        colors = {entry.value: entry.color for entry in classes}
        for value in set(self._dice_curves) - set(colors):
            self.dice.removeItem(self._dice_curves.pop(value))
        for value, color in colors.items():
            points = [(s, d[value]) for s, d in state.dice if d.get(value) is not None]
            curve = self._dice_curves.get(value)
            if curve is None:
                curve = self._dice_curves[value] = self.dice.plot()
            curve.setPen(pg.mkPen(color, width=2))
            curve.setData(
                [s for s, _ in points], [v for _, v in points],
                symbol="o" if len(points) < 3 else None, symbolSize=5, symbolBrush=color,
                symbolPen=None,
            )  # fmt: skip
        self._timer.start()
