"""Starting from what was learned elsewhere, and keeping it for others, in the window."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from qtpy.QtWidgets import QFileDialog

from brushfire.annotations import LabelClass
from brushfire.errors import ProjectError, SettingsError
from brushfire.geometry import Box
from brushfire.learning.reports import Remembered
from brushfire.learning.transfer.strategies import StartSettings
from brushfire.library import Library, ModelCard
from brushfire.session import Offer, Session
from brushfire.ui.panels.learn import BEGIN
from brushfire.ui.panels.starts import details_of, words_of

from .conftest import SHAPE, foam, truth

if TYPE_CHECKING:
    from .conftest import Window


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a project that has learned two named classes, and its volume."""
    folder = tmp_path_factory.mktemp("learned")
    np.save(folder / "first.npy", foam())
    session = Session(folder / "first.brushfire", device="cpu", suggest=False)
    session.open_volume(folder / "first.npy", axes="zyx")
    session.rename_class(1, "wall")
    session.rename_class(2, "pore")
    box = Box((3, 20, 0), (4, 60, SHAPE[2]))
    session.paint(box, truth()[box.slices])
    session.start()
    assert session.wait_for(lambda: session.learning.shown_model is not None, 60)
    session.close()
    return folder


@pytest.fixture
def project(learned: Path, tmp_path: Path) -> Path:
    """A copy of that project, whose changes no other test sees."""
    return Path(shutil.copytree(learned, tmp_path / "learned")) / "first.brushfire"


def test_an_offer_says_when_strokes_cannot_tell_whether_it_is_better() -> None:
    card = ModelCard("one", {}, 1, (LabelClass(1, "wall", "#ff0000"),), 8, "0" * 64)
    offer = Offer("one", Path("one.bfmodel"), card, score=0.8)
    assert words_of(offer).startswith("Dice 0.80, unsure, on your strokes")
    assert "too few to tell" in details_of(offer)
    unsure = replace(offer, gain=(-0.1, 0.2))
    assert "unsure" in words_of(unsure)
    assert "-0.10 to +0.20 over scratch" in details_of(unsure)
    assert words_of(replace(offer, gain=(0.1, 0.2))).startswith("Dice 0.80 on your strokes ·")


def test_a_chosen_project_is_taken_over_and_corrected(
    window: Window, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window.open((2.0 * foam(1) + 50).astype(np.float32))
    learn = window.dock.learn
    window.dock.open_step("learn")
    assert learn.begin.isVisible()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(project))
    learn.begin.click()
    assert learn.browser.isVisible()
    learn.browser.project.click()
    assert learn.browser.isHidden()
    assert not learn.begin.isEnabled()
    assert "first" in learn.begin.text()
    window.wait(lambda: len(window.session.predictions) > 0)
    assert learn.begin.isHidden()
    assert "learned in first" in learn.quality.reason.text()
    assert "Correct where the prediction is wrong" in window.dock.paint.hint.text()
    assert [one.name for one in window.session.classes] == ["wall", "pore"]
    assert learn.form.slices.currentText() == str(window.session.settings.network.slices)
    window.viewer.dims.set_point(0, 2)
    window.wait(lambda: bool(window.session.predictions.labels[2].all()))
    assert (window.session.predictions.labels[2] & 127 == truth()[2]).mean() > 0.95
    window.stroke(2, 1, 12)
    learn.start_button.click()
    window.wait(lambda: (window.session.learning.shown_model or 0) > 1)
    note = learn.start_note
    window.wait(lambda: note.isVisible())
    assert note.knows.text().startswith("On first, where it came from: ")
    assert not note.forgot.isVisible()
    found = Remembered(0.7, 0.84, 100, whole=True, here=0.9, here_at_start=0.62)
    window.session.stop()
    window.wait(lambda: window.session.learning.phase == "idle")
    note.show_state(replace(window.session.learning, remembered=found))
    assert note.knows.text() == (
        "On first, where it came from: 0.70 (0.84 when it came); here: 0.90 (0.62 when it came)."
    )
    assert note.forgot.isVisible()
    assert note.forgot.text().startswith("It forgets first: 0.14 less than when it came.")
    note.ask.click()
    assert not note.ask.isEnabled()
    window.wait(lambda: note.ask.isEnabled())
    assert "Paint some more strokes of each class" in note.answer.text()


