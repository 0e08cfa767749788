"""Step 3: start, pause and watch the network learn; its shape folded away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QVBoxLayout, QWidget

from brushfire.ui.panels.fast import FastForm
from brushfire.ui.panels.network import NetworkForm
from brushfire.ui.panels.plots import CurveView
from brushfire.ui.panels.proportions import ProportionsForm
from brushfire.ui.panels.quality import QualityView
from brushfire.ui.panels.segmented import SegmentedChoice
from brushfire.ui.panels.starts import SaveForm, StartBrowser
from brushfire.ui.panels.worth import StartNote
from brushfire.ui.widgets import ElidedLabel, Fold, Question, button, column, label, row

if TYPE_CHECKING:
    from collections.abc import Callable

    from brushfire.session import JobState, LearningState
    from brushfire.ui.connections import Connections
    from brushfire.ui.controller import Controller
    from brushfire.ui.style import Palette

WAITING = ": paint two classes, then start learning."
BEGIN = "Start from what was learned…"


class LearnPanel(QWidget):
    """Controls and figures of learning.

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
        self.segmented = SegmentedChoice(controller, connections)
        self.start_button = button(
            "Start learning", controller.start_or_pause,
            tip="Learn from the strokes while you go on painting (G)",
        )  # fmt: skip
        self.begin = button(
            BEGIN, self._browse,
            tip="Take over what was learned elsewhere: its model is shown at once, and what its "
            "strokes taught is learned beside yours",
        )  # fmt: skip
        self.browser = StartBrowser(controller, connections)
        self.keep = button(
            "Save to library…", self._ask_name,
            tip="Keep this model, and what your strokes taught it, for other volumes",
        )  # fmt: skip
        self.save_form = SaveForm(controller, connections)
        self.start_note = StartNote(controller, connections)
        self.fast = FastForm(controller, connections, lambda: self.save_form.open(student=True))
        self.stop = button("Stop", self._call("stop"), tip="Stop and keep the model that is shown")
        self.reset = button(
            "Reset", lambda: self.question.show(), tip="Forget what was learned; the strokes stay"
        )
        self.message = label("")
        self.figures = ElidedLabel(role="value")
        self.quality = QualityView(self._call("undo_model"), controller.show_next_doubt)
        self.curves = CurveView()
        self.question = Question(
            "Forget everything learned so far? The strokes stay.", self._call("reset")
        )
        self.proportions = ProportionsForm(controller, connections)
        self.shares = Fold("How common classes are", self.proportions)
        self.shares.opened.connect(self.proportions.open)
        self.form = NetworkForm(controller, connections)
        self.network = Fold("Network", self.form)
        self.network.opened.connect(self.form.open)
        layout = column(self, margins=(10, 2, 10, 10))
        layout.addWidget(self.segmented)
        layout.addWidget(self.message)
        layout.addWidget(self.start_button)
        layout.addWidget(self.begin)
        layout.addWidget(self.browser)
        layout.addLayout(row(self.stop, self.reset, self.keep, QVBoxLayout(), stretch=3))
        for part in (
            self.question, self.fast, self.save_form, self.quality, self.start_note, self.curves,
            self.figures, self.shares, self.network,
        ):  # fmt: skip
            layout.addWidget(part)
        events = controller.session.events
        connections.connect(events.learning_changed, self.update_view)
        connections.connect(events.volume_changed, self.update_settings)
        connections.connect(events.annotations_changed, self._refresh)
        connections.connect(events.classes_changed, self._refresh)
        connections.connect(events.job_changed, self._on_job)
        connections.connect(events.model_changed, self._on_model)
        self.update_settings()

    # ------------------------------------------------------------------ showing
    @property
    def state(self) -> str:
        """One line for the folded step."""
        session = self._controller.session
        learning = session.learning
        if session.labels is None:
            return "needs strokes"
        if learning.phase == "training":
            return f"learning · step {learning.step} · {learning.steps_per_second:.1f}/s"
        words = {
            "fitting": "first fit…", "waiting": "waiting for strokes", "paused": "paused",
            "resting": "rests until you paint",
        }  # fmt: skip
        return words.get(learning.phase, "not started")

    def _refresh(self, *_: object) -> None:
        self.update_view(self._controller.session.learning)

    def update_view(self, state: LearningState) -> None:
        """Show the state of learning."""
        session = self._controller.session
        ready = session.labels is not None
        running = state.running
        has_model = state.shown_model is not None
        self.start_button.setEnabled(ready)
        again = "Resume learning" if state.phase == "paused" else "Start learning"
        self.start_button.setText("Pause" if running else again)
        # What was learned here would be lost: it is forgotten on purpose first.
        self.begin.setVisible(ready and not has_model and state.step == 0)
        if self.begin.isHidden():
            self.browser.hide()
        for part in (self.keep, self.shares):
            part.setVisible(has_model)
        if not has_model:
            self.save_form.hide()
        self.stop.setEnabled(running or state.phase == "paused")
        waits = session.layers_from
        self.reset.setEnabled(ready and (has_model or state.step > 0 or bool(waits)))
        self.quality.show_state(state, session.classes)
        self.start_note.show_state(state)
        self.fast.show_state(state)
        self.proportions.show_state(state)
        empty = "Open a volume and paint strokes of two classes first."
        message = state.message if ready else empty
        if waits:
            then = f". {message}" if message else WAITING
            message = f"Layers from {waits} wait for your strokes{then}"
        self.message.setText(message)
        self.message.setVisible(bool(message))
        self.figures.setVisible(state.step > 0)
        self.figures.set_text(
            f"Step {state.step} · {state.steps_per_second:.1f} steps/s · {state.device.upper()}"
        )
        some = bool(state.loss or state.scores)
        self.curves.setVisible(some)
        if some:
            self.curves.plot.show_state(state, session.classes)

    def set_palette(self, palette: Palette) -> None:
        """Take the colours of the theme."""
        self.quality.set_palette(palette)
        self.curves.plot.set_palette(palette)

    def update_settings(self) -> None:
        """Show the network settings of the session."""
        self._network = self._controller.session.settings.network
        self.form.update_settings()
        self._refresh()

    # ------------------------------------------------------------------ acting
    def _call(self, name: str) -> Callable[[], None]:
        controller = self._controller

        def act() -> None:
            controller.attempt(getattr(controller.session, name))

        return act

    def _browse(self) -> None:
        if self.browser.isHidden():
            self.browser.open()
        else:
            self.browser.hide()

    def _ask_name(self) -> None:
        if self.save_form.isHidden():
            self.save_form.open()
        else:
            self.save_form.hide()

    def _on_job(self, job: JobState) -> None:
        if job.kind == "start":
            reading = job.state == "running"
            self.begin.setEnabled(not reading)
            self.begin.setText(f"{job.title}…" if reading else BEGIN)
            if job.state == "finished":
                self.update_settings()  # its network came along

    def _on_model(self, *_: object) -> None:
        network = self._controller.session.settings.network
        if network != self._network:  # it came with the model, or went with it
            self._network = network
            self.form.update_settings()
