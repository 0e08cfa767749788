"""How good the shown model is, which one it is and why, and the one click back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import QGridLayout, QLabel, QSizePolicy, QWidget

from brushfire.learning.reasons import name_of
from brushfire.ui.widgets import ElidedLabel, button, column, label, row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qtpy.QtGui import QPaintEvent

    from brushfire.annotations import LabelClass
    from brushfire.learning.doubts import Doubt
    from brushfire.learning.reports import Evaluation
    from brushfire.session import LearningState
    from brushfire.ui.style import Palette

BACK_TIP = (
    "Show the model before this one, at once. The one you leave comes back only after new strokes,"
    " or when it is clearly better."
)
DICE_TIP = (
    "Dice: how well the model agrees with strokes that it did not learn from. 1 is all right, 0 is"
    " nothing right. The bar is where the true value lies with 90 % certainty."
)
KIND_TIP = (
    "The quick fit weighs fixed features: it follows each stroke, and errs little on few. The"
    " trained network finds its own, and is better once there are enough strokes. Whichever agrees"
    " better with the held-out strokes is shown."
)
DOUBT_TIP = (
    "A fit on all other strokes is sure that they are another class. Repaint them if they are"
    " wrong; if they are right, one more like them teaches it."
)
_LINES = 3  # of the reason: that it changes shall move nothing below it
_SWATCH = 10
_BAR = 12
_NAMES = 72  # pixels that names of classes take at least, so that the bars line up
_FIGURES = 34

_HOW = {"held out": "held-out Dice", "cross-validated": "cross-validated Dice"}


class QualityView(QWidget):
    """The score of the shown model, its kind, the reason, the scores of its classes.

    Parameters
    ----------
    go_back : callable
        Shows the model before.
    show_doubt : callable
        Shows the next stroke that contradicts others.
    """

    def __init__(self, go_back: Callable[[], object], show_doubt: Callable[[], object]) -> None:
        super().__init__()
        self.setProperty("role", "plain")
        self.score = QLabel()
        self.score.setProperty("role", "score")
        self.score.setToolTip(DICE_TIP)
        self.how, self.which = ElidedLabel(), ElidedLabel(role="value")
        self.reason, self.note = label(""), label("")
        self.reason.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.undo = button("Go back", go_back, tip=BACK_TIP)
        self.doubt = label("", role="warning")
        self.show_doubt = button("Show", show_doubt, tip=DOUBT_TIP)
        self.rows: dict[int, ScoreRow] = {}
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(6)
        self._grid.setVerticalSpacing(3)
        self._grid.setColumnStretch(3, 1)
        self._grid.setColumnMinimumWidth(1, _NAMES)
        self._grid.setColumnMinimumWidth(2, _FIGURES)
        self._palette: Palette | None = None
        self._told: object = None
        words = column(spacing=0)
        words.addWidget(self.which)
        words.addWidget(self.how)
        layout = column(self, margins=(0, 2, 0, 2))
        layout.addLayout(row(self.score, words, stretch=1))
        why = row(self.reason, self.undo, stretch=0)
        why.setAlignment(self.undo, Qt.AlignmentFlag.AlignTop)
        layout.addLayout(why)
        self._doubts = QWidget()
        self._doubts.setProperty("role", "plain")
        check = row(self.doubt, self.show_doubt, stretch=0)
        check.setContentsMargins(0, 0, 0, 0)
        self._doubts.setLayout(check)
        layout.addWidget(self._doubts)
        layout.addLayout(self._grid)
        layout.addWidget(self.note)
        self.hide()

    def set_palette(self, palette: Palette) -> None:
        """Take the colours of the theme."""
        self._palette = palette
        for one in self.rows.values():
            one.bar.set_palette(palette)

    def show_state(self, state: LearningState, classes: Sequence[LabelClass]) -> None:
        """Show what is known of the shown model; nothing while there is none."""
        told = (
            state.shown_model, state.evaluation, state.verdict, state.can_undo, state.doubts,
            tuple(classes),
        )  # fmt: skip
        if told == self._told:  # asked with every step
            return
        self._told = told
        self.setVisible(state.shown_model is not None)
        self.undo.setEnabled(state.can_undo)
        found = state.evaluation
        mean = state.shown_dice if found is None else found.mean
        self.score.setText("" if mean is None else f"{mean:.2f}")
        self.score.setVisible(mean is not None)
        self.how.set_text(_how(found, mean))
        kind = "" if state.verdict is None else f" · {name_of(state.verdict.shown)}"
        self.which.set_text(f"Model {state.shown_model}{kind}")
        self.reason.setText("" if state.verdict is None else state.verdict.reason)
        self.reason.setMinimumHeight(_LINES * self.reason.fontMetrics().lineSpacing())
        self.which.setToolTip(KIND_TIP)
        self._show_rows(found, classes)
        self.note.setText(_note(found))
        self.note.setVisible(bool(self.note.text()))
        self.doubt.setText(_doubts(state.doubts, {one.value: one.name for one in classes}))
        self._doubts.setVisible(bool(state.doubts))

    def _show_rows(self, found: Evaluation | None, classes: Sequence[LabelClass]) -> None:
        asked = {} if found is None else {**found.dice, **found.wanting}
        wanted = [entry for entry in classes if entry.value in asked]
        if list(self.rows) != [entry.value for entry in wanted]:
            for old in self.rows.values():
                old.remove()
            self.rows = {entry.value: ScoreRow(self._grid, at) for at, entry in enumerate(wanted)}
            if self._palette is not None:
                self.set_palette(self._palette)
        for entry in wanted:
            assert found is not None
            self.rows[entry.value].show_score(entry, found)


class ScoreRow:
    """One class in the grid: its colour, name, Dice and a bar, or what it takes to get one.

    Parameters
    ----------
    grid : QGridLayout
        Where to add it.
    at : int
        Which row of the grid.
    """

    def __init__(self, grid: QGridLayout, at: int) -> None:
        self.swatch = QLabel()
        self.swatch.setFixedSize(_SWATCH, _SWATCH)
        self.name, self.hint = ElidedLabel(role="value"), ElidedLabel()
        self.name.setMaximumWidth(2 * _NAMES)
        self.value = QLabel()
        self.value.setProperty("role", "value")
        self.value.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.bar = IntervalBar()
        for place, widget in enumerate((self.swatch, self.name, self.value, self.bar)):
            grid.addWidget(widget, at, place)
        grid.addWidget(self.hint, at, 2, 1, 2)

    def show_score(self, entry: LabelClass, found: Evaluation) -> None:
        """Show the score of a class; ``found`` is of all."""
        dice = found.dice.get(entry.value)
        ends = found.intervals.get(entry.value)
        self.swatch.setStyleSheet(f"background: {entry.color}; border-radius: 2px;")
        self.name.set_text(entry.name)
        self.value.setText("" if dice is None else f"{dice:.2f}")
        self.bar.show_score(dice or 0.0, ends, entry.color)
        for widget in (self.value, self.bar):
            widget.setVisible(dice is not None)
        self.hint.setVisible(dice is None)
        more = found.wanting.get(entry.value)
        self.hint.set_text("no score" if more is None else f"{_strokes(more)} more for a score")
        told = _sentence(entry, found)
        for tipped in (self.value, self.bar, self.hint):
            tipped.setToolTip(told)
        self.bar.setAccessibleName(told)

    def remove(self) -> None:
        """Take the row out of the grid."""
        for widget in (self.swatch, self.name, self.value, self.bar, self.hint):
            widget.hide()
            widget.deleteLater()


class IntervalBar(QWidget):
    """A score between 0 and 1 as a dot on a line, and its interval as a band."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMinimumWidth(1)
        self._palette: Palette | None = None
        self._value, self._ends, self._color = 0.0, (0.0, 0.0), "#808080"

    def sizeHint(self) -> QSize:
        """Ask for a thin line."""
        return QSize(_BAR, _BAR)

    def set_palette(self, palette: Palette) -> None:
        """Take the colours of the theme."""
        self._palette = palette
        self.update()

    def show_score(self, value: float, ends: tuple[float, float] | None, color: str) -> None:
        """Show a score, the ends of its interval if it has one, and the colour of its class."""
        self._value, self._ends, self._color = value, ends or (value, value), color
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the line, the band and the dot."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        middle, left = self.height() / 2, _BAR / 2
        length = self.width() - _BAR
        line = QColor(self._palette.line if self._palette else "#808080")
        painter.setBrush(line)
        painter.drawRoundedRect(QRectF(left, middle - 1, length, 2), 1, 1)
        low, high = (left + end * length for end in self._ends)
        band = QColor(self._color)
        band.setAlphaF(0.45)
        painter.setBrush(band)
        painter.drawRoundedRect(QRectF(low, middle - 3, high - low, 6), 3, 3)
        painter.setBrush(QColor(self._color))
        painter.drawEllipse(QPointF(left + self._value * length, middle), 4, 4)
        painter.end()


