"""Starting from what another project learned, in the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtWidgets import QFileDialog

from brushfire.geometry import Box
from brushfire.session import Session

from .conftest import SHAPE, foam, truth

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from .conftest import Window


def teacher(folder: Path) -> Path:
    """Make a project that has learned two named classes."""
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
    return folder / "first.brushfire"


def test_a_chosen_project_is_taken_over_and_corrected(
    window: Window, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = teacher(tmp_path)
    window.open((2.0 * foam(1) + 50).astype(np.float32))
    learn = window.dock.learn
    window.dock.open_step("learn")
    assert learn.begin.isVisible()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(project))
    learn.begin.click()
    assert not learn.begin.isEnabled()
    assert "first" in learn.begin.text()
    window.wait(lambda: len(window.session.predictions) > 0)
    assert learn.begin.isHidden()
    assert "learned in first" in learn.quality.reason.text()
    assert "Correct where the prediction is wrong" in window.dock.paint.hint.text()
    assert [one.name for one in window.session.classes] == ["wall", "pore"]
    window.viewer.dims.set_point(0, 2)
    window.wait(lambda: bool(window.session.predictions.labels[2].all()))
    assert (window.session.predictions.labels[2] & 127 == truth()[2]).mean() > 0.95
    window.stroke(2, 1, 12)
    learn.start_button.click()
    window.wait(lambda: (window.session.learning.shown_model or 0) > 1)


def test_what_was_taken_over_is_forgotten_on_reset(window: Window, tmp_path: Path) -> None:
    project = teacher(tmp_path)
    window.open()
    window.session.start_from(project)
    window.wait(lambda: window.session.learning.shown_model is not None)
    window.dock.learn.yes.click()
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
    assert window.dock.learn.begin.text() == "Start from a project…"
    assert [one.name for one in window.session.classes] == ["Class 1", "Class 2"]


def test_a_removed_class_is_learned_no_more(window: Window, tmp_path: Path) -> None:
    project = teacher(tmp_path)
    window.open()
    window.session.start_from(project)
    window.wait(lambda: window.session.learning.shown_model is not None)
    window.session.remove_class(2)
    assert window.session.classes_from_start == {1}
