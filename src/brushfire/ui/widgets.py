"""Small widgets that the panels share: steps that fold, notices, progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QLocale, Qt, QTimer, Signal
from qtpy.QtGui import QDoubleValidator, QGuiApplication
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtGui import QFontMetrics, QKeyEvent, QMouseEvent, QResizeEvent
    from qtpy.QtWidgets import QLayout

SPACE = 6
READ_MS = 12_000
"""After this an inline sentence goes away that only informs."""
NAME_WIDTH = 82
"""Width of the label column, the same in every panel."""


class ElidedLabel(QLabel):
    """One line that is cut with an ellipsis where it does not fit; the tooltip holds all of it."""

    def __init__(self, text: str = "", *, role: str = "muted") -> None:
        super().__init__()
        self._whole = ""
        self.setProperty("role", role)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.setMinimumWidth(1)
        self.set_text(text)

    @property
    def whole(self) -> str:
        """The text before it was cut."""
        return self._whole

    def set_text(self, text: str) -> None:
        """Show ``text``, cut to the width."""
        if text != self._whole:
            self._whole = text
            self.setToolTip(text)
            self._elide()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Cut again for the new width."""
        super().resizeEvent(event)
        self._elide()

    def changeEvent(self, event: QEvent) -> None:
        """Cut again for a new font, which a style sheet brings after the first layout."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._elide()

    def _elide(self) -> None:
        metrics: QFontMetrics = self.fontMetrics()
        room = self.contentsRect().width() - 4
        self.setText(metrics.elidedText(self._whole, Qt.TextElideMode.ElideRight, room))


class Step(QFrame):
    """A numbered step of the dock: a head with title and state that folds its body away."""

    toggled = Signal(bool)

    def __init__(self, number: int, title: str) -> None:
        super().__init__()
        self.setProperty("role", "step")
        self.title = title
        self._arrow = QLabel()
        self._arrow.setFixedWidth(14)
        name = QLabel(f"{number}  {title}")
        name.setProperty("role", "title")
        self.state = ElidedLabel()
        self.state.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.head = _Head(self.toggle)
        self.head.setAccessibleName(f"{title} step")
        row = QHBoxLayout(self.head)
        row.setContentsMargins(8, 6, 8, 6)
        row.addWidget(self._arrow)
        row.addWidget(name)
        row.addWidget(self.state, 1)
        self._body: QWidget | None = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.head)
        self._open = True
        self._show()

    def set_body(self, body: QWidget) -> None:
        """Put ``body`` under the head."""
        self._body = body
        layout = self.layout()
        assert layout is not None
        layout.addWidget(body)
        self._show()

    @property
    def is_open(self) -> bool:
        """Whether the body is shown."""
        return self._open

    def set_open(self, opened: bool) -> None:
        """Show or fold the body."""
        if opened != self._open:
            self._open = opened
            self._show()
            self.toggled.emit(opened)

    def toggle(self) -> None:
        """Show the body when it is folded, and the other way round."""
        self.set_open(not self._open)

    def _show(self) -> None:
        self._arrow.setText("▾" if self._open else "▸")
        self.head.setToolTip(f"{'Fold' if self._open else 'Open'} {self.title}")
        if self._body is not None:
            self._body.setVisible(self._open)


class _Head(QFrame):
    """The clickable head of a step; Space and Enter work as a click does."""

    def __init__(self, pressed: Callable[[], None]) -> None:
        super().__init__()
        self.setProperty("role", "head")
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._pressed = pressed

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Toggle on a click that ends inside."""
        if self.rect().contains(event.position().toPoint()):
            self._pressed()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Toggle on Space and Enter."""
        if event.key() in (Qt.Key.Key_Space, Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._pressed()
        else:
            super().keyPressEvent(event)


class Fold(QWidget):
    """A lesser group inside a panel, folded at first."""

    opened = Signal()
    """it was unfolded"""

    def __init__(self, title: str, body: QWidget) -> None:
        super().__init__()
        self.setProperty("role", "plain")
        self.button = QToolButton()
        self.button.setProperty("role", "fold")
        self.button.setText(title)
        self.button.setCheckable(True)
        self.button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.button.setArrowType(Qt.ArrowType.RightArrow)
        self.button.toggled.connect(self._show)
        self._body = body
        layout = column(self)
        layout.addWidget(self.button)
        layout.addWidget(body)
        body.setVisible(False)

    def _show(self, opened: bool) -> None:
        arrow = Qt.ArrowType.DownArrow if opened else Qt.ArrowType.RightArrow
        self.button.setArrowType(arrow)
        self._body.setVisible(opened)
        if opened:
            self.opened.emit()


class NoticeBar(QFrame):
    """One inline sentence with at most one action, details to copy, and a way to put it away."""

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "notice")
        self._label = label("", role="value")
        self._label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._detail = ""
        self._act: Callable[[], object] | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(READ_MS)
        self._timer.timeout.connect(self.hide)
        self.action = button("", self._run, role="link")
        self.copy = button("Copy details", self._copy, role="link")
        close = button("Dismiss", self.hide, role="link")
        buttons = QHBoxLayout()
        buttons.addStretch(1)
        for widget in (self.action, self.copy, close):
            buttons.addWidget(widget)
        layout = column(self, margins=(8, 6, 6, 2), spacing=2)
        layout.addWidget(self._label)
        layout.addLayout(buttons)
        self.hide()

    @property
    def text(self) -> str:
        """The sentence shown, or "" while the bar is hidden."""
        return "" if self.isHidden() else self._label.text()

    def show_notice(
        self,
        level: str,
        text: str,
        *,
        detail: str = "",
        action: tuple[str, Callable[[], object]] | None = None,
    ) -> None:
        """Show ``text``; ``action`` is the caption and the callback of one button."""
        self._label.setText(text)
        self._detail = detail or text
        self.setProperty("level", level)
        self.style().unpolish(self)
        self.style().polish(self)
        self._act = action[1] if action else None
        self.action.setText(action[0] if action else "")
        self.action.setVisible(action is not None)
        self.copy.setVisible(level == "error" or bool(detail))
        self.show()
        self._timer.stop()
        if level == "info" and action is None:
            self._timer.start()

    def _run(self) -> None:
        act = self._act
        self.hide()
        if act is not None:
            act()

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self._detail)


class ProgressRow(QWidget):
    """What a job does, a bar and a cancel button; hidden while there is no job."""

    cancelled = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "plain")
        self.text = ElidedLabel()
        self.bar = QProgressBar()
        self.cancel = button("Cancel", self.cancelled.emit)
        row = QHBoxLayout()
        row.setSpacing(SPACE)
        row.addWidget(self.bar, 1)
        row.addWidget(self.cancel)
        layout = column(self, spacing=2)
        layout.addWidget(self.text)
        layout.addLayout(row)
        self.hide()

    def show_progress(self, text: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` parts are finished; total 0 while it is unknown."""
        self.text.set_text(text)
        # Counts of voxels pass what Qt's 32-bit range holds.
        self.bar.setRange(0, 1000 if total else 0)
        self.bar.setValue(round(1000 * done / total) if total else 0)
        self.setVisible(True)


