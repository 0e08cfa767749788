"""The order of tiles: visible, rest of the slice, neighbours; each once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from brushfire.geometry import Box, Grid
from brushfire.prediction import TilePlan

GRID = Grid((9, 40, 50), (1, 10, 10))


def drain(plan: TilePlan) -> tuple[list, list]:
    visible, beyond = [], []
    while (index := plan.next_visible()) is not None:
        visible.append(index)
    while (index := plan.next_beyond()) is not None:
        beyond.append(index)
    return visible, beyond


def test_visible_tiles_come_first_from_the_middle_outwards() -> None:
    plan = TilePlan(GRID, Box((4, 5, 5), (5, 35, 35)), frozenset())
    visible, _ = drain(plan)
    assert set(visible) == {(4, y, x) for y in range(4) for x in range(4)}
    assert set(visible[:4]) == {(4, y, x) for y in (1, 2) for x in (1, 2)}


def test_then_the_rest_of_the_slice_then_its_neighbours() -> None:
    plan = TilePlan(GRID, Box((4, 0, 0), (5, 10, 10)), frozenset())
    visible, beyond = drain(plan)
    assert visible == [(4, 0, 0)]
    assert {i[0] for i in beyond[:19]} == {4}
    assert [i[0] for i in beyond[19:]] == [5, 3, 6, 2]


def test_a_view_across_z_takes_its_neighbours_across_too() -> None:
    plan = TilePlan(GRID, Box((2, 15, 0), (6, 16, 20)), frozenset())
    visible, beyond = drain(plan)
    assert set(visible) == {(z, 1, x) for z in range(2, 6) for x in range(2)}
    assert {i[1] for i in beyond} == {1}


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 8),
    st.integers(0, 30),
    st.integers(1, 10),
    st.frozensets(st.tuples(st.integers(0, 8), st.integers(0, 3), st.integers(0, 4))),
)
def test_each_tile_once_and_none_that_is_fresh(z, y, height, fresh) -> None:
    plan = TilePlan(GRID, Box((z, y, 0), (z + 1, y + height, 50)), fresh)
    visible, beyond = drain(plan)
    handed = visible + beyond
    assert len(handed) == len(set(handed))
    assert not set(handed) & fresh
    assert {(z, r, c) for r in range(4) for c in range(5)} - fresh <= set(handed)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 60),
    st.frozensets(st.tuples(st.just(4), st.integers(0, 3), st.integers(0, 4))),
)
def test_no_more_tiles_than_there_is_room_for_and_the_nearest_are_among_them(room, fresh) -> None:
    view = Box((4, 0, 0), (5, 40, 20))
    visible, beyond = drain(TilePlan(GRID, view, fresh, room=room))
    assert len(visible) + len(beyond) <= room
    everything, _ = drain(TilePlan(GRID, view, frozenset()))
    assert visible == [index for index in everything[:room] if index not in fresh]