def _how(found: Evaluation | None, mean: float | None) -> str:
    """Say how the mean was come by, and how sure it is."""
    if mean is None:
        return "no score yet"
    said = _HOW.get("held out" if found is None else found.how, "Dice")
    if found is None or found.mean_interval is None:
        return said
    low, high = found.mean_interval
    return f"{said}, {low:.2f}–{high:.2f}"  # noqa: RUF001 - a range


def _note(found: Evaluation | None) -> str:
    """Say what the scores lack, if anything."""
    if found is None:
        return ""
    if found.how == "not at all":
        return "" if found.wanting else "Nothing is held out, so there is no score."
    if found.how == "cross-validated":
        return "Each stroke was scored by a fit without it. Paint more and some are held out."
    if found.mean_interval is None:
        return "Few strokes are held out so far: the scores may be off by much."
    return ""


def _doubts(doubts: Sequence[Doubt], names: Mapping[int, str]) -> str:
    """Say which strokes contradict the others."""
    if not doubts:
        return ""
    if len(doubts) > 1:
        return f"{_strokes(len(doubts)).capitalize()} contradict the others: check them."
    one = doubts[0]
    painted, alike = (names.get(value, f"class {value}") for value in (one.value, one.looks_like))
    return f"A stroke of {painted} in slice {one.z} looks like {alike}: check it."


def _sentence(entry: LabelClass, found: Evaluation) -> str:
    """Say all that is known of a class."""
    value, name = entry.value, entry.name
    dice, ends, count = found.dice.get(value), found.intervals.get(value), found.strokes.get(value)
    if dice is None:
        more = found.wanting.get(value)
        if more is None:
            return f"There is no score of {name}."
        return f"Paint {_strokes(more)} more of {name} to get a score."
    said = f"{name}: Dice {dice:.2f}"
    if ends is not None:
        said += f", between {ends[0]:.2f} and {ends[1]:.2f} with 90 % certainty"
    if count is not None:
        said += f", from {_strokes(count)}"
    if ends is None:
        said += "; too few to say how sure that is"
    return f"{said}."


def _strokes(number: int) -> str:
    words = {1: "one stroke", 2: "two strokes"}
    return words.get(number, f"{number} strokes")
