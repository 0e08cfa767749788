"""Strokes that contradict the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.memory import empty_labels, stripes, volume_of

from brushfire.learning.doubts import find_doubts
from brushfire.learning.learner import Learner
from brushfire.learning.settings import LearningSettings
from brushfire.networks import NetworkSettings

if TYPE_CHECKING:
    import numpy as np

SHAPE = (3, 96, 80)
NETWORK = NetworkSettings(depth=4, dilations=(1, 2))


def learner_of(wrong: list[tuple[int, int, int]], held_out: float = 0.0) -> Learner:
    """Return a learner that was taught the true class in many places, and a wrong one in some."""
    truth, store = stripes(SHAPE), empty_labels(SHAPE)
    for z in (0, 2):
        for y in range(4, 90, 14):
            for x in range(3, 74, 12):
                here = (slice(z, z + 1), slice(y, y + 4), slice(x, x + 5))
                store[here] = truth[here]
    for z, y, x in wrong:
        here = (slice(z, z + 1), slice(y, y + 3), slice(x, x + 6))
        store[here] = 3 - truth[z, y, x]
    learner = Learner(
        volume_of(truth, noise=0.3), NETWORK, LearningSettings(patch=64, held_out=held_out),
        device="cpu",
    )  # fmt: skip
    learner.set_annotations(store.snapshot())
    learner.fit()
    return learner


def doubts_of(learner: Learner):
    trainer = learner._trainer
    assert trainer is not None
    assert trainer.cross_fits is not None
    return find_doubts(trainer.cross_fits)


def pure(truth: np.ndarray, z: int) -> list[tuple[int, int, int]]:
    """Return where a stroke of 3 x 6 pixels would lie on one class only, far from any other."""
    found = []
    for y in range(9, 80, 14):
        for x in range(4, 70, 8):
            part = truth[z, y - 1 : y + 4, x - 1 : x + 7]
            if (part == part[0, 0]).all():
                found.append((z, y, x))
    return found


@pytest.mark.parametrize("held_out", [0.0, 0.3])
def test_a_wrong_stroke_is_found_and_told_where_it_is(held_out: float) -> None:
    truth = stripes(SHAPE)
    z, y, x = pure(truth, 1)[0]
    (doubt,) = doubts_of(learner_of([(z, y, x)], held_out))
    assert (doubt.z, doubt.value, doubt.looks_like) == (z, 3 - truth[z, y, x], truth[z, y, x])
    assert y <= doubt.y < y + 3
    assert x <= doubt.x < x + 6
    assert doubt.box.start <= (z, y, x)
    assert doubt.box.stop >= (z + 1, y + 3, x + 6)
    assert doubt.certainty > 0.8


def test_strokes_that_agree_are_not_doubted() -> None:
    assert doubts_of(learner_of([])) == ()


def test_the_surest_are_told_first_and_no_more_than_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    places = pure(stripes(SHAPE), 1)
    learner = learner_of([places[0], places[-1]])
    doubts = doubts_of(learner)
    assert len(doubts) == 2
    assert doubts[0].certainty >= doubts[1].certainty
    monkeypatch.setattr("brushfire.learning.doubts.DOUBTS", 1)
    assert doubts_of(learner) == doubts[:1]


def test_the_only_stroke_of_a_class_is_not_doubted() -> None:
    store = empty_labels(SHAPE)
    store[0, 4:8, 4:9], store[0, 40:44, 4:9] = 1, 2
    learner = Learner(volume_of(stripes(SHAPE)), NETWORK, LearningSettings(patch=64), device="cpu")
    learner.set_annotations(store.snapshot())
    learner.fit()
    assert doubts_of(learner) == ()


def test_a_proposal_tells_them_once_all_fits_are_made() -> None:
    learner = learner_of([pure(stripes(SHAPE), 1)[0]])
    assert learner.propose().doubts == (), "the first answer is not held up"
    fits = learner._trainer.cross_fits
    while not fits.complete:
        learner.step()
    (doubt,) = learner.propose().doubts
    assert doubt.z == 1
