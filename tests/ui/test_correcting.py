"""A fast network, and true proportions, asked for and chosen in the real window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from brushfire.session import Session

if TYPE_CHECKING:
    from .conftest import Window


@pytest.fixture
def learned(painted: Window) -> Window:
    """A window that is paused and shows a model."""
    painted.learn()
    painted.dock.open_step("learn")
    painted.session.pause()
    painted.wait(lambda: painted.session.learning.phase == "paused")
    return painted


def test_a_fast_network_is_made_beside_learning_and_chosen(
    learned: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, fast = learned.session, learned.dock.learn.fast
    whole = Session.distil
    assert fast.ask.isVisible()
    assert not fast.choice.isVisible()

    fast.ask.click()
    learned.wait(fast.progress.isVisible)
    assert not fast.ask.isVisible()
    fast.progress.cancel.click()
    learned.wait(fast.ask.isVisible)
    assert not fast.progress.isVisible()

    monkeypatch.setattr(Session, "distil", lambda self: whole(self, depth=3, steps=2))
    fast.ask.click()
    learned.wait(fast.choice.isVisible)
    assert "small network says" in fast.answer.text()
    fast.leave.click()
    assert fast.ask.isVisible()
    assert session.student is None
    fast.ask.click()
    learned.wait(fast.choice.isVisible)
    fast.keep.click()
    assert learned.dock.learn.save_form.isVisible()
    assert learned.dock.learn.save_form.name.text() == f"{learned.folder.stem} fast"
    large, form = session.learning.shown_model, learned.dock.learn.form
    assert form.features.isChecked()
    fast.show_it.click()
    learned.wait(lambda: session.learning.shown_model > large)
    learned.wait(lambda: not fast.ask.isEnabled())
    assert "as small as" in fast.ask.toolTip()
    assert not form.features.isChecked(), "its network came along"
    assert "small network says" in learned.dock.learn.quality.reason.text()
    learned.dock.learn.quality.undo.click()
    learned.wait(lambda: session.learning.shown_model == large)
    assert form.features.isChecked()
    assert fast.ask.isEnabled()

    # A folded step is no reason to miss it.
    fast.ask.click()
    learned.dock.open_step("paint")
    learned.dock.steps["learn"].set_open(False)
    learned.wait(lambda: "small network says" in learned.dock.notice.text)
    learned.dock.notice.action.click()
    learned.wait(lambda: session.learning.shown_model > large)


def test_shares_are_shown_typed_and_undone(learned: Window) -> None:
    session, learn = learned.session, learned.dock.learn
    form, shown = learn.proportions, session.learning.shown_model
    assert not form.isVisible()
    learn.shares.button.setChecked(True)
    learned.wait(lambda: list(form.rows) == [1, 2])
    first, second = form.rows.values()
    assert float(first.found.text()) == pytest.approx(50, abs=10)
    assert float(second.field.placeholderText()) == pytest.approx(50, abs=10)
    assert not form.stage.isEnabled()
    assert "multi-scale input" in form.stage.toolTip()
    assert not form.learned.isVisible()

    learned.bot.keyClicks(second.field, "5")
    assert first.field.placeholderText() == "95"
    learned.bot.keyClicks(first.field, "50")
    form.calibrate.click()
    assert "sum to 100 %" in learned.dock.notice.text
    first.field.clear()
    form.calibrate.click()
    learned.wait(lambda: "Calibrated to the shares you gave" in form.note.text())
    assert session.learning.shown_model == shown + 1
    assert "→" in second.found.text()
    assert form.learned.isVisible()
    learn.quality.undo.click()
    learned.wait(lambda: session.learning.shown_model == shown)
    learned.wait(lambda: second.field.text() == "")
    learned.wait(lambda: "→" not in second.found.text())
    assert not form.learned.isVisible()
