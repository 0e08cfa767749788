"""Which model of the library is proposed: strokes decide where they can tell, else alike data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from brushfire.session.shelf import Offer, proposed_among

ALIKE = Offer("alike", Path("alike.bfmodel"), None, apart=0.1)
UNLIKE = replace(ALIKE, name="unlike", apart=100.0)


@pytest.mark.parametrize(
    ("score", "gain", "proposed"),
    [
        (0.8, None, True),
        (0.8, (0.1, 0.3), True),
        (0.5, None, True),
        (0.5, (-0.3, 0.1), True),
        (0.5, (-0.3, -0.1), False),
    ],
)
def test_alike_data_are_proposed_unless_strokes_tell_that_they_are_worse(
    score: float, gain: tuple[float, float] | None, proposed: bool
) -> None:
    offer = replace(ALIKE, score=score, gain=gain)
    assert (proposed_among([offer], 0.6) is offer) == proposed


def test_other_data_are_proposed_only_where_strokes_speak_for_them() -> None:
    assert proposed_among([UNLIKE], None) is None
    assert proposed_among([replace(UNLIKE, score=0.5)], 0.6) is None
    better = replace(UNLIKE, score=0.8)
    assert proposed_among([better, replace(ALIKE, score=0.7)], 0.6) is better


def test_without_scores_the_nearest_is_proposed_and_an_empty_library_has_none() -> None:
    assert proposed_among([ALIKE, UNLIKE], None) is ALIKE
    assert proposed_among([], None) is None
