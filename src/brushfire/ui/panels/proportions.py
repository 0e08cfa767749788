"""How common classes are: what is found, what is true, and two ways to correct the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QLabel, QLineEdit, QVBoxLayout, QWidget

from brushfire.ui.widgets import ElidedLabel, button, column, label, row

if TYPE_CHECKING:
    from collections.abc import Callable

    from brushfire.annotations import LabelClass
    from brushfire.learning.reports import Correction
    from brushfire.session import LearningState, ProportionsState
    from brushfire.ui.connections import Connections
    from brushfire.ui.controller import Controller

FOUND_TIP = "The share of each class in what the model predicts, at some places of the volume"
TRUE_TIP = (
    "Which part of the volume it is, in per cent. Grey is what the model estimates itself; classes"
    " that you leave empty share what is left"
)
CALIBRATE_TIP = (
    "Shift the model to these shares, at once. What you type holds for later models too; an"
    " estimate holds for this one. Go back undoes it"
)
STAGE_TIP = (
    "Fit the last layer anew on your strokes, each class weighing as much as it is common; all"
    " other layers stay. Wants strokes that are a fair sample"
)
LEARNED_TIP = "Forget the shares; the model is corrected as far as the strokes allow"
NOTE = "Calibrate where it is known how common classes are: strokes do not tell."
_SWATCH = 10
_FIELD = 64


class ProportionsForm(QWidget):
    """A row for each class of the shown model, and buttons that correct it.

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
        self._known: dict[int, float] = {}
        self.rows: dict[int, ShareRow] = {}
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(6)
        self._grid.setVerticalSpacing(3)
        self._grid.setColumnStretch(1, 1)
        for at, (text, tip) in enumerate((("found", FOUND_TIP), ("true", TRUE_TIP))):
            head = QLabel(f"{text}, %")
            head.setProperty("role", "muted")
            head.setAlignment(Qt.AlignmentFlag.AlignRight)
            head.setToolTip(tip)
            self._grid.addWidget(head, 0, 2 + at)
        self.note = label(NOTE)
        self.calibrate = button("Calibrate", self._correct("calibrated"), tip=CALIBRATE_TIP)
        self.stage = button("Second stage", self._correct("second stage"), tip=STAGE_TIP)
        self.learned = button(
            "As learned", self._correct("as learned"), role="link", tip=LEARNED_TIP
        )
        layout = column(self, margins=(4, 0, 0, 0))
        layout.addLayout(self._grid)
        layout.addLayout(row(self.calibrate, self.stage, self.learned, QVBoxLayout(), stretch=3))
        layout.addWidget(self.note)
        events = controller.session.events
        connections.connect(events.proportions_changed, self._on_proportions)
        connections.connect(events.model_changed, self._on_model)
        connections.connect(events.classes_changed, self._refresh)

    # ------------------------------------------------------------------ asking
    def open(self) -> None:
        """Ask how common classes are: the fold was opened."""
        self._refresh()
        self._estimate()

    def _estimate(self) -> None:
        session = self._controller.session
        if session.model_revision is not None:
            self._controller.attempt(session.estimate_proportions)

    def _on_model(self, *_: object) -> None:
        known = self._controller.session.known_shares
        if known != self._known:  # by another window, or because somebody went back
            self._known = known
            for value, one in self.rows.items():
                one.set_share(known.get(value))
        if self.isVisible():
            self._estimate()

    def _correct(self, how: Correction) -> Callable[[], None]:
        def act() -> None:
            typed = {} if how == "as learned" else self.typed
            self._controller.attempt(self._controller.session.calibrate, typed, how)

        return act

    # ------------------------------------------------------------------ showing
    @property
    def typed(self) -> dict[int, float]:
        """The shares that the fields hold, of the classes whose field is not empty."""
        found = {value: one.share for value, one in self.rows.items()}
        return {value: share for value, share in found.items() if share is not None}

    def show_state(self, state: LearningState) -> None:
        """Say which button cannot be, and why; asked with every step of learning."""
        session = self._controller.session
        if not self.isVisible():
            return
        why = session.second_stage_problem
        self.stage.setEnabled(not why)
        self.stage.setToolTip(why or STAGE_TIP)
        self.calibrate.setEnabled(state.shown_model is not None)
        self.learned.setVisible(bool(session.known_shares))

    def _refresh(self, *_: object) -> None:
        self._on_proportions(self._controller.session.proportions)
        self.show_state(self._controller.session.learning)

    def _on_proportions(self, state: ProportionsState) -> None:
        session, told = self._controller.session, state.proportions
        asked = {} if told is None else told.estimated
        wanted = [entry for entry in session.classes if entry.value in asked]
        if list(self.rows) != [entry.value for entry in wanted]:
            for old in self.rows.values():
                old.remove()
            self.rows = {
                entry.value: ShareRow(self._grid, at + 1, self._complete)
                for at, entry in enumerate(wanted)
            }
            self._known = session.known_shares
            for value, one in self.rows.items():
                one.set_share(self._known.get(value))
        done = state.calibration
        for entry in wanted:
            assert told is not None
            before = None if done is None else done.before.get(entry.value)
            self.rows[entry.value].show_class(entry, told.found.get(entry.value, 0.0), before)
        self._complete()
        self.note.setText(state.problem or (NOTE if done is None else str(done)))
        self.show_state(session.learning)

    def _complete(self) -> None:
        """Show in empty fields what their classes would have beside what was typed."""
        for value, share in self._controller.session.proportions.completed(self.typed).items():
            if value in self.rows:
                self.rows[value].field.setPlaceholderText(_percent(share))


class ShareRow:
    """One class in the grid: its colour and name, what is found of it, and what is true.

    Parameters
    ----------
    grid : QGridLayout
        Where to add it.
    at : int
        Which row of the grid.
    edited : callable
        Called when somebody types.
    """

    def __init__(self, grid: QGridLayout, at: int, edited: Callable[[], object]) -> None:
        self.swatch = QLabel()
        self.swatch.setFixedSize(_SWATCH, _SWATCH)
        self.name = ElidedLabel(role="value")
        self.found = QLabel()
        self.found.setProperty("role", "value")
        self.found.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.found.setToolTip(FOUND_TIP)
        self.field = QLineEdit()
        self.field.setFixedWidth(_FIELD)
        self.field.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.field.setToolTip(TRUE_TIP)
        self.field.textEdited.connect(lambda *_: edited())
        for place, widget in enumerate((self.swatch, self.name, self.found, self.field)):
            grid.addWidget(widget, at, place)

    @property
    def share(self) -> float | None:
        """What was typed, as a part of one; None for nothing, NaN for what is no number."""
        text = self.field.text().strip().rstrip("%").replace(",", ".")
        if not text:
            return None
        try:
            return float(text) / 100
        except ValueError:
            return float("nan")

    def set_share(self, share: float | None) -> None:
        """Show a share in the field, or nothing."""
        self.field.setText("" if share is None else _percent(share))

    def show_class(self, entry: LabelClass, found: float, before: float | None) -> None:
        """Show what is found of a class, and what was before it was corrected."""
        self.swatch.setStyleSheet(f"background: {entry.color}; border-radius: 2px;")
        self.name.set_text(entry.name)
        self.field.setAccessibleName(f"True share of {entry.name} in per cent")
        now = _percent(found)
        self.found.setText(now if before is None else f"{_percent(before)} → {now}")

    def remove(self) -> None:
        """Take the row out of the grid."""
        for widget in (self.swatch, self.name, self.found, self.field):
            widget.hide()
            widget.deleteLater()


def _percent(share: float) -> str:
    return f"{100 * share:.3g}"
