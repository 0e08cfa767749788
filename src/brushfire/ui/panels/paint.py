"""Step 2: the classes, and the strokes that teach them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QHeaderView,
    QMenu,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from brushfire.annotations import DEFAULT_COLORS
from brushfire.ui.widgets import button, column, count, label, row

if TYPE_CHECKING:
    from brushfire.annotations import LabelClass
    from brushfire.ui.connections import Connections
    from brushfire.ui.controller import Controller

UNDO = "Ctrl\N{NON-BREAKING HYPHEN}Z takes a stroke back."
COLOR, NAME, VOXELS, SLICES = range(4)


class PaintPanel(QWidget):
    """The class table, and the way to brush and annotated slices.

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
        self._filling = False
        self.empty = label("Confirm a volume first, then paint a few strokes of each class.")
        self.table = self._make_table()
        self.paint_button = button("Paint", controller.paint)
        self.hint = label("")
        self.tools = self._make_tools()
        self.question = self._make_question()
        layout = column(self, margins=(10, 2, 10, 10))
        for part in (self.empty, self.table, self.tools, self.question, self.hint):
            layout.addWidget(part)
        layout.addWidget(self.paint_button)
        events = controller.session.events
        connections.connect(events.volume_changed, self.update_view)
        connections.connect(events.classes_changed, self.update_view)
        connections.connect(events.active_class_changed, self._on_active)
        connections.connect(events.annotations_changed, self._update_counts)
        connections.connect(events.model_changed, self._update_hint)
        self.update_view()

    # ------------------------------------------------------------------ building
    def _make_table(self) -> QTableWidget:
        table = QTableWidget(0, 4)
        table.setHorizontalHeaderLabels(["", "Class", "Voxels", "Slices"])
        table.verticalHeader().hide()
        table.setShowGrid(False)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        head = table.horizontalHeader()
        head.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        head.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        head.setHighlightSections(False)
        head.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        head.setMinimumSectionSize(24)
        table.itemSelectionChanged.connect(self._on_selected)
        table.itemChanged.connect(self._on_renamed)
        table.cellClicked.connect(self._on_clicked)
        table.setToolTip("Double-click a name to change it; click a colour to choose another.")
        return table

    def _make_tools(self) -> QWidget:
        tools = QWidget()
        tools.setProperty("role", "plain")
        self.add = button("Add class", self._add)
        self.remove = button("Remove…", self._ask_remove)
        self.back = button(
            "◂", lambda: self._controller.next_slice(-1), tip="Previous annotated slice (Shift-J)"
        )
        self.next = button(
            "▸", lambda: self._controller.next_slice(1), tip="Next annotated slice (J)"
        )
        for arrow in (self.back, self.next):
            arrow.setFixedWidth(30)
        tools.setLayout(row(self.add, self.remove, QVBoxLayout(), self.back, self.next, stretch=2))
        return tools

    def _make_question(self) -> QWidget:
        part = QWidget()
        part.setProperty("role", "plain")
        self._question = label("", role="warning")
        self.yes = button("Remove", self._remove)
        self.no = button("Keep", part.hide)
        layout = column(part)
        layout.addWidget(self._question)
        layout.addLayout(row(self.yes, self.no, QVBoxLayout(), stretch=2))
        part.hide()
        return part

    # ------------------------------------------------------------------ showing
    @property
    def state(self) -> str:
        """One line for the folded step."""
        session = self._controller.session
        if session.labels is None:
            return "needs a volume"
        counts = session.labels.counts()
        voxels = sum(entry.voxels for entry in counts.values())
        if not voxels:
            return f"{len(session.classes)} classes · no strokes yet"
        slices = len(session.labels.annotated_slices())
        plural = "slice" if slices == 1 else "slices"
        return f"{count(voxels)} voxels on {slices} {plural}"

    def update_view(self) -> None:
        """Show the classes of the session."""
        session = self._controller.session
        ready = session.labels is not None
        self.empty.setVisible(not ready)
        for part in (self.table, self.tools, self.hint, self.paint_button):
            part.setVisible(ready)
        self.question.hide()
        self._filling = True
        try:
            self.table.setRowCount(len(session.classes))
            for at, entry in enumerate(session.classes):
                self._fill(at, entry)
        finally:
            self._filling = False
        rows = min(max(len(session.classes), 2), 6)
        height = self.table.verticalHeader().defaultSectionSize()
        head = self.table.horizontalHeader().sizeHint().height()
        self.table.setFixedHeight(rows * height + head + 4)
        self.remove.setEnabled(len(session.classes) > 1)
        self._update_counts()
        self._on_active(session.active_class)

    def _fill(self, at: int, entry: LabelClass) -> None:
        color = QTableWidgetItem(swatch(entry.color), "")
        color.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
        color.setToolTip("Choose another colour")
        name = QTableWidgetItem(entry.name)
        name.setData(Qt.ItemDataRole.UserRole, entry.value)
        self.table.setItem(at, COLOR, color)
        self.table.setItem(at, NAME, name)
        for place in (VOXELS, SLICES):
            item = QTableWidgetItem("0")
            item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
            item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self.table.setItem(at, place, item)

    def _update_counts(self, revision: int = 0) -> None:
        session = self._controller.session
        if session.labels is None:
            return
        counts = session.labels.counts()
        self._filling = True
        try:
            for at, entry in enumerate(session.classes):
                found = counts.get(entry.value)
                for place, number in (
                    (VOXELS, found.voxels if found else 0),
                    (SLICES, found.slices if found else 0),
                ):
                    item = self.table.item(at, place)
                    if item is not None and item.text() != count(number):
                        item.setText(count(number))
        finally:
            self._filling = False
        self._update_hint()

    def _update_hint(self, *_: object) -> None:
        session = self._controller.session
        counts = session.labels.counts() if session.labels is not None else {}
        missing = [
            entry.name
            for entry in session.classes
            if not (counts.get(entry.value) and counts[entry.value].voxels)
            and entry.value not in session.classes_from_start
        ]
        if missing:
            self.hint.setText(
                f"Paint a few strokes of {_listed(missing)}. Unpainted voxels teach nothing, so "
                "background is a class too. N takes the next class, 1 erases, 2 paints."
            )
        elif session.learning.shown_model is None:
            self.hint.setText(f"Start learning, and go on painting meanwhile. {UNDO}")
        else:
            self.hint.setText(f"Correct where the prediction is wrong. {UNDO}")
        slices = bool(session.labels is not None and session.labels.annotated_slices())
        self.back.setEnabled(slices)
        self.next.setEnabled(slices)

    def _on_active(self, value: int) -> None:
        for at, entry in enumerate(self._controller.session.classes):
            if entry.value == value:
                self._filling = True
                self.table.selectRow(at)
                self._filling = False
                self.paint_button.setText(f"Paint “{entry.name[:20]}”")
                self.paint_button.setToolTip("Take the brush for this class (N: next class)")

    # ------------------------------------------------------------------ acting
    def _value(self, at: int) -> int | None:
        item = self.table.item(at, NAME)
        return int(item.data(Qt.ItemDataRole.UserRole)) if item is not None else None

    def _on_selected(self) -> None:
        value = self._value(self.table.currentRow())
        if not self._filling and value is not None:
            self._controller.attempt(self._controller.session.set_active_class, value)

    def _on_renamed(self, item: QTableWidgetItem) -> None:
        if self._filling or item.column() != NAME:
            return
        value = self._value(item.row())
        session = self._controller.session
        if not self._controller.attempt(session.rename_class, value, item.text().strip()):
            self.update_view()

    def _on_clicked(self, at: int, place: int) -> None:
        value = self._value(at)
        if place == COLOR and value is not None:
            self._choose_color(at, value)

    def _choose_color(self, at: int, value: int) -> None:
        menu = QMenu(self)
        for color in DEFAULT_COLORS:
            menu.addAction(swatch(color), color, lambda c=color: self._recolor(value, c))
        menu.addSeparator()
        menu.addAction("Other…", lambda: self._ask_color(value))
        y = self.table.rowViewportPosition(at) + self.table.rowHeight(at)
        menu.popup(self.table.viewport().mapToGlobal(QPoint(0, y)))

    def _ask_color(self, value: int) -> None:
        entry = next(e for e in self._controller.session.classes if e.value == value)
        dialog = QColorDialog(QColor(entry.color), self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.colorSelected.connect(lambda color: self._recolor(value, color.name()))
        dialog.open()

    def _recolor(self, value: int, color: str) -> None:
        self._controller.attempt(self._controller.session.recolor_class, value, color)

    def _add(self) -> None:
        def add() -> None:
            made = self._controller.session.add_class()
            self._controller.session.set_active_class(made.value)
            at = next(i for i in range(self.table.rowCount()) if self._value(i) == made.value)
            self.table.editItem(self.table.item(at, NAME))

        self._controller.attempt(add)

    def _ask_remove(self) -> None:
        session = self._controller.session
        entry = next((e for e in session.classes if e.value == session.active_class), None)
        if entry is None or session.labels is None:
            return
        found = session.labels.counts().get(entry.value)
        if not found or not found.voxels:
            self._remove()
            return
        self._question.setText(
            f"Remove “{entry.name}”? Its {count(found.voxels)} painted voxels become unlabelled; "
            "this cannot be undone."
        )
        self.question.show()

    def _remove(self) -> None:
        self.question.hide()
        session = self._controller.session
        self._controller.attempt(session.remove_class, session.active_class)


def swatch(color: str) -> QIcon:
    """Return a small square of ``color``."""
    pixmap = QPixmap(14, 14)
    pixmap.fill(QColor(color))
    icon = QIcon(pixmap)
    # A selected row would otherwise tint the colour, which is what the user compares.
    icon.addPixmap(pixmap, QIcon.Mode.Selected)
    return icon


def _listed(names: list[str]) -> str:
    quoted = [f"“{name}”" for name in names[:3]]
    if len(names) > 3:
        quoted.append("the others")
    *first, last = quoted
    return f"{', '.join(first)} and {last}" if first else last
