"""Step 2 of denoising: what to learn from, then start, pause and watch it learn."""

from __future__ import annotations

from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QCheckBox, QLabel, QVBoxLayout, QWidget

from brushfire.errors import BrushfireError
from brushfire.learning.restoring import FACTS, suggest_restoration_network
from brushfire.session import LearningState
from brushfire.ui.panels.plots import RestoringPlot
from brushfire.ui.panels.restoring import RestoringForm
from brushfire.ui.panels.sources import PartsField, SourceField
from brushfire.ui.widgets import (
    Choice,
    ElidedLabel,
    Fold,
    NumberField,
    ProgressRow,
    Question,
    button,
    column,
    field_name,
    form_in,
    label,
    row,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from brushfire.learning.restoring import RestorationEvaluation
    from brushfire.session import JobState
    from brushfire.session.restoration import Restoration
    from brushfire.ui.connections import Connections
    from brushfire.ui.controller import Controller
    from brushfire.ui.style import Palette

ZOOMED = "zoomed"
ZOOMED_TITLE = "From a zoomed scan"
ZOOMED_TEXT = (
    "Learns what a finer scan of a part looks like from the whole, and makes all of it as fine."
)
ZOOMED_ASSUMPTION = "The part looks as the rest does, and lies where the offset says."
ZOOMED_ALONE = "From a zoomed scan one volume is learned: others have grids of their own."
CHANNELS = "Without files, the channels of the volume are its parts."
SPLITS = {
    "x:1": (
        "All but one, to one",
        "The mean of all other parts is the input",
    ),
    "1:x": ("One, to all others", "One part is the input, the mean of all others the target"),
}
PSNR_TIP = (
    "Peak signal-to-noise ratio against the clean volume, the higher the better, and structural"
    " similarity, at most 1."
)


class WayForm(QWidget):
    """The way to learn, what it assumes, and the fields that belong to it.

    Parameters
    ----------
    controller : Controller
        The window's controller.
    """

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self.setProperty("role", "plain")
        self._controller = controller
        self.way = Choice("What is learned from")
        for way, facts in FACTS.items():
            self.way.add(facts.title, way, facts.text)
            if way == "pairs":
                self.way.add(ZOOMED_TITLE, ZOOMED, ZOOMED_TEXT)
        self.text, self.assumption = label("", role="value"), label("")
        self.clean = SourceField(controller, "The clean volume, voxel by voxel the same object")
        self.parts = PartsField(controller, "Reconstructions of parts of the scan")
        self.channels = label(CHANNELS)
        self.splits = Choice("Which part is learned from which")
        for value, (title, tip) in SPLITS.items():
            self.splits.add(title, value, tip)
        self.zoomed = SourceField(controller, "The zoomed scan, with its own voxel size")
        self.offset = tuple(
            NumberField(-1e9, 1e9, f"Micrometres along {axis}, first corner to first corner")
            for axis in "zyx"
        )
        for field in self.offset:
            field.set_value(0.0)
        self.refine = QCheckBox("look for it near there")
        self.refine.setChecked(True)
        self.refine.setToolTip("Find the place at which the scan looks most like the whole")
        self.also = PartsField(controller, "Further scans of a series to learn from as well")
        self.also_clean = PartsField(controller, "The clean volume of each, in the same order")
        self._rows = QWidget()
        self._rows.setProperty("role", "plain")
        self._form = form_in(self._rows)
        self._belongs: dict[QWidget, str] = {}
        self._fill()
        layout = column(self)
        top = QWidget()
        top.setProperty("role", "plain")
        form_in(top).addRow(field_name("Learn"), self.way)
        for part in (top, self.text, self.assumption, self._rows):
            layout.addWidget(part)
        self.way.currentIndexChanged.connect(self.update_view)
        for field in (self.also, self.also_clean):
            field.changed.connect(self.update_view)
        self.update_view()

    def _fill(self) -> None:
        offset = QWidget()
        offset.setProperty("role", "plain")
        offset.setLayout(row(*self.offset))
        for name, field, way in (
            ("Clean", self.clean, "pairs"),
            ("Parts", self.parts, "splits"),
            ("", self.channels, "splits"),
            ("Divide", self.splits, "splits"),
            ("Scan", self.zoomed, ZOOMED),
            ("Offset µm", offset, ZOOMED),
            ("", self.refine, ZOOMED),
            ("Also from", self.also, ""),
            ("Their clean", self.also_clean, "pairs"),
        ):
            self._form.addRow(field_name(name), field)
            self._belongs[field] = way

    def update_view(self, *_: object) -> None:
        """Show what belongs to the way that is chosen."""
        way = self.way.chosen
        facts = FACTS.get(way)
        self.text.setText(ZOOMED_TEXT if facts is None else facts.text)
        assumed = ZOOMED_ASSUMPTION if facts is None else facts.assumption
        self.assumption.setText(f"Assumes: {assumed[0].lower()}{assumed[1:]}")
        volume = self._controller.session.volume
        many = volume is not None and len(volume.channels) > 1
        series = not (self.also.empty and self.also_clean.empty)
        there = {self.channels: many, self.also_clean: series}
        for field, own in self._belongs.items():
            self._form.setRowVisible(field, own in (way, "") and there.get(field, True))
        self.also.refuse(ZOOMED_ALONE if way == ZOOMED else "")

    def begin(self) -> None:
        """Ask the session to restore from what was chosen.

        Raises
        ------
        BrushfireError
            That cannot be.
        """
        session, way = self._controller.session, self.way.chosen
        options: dict[str, Any] = {}
        if way == "pairs":
            options["target"] = self.clean.value()
        elif way == ZOOMED:
            way = "pairs"
            options["target"] = self.zoomed.value()
            options["offset"] = tuple(field.value() for field in self.offset)
            options["refine"] = self.refine.isChecked()
        elif way == "splits":
            options["splits"] = self.parts.value()
            if session.volume is not None:
                network = suggest_restoration_network(session.volume, way)
                options["network"] = replace(network, splits=self.splits.chosen)
        session.restore_from(way, others=self._others(), **options)

    def _others(self) -> list[Any]:
        """Return further scans, in pairs each with its clean one."""
        if self.way.chosen == ZOOMED:
            return []
        scans = self.also.value()
        if self.way.chosen != "pairs":
            return scans
        return list(zip_longest(scans, self.also_clean.value()))


class ScoreView(QWidget):
    """How good the shown model is, beside the noisy input, and the one click back.

    Parameters
    ----------
    go_back : callable
        Shows the model before.
    """

    def __init__(self, go_back: Callable[[], object]) -> None:
        super().__init__()
        self.setProperty("role", "plain")
        self.score = QLabel()
        self.score.setProperty("role", "score")
        self.score.setToolTip(PSNR_TIP)
        self.how, self.before = label("", role="value"), label("")
        self.undo = button("Go back", go_back, tip="Show the model before this one, at once.")
        layout = column(self, margins=(0, 2, 0, 2))
        layout.addLayout(row(self.score, self.how, stretch=1))
        layout.addLayout(row(self.before, self.undo, stretch=0))
        self.hide()

    def show_state(self, state: LearningState) -> None:
        """Show what is known of the shown model; nothing while there is none."""
        self.setVisible(state.shown_model is not None)
        self.undo.setEnabled(state.can_undo)
        found = state.restoration
        known = found is not None and found.psnr is not None
        self.score.setVisible(known)
        if found is not None and found.psnr is not None:
            self.score.setText(f"{found.psnr:.1f} dB")
        how, before = words_of(found)
        self.how.setText(how or f"Model {state.shown_model}")
        self.before.setText(before)


def words_of(found: RestorationEvaluation | None) -> tuple[str, str]:
    """Return how good a model is, and how good its input, each in a few words."""
    if found is None:
        return "", ""
    where = "on held-out slices" if found.held_out else "where it learned"
    if found.psnr is None:
        then = "" if found.noisy_loss is None else f"The input: {found.noisy_loss:.3f}."
        return f"Error {found.loss:.3f} {where}, noise included.", then
    how = where if found.ssim is None else f"{where}, SSIM {found.ssim:.2f}"
    if found.noisy_psnr is None:
        return how, ""
    before = f"Noisy input: {found.noisy_psnr:.1f} dB"
    return how, before if found.noisy_ssim is None else f"{before}, SSIM {found.noisy_ssim:.2f}"


class RestorePanel(QWidget):
    """What to denoise from, and controls and figures of learning.

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
        self._choosing = False
        self.form = WayForm(controller)
        self.use_button = button("Use", self._use, tip="Open what was chosen and check it")
        self.keep_button = button("Keep the present one", self._keep, role="link")
        self.progress = ProgressRow()
        self.progress.cancelled.connect(self._cancel)
        self.error, self.warnings = label("", role="error"), label("", role="warning")
        self.chosen = ElidedLabel(role="value")
        self.change = button(
            "Change…", self._choose, role="link",
            tip="Learn from something else; what was learned so far is then given up",
        )  # fmt: skip
        self.start_button = button(
            "Start learning", controller.start_or_pause, tip="Learn to denoise (G)"
        )
        self.stop = button("Stop", self._call("stop"), tip="Stop and keep the model that is shown")
        self.question = Question("Forget everything learned to denoise?", self._call("reset"))
        self.reset = button("Reset", self.question.show, tip="Forget what was learned")
        self.message = label("")
        self.score = ScoreView(self._call("undo_model"))
        self.plot = RestoringPlot()
        self.figures = ElidedLabel(role="value")
        self.shape_form = RestoringForm(controller, connections)
        self.network = Fold("Network", self.shape_form)
        self.network.opened.connect(self.shape_form.open)
        self._summary, self._learning = QWidget(), QWidget()
        self._compose()
        events = controller.session.events
        connections.connect(events.volume_changed, self._on_volume)
        connections.connect(events.restoration_changed, self._on_restoration)
        connections.connect(events.learning_changed, self._refresh)
        connections.connect(events.job_changed, self._on_job)
        controller.tasked.connect(self._refresh)
        self._on_restoration()

    def _compose(self) -> None:
        self._summary.setProperty("role", "plain")
        self._summary.setLayout(row(self.chosen, self.change, stretch=0))
        self._learning.setProperty("role", "plain")
        inner = column(self._learning)
        inner.addWidget(self.message)
        inner.addWidget(self.start_button)
        inner.addLayout(row(self.stop, self.reset, QVBoxLayout(), stretch=2))
        for part in (self.question, self.score, self.plot, self.figures, self.network):
            inner.addWidget(part)
        layout = column(self, margins=(10, 2, 10, 10))
        for part in (
            self._summary, self.form, self.error, self.use_button, self.keep_button, self.progress,
            self.warnings, self._learning,
        ):  # fmt: skip
            layout.addWidget(part)

    # ------------------------------------------------------------------ showing
    @property
    def state(self) -> str:
        """One line for the folded step."""
        session = self._controller.session
        if session.restoration is None:
            return "choose what to learn from"
        learning = self._state()
        if learning.phase == "training":
            return f"learning · step {learning.step} · {learning.steps_per_second:.1f}/s"
        words = {"fitting": "first fit…", "paused": "paused", "resting": "rests"}
        return words.get(learning.phase, "not started")

    def _state(self) -> LearningState:
        """Return the state of learning to restore, not of what else is learned."""
        session = self._controller.session
        return session.learning if session.task == "restore" else LearningState()

    def _on_volume(self) -> None:
        self.error.hide()
        self.form.update_view()
        self._refresh()

    def _on_restoration(self) -> None:
        restoration = self._controller.session.restoration
        self._choosing = False
        self.error.hide()
        text = "" if restoration is None else "\n\n".join(restoration.warnings)
        self.warnings.setText(text)
        self.chosen.set_text("" if restoration is None else summary_of(restoration))
        self.shape_form.update_settings()
        self._refresh()

    @property
    def asking(self) -> bool:
        """Whether the form for what to learn from is shown."""
        return self._choosing or self._controller.session.restoration is None

    def _refresh(self, *_: object) -> None:
        some, asking = self._controller.session.restoration is not None, self.asking
        self._summary.setVisible(not asking)
        self.form.setVisible(asking)
        self.use_button.setVisible(asking)
        self.use_button.setEnabled(self._job is None)
        self.keep_button.setVisible(some and asking)
        self.warnings.setVisible(bool(self.warnings.text()) and not asking)
        self._learning.setVisible(not asking)
        self._update_learning(self._state())

    def _update_learning(self, state: LearningState) -> None:
        running, paused = state.running, state.phase == "paused"
        self.start_button.setText(
            "Pause" if running else "Resume learning" if paused else "Start learning"
        )
        self.stop.setEnabled(running or paused)
        self.reset.setEnabled(state.shown_model is not None or state.step > 0)
        self.message.setText(state.message)
        self.message.setVisible(bool(state.message))
        self.score.show_state(state)
        self.figures.setVisible(state.step > 0)
        self.figures.set_text(
            f"Step {state.step} · {state.steps_per_second:.1f} steps/s · {state.device.upper()}"
        )
        some = bool(state.loss)
        self.plot.setVisible(some)
        if some:
            self.plot.show_state(state, ())

    def set_palette(self, palette: Palette) -> None:
        """Take the colours of the theme."""
        self.plot.set_palette(palette)

    # ------------------------------------------------------------------ acting
    def _call(self, name: str) -> Callable[[], None]:
        controller = self._controller
        return lambda: (controller.attempt(getattr(controller.session, name)), None)[1]

    def _choose(self) -> None:
        self._choosing = True
        self._refresh()

    def _keep(self) -> None:
        self._choosing = False
        self.error.hide()
        self._refresh()

    def _use(self) -> None:
        self.error.hide()
        try:
            self.form.begin()
        except BrushfireError as error:
            self._tell(str(error))

    def _tell(self, text: str) -> None:
        self.error.setText(text)
        self.error.setVisible(bool(text))

    def _cancel(self) -> None:
        if self._job is not None:
            self._controller.session.cancel(self._job)

    def _on_job(self, job: JobState) -> None:
        if job.kind != "restore":
            return
        running = job.state == "running"
        self._job = job.id if running else None
        if running:
            self.progress.show_progress(job.title, job.done, job.total)
        else:
            self.progress.hide()
            self._tell("" if job.state == "finished" else job.message)
        self._refresh()


def summary_of(restoration: Restoration) -> str:
    """Return what is learned from, in a line."""
    state = restoration.state
    way = state.learning.way
    title = FACTS[way].title if state.offset is None else ZOOMED_TITLE
    own = (state.target, *state.splits)
    names = [Path(one.source).name for one in own if one is not None and one.source is not None]
    if restoration.target is not None and not names:
        names = [restoration.target.name]
    if way == "splits" and len(names) > 1:
        names = [f"{len(names)} of them"]
    if restoration.others:
        title += f", {len(restoration.scans)} scans"
    return f"{title}: {', '.join(names)}" if names else title