class Question(QWidget):
    """A question before something is lost; hidden until it is asked.

    Parameters
    ----------
    text : str
        The question.
    agreed : callable
        Called when the answer is yes.
    """

    def __init__(self, text: str, agreed: Callable[[], object]) -> None:
        super().__init__()
        self.setProperty("role", "plain")
        self._agreed = agreed
        self.yes = button("Forget it", self._agree)
        layout = column(self)
        layout.addWidget(label(text, role="warning"))
        layout.addLayout(row(self.yes, button("Keep", self.hide), QVBoxLayout(), stretch=2))
        self.hide()

    def _agree(self) -> None:
        self.hide()
        self._agreed()


class Choice(QComboBox):
    """A choice of values; what cannot be is greyed out, and its tooltip says why.

    Parameters
    ----------
    tip : str
        Tooltip, and the name that screen readers say.
    """

    def __init__(self, tip: str) -> None:
        super().__init__()
        self._tips: dict[Any, str] = {}
        self._tip = tip
        self.setToolTip(tip)
        self.setAccessibleName(tip)
        self.setMinimumWidth(1)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.currentIndexChanged.connect(self._show_tip)

    @property
    def chosen(self) -> Any:
        """The value that is chosen."""
        return self.currentData()

    def add(self, title: str, value: Any, tip: str) -> None:
        """Add a value, as people read it and with a sentence on it."""
        self._tips[value] = tip
        self.addItem(title, value)
        self.setItemData(self.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self._show_tip()

    def choose(self, value: Any) -> None:
        """Choose a value that was added."""
        self.setCurrentIndex(self.findData(value))

    def refuse(self, value: Any, reason: str) -> None:
        """Grey a value out with a reason, or allow it with ""; the first takes its place."""
        index = self.findData(value)
        self.model().item(index).setEnabled(not reason)
        self.setItemData(index, reason or self._tips[value], Qt.ItemDataRole.ToolTipRole)
        if reason and index == self.currentIndex():
            self.setCurrentIndex(0)
        self._show_tip()

    def refusal(self, value: Any) -> str:
        """Return why a value cannot be chosen, or ""."""
        index = self.findData(value)
        return (
            ""
            if self.model().item(index).isEnabled()
            else self.itemData(index, Qt.ItemDataRole.ToolTipRole)
        )

    def _show_tip(self, *_: object) -> None:
        of_value = self.itemData(self.currentIndex(), Qt.ItemDataRole.ToolTipRole)
        self.setToolTip(f"{self._tip}\n{of_value}" if of_value else self._tip)


class NumberField(QLineEdit):
    """A narrow field for one number, within bounds.

    Parameters
    ----------
    low, high : float
        Bounds; both whole for a whole number.
    tip : str
        Tooltip, and the name that screen readers say.
    """

    def __init__(self, low: float, high: float, tip: str) -> None:
        super().__init__()
        self._whole = isinstance(low, int) and isinstance(high, int)
        self.setToolTip(tip)
        self.setAccessibleName(tip)
        self.setMinimumWidth(1)
        self.set_range(low, high)

    def set_range(self, low: float, high: float) -> None:
        """Change the bounds."""
        self._low, self._high = low, high
        # Numbers in files and papers have points; a comma must not depend on the machine.
        validator = QDoubleValidator(low, high, 0 if self._whole else 6, self)
        validator.setLocale(QLocale.c())
        validator.setNotation(QDoubleValidator.Notation.StandardNotation)
        self.setValidator(validator)

    def set_value(self, value: float) -> None:
        """Show ``value``."""
        self.setText(str(round(value)) if self._whole else f"{value:.6g}")

    def value(self) -> float:
        """Return the number, moved into the bounds; the lower bound where there is none."""
        try:
            found = float(self.text())
        except ValueError:
            return self._low
        return min(max(found, self._low), self._high)


def button(
    text: str, clicked: Callable[[], object], *, role: str = "", tip: str = ""
) -> QPushButton:
    """Return a push button; role "primary" is the one next action, "link" is quiet."""
    made = QPushButton(text)
    if role:
        made.setProperty("role", role)
    made.setToolTip(tip)
    made.clicked.connect(lambda *_: clicked())
    if role == "link":
        made.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        made.setCursor(Qt.CursorShape.PointingHandCursor)
    return made


def set_role(widget: QWidget, role: str) -> None:
    """Give ``widget`` another rule of the style sheet."""
    if widget.property("role") != role:
        widget.setProperty("role", role)
        widget.style().unpolish(widget)
        widget.style().polish(widget)


def label(text: str, *, role: str = "muted") -> QLabel:
    """Return a label that wraps."""
    made = QLabel(text)
    made.setProperty("role", role)
    made.setWordWrap(True)
    # A wrapped label would otherwise ask for the width of its longest word sequence.
    made.setMinimumWidth(1)
    return made


def column(
    parent: QWidget | None = None,
    *,
    margins: tuple[int, int, int, int] = (0, 0, 0, 0),
    spacing: int = SPACE,
) -> QVBoxLayout:
    """Return a vertical layout with the dock's spacing."""
    made = QVBoxLayout(parent) if parent is not None else QVBoxLayout()
    made.setContentsMargins(*margins)
    made.setSpacing(spacing)
    return made


def row(*items: QWidget | QLayout, stretch: int | None = None) -> QHBoxLayout:
    """Return a horizontal layout of ``items``; ``stretch`` is the item that takes what is left."""
    made = QHBoxLayout()
    made.setContentsMargins(0, 0, 0, 0)
    made.setSpacing(SPACE)
    for at, item in enumerate(items):
        share = 1 if at == stretch else 0
        if isinstance(item, QWidget):
            made.addWidget(item, share)
        else:
            made.addLayout(item, share)
    return made


def boxed(layout: QLayout) -> QWidget:
    """Return ``layout`` as a widget without a background of its own."""
    part = QWidget()
    part.setProperty("role", "plain")
    part.setLayout(layout)
    return part


def form_in(part: QWidget) -> QFormLayout:
    """Return a form layout of ``part`` whose fields line up with those of every other panel."""
    form = QFormLayout(part)
    form.setContentsMargins(0, 0, 0, 0)
    form.setVerticalSpacing(4)
    form.setHorizontalSpacing(SPACE)
    form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return form


def field_name(text: str) -> QLabel:
    """Return the label of a form's row."""
    made = QLabel(text)
    made.setProperty("role", "muted")
    made.setFixedWidth(NAME_WIDTH)
    return made


def count(number: int) -> str:
    """Return ``number`` with thin spaces between thousands."""
    return f"{number:,}".replace(",", "\u2009")


def narrow(combo: QComboBox) -> None:
    """Let a combo box be narrower than its longest entry."""
    # A combo box otherwise asks for the width of its longest entry, a class name perhaps.
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(6)
