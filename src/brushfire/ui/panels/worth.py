"""What the volume started from: what is still known of it, and whether it was worth it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QVBoxLayout, QWidget

from brushfire.ui.widgets import button, column, label, row

if TYPE_CHECKING:
    from brushfire.session import JobState, LearningState
    from brushfire.ui.connections import Connections
    from brushfire.ui.controller import Controller

ASK = "Was the start worth it?"
TIP = (
    "Learns twice from your strokes in the background, with the start and from scratch, and"
    " compares both on strokes that were held out. Who paints from scratch paints elsewhere: that"
    " user's end it cannot tell"
)
KNOWS_TIP = (
    "Dice on strokes of the other volume that nothing here has learned. They come along as small"
    " crops of its images, and others of them are replayed in between"
)
VOXELS_TIP = (
    "Dice on labelled voxels of the other volume that no fit here has learned, by what tells single"
    " pixels"
)


class StartNote(QWidget):
    """A line on the start, and a button that measures it; hidden where there was none."""

    def __init__(self, controller: Controller, connections: Connections) -> None:
        super().__init__()
        self.setProperty("role", "plain")
        self._controller = controller
        self.knows = label("")
        self.forgot = label("", role="warning")
        self.ask = button(ASK, self._measure, tip=TIP)
        self.answer = label("")
        self.answer.hide()
        layout = column(self)
        layout.addWidget(self.knows)
        layout.addWidget(self.forgot)
        layout.addLayout(row(self.ask, QVBoxLayout(), stretch=1))
        layout.addWidget(self.answer)
        self.hide()
        events = controller.session.events
        connections.connect(events.volume_changed, self._on_volume)
        connections.connect(events.job_changed, self._on_job)

    def show_state(self, state: LearningState) -> None:
        """Show what is known of the start by the model that is shown."""
        name = self._controller.session.started_from
        self.setVisible(bool(name) and state.shown_model is not None and state.step > 0)
        found = state.remembered
        self.knows.setText(f"Started from {name}." if found is None else f"{found.line(name)}.")
        self.knows.setToolTip(KNOWS_TIP if found is None or found.whole else VOXELS_TIP)
        self.forgot.setText("" if found is None else found.warning(name))
        self.forgot.setVisible(bool(self.forgot.text()))

    def _measure(self) -> None:
        self._controller.attempt(self._controller.session.measure_start)

    def _on_volume(self) -> None:
        self.answer.hide()

    def _on_job(self, job: JobState) -> None:
        if job.kind != "worth":
            return
        running = job.state == "running"
        self.ask.setEnabled(not running)
        share = f" {100 * job.done // job.total} %" if job.total else ""
        self.ask.setText(f"{job.title}…{share}" if running else ASK)
        self.answer.setText("" if running else job.message)
        self.answer.setVisible(bool(self.answer.text()))
