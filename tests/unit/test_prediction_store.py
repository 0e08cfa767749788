"""The sparse store of predicted tiles against a plain array."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brushfire.prediction import STALE, PredictionStore, RestoredStore, RestoredTile, Tile

SHAPE = (3, 10, 13)
EDGE = 4


def tile(store: PredictionStore, index: tuple[int, int, int], revision: int, value: int) -> Tile:
    box = store.grid.box(index)
    p = np.zeros((2, *box.shape), np.uint8)
    p[value - 1] = 255
    return Tile(index, box, revision, np.full(box.shape, value, np.uint8), (1, 2), p)


def store(budget: int = 2**20) -> PredictionStore:
    return PredictionStore(SHAPE, tile=EDGE, budget_bytes=budget)


forward = [st.slices(n).filter(lambda s: (s.step or 1) > 0) for n in SHAPE]
keys = st.tuples(*[st.integers(-n, n - 1) | s for n, s in zip(SHAPE, forward, strict=True)])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 3), st.integers(1, 2))),
    keys,
)
def test_reading_equals_a_plain_array(tiles, key) -> None:
    s = store()
    s.revision = 1
    plain = np.zeros(SHAPE, np.uint8)
    for z, y, x, value in tiles:
        s.put(tile(s, (z, y, x), 1, value))
        plain[s.grid.box((z, y, x)).slices] = value
    np.testing.assert_array_equal(s.labels[key], plain[key])


def test_tiles_of_an_older_model_are_marked_stale() -> None:
    s = store()
    s.revision = 1
    s.put(tile(s, (0, 0, 0), 1, 2))
    assert s.labels[0, 0, 0] == 2
    s.revision = 2
    assert s.labels[0, 0, 0] == 2 + STALE
    assert s.fresh() == frozenset()


def test_a_late_tile_of_an_older_model_does_not_replace_the_shown_one() -> None:
    s = store()
    s.revision = 2
    assert s.put(tile(s, (0, 0, 0), 2, 1))
    assert not s.put(tile(s, (0, 0, 0), 1, 2))
    assert s.labels[0, 0, 0] == 1


def test_after_going_back_the_earlier_model_s_tiles_are_fresh() -> None:
    s = store()
    s.revision = 2
    s.put(tile(s, (0, 0, 0), 2, 1))
    s.revision = 1
    assert s.put(tile(s, (0, 0, 0), 1, 2))
    assert s.labels[0, 0, 0] == 2


def test_the_budget_holds_and_what_is_in_use_stays() -> None:
    s = store()
    one = tile(s, (0, 0, 0), 1, 1)
    s = store(budget=3 * one.nbytes)
    s.revision = 1
    for x in range(3):
        s.put(tile(s, (0, 0, x), 1, 1))
    s.touch(s.grid.box((0, 0, 0)))
    s.put(tile(s, (0, 1, 0), 1, 1))
    assert s.nbytes <= 3 * one.nbytes
    assert (0, 0, 0) in s.fresh()
    assert (0, 0, 1) not in s.fresh()


def test_probability_and_uncertainty() -> None:
    s = store()
    s.revision = 1
    t = tile(s, (0, 0, 0), 1, 1)
    t.probabilities[:, 0, 0, 0] = 128, 127
    s.put(t)
    assert s.probability(1)[0, 0, 0] == 128
    assert s.probability(1)[0, 0, 1] == 255
    assert s.probability(9)[0, 0, 1] == 0
    assert s.uncertainty[0, 0, 0] >= 254
    assert s.uncertainty[0, 0, 1] == 0
    assert s.uncertainty[2, 9, 12] == 0


def test_an_index_outside_is_an_error() -> None:
    with pytest.raises(IndexError, match="outside"):
        store().labels[3]
    with pytest.raises(IndexError, match="steps"):
        store().labels[::-1]


def test_restored_channels_are_numbers_where_they_are_known_and_none_elsewhere() -> None:
    s = RestoredStore(SHAPE, tile=EDGE, budget_bytes=2**20)
    box = s.grid.box((1, 0, 1))
    values = np.random.default_rng(0).normal(size=(2, *box.shape)).astype(np.float32)
    assert s.put(RestoredTile((1, 0, 1), box, 1, values))
    for output in range(2):
        view = s.channel(output)
        assert view.dtype == np.float32
        found = view[:]
        np.testing.assert_array_equal(found[box.slices], values[output])
        found[box.slices] = np.nan
        assert np.isnan(found).all()


def test_a_budget_holds_as_many_tiles_as_there_is_room_for() -> None:
    cell = EDGE * EDGE
    s = RestoredStore(SHAPE, tile=EDGE, budget_bytes=3 * 4 * cell)
    assert (s.room(1), s.room(2), s.room(9)) == (3, 1, 1)
    for index in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)]:
        box = s.grid.box(index)
        s.put(RestoredTile(index, box, 1, np.zeros((1, *box.shape), np.float32)))
    assert len(s) == s.room(1)
    assert s.nbytes <= 3 * 4 * cell
    assert np.isnan(s.channel()[0, 0, 0])
