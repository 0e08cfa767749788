"""Which volume is segmented: as it is, or denoised; hidden until something was denoised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QWidget

from brushfire.ui.widgets import (
    Choice,
    ProgressRow,
    button,
    column,
    field_name,
    form_in,
    label,
    row,
)

if TYPE_CHECKING:
    from brushfire.session import JobState
    from brushfire.ui.connections import Connections
    from brushfire.ui.controller import Controller

TIP = "What the strokes are learned on. They stay when it changes, and are learned anew"
GIVEN, DENOISED = "given", "denoised"


class SegmentedChoice(QWidget):
    """Chooses between the volume as it is and what is denoised of it.

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
        self._job: int | None = None
        self.choice = Choice(TIP)
        self.choice.add("the volume as it is", GIVEN, "The intensities of the file.")
        self.choice.add(
            "the denoised volume", DENOISED,
            "What the model makes of it that denoises now. Both networks run for each tile.",
        )  # fmt: skip
        self.choice.activated.connect(self._choose)
        self.newer = label("")
        self.take = button(
            "Use it", self._take, role="link", tip="Learn the strokes anew on what it denoises"
        )
        self._newer_row = QWidget()
        self._newer_row.setProperty("role", "plain")
        self._newer_row.setLayout(row(self.newer, self.take, stretch=0))
        self.progress = ProgressRow()
        self.progress.cancelled.connect(self._cancel)
        fields = QWidget()
        fields.setProperty("role", "plain")
        form_in(fields).addRow(field_name("Learn on"), self.choice)
        layout = column(self, spacing=2)
        for part in (fields, self._newer_row, self.progress):
            layout.addWidget(part)
        events = controller.session.events
        for signal in (
            events.volume_changed, events.restoration_changed, events.segmented_changed,
            events.task_changed, events.model_changed,
        ):  # fmt: skip
            connections.connect(signal, self.update_view)
        connections.connect(events.job_changed, self._on_job)
        self.update_view()

    def update_view(self, *_: object) -> None:
        """Show what is segmented, and what could be."""
        session = self._controller.session
        restoration, denoised = session.restoration, session.denoised
        self.setVisible(restoration is not None or denoised is not None)
        problem = session.denoised_problem
        self.choice.refuse(DENOISED, "" if denoised is not None else problem)
        self.choice.choose(GIVEN if denoised is None else DENOISED)
        newer = denoised is not None and not problem and not session.denoises_as_shown
        self._newer_row.setVisible(newer)
        if newer and denoised is not None:
            self.newer.setText(
                f"Denoised by model {denoised.revision}; model {session.restorer} denoises now."
            )

    def _choose(self, *_: object) -> None:
        self._ask(self.choice.chosen)

    def _take(self) -> None:
        self._ask(DENOISED)

    def _ask(self, what: str) -> None:
        self._controller.attempt(self._controller.session.segment_on, what)
        self.update_view()  # until it is looked at, and where it is refused, all is as before

    def _cancel(self) -> None:
        if self._job is not None:
            self._controller.session.cancel(self._job)

    def _on_job(self, job: JobState) -> None:
        if job.kind != "denoised":
            return
        running = job.state == "running"
        self._job = job.id if running else None
        self.choice.setEnabled(not running)
        if running:
            self.progress.show_progress(f"{job.title}…", job.done, job.total)
        else:
            self.progress.hide()
            self.update_view()
