"""The dock widget: steps of the task that fold, notices, and one line of status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QButtonGroup,
    QFrame,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from brushfire.ui.connections import Connections
from brushfire.ui.controller import Controller
from brushfire.ui.panels.learn import LearnPanel
from brushfire.ui.panels.paint import PaintPanel
from brushfire.ui.panels.places import PlacesPanel
from brushfire.ui.panels.restore import RestorePanel
from brushfire.ui.panels.restored import RestoredPanel
from brushfire.ui.panels.result import ResultPanel
from brushfire.ui.panels.volume import VolumePanel
from brushfire.ui.style import palette_of, style_sheet
from brushfire.ui.widgets import NoticeBar, Step, boxed, button, column, label, row, set_role

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.viewer import Viewer
    from qtpy.QtCore import QSize
    from qtpy.QtGui import QDragEnterEvent, QDropEvent

    from brushfire.engine.messages import Task
    from brushfire.session import Session

STATE_MS = 250
WIDTH = 330
STEPS: dict[Task, tuple[str, ...]] = {
    "segment": ("volume", "paint", "learn", "result"),
    "restore": ("volume", "restore", "restored"),
}
"""The steps of each task, in their order."""
INSTEAD = {"paint": "restore", "learn": "restore", "result": "restored"}
"""What is opened in place of a step while the volume is denoised."""


class TaskChooser(QWidget):
    """Two quiet buttons for what is done with the volume.

    Parameters
    ----------
    choose : callable
        Called with the task.
    """

    def __init__(self, choose: Callable[[Task], object]) -> None:
        super().__init__()
        self.segment = self._choice(
            "Segment", "Paint classes, and learn to tell them apart", lambda: choose("segment")
        )
        self.restore = self._choice(
            "Denoise", "Learn to restore the volume, then look at it or segment it better",
            lambda: choose("restore"),
        )  # fmt: skip
        group = QButtonGroup(self)
        for one in (self.segment, self.restore):
            group.addButton(one)
        line = row(self.segment, self.restore, QVBoxLayout(), stretch=2)
        line.setContentsMargins(4, 0, 4, 0)
        self.setLayout(line)

    def _choice(self, text: str, tip: str, clicked: Callable[[], object]) -> QPushButton:
        made = button(text, clicked, role="choice", tip=tip)
        made.setCheckable(True)
        return made

    def show_task(self, task: str) -> None:
        """Mark the task that is worked on."""
        (self.restore if task == "restore" else self.segment).setChecked(True)


class BrushfireDock(QWidget):
    """The Brushfire panel of a napari window.

    Parameters
    ----------
    napari_viewer : Viewer
        The viewer; a second dock in the same window shows the same session.
    session : Session, optional
        A session made by a script; a new one by default.
    """

    def __init__(self, napari_viewer: Viewer, session: Session | None = None) -> None:
        super().__init__()
        self.setObjectName("brushfire-dock")
        self.setAcceptDrops(True)
        self.controller = Controller.of(napari_viewer, session)
        self.viewer = self.controller.viewer
        self._connections = Connections()
        # Qt deletes docks without a closeEvent; what is connected to Python must end with it.
        self.destroyed.connect(self._connections.close)
        make = (self.controller, self._connections)
        self.volume, self.paint = VolumePanel(*make), PaintPanel(*make)
        self.learn, self.result = LearnPanel(*make), ResultPanel(*make)
        self.places = PlacesPanel(*make)
        self.restore, self.restored = RestorePanel(*make), RestoredPanel(*make)
        self.steps = {
            "volume": Step(1, "Volume"), "paint": Step(2, "Paint"),
            "learn": Step(3, "Learn"), "result": Step(4, "Result"),
            "restore": Step(2, "Denoise"), "restored": Step(3, "Result"),
        }  # fmt: skip
        self.panels: dict[str, Any] = {
            "volume": self.volume, "paint": self.paint, "learn": self.learn, "result": self.result,
            "restore": self.restore, "restored": self.restored,
        }  # fmt: skip
        self.tasks = TaskChooser(self.controller.choose_task)
        self.notice = NoticeBar()
        self.status = label("", role="muted")
        self._compose()
        self._connect()
        self._restyle()
        self._open_where_we_are()
        self.update_states()

    @property
    def session(self) -> Session:
        """The session that this dock shows."""
        return self.controller.session

    def sizeHint(self) -> QSize:
        """Ask for a width at which nothing is cut."""
        hint = super().sizeHint()
        hint.setWidth(WIDTH)
        return hint

    def _compose(self) -> None:
        inner = QWidget()
        stack = column(inner, margins=(4, 4, 4, 4), spacing=6)
        for name, step in self.steps.items():
            step.set_body(self._painting() if name == "paint" else self.panels[name])
            stack.addWidget(step)
            if name == "volume":
                stack.addWidget(self.tasks)
        stack.addStretch(1)
        self.scroll = QScrollArea()
        self.scroll.setWidgetResizable(True)
        self.scroll.setFrameShape(QFrame.Shape.NoFrame)
        self.scroll.setWidget(inner)
        self.scroll.setMinimumWidth(260)
        layout = column(self, spacing=4)
        layout.addWidget(self.scroll, 1)
        layout.addWidget(self.notice)
        layout.addWidget(self.status)
        self.status.setContentsMargins(15, 2, 12, 6)  # in line with what is in the steps
        self.status.setAccessibleName("What Brushfire does now")

    def _painting(self) -> QWidget:
        """Return the panel for strokes, with where the next ones would teach most under it."""
        together = column(spacing=0)
        together.addWidget(self.paint)
        together.addWidget(self.places)
        return boxed(together)

    def _connect(self) -> None:
        connect, events = self._connections.connect, self.session.events
        connect(events.status_changed, self._on_status)
        connect(events.volume_changed, self._on_volume)
        connect(self.viewer.events.theme, self._restyle)
        self.controller.said.connect(self._on_said)
        self.controller.stepped.connect(self.open_step)
        self.controller.tasked.connect(self._on_task)
        # States are words about counts and steps; four times a second is as fast as one reads.
        self._timer = QTimer(self)
        self._timer.setInterval(STATE_MS)
        self._timer.timeout.connect(self.update_states)
        self._timer.start()
        self._on_status(self.session.status)

    # ------------------------------------------------------------------ steps
    @property
    def _order(self) -> tuple[str, ...]:
        return STEPS[self.controller.task]

    def open_step(self, name: str) -> None:
        """Open a step and fold the one before it."""
        if name not in self._order:
            name = INSTEAD[name]
        self.steps[name].set_open(True)
        for earlier in self._order[: self._order.index(name)]:
            # Painting and learning go on side by side; the volume is done with.
            if not (name == "learn" and earlier == "paint"):
                self.steps[earlier].set_open(False)

    def _open_where_we_are(self) -> None:
        session = self.session
        confirmed = session.volume is not None and session.confirmed
        learning = confirmed and session.learning.phase != "idle"
        self.steps["volume"].set_open(not confirmed)
        for name in ("paint", "learn", "restore"):
            self.steps[name].set_open(confirmed)
        for name in ("result", "restored"):
            self.steps[name].set_open(learning)
        self._show_task()

    def _show_task(self) -> None:
        """Show the steps of the task, and which one it is."""
        session = self.session
        self.tasks.setVisible(session.volume is not None and session.confirmed)
        self.tasks.show_task(self.controller.task)
        for name, step in self.steps.items():
            step.setVisible(name in self._order)

    def _on_task(self, task: str) -> None:
        if task == "restore":
            shown = self.session.task == task and self.session.learning.shown_model is not None
            self.steps["restored"].set_open(shown)
            self.open_step("restore")
        self._show_task()
        self._on_status(self.session.status)
        self.update_states()

    def _on_volume(self) -> None:
        self._open_where_we_are()
        self.update_states()

    def update_states(self) -> None:
        """Show each step's state in its head while it is folded."""
        self.result.sync()
        self.restored.sync()
        for name in self._order:
            step = self.steps[name]
            step.state.set_text("" if step.is_open else self.panels[name].state)
        self._mark_next()

    def _mark_next(self) -> None:
        """Make the one button prominent that is the next thing to do."""
        restoring = self.controller.task == "restore"
        wanted = self._next_to_restore() if restoring else self._next_button()
        for one in (
            self.paint.paint_button, self.learn.start_button, self.result.export.button,
            self.restore.use_button, self.restore.start_button, self.restored.export.button,
        ):  # fmt: skip
            set_role(one, "primary" if one is wanted else "")

    def _next_to_restore(self) -> QPushButton | None:
        session = self.session
        if session.task != "restore" or self.restore.asking:
            return self.restore.use_button
        learning = session.learning
        if learning.shown_model is None or not self.steps["restored"].is_open:
            return None if learning.running else self.restore.start_button
        return None if learning.running else self.restored.export.button

    def _next_button(self) -> QPushButton | None:
        labels, learning = self.session.labels, self.session.learning
        if labels is None or not self.session.confirmed:
            return None  # the Volume step has its own
        if sum(entry.voxels > 0 for entry in labels.counts().values()) < 2:
            return self.paint.paint_button
        if learning.running:
            return self.paint.paint_button
        if learning.shown_model is not None and self.steps["result"].is_open:
            return self.result.export.button
        return self.learn.start_button

    # ------------------------------------------------------------------ telling
    def _on_status(self, text: str) -> None:
        if self.controller.task != self.session.task:
            text = "Choose what to learn from, then use it."
        self.status.setText(text or "Ready.")

    def _on_said(self, level: str, text: str, detail: str, action: Any) -> None:
        self.notice.show_notice(level, text, detail=detail, action=action)

    def _restyle(self, event: object = None) -> None:
        palette = palette_of(self.viewer)
        self.setStyleSheet(style_sheet(palette))
        self.learn.set_palette(palette)
        self.places.set_palette(palette)
        self.restore.set_palette(palette)
        self.restored.edge.set_palette(palette)

    # ------------------------------------------------------------------ dropping
    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Accept one file or folder."""
        if len(event.mimeData().urls()) == 1:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Open what was dropped."""
        urls = event.mimeData().urls()
        if urls and urls[0].isLocalFile():
            self.volume.open_path(urls[0].toLocalFile())
            event.acceptProposedAction()
