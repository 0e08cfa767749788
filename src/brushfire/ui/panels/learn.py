"""Step 3: start, pause and watch the network learn; its shape folded away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QLineEdit,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from brushfire.errors import SettingsError
from brushfire.networks.settings import NetworkSettings
from brushfire.ui.panels.plots import CurveView
from brushfire.ui.panels.quality import QualityView
from brushfire.ui.panels.starts import SaveForm, StartBrowser
from brushfire.ui.widgets import ElidedLabel, Fold, button, column, field_name, form_in, label, row

if TYPE_CHECKING:
    from collections.abc import Callable

    from brushfire.session import JobState, LearningState
    from brushfire.ui.connections import Connections
    from brushfire.ui.controller import Controller
    from brushfire.ui.style import Palette

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
        self.stop = button("Stop", self._call("stop"), tip="Stop and keep the model that is shown")
        self.reset = button(
            "Reset", self._ask_reset, tip="Forget what was learned; the strokes stay"
        )
        self.message = label("")
        self.figures = ElidedLabel(role="value")
        self.quality = QualityView(self._call("undo_model"), controller.show_next_doubt)
        self.curves = CurveView()
        self.question = self._make_question()
        self.network = Fold("Network", self._make_network())
        layout = column(self, margins=(10, 2, 10, 10))
        layout.addWidget(self.message)
        layout.addWidget(self.start_button)
        layout.addWidget(self.begin)
        layout.addWidget(self.browser)
        layout.addLayout(row(self.stop, self.reset, self.keep, QVBoxLayout(), stretch=3))
        for part in (
            self.question,
            self.save_form,
            self.quality,
            self.curves,
            self.figures,
            self.network,
        ):
            layout.addWidget(part)
        events = controller.session.events
        connections.connect(events.learning_changed, self.update_view)
        connections.connect(events.volume_changed, self.update_settings)
        connections.connect(events.annotations_changed, self._refresh)
        connections.connect(events.classes_changed, self._refresh)
        connections.connect(events.job_changed, self._on_job)
        self.update_settings()

    # ------------------------------------------------------------------ building
    def _make_question(self) -> QWidget:
        part = QWidget()
        part.setProperty("role", "plain")
        text = label("Forget everything learned so far? The strokes stay.", role="warning")
        self.yes = button("Forget it", self._reset)
        layout = column(part)
        layout.addWidget(text)
        layout.addLayout(row(self.yes, button("Keep", part.hide), QVBoxLayout(), stretch=2))
        part.hide()
        return part

    def _make_network(self) -> QWidget:
        part = QWidget()
        part.setProperty("role", "plain")
        self.depth = _spin(1, 400, "Layers of the network")
        self.width_ = _spin(1, 64, "Maps that each layer adds")
        self.dilations = QLineEdit()
        self.dilations.setToolTip("Such as 1-10, or 1, 2, 4, 8: layers take them in turn")
        self.dilations.setMinimumWidth(1)
        self.slices = QComboBox()
        self.slices.addItems(["1", "3", "5", "7"])
        self.slices.setToolTip("Neighbouring slices that the network sees, to segment the middle")
        self.features = QCheckBox("multi-scale input")
        self.features.setToolTip("Gives a first answer in a second; leave on unless you compare.")
        self.apply = button("Apply", self._apply, tip="Start afresh with this network")
        fields = QWidget()
        fields.setProperty("role", "plain")
        form = form_in(fields)
        for name, field in (
            ("Depth", self.depth), ("Width", self.width_), ("Dilations", self.dilations),
            ("Slices", self.slices), ("", self.features),
        ):  # fmt: skip
            form.addRow(field_name(name), field)
        layout = column(part, margins=(4, 0, 0, 0))
        layout.addWidget(fields)
        layout.addWidget(label("Applying starts a fresh network; strokes and classes stay."))
        layout.addLayout(row(self.apply, QVBoxLayout(), stretch=1))
        return part

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
        self.keep.setVisible(has_model)
        if not has_model:
            self.save_form.hide()
        self.stop.setEnabled(running or state.phase == "paused")
        self.reset.setEnabled(ready and (has_model or state.step > 0))
        self.quality.show_state(state, session.classes)
        empty = "Open a volume and paint strokes of two classes first."
        message = state.message if ready else empty
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
        network = self._controller.session.settings.network
        self.depth.setValue(network.depth)
        self.width_.setValue(network.width)
        self.dilations.setText(format_dilations(network.dilations))
        self.slices.setCurrentText(str(network.slices))
        self.features.setChecked(network.features)
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

    def _ask_reset(self) -> None:
        self.question.show()

    def _reset(self) -> None:
        self.question.hide()
        self._controller.attempt(self._controller.session.reset)

    def _apply(self) -> None:
        def configure() -> None:
            network = NetworkSettings(
                depth=self.depth.value(),
                width=self.width_.value(),
                dilations=parse_dilations(self.dilations.text()),
                slices=int(self.slices.currentText()),
                features=self.features.isChecked(),
                border=self._controller.session.settings.network.border,  # not asked for here
            )
            self._controller.session.configure(network=network)

        self._controller.attempt(configure)


def _spin(lowest: int, highest: int, tip: str) -> QSpinBox:
    spin = QSpinBox()
    spin.setRange(lowest, highest)
    spin.setToolTip(tip)
    spin.setMinimumWidth(1)
    return spin


def parse_dilations(text: str) -> tuple[int, ...]:
    """Return the dilations in ``text``, such as "1-10" or "1, 2, 4, 8".

    Raises
    ------
    SettingsError
        If a part is neither a whole number nor a range.
    """
    found: list[int] = []
    for part in text.replace(";", ",").split(","):
        first, dash, last = part.strip().partition("-")
        if not first.strip().isdigit() or (dash and not last.strip().isdigit()):
            raise SettingsError(
                "Dilations are whole numbers or ranges, with commas between them.",
                got=text or "nothing",
                do="Write for example 1-10, or 1, 2, 4, 8.",
            )
        found.extend(range(int(first), int(last or first) + 1))
    return tuple(found)


def format_dilations(values: tuple[int, ...]) -> str:
    """Return ``values`` as the text that `parse_dilations` reads."""
    if len(values) > 2 and values == tuple(range(values[0], values[-1] + 1)):
        return f"{values[0]}-{values[-1]}"
    return ", ".join(str(value) for value in values)
