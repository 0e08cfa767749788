"""What to start from: nothing, a model of the library, a project, a model file; and saving one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from brushfire.library import bare_name, likeness
from brushfire.library.card import UNKNOWN
from brushfire.ui.panels.how import HowForm
from brushfire.ui.widgets import (
    SPACE,
    ElidedLabel,
    Fold,
    button,
    column,
    field_name,
    form_in,
    label,
    row,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtGui import QResizeEvent

    from brushfire.session import JobState, Offer
    from brushfire.ui.connections import Connections
    from brushfire.ui.controller import Controller

FIRST = 4
"""Models that are shown before somebody asks for all."""
FILTER = "Models (*.zip *.safetensors *.pt *.pth card.json)"
CROPS_TIP = (
    "Small parts of this volume around strokes, and of what it started from: so that the model does"
    " not forget them when it learns another volume, and says how well it tells them. Leave them"
    " out where the images are not for those who get the model"
)
EMPTY = "The library is empty. Save to library… keeps what you learn here for the next volume."


class StartButton(QPushButton):
    """One start in two lines: what it is called, and what there is to know of it.

    Parameters
    ----------
    title, text : str
        The two lines, each cut where it does not fit.
    mark : str
        A word at the end of the first one, or "".
    chosen : callable
        Called on a click.
    """

    def __init__(self, title: str, text: str, mark: str, chosen: Callable[[], object]) -> None:
        super().__init__()
        self.setProperty("role", "start")
        self.setAccessibleName(f"{title}{f', {mark}' if mark else ''}: {text}")
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.title, self.text = ElidedLabel(title, role="value"), ElidedLabel(text)
        self.mark = label(mark, role="accent")
        self.mark.setWordWrap(False)
        self.mark.setVisible(bool(mark))
        lines = column(self, margins=(8, 4, 8, 4), spacing=1)
        lines.addLayout(row(self.title, self.mark, stretch=0))
        lines.addWidget(self.text)
        for part in (self.title, self.text, self.mark):
            part.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
            part.setToolTip("")  # that of the button tells more
        self.clicked.connect(lambda *_: chosen())

    def sizeHint(self) -> QSize:
        """Ask for the room of both lines; a button itself asks for its caption."""
        layout = self.layout()
        assert layout is not None
        return layout.sizeHint()


class StartBrowser(QWidget):
    """A quiet list of starts inside the panel; hidden until it is asked for.

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
        self._all = False
        # The scroll area learns of a new height after the list itself.
        self._laid_out = QTimer(self)
        self._laid_out.setSingleShot(True)
        self._laid_out.timeout.connect(self._scroll_to)
        self.scratch = StartButton("From scratch", "your strokes alone", "", self.hide)
        self.scratch.setToolTip(
            "Paint a few strokes of each class, then start learning: the first answer takes seconds"
        )
        self.note = label("")
        self.how = HowForm(self._fill_again)
        self.fold = Fold("How", self.how)
        self.starts: list[StartButton] = []
        self._list = column(spacing=3)
        self.more = button("", self._show_all, role="link")
        self.project = button(
            "A project…", self._ask_project, role="link",
            tip="Another project that has learned, or a folder NAME.bfmodel",
        )  # fmt: skip
        self.file = button(
            "A model file…", self._ask_file, role="link",
            tip="NAME.bfmodel.zip, the card.json of a folder NAME.bfmodel, or NAME.safetensors",
        )  # fmt: skip
        layout = column(self, spacing=3)
        layout.addWidget(self.scratch)
        layout.addLayout(self._list)
        for part in (self.note, self.more):
            layout.addWidget(part)
        layout.addLayout(row(self.project, self.file, QVBoxLayout(), stretch=2))
        layout.addWidget(self.fold)
        self.hide()
        connections.connect(controller.session.events.library_changed, self._on_library)
        connections.connect(controller.session.events.volume_changed, self._on_volume)

    def open(self) -> None:
        """Show the list, and read the library for it."""
        self._all = False
        self.how.reset(self._controller.session.settings.learning.schedule)
        self._fill(())
        self.note.setText("Looking into the library…")
        self.note.show()
        self.show()
        self._controller.attempt(self._controller.session.browse_library)

    def _on_volume(self) -> None:
        self.hide()

    def _on_library(self, offers: tuple[Offer, ...]) -> None:
        self.note.setText(EMPTY)
        self.note.setVisible(not offers)
        session = self._controller.session
        score = session.scratch_score
        told = "" if score is None else f" · Dice {score:.2f} on them"
        self.scratch.text.set_text(f"your strokes alone{told}")
        best = score is not None and not any(offer.proposed for offer in offers)
        self.scratch.mark.setText("proposed" if best else "")
        self.scratch.mark.setVisible(best)
        if session.volume is not None:
            self.how.show_offers(offers, len(session.volume.channels))
        self._fill(offers)

    def _fill_again(self) -> None:
        """Show what can be started from in the way that was chosen."""
        if not self.isHidden():
            self._fill(self._controller.session.offers)

    def _fill(self, offers: tuple[Offer, ...]) -> None:
        for old in self.starts:
            self._list.removeWidget(old)
            old.hide()
            old.deleteLater()
        self.starts = [self._start(offer) for offer in (offers if self._all else offers[:FIRST])]
        for start in self.starts:
            self._list.addWidget(start)
        left = len(offers) - len(self.starts)
        self.more.setText(f"{left} more…")
        self.more.setVisible(left > 0)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Show all of the list when it gets longer, as far as the dock is high enough."""
        super().resizeEvent(event)
        if event.size().height() > event.oldSize().height():
            self._laid_out.start(0)

    def _scroll_to(self) -> None:
        area = self.parentWidget()
        while area is not None and not isinstance(area, QScrollArea):
            area = area.parentWidget()
        if area is not None and self.isVisible():
            for part in (self.file, self.scratch):
                area.ensureWidgetVisible(part, 0, SPACE)

    def _start(self, offer: Offer) -> StartButton:
        refused = "" if offer.problem else self.how.why_not(offer)
        made = StartButton(
            offer.name,
            refused or words_of(offer),
            "proposed" if offer.proposed else "",
            lambda: self._take(offer.path),
        )
        made.setEnabled(not offer.problem and not refused)
        made.setToolTip("\n".join(text for text in (refused, details_of(offer)) if text))
        return made

    def _show_all(self) -> None:
        self._all = True
        self._fill(self._controller.session.offers)

    def _take(self, place: Path) -> None:
        begin, how = self._controller.session.start_from, self.how
        if self._controller.attempt(begin, place, start=how.start, schedule=how.learns):
            self.hide()

    def _ask_project(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "A project that has learned")
        if folder:
            self._take(Path(folder))

    def _ask_file(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self, "A model file", "", FILTER)
        if chosen:
            path = Path(chosen)
            self._take(path.parent if path.name == "card.json" else path)


class SaveForm(QWidget):
    """A name for the model that is shown, to keep it in the library; hidden until asked for."""

    def __init__(self, controller: Controller, connections: Connections) -> None:
        super().__init__()
        self.setProperty("role", "plain")
        self._controller = controller
        self._taken: set[str] = set()
        self._student = False
        self.name = QLineEdit()
        self.name.setToolTip("What to call it, such as foam, micro-CT")
        self.name.setAccessibleName("Name in the library")
        self.name.setMinimumWidth(1)
        self.name.textChanged.connect(self._refresh)
        self.name.returnPressed.connect(self._save)
        self.save = button("Save", self._save)
        self.modality, self.licence, self.description = QLineEdit(), QLineEdit(), QLineEdit()
        self.crops = QCheckBox("With crops of the images")
        self.crops.setToolTip(CROPS_TIP)
        self.more = Fold("More", self._make_more())
        self.note = label("")
        layout = column(self)
        layout.addWidget(label("Name in the library, for this model and what its strokes taught:"))
        layout.addLayout(row(self.name, self.save, button("Cancel", self.hide), stretch=0))
        layout.addWidget(self.note)
        layout.addWidget(self.crops)
        layout.addWidget(self.more)
        self.hide()
        events = controller.session.events
        connections.connect(events.library_changed, self._on_library)
        connections.connect(events.volume_changed, self._on_volume)
        connections.connect(events.job_changed, self._on_job)

    def _make_more(self) -> QWidget:
        part = QWidget()
        part.setProperty("role", "plain")
        form = form_in(part)
        for name, field, example, tip in (
            ("Modality", self.modality, "micro-CT", "How the images were made"),
            ("Licence", self.licence, "CC-BY-4.0", "For those you give it to, as SPDX names it"),
            ("Description", self.description, "", "What else there is to know of it"),
        ):
            field.setPlaceholderText(f"such as {example}" if example else "")
            field.setToolTip(tip)
            field.setAccessibleName(name)
            field.setMinimumWidth(1)
            form.addRow(field_name(name), field)
        return part

    def open(self, *, student: bool = False) -> None:
        """Show the form, for the shown model or the small one, with a name that is suggested."""
        session, self._student = self._controller.session, student
        if session.project is not None:
            self.name.setText(session.project.folder.stem)
        elif session.volume is not None:
            self.name.setText(session.volume.name)
        if student:
            self.name.setText(f"{self.name.text()} fast")
        self.name.selectAll()
        self.crops.setChecked(False)
        self._refresh()
        self.show()
        self.name.setFocus()
        self._controller.attempt(session.browse_library)  # which names are taken

    def _on_volume(self) -> None:
        self.hide()

    def _on_library(self, offers: tuple[Offer, ...]) -> None:
        self._taken = {bare_name(offer.path).casefold() for offer in offers}
        self._refresh()

    def _refresh(self, *_: object) -> None:
        name = self.name.text().strip()
        taken = name.casefold() in self._taken
        self.save.setText("Replace" if taken else "Save")
        self.save.setEnabled(bool(name))
        self.note.setText("The library has a model of this name." if taken else "")
        self.note.setVisible(taken)

    def _save(self) -> None:
        name = self.name.text().strip()
        if name:
            session = self._controller.session
            replace = name.casefold() in self._taken
            self._controller.attempt(
                session.save_to_library,
                name,
                replace=replace,
                student=self._student,
                crops=self.crops.isChecked(),
                licence=self.licence.text().strip() or UNKNOWN,
                modality=self.modality.text().strip(),
                description=self.description.text().strip(),
            )

    def _on_job(self, job: JobState) -> None:
        if job.kind == "save":
            self.setEnabled(job.state != "running")
            if job.state == "finished":
                self.hide()
                self._controller.say("info", job.message)


def words_of(offer: Offer) -> str:
    """Return what there is to know of an offer in a line."""
    if offer.card is None or offer.problem:
        return offer.problem
    names = ", ".join(one.name for one in offer.card.classes)
    if offer.score is not None:
        sure = "" if offer.sure else ", unsure,"
        return f"Dice {offer.score:.2f}{sure} on your strokes · {names}"
    return f"data {likeness(offer.apart)} · {names}"


def _gain_of(offer: Offer) -> str:
    """Say how much better than no start an offer is on the strokes, and how sure that is."""
    if offer.score is None:
        return ""
    if offer.gain is None:
        return "Your strokes are too few to tell whether it is better than from scratch"
    low, high = offer.gain
    return f"Dice on your strokes {low:+.2f} to {high:+.2f} over scratch, at 90 %"


def details_of(offer: Offer) -> str:
    """Return what else there is to know of an offer, line by line."""
    card = offer.card
    if card is None:
        return offer.problem
    pixel = None if card.data is None else card.data.pixel
    made = card.made
    lines = [
        offer.problem,
        _gain_of(offer),
        card.description,
        f"Classes: {', '.join(one.name for one in card.classes)}",
        f"Pixels of {pixel:.4g} µm" if pixel is not None else "Size of its pixels unknown",
        "" if card.data is None else card.data.modality,
        "" if card.mean_dice is None else f"Dice there: {card.mean_dice:.2f}",
        f"Learned in {made.project}" if made.project else "",
        "" if made.strokes is None else f"{made.strokes} strokes, {made.voxels} voxels",
        f"Licence: {card.licence}",
    ]
    return "\n".join(line for line in lines if line)
