"""Coarser levels are means of what they stand for, or labels that were there."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brushfire.errors import Cancelled
from brushfire.geometry import Box, Triple, triple
from brushfire.volumes.reduce import Reduction, halve, plan_steps, reduced_shape

TYPES = ["u1", "i1", "u2", "i2", "u4", "i8", "f4", "f8"]
STEPS = [triple(s) for s in product((1, 2), repeat=3)]
SHAPES = st.tuples(*[st.integers(1, 9)] * 3)


def plain_mean(block: np.ndarray, step: Triple) -> np.ndarray:
    """Return the mean of each group of voxels, written out."""
    shape = reduced_shape(block.shape[1:], step)
    out = np.empty((block.shape[0], *shape))
    for index in product(*(range(n) for n in shape)):
        group = tuple(slice(i * s, (i + 1) * s) for i, s in zip(index, step, strict=True))
        out[(slice(None), *index)] = block[(slice(None), *group)].mean(axis=(1, 2, 3), dtype="f8")
    return out


@settings(max_examples=60, deadline=None)
@given(
    shape=SHAPES,
    step=st.sampled_from(STEPS),
    dtype=st.sampled_from(TYPES),
    seed=st.integers(0, 1000),
)
def test_means_are_means(shape: Triple, step: Triple, dtype: str, seed: int) -> None:
    kind = np.dtype(dtype)
    rng = np.random.default_rng(seed)
    if kind.kind == "f":
        block = rng.normal(0, 100, (2, *shape)).astype(kind)
    else:
        limits = np.iinfo(kind)
        most = min(limits.max, 2**40)
        block = rng.integers(max(limits.min, -most), most, (2, *shape), kind, endpoint=True)
    made = halve(block, step, labels=False)
    assert made.dtype == kind
    slack = 0.5 if kind.kind != "f" else 1e-3
    assert np.abs(made - plain_mean(block, step)).max() <= slack


@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, step=st.sampled_from(STEPS), seed=st.integers(0, 1000))
def test_labels_stay_where_they_were(shape: Triple, step: Triple, seed: int) -> None:
    block = np.random.default_rng(seed).choice([0, 1, 100], (1, *shape)).astype(np.uint8)
    made = halve(block, step, labels=True)
    assert made.shape[1:] == reduced_shape(shape, step)
    for index in np.ndindex(*made.shape[1:]):
        first = tuple(i * s for i, s in zip(index, step, strict=True))
        assert made[(0, *index)] == block[(0, *first)]


@pytest.mark.parametrize(
    ("shape", "voxel", "steps"),
    [
        ((64, 256, 256), (1, 1, 1), []),
        ((2160, 2560, 2560), (1, 1, 1), [(2, 2, 2)] * 3),
        ((1, 3000, 2000), (1, 1, 1), [(1, 2, 2)] * 3),
        ((30, 2048, 2048), (50, 4, 4), [(1, 2, 2)] * 2),
        ((200, 8192, 8192), (8, 4, 4), [(1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2)]),
        ((4000, 500, 500), (1, 1, 1), [(2, 2, 2), (2, 2, 2)]),
        ((3, 4000, 1), (1, 1, 1), [(2, 2, 1), (2, 2, 1), (1, 2, 1)]),
    ],
)
def test_levels_are_planned_by_size_and_voxel(
    shape: Triple, voxel: Triple, steps: list[Triple]
) -> None:
    assert plan_steps(shape, voxel) == steps


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 50), st.integers(1, 50)),
    step=st.sampled_from(STEPS),
    chunk=st.tuples(*[st.integers(1, 9)] * 3),
    budget=st.integers(1, 100_000),
)
def test_blocks_make_the_same_level_as_the_whole(
    shape: Triple, step: Triple, chunk: Triple, budget: int
) -> None:
    data = np.random.default_rng(0).integers(0, 255, (1, *shape), dtype=np.uint8)
    target = reduced_shape(shape, step)
    out = np.zeros((1, *target), np.uint8)
    reduction = Reduction(shape, target, step, chunk, (4, 8, 8), 1, data.dtype, budget)

    def read(box: Box) -> np.ndarray:
        return data[(slice(None), *box.slices)]

    def write(box: Box, block: np.ndarray) -> None:
        out[(slice(None), *box.slices)] = block

    made = list(reduction.run(read, write, labels=False, cancelled=lambda: False))
    assert len(made) == len(reduction.grid)
    np.testing.assert_array_equal(out, halve(data, step, labels=False))


@pytest.mark.parametrize("budget", [16 << 20, 64 << 20, 1 << 30])
@pytest.mark.parametrize("chunk", [(1, 4096, 4096), (64, 256, 256)])
def test_a_block_fits_the_budget(budget: int, chunk: Triple) -> None:
    reduction = Reduction(
        (2000, 4096, 4096), (1000, 2048, 2048), (2, 2, 2), chunk, (16, 256, 256), 1,
        np.dtype("u2"), budget,
    )  # fmt: skip
    box = next(reduction.grid.boxes())
    source = reduction._slab(box) * 2 * box.shape[1] * 2 * box.shape[2] * 2
    assert (3 * source + 2 * box.size) * 2 <= budget


def test_cancelling_is_asked_between_slabs() -> None:
    asked = []
    reduction = Reduction(
        (64, 8, 8), (32, 4, 4), (2, 2, 2), (2, 8, 8), (32, 4, 4), 1, np.dtype("u1"), 1
    )

    def cancelled() -> bool:
        asked.append(True)
        return len(asked) > 2

    def read(box: Box) -> np.ndarray:
        return np.zeros((1, *box.shape), np.uint8)

    with pytest.raises(Cancelled):
        list(reduction.run(read, lambda box, block: None, labels=False, cancelled=cancelled))
    assert len(asked) == 3
