"""Edges of a known width are measured, wherever they lie and whatever units they have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from brushfire.learning.restoring.edges import (
    NO_EDGE,
    NO_NUMBERS,
    NOT_WITHIN,
    RISE,
    TOO_SHORT,
    EdgeProfile,
    edge_profile,
    voxels_along,
)

SIDE = 64
ANGLES = st.floats(0, 2 * np.pi)
SHIFTS = st.floats(-2, 2)


def edge(
    width: float, angle: float = 0.0, shift: float = 0.0, size: tuple[float, float] = (1.0, 1.0)
) -> np.ndarray:
    """Return an edge from 0 to 1 near the middle, ``width`` micrometres from 10 to 90 %."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    along = y * size[0] * np.sin(angle) + x * size[1] * np.cos(angle) - shift
    return ndtr(along * RISE / width)


def across_it(
    plane: np.ndarray,
    angle: float = 0.0,
    reach: float = 12.0,
    size: tuple[float, float] = (1.0, 1.0),
    across: float = 5.0,
) -> EdgeProfile:
    way = np.array([np.sin(angle), np.cos(angle)]) * reach / size
    middle = (SIDE - 1) / 2
    return edge_profile(plane, middle - way, middle + way, voxel_size=size, across=across)


@given(width=st.floats(2.2, 8), angle=ANGLES, shift=SHIFTS)
@settings(max_examples=25, deadline=None)
def test_an_edge_at_any_angle_and_place_has_its_width(
    width: float, angle: float, shift: float
) -> None:
    found = across_it(edge(width, angle, shift), angle)
    assert found.width == pytest.approx(width, rel=0.03)
    assert found.contrast == pytest.approx(1, rel=0.02)
    assert found.middle == pytest.approx(12 + shift, abs=0.1)


@given(angle=ANGLES, slant=st.floats(0.5, 3))
@settings(max_examples=15, deadline=None)
def test_the_width_is_in_micrometres_whatever_shape_voxels_have(angle: float, slant: float) -> None:
    size = (slant, 1.0)
    found = across_it(edge(7.0, angle, size=size), angle, reach=14, size=size)
    assert found.width == pytest.approx(7, rel=0.03)
    assert min(slant, 1) - 1e-6 <= found.voxel <= max(slant, 1) + 1e-6


@given(scale=st.floats(1e-4, 1e4), offset=st.floats(-1e3, 1e3), angle=ANGLES)
@settings(max_examples=10, deadline=None)
def test_neither_units_nor_direction_of_the_line_matter(
    scale: float, offset: float, angle: float
) -> None:
    plane = edge(4.0, angle, 0.7)
    found = across_it(plane, angle)
    for other in (
        across_it(scale * plane + offset * scale, angle),
        across_it(-plane, angle),
        across_it(plane, angle + np.pi),
    ):
        assert other.width == pytest.approx(found.width, rel=1e-3)
    assert across_it(scale * plane, angle).contrast == pytest.approx(scale * found.contrast)


@pytest.mark.parametrize("width", [1.2, 4.0])
def test_noise_makes_a_width_less_sure_and_its_bounds_say_how_much(width: float) -> None:
    rng = np.random.default_rng(0)
    plane = edge(width, 0.4)

    def noisy(noise: float) -> EdgeProfile:
        return across_it(plane + noise * rng.standard_normal(plane.shape), 0.4)

    told = [one for one in (noisy(0.2) for _ in range(40)) if one.width is not None]
    assert len(told) > 30
    assert np.mean([one.low <= width <= one.high for one in told]) > 0.75
    sure = noisy(0.02)
    assert sure.high - sure.low < 0.5 * np.median([one.high - one.low for one in told])


def test_an_edge_sharper_than_voxels_is_told_as_such() -> None:
    step = np.repeat([[0.0] * 32 + [1.0] * 32], SIDE, 0)
    found = across_it(step)
    assert found.width < 1
    assert found.low == 0
    assert found.high < 1.5


@pytest.mark.parametrize(
    ("plane", "reach", "problem"),
    [
        (edge(4.0), 2.0, TOO_SHORT),
        (np.full((SIDE, SIDE), 7.0), 12.0, NO_EDGE),
        (np.random.default_rng(0).standard_normal((SIDE, SIDE)), 12.0, NO_EDGE),
        (edge(30.0), 12.0, NOT_WITHIN),
        (edge(4.0, shift=11.8), 12.0, NOT_WITHIN),
        (np.where(np.arange(SIDE) > 36, np.nan, edge(4.0)), 12.0, NO_NUMBERS),
        (edge(4.0), 40.0, NO_NUMBERS),
    ],
    ids=["short", "flat", "noise", "wide", "at the end", "holes", "outside"],
)
def test_where_there_is_no_width_a_sentence_says_why(
    plane: np.ndarray, reach: float, problem: str
) -> None:
    found = across_it(plane, reach=reach)
    assert found.problem == problem
    assert found.width is found.contrast is None


def test_what_has_no_number_near_the_line_does_no_harm() -> None:
    plane = edge(4.0)
    plane[:24] = np.nan
    assert across_it(plane).width == pytest.approx(4, rel=0.03)


def test_voxels_are_counted_along_the_line() -> None:
    assert voxels_along((0, 0), (3, 4), (1.0, 1.0)) == pytest.approx(5)
    assert voxels_along((0, 0), (10, 0), (2.0, 1.0)) == pytest.approx(10)
    assert voxels_along((5, 5), (5, 5), (1.0, 1.0)) == 0
