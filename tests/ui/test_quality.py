"""How good the shown model is, which one it is and why, and the way back, in the real window."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtGui import QColor

from brushfire.learning.reports import Evaluation, Verdict
from brushfire.session import LearningState, ScorePoint
from brushfire.ui.panels.plots import curve_of, floor_of

if TYPE_CHECKING:
    from .conftest import Window

SCORES = Evaluation(
    {1: 0.93, 2: 0.86, 3: None}, 0.895, 900, {1: (0.9, 0.96)}, (0.81, 0.94),
    {1: 9, 2: 1}, {3: 2},
)  # fmt: skip
VERDICT = Verdict("trained", True, "The trained network agrees better: 0.90, before 0.86.")
STATE = LearningState(
    "training", 9, shown_model=4, shown_dice=0.895, evaluation=SCORES, verdict=VERDICT,
    can_undo=True,
    scores=(
        ScorePoint(1, 30.0, 4, {1: 0.5, 2: 0.6}), ScorePoint(5, 60.0, 4, {1: 0.7, 2: 0.65}),
        ScorePoint(9, 120.0, 7, {1: 0.93}),
    ),
)  # fmt: skip


def shown(window: Window, state: LearningState) -> None:
    if len(window.session.classes) < 3:
        window.session.add_class("pore")
    window.dock.learn.update_view(state)
    window.settle()


def test_at_a_glance_how_good_which_model_and_why(painted: Window) -> None:
    quality = painted.dock.learn.quality
    assert quality.isHidden(), "there is no model yet"
    shown(painted, STATE)
    assert quality.isVisible()
    assert quality.score.text() == "0.90"
    assert quality.how.whole == "held-out Dice, 0.81–0.94"  # noqa: RUF001 - a range
    assert quality.which.whole == "Model 4 · the trained network"
    assert "quick fit" in quality.which.toolTip()
    assert quality.reason.text() == VERDICT.reason
    assert quality.note.isHidden()
    assert [row.value.text() for row in quality.rows.values()] == ["0.93", "0.86", ""]

    before = quality.rows[1].name.pos()
    longer = replace(VERDICT, reason="Kept: the trained network is no better (0.97, shown 0.97).")
    shown(painted, replace(STATE, verdict=longer))
    assert quality.rows[1].name.pos() == before, "a longer reason moves nothing"


def test_each_class_has_a_score_with_its_interval_or_what_it_takes(painted: Window) -> None:
    shown(painted, STATE)
    sure, single, none = painted.dock.learn.quality.rows.values()
    assert "between 0.90 and 0.96 with 90 % certainty, from 9 strokes" in sure.bar.toolTip()
    assert "from one stroke; too few to say how sure" in single.bar.toolTip()
    assert none.bar.isHidden()
    assert none.hint.whole == "two strokes more for a score"
    assert none.hint.toolTip() == "Paint two strokes more of pore to get a score."
    image = sure.bar.grab().toImage()
    color = QColor(painted.session.classes[0].color)
    found = image.pixelColor(round(0.93 * (image.width() - 12)) + 6, image.height() // 2)
    assert abs(found.red() - color.red()) + abs(found.green() - color.green()) < 12


LACKING = (
    (replace(SCORES, how="cross-validated", mean_interval=None), "cross-validated Dice",
     "scored by a fit without it"),
    (replace(SCORES, mean_interval=None), "held-out Dice", "Few strokes"),
    (Evaluation({1: None, 2: None}, None, 0, wanting={1: 1, 2: 1}, how="not at all"),
     "no score yet", ""),
    (Evaluation({1: None, 2: None}, None, 0, how="not at all"), "no score yet",
     "Nothing is held out"),
)  # fmt: skip
"""What was found, and the words that say where the score is from and what it lacks."""


def test_what_a_score_lacks_is_said(painted: Window) -> None:
    quality = painted.dock.learn.quality
    for found, how, note in LACKING:
        shown(painted, replace(STATE, evaluation=found, shown_dice=found.mean))
        assert quality.how.whole == how
        assert note in quality.note.text()
        assert quality.note.isHidden() == (not note), how
        assert quality.score.isHidden() == (found.mean is None), how


def test_one_click_goes_back_and_says_so(painted: Window) -> None:
    quality = painted.dock.learn.quality
    painted.learn()
    painted.wait(lambda: painted.session.learning.shown_model is not None)
    assert not quality.undo.isEnabled() or painted.session.learning.can_undo
    painted.session.labels[4, 30:34, 8:16] = 1
    painted.wait(quality.undo.isEnabled)
    assert "comes back only after new strokes" in quality.undo.toolTip()
    painted.dock.learn.start_button.click()
    painted.wait(lambda: painted.session.learning.phase == "paused")
    newest = painted.session.learning.shown_model
    quality.undo.click()
    painted.wait(lambda: painted.session.learning.shown_model < newest)
    painted.wait(lambda: "You went back" in quality.reason.text())
    assert quality.which.whole.startswith(f"Model {painted.session.learning.shown_model} · ")


def test_the_curve_goes_over_minutes_or_strokes(painted: Window) -> None:
    curves = painted.dock.learn.curves
    painted.dock.open_step("learn")
    shown(painted, STATE)
    plot = curves.plot
    painted.wait(lambda: plot.redraws > 0)
    assert curves.minutes.isChecked()
    assert plot.loss.isVisible()
    assert list(plot._dice_curves[1].getData()[0]) == [0.5, 1.0, 2.0]
    curves.strokes.click()
    assert not curves.minutes.isChecked()
    assert not plot.loss.isVisible()
    painted.settle()
    assert list(plot._dice_curves[1].getData()[0]) == [4, 7], "at once, without a new state"
    curves.minutes.click()
    assert plot.loss.isVisible()


def test_what_is_drawn() -> None:
    assert curve_of(STATE.scores, 1, "minutes") == [(0.5, 0.5), (1.0, 0.7), (2.0, 0.93)]
    assert curve_of(STATE.scores, 1, "strokes") == [(4, 0.7), (7, 0.93)], "the last of each"
    assert curve_of(STATE.scores, 2, "strokes") == [(4, 0.65)]
    assert curve_of(STATE.scores, 3, "minutes") == []
    assert floor_of(STATE.scores) == 0.25
    assert floor_of(STATE.scores[2:]) == 0.75
    assert floor_of(()) == 0.0
