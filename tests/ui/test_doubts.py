"""A stroke that contradicts the others is named, outlined and shown, in the real window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from brushfire.learning import learner
from brushfire.ui.marks import NAME

if TYPE_CHECKING:
    import pytest

    from brushfire.learning.doubts import Doubt

    from .conftest import Window

WRONG_ROWS = (20, 90)


def test_a_wrong_stroke_is_found_shown_and_forgotten_when_it_is_erased(painted: Window) -> None:
    painted.teach(1)
    painted.stroke(1, 2, 16, WRONG_ROWS)  # where all others say that it is class 1
    painted.learn()
    quality, session = painted.dock.learn.quality, painted.session
    painted.wait(lambda: bool(session.learning.doubts))
    (doubt,) = session.learning.doubts
    assert (doubt.z, doubt.value, doubt.looks_like) == (1, 2, 1)
    assert abs(doubt.x - 16) <= 4
    assert WRONG_ROWS[0] <= doubt.y <= WRONG_ROWS[1]
    painted.settle()
    names = [entry.name for entry in session.classes]
    assert quality.doubt.isVisible()
    assert quality.doubt.text() == (
        f"A stroke of {names[1]} in slice 1 looks like {names[0]}: check it."
    )
    assert NAME not in painted.viewer.layers, "nothing is drawn before it is asked for"

    active = painted.viewer.layers.selection.active
    quality.show_doubt.click()
    painted.settle()
    marks = painted.viewer.layers[NAME]
    assert painted.viewer.dims.current_step[0] == 1
    assert painted.viewer.layers.selection.active is active, "painting goes on"
    (square,) = marks.data
    low, high = square.min(0), square.max(0)
    assert low[0] == high[0] == 1
    assert low[1] < WRONG_ROWS[0]
    assert high[1] > WRONG_ROWS[1] - 3
    assert low[2] < 16 < high[2]

    painted.stroke(1, 0, 16, WRONG_ROWS)
    painted.wait(lambda: not session.learning.doubts)
    painted.settle()
    assert NAME not in painted.viewer.layers
    assert not quality.doubt.isVisible()
    quality.show_doubt.click()  # as a late click would
    assert NAME not in painted.viewer.layers


def test_strokes_that_agree_are_not_doubted(
    painted: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[tuple[Doubt, ...]] = []
    real = learner.find_doubts
    monkeypatch.setattr(
        learner, "find_doubts", lambda fits: looked.append(real(fits)) or looked[-1]
    )
    painted.teach(1)
    painted.learn()
    painted.wait(lambda: bool(looked))
    painted.session.pause()
    painted.wait(lambda: painted.session.learning.phase == "paused")
    assert looked[0] == painted.session.learning.doubts == ()
    assert np.all([layer.name != NAME for layer in painted.viewer.layers])
