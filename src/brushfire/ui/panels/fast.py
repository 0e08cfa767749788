"""A small, fast network in place of the one that is shown: made when asked for, then chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QVBoxLayout, QWidget

from brushfire.session.distilling import is_small
from brushfire.ui.widgets import ProgressRow, boxed, button, column, label, row

if TYPE_CHECKING:
    from collections.abc import Callable

    from brushfire.session import JobState, LearningState
    from brushfire.ui.connections import Connections
    from brushfire.ui.controller import Controller

TIP = (
    "Teach a small network what this model says, all over the volume. Then you see how well it"
    " agrees and how fast it is, and choose. Painting and learning go on"
)
SMALL = "The network is as small as it would become"
SHOW_TIP = "Show the small network and learn on with it. Go back returns to this one"


class FastForm(QWidget):
    """A button that makes a small network, how far that is, and what to do with it.

    Parameters
    ----------
    controller : Controller
        The window's controller.
    connections : Connections
        Where connections are remembered until the dock goes.
    save : callable
        Asks for a name, to keep the small network in the library.
    """

    def __init__(
        self, controller: Controller, connections: Connections, save: Callable[[], object]
    ) -> None:
        super().__init__()
        self.setProperty("role", "plain")
        self._controller = controller
        self._job: int | None = None
        self.ask = button("Make it fast", self._make, tip=TIP)
        self.progress = ProgressRow()
        self.progress.cancelled.connect(self._cancel)
        self.answer = label("")
        self.show_it = button("Show it", self._show, tip=SHOW_TIP)
        self.keep = button("Save it…", save, tip="Keep the small network in the library")
        self.leave = button("Leave it", self._leave, tip="Forget it; what is shown stays")
        self.choice = boxed(row(self.show_it, self.keep, self.leave, QVBoxLayout(), stretch=3))
        layout = column(self)
        layout.addLayout(row(self.ask, QVBoxLayout(), stretch=1))
        for part in (self.progress, self.answer, self.choice):
            layout.addWidget(part)
        self.hide()
        self._refresh()
        connections.connect(controller.session.events.job_changed, self._on_job)

    def show_state(self, state: LearningState) -> None:
        """Offer it where a model is shown that is not small."""
        self.setVisible(state.shown_model is not None)
        small = is_small(self._controller.session.settings.network)
        self.ask.setEnabled(not small)
        self.ask.setToolTip(SMALL if small else TIP)
        self._refresh()

    def _refresh(self) -> None:
        student = self._controller.session.student
        self.ask.setVisible(self._job is None and student is None)
        self.answer.setText("" if student is None else str(student))
        for part in (self.answer, self.choice):
            part.setVisible(student is not None)

    def _make(self) -> None:
        self._controller.attempt(self._controller.session.distil)

    def _cancel(self) -> None:
        if self._job is not None:
            self._controller.session.cancel(self._job)

    def _show(self) -> None:
        self._controller.attempt(self._controller.session.show_student)
        self._refresh()

    def _leave(self) -> None:
        self._controller.session.drop_student()
        self._refresh()

    def _on_job(self, job: JobState) -> None:
        if job.kind != "distil":
            return
        running = job.state == "running"
        self._job = job.id if running else None
        if running:
            self.progress.show_progress(f"{job.title}…", job.done, job.total)
        else:
            self.progress.hide()
        self._refresh()
        if job.state == "finished" and not self.isVisible():
            # The step is folded: what was waited for is told where it can be seen.
            self._controller.say("info", job.message, action=("Show it", self._show))