def test_a_model_is_kept_and_proposed_to_the_next_volume(
    window: Window, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRUSHFIRE_LIBRARY", str(tmp_path / "library"))
    window.open()
    learn, session = window.dock.learn, window.session
    window.dock.open_step("learn")
    assert learn.keep.isHidden()
    session.start_from(project)
    window.wait(lambda: session.learning.shown_model is not None)
    learn.keep.click()
    assert learn.save_form.isVisible()
    assert learn.save_form.save.text() == "Save"
    learn.save_form.name.setText("a/b")
    learn.save_form.save.click()
    assert "file's name" in window.dock.notice.text
    learn.save_form.name.setText("Stripes")
    assert not learn.save_form.licence.isVisible()
    learn.save_form.more.button.setChecked(True)
    assert not learn.save_form.crops.isChecked(), "images are given to others on purpose only"
    learn.save_form.crops.setChecked(True)
    learn.save_form.licence.setText("CC0-1.0")
    learn.save_form.modality.setText("micro-CT")
    learn.save_form.save.click()
    window.wait(lambda: learn.save_form.isHidden())
    assert window.dock.notice.text == "Saved to the library as Stripes."
    card = Library().card("Stripes")
    assert card.patches_sha256 is not None
    assert card.made.started_from == "first"
    assert (card.licence, card.data.modality) == ("CC0-1.0", "micro-CT")
    learn.keep.click()
    learn.save_form.name.setText("stripes")
    window.wait(lambda: learn.save_form.save.text() == "Replace")
    # It has learned something: the list of starts comes back after a reset.
    assert learn.begin.isHidden()
    learn.question.yes.click()
    window.wait(lambda: not learn.begin.isHidden())
    assert learn.save_form.isHidden()
    (tmp_path / "library" / "damaged.bfmodel").mkdir()
    learn.begin.click()
    window.wait(lambda: len(learn.browser.starts) == 2)
    nearest, damaged = learn.browser.starts
    assert (nearest.title.whole, nearest.mark.text()) == ("Stripes", "proposed")
    assert nearest.text.whole == "data alike · wall, pore"
    assert not damaged.isEnabled()
    learn.browser.scratch.click()
    assert learn.browser.isHidden()
    assert session.learning.shown_model is None
    learn.begin.click()
    window.wait(lambda: len(learn.browser.starts) == 2)
    learn.browser.starts[0].click()
    window.wait(lambda: session.learning.shown_model is not None)
    assert session.classes_from_start == {1, 2}
    assert "learned in Stripes" in learn.quality.reason.text()

    # The same in another way: layers alone, of which the last learns.
    learn.question.yes.click()
    window.wait(lambda: not learn.begin.isHidden())
    learn.begin.click()
    window.wait(lambda: len(learn.browser.starts) == 2)
    how = learn.browser.how
    assert not how.isVisible()
    learn.browser.fold.button.setChecked(True)
    assert "multi-scale input" in how.weights.refusal("gabor")
    assert not how.stages.isVisible()
    how.weights.choose("lower")
    assert how.stages.isVisible()
    how.stages.setValue(3)
    how.schedule.choose("head")
    assert how.start == StartSettings("lower", 3)
    learn.browser.starts[0].click()
    window.wait(lambda: session.awaits_strokes)
    assert session.settings.learning.schedule == "head"
    waits = "Layers from Stripes wait for your strokes: paint two classes, then start learning."
    window.wait(lambda: learn.message.text() == waits)
    assert learn.reset.isEnabled()
    learn.question.yes.click()
    window.wait(lambda: learn.message.isHidden())
    assert not learn.reset.isEnabled()


def test_the_window_goes_on_while_the_library_is_read(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = threading.Event()

    def entries(library: Library) -> tuple[()]:
        assert read.wait(60)
        return ()

    monkeypatch.setattr(Library, "entries", entries)
    window.open()
    learn = window.dock.learn
    window.dock.open_step("learn")
    learn.begin.click()
    assert "Looking into the library" in learn.browser.note.text()
    assert learn.browser.scratch.isVisible()
    read.set()
    window.wait(lambda: "The library is empty" in learn.browser.note.text())
    assert learn.browser.starts == []


def test_what_was_taken_over_is_forgotten_on_reset(window: Window, project: Path) -> None:
    window.open()
    window.session.start_from(project)
    window.wait(lambda: window.session.learning.shown_model is not None)
    window.dock.learn.question.yes.click()
    window.wait(lambda: window.session.learning.shown_model is None)
    assert window.session.classes_from_start == frozenset()
    assert "Paint a few strokes" in window.dock.paint.hint.text()
    assert not window.dock.learn.begin.isHidden()
    window.session.close_volume()
    assert not (window.folder / "examples.safetensors").exists()


def test_a_project_that_has_learned_nothing_says_so_and_changes_nothing(
    window: Window, tmp_path: Path
) -> None:
    np.save(tmp_path / "empty.npy", foam())
    empty = Session(tmp_path / "empty.brushfire", device="cpu", suggest=False)
    empty.open_volume(tmp_path / "empty.npy", axes="zyx")
    empty.close()
    window.open()
    said: list[str] = []
    window.dock.controller.said.connect(lambda level, text, *_: said.append(f"{level}: {text}"))
    job = window.session.start_from(tmp_path / "empty.brushfire")
    window.wait(lambda: window.session.jobs[job - 1].state == "failed")
    window.wait(lambda: bool(said))
    assert "Learn there first" in said[-1]
    assert window.dock.learn.begin.isEnabled()
    assert window.dock.learn.begin.text() == BEGIN
    assert [one.name for one in window.session.classes] == ["Class 1", "Class 2"]


def test_a_removed_class_is_learned_no_more(window: Window, project: Path) -> None:
    window.open()
    window.session.start_from(project)
    window.wait(lambda: window.session.learning.shown_model is not None)
    window.session.remove_class(2)
    assert window.session.classes_from_start == {1}


def test_classes_that_the_other_project_gave_up_are_left_behind(
    window: Window, project: Path
) -> None:
    learned = Session(project, device="cpu", suggest=False)
    learned.open_project(project)
    learned.add_class("never learned")
    learned.close()
    window.open()
    window.session.start_from(project)
    window.wait(lambda: window.session.learning.shown_model is not None)
    assert window.session.classes_from_start == {1, 2}
    learned = Session(project, device="cpu", suggest=False)
    learned.open_project(project)
    learned.remove_class(2)
    learned.close()
    window.session.reset()
    window.wait(lambda: window.session.model_revision is None)
    job = window.session.start_from(project)
    window.wait(lambda: window.session.jobs[job - 1].state == "failed")
    assert "at least two classes" in window.session.jobs[job - 1].message


def test_the_brush_keeps_its_class_and_another_input_is_refused(
    window: Window, project: Path
) -> None:
    window.open()
    window.session.set_active_class(2)
    window.session.start_from(project)
    window.wait(lambda: window.session.learning.shown_model is not None)
    assert window.session.active_class == 2
    network = window.session.settings.network
    with pytest.raises(SettingsError, match="press Reset first"):
        window.session.configure(network=replace(network, slices=network.slices + 2))
    assert window.session.settings.network == network


def test_a_start_that_is_cancelled_or_whose_volume_is_closed_takes_nothing_over(
    window: Window, project: Path, tmp_path: Path
) -> None:
    window.open()
    job = window.session.start_from(project)
    with pytest.raises(ProjectError, match="one at a time"):
        window.session.start_from(tmp_path / "another.brushfire")
    window.session.cancel(job)
    window.wait(lambda: window.session.jobs[job - 1].state != "running")
    assert window.session.jobs[job - 1].state == "cancelled"
    job = window.session.start_from(project)
    window.session.close_volume()
    assert window.session.jobs[job - 1].state == "cancelled"
    assert not (window.folder / "examples.safetensors").exists()


def test_a_start_comes_through_when_the_engine_has_ended(window: Window, project: Path) -> None:
    window.open()
    window.session._end_engine()
    window.session.start_from(project)
    window.wait(lambda: window.session.learning.shown_model is not None)
    assert window.session.classes_from_start == {1, 2}
