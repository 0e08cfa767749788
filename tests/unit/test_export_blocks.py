"""Blocks of an export: bounded, and in the form in which a format stores them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brushfire.export.targets import cell_of
from brushfire.geometry import Grid

SHAPES = st.tuples(st.integers(1, 3000), st.integers(1, 9000), st.integers(1, 9000))
BUDGETS = st.integers(2**23, 2**34)


@given(shape=SHAPES, budget=BUDGETS)
def test_a_tiff_block_is_one_piece_of_the_file(shape: tuple[int, int, int], budget: int) -> None:
    z, y, x = cell_of("tiff", shape, budget)
    assert x == shape[2]
    assert y == shape[1] or z == 1
    assert z * y * x * 4 <= budget


@given(shape=SHAPES, budget=BUDGETS)
def test_a_zarr_block_is_whole_chunks(shape: tuple[int, int, int], budget: int) -> None:
    cell = cell_of("ome-zarr", shape, budget)
    chunk = [min(c, n) for c, n in zip((16, 256, 256), shape, strict=True)]
    assert all(n % c == 0 for n, c in zip(cell, chunk, strict=True))
    assert cell[0] * cell[1] * cell[2] * 8 <= budget


@pytest.mark.parametrize("format", ["ome-zarr", "tiff"])
def test_a_large_volume_is_few_blocks(format: str) -> None:
    cell = cell_of(format, (2160, 2560, 2560), 2**28)
    assert 100 < len(Grid((2160, 2560, 2560), cell)) < 2000
