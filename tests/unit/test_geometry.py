"""Boxes and grids against plain index sets."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brushfire.geometry import Box, Grid

coordinate = st.integers(-5, 12)
corner = st.tuples(coordinate, coordinate, coordinate)
extent = st.tuples(*[st.integers(0, 6)] * 3)
shape = st.tuples(*[st.integers(1, 9)] * 3)
cell = st.tuples(*[st.integers(1, 5)] * 3)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    start, size = draw(corner), draw(extent)
    return Box(start, tuple(a + n for a, n in zip(start, size, strict=True)))


def voxels(box: Box) -> set[tuple[int, ...]]:
    return set(product(*(range(a, b) for a, b in zip(box.start, box.stop, strict=True))))


@given(boxes(), boxes())
def test_intersection_is_that_of_the_voxels(a: Box, b: Box) -> None:
    common = a.intersect(b)
    assert (voxels(common) if common else set()) == voxels(a) & voxels(b)


@given(boxes(), boxes())
def test_union_holds_both(a: Box, b: Box) -> None:
    assert a.union(b).contains(a)
    assert a.union(b).contains(b)


@given(boxes(), shape)
def test_clip_keeps_what_is_inside(box: Box, whole: tuple[int, int, int]) -> None:
    assert voxels(box.clip(whole)) == voxels(box) & voxels(Box.of_shape(whole))


@given(boxes(), extent)
def test_grow_adds_the_margin_on_both_sides(box: Box, margin: tuple[int, int, int]) -> None:
    grown = box.grow(margin)
    assert grown.shape == tuple(n + 2 * m for n, m in zip(box.shape, margin, strict=True))
    assert grown.contains(box)


@given(boxes(), extent)
def test_slices_in_finds_the_box_inside_another(box: Box, margin: tuple[int, int, int]) -> None:
    outer = box.grow(margin)
    count = np.zeros(outer.shape, int)
    count[box.slices_in(outer)] = 1
    assert count.sum() == box.size


@given(shape, cell)
def test_cells_cover_every_voxel_once(
    whole: tuple[int, int, int], size: tuple[int, int, int]
) -> None:
    grid = Grid(whole, size)
    count = np.zeros(whole, int)
    for box in grid.boxes():
        count[box.slices] += 1
    assert (count == 1).all()
    assert len(list(grid.indices())) == len(grid)


@given(shape, cell, boxes())
def test_cells_of_a_box_are_those_that_touch_it(
    whole: tuple[int, int, int], size: tuple[int, int, int], box: Box
) -> None:
    grid = Grid(whole, size)
    touching = {i for i in grid.indices() if grid.box(i).intersect(box)}
    assert set(grid.indices(box)) == touching


def test_a_box_does_not_stop_before_it_starts() -> None:
    with pytest.raises(ValueError, match="stops at or after"):
        Box((0, 0, 2), (1, 1, 1))


def test_a_box_says_its_ranges() -> None:
    assert str(Box((0, 1, 2), (3, 4, 5))) == "z 0:3, y 1:4, x 2:5"
