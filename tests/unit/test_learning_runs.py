"""Runs of labelled voxels against dense arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from brushfire.annotations.sparse import SparseLabels
from brushfire.geometry import Box, Grid
from brushfire.learning.runs import Runs, runs_of

if TYPE_CHECKING:
    from brushfire.annotations.snapshot import AnnotationSnapshot

planes = hnp.arrays(
    np.uint8,
    st.tuples(st.integers(1, 9), st.integers(1, 11)),
    elements=st.sampled_from([0, 0, 1, 2]),
)


def snapshot_of(plane: np.ndarray) -> AnnotationSnapshot:
    labels = SparseLabels(Grid((1, *plane.shape), (1, 4, 5)))
    labels.write(Box.of_shape((1, *plane.shape)), plane[None])
    return labels.freeze(1)


def dense(runs: Runs, numbers: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    out = np.zeros(shape, np.int64).ravel()
    for first, last, number in zip(runs.first, runs.last, numbers, strict=True):
        assert first < last
        assert not out[first:last].any(), "runs do not overlap"
        out[first:last] = number
    return out.reshape(shape)


@settings(max_examples=200, deadline=None)
@given(planes)
def test_runs_are_the_labels(plane) -> None:
    runs = runs_of(snapshot_of(plane), 0)
    assert np.array_equal(dense(runs, runs.classes, plane.shape), plane)
    assert (np.diff(runs.first) > 0).all()
    assert (runs.rows == (runs.last - 1) // plane.shape[1]).all()


@settings(max_examples=200, deadline=None)
@given(planes)
def test_regions_are_those_of_a_dense_array(plane) -> None:
    runs = runs_of(snapshot_of(plane), 0)
    count, numbers = runs.components()
    mine = dense(runs, numbers + 1, plane.shape)
    assert count == len(np.unique(mine[mine > 0]))
    wanted = 0
    for value in (1, 2):
        theirs, found = ndimage.label(plane == value, structure=np.ones((3, 3)))
        wanted += found
        for number in range(1, found + 1):
            assert len(np.unique(mine[theirs == number])) == 1
    assert count == wanted


@settings(max_examples=100, deadline=None)
@given(st.data(), planes)
def test_shared_voxels_are_counted(data, plane) -> None:
    other = data.draw(hnp.arrays(np.uint8, plane.shape, elements=st.sampled_from([0, 1, 3])))
    runs, theirs = runs_of(snapshot_of(plane), 0), runs_of(snapshot_of(other), 0)
    known = other.ravel() > 0
    expected = [known[a:b].sum() for a, b in zip(runs.first, runs.last, strict=True)]
    assert runs.shared(theirs).tolist() == expected
    assert runs.same(runs)
    assert runs.same(theirs) == np.array_equal(plane, other)


@settings(max_examples=100, deadline=None)
@given(planes, st.integers(1, 30))
def test_a_sample_lies_on_the_labels_and_is_bounded(plane, most) -> None:
    runs = runs_of(snapshot_of(plane), 0)
    voxels, classes = runs.sample(most, np.random.default_rng(0))
    assert np.array_equal(plane[tuple(voxels.T)], classes)
    assert len(np.unique(voxels, axis=0)) == len(voxels)
    for value in (1, 2):
        assert (classes == value).sum() == min(most, (plane == value).sum())


@given(planes)
def test_a_voxel_finds_its_run(plane) -> None:
    runs = runs_of(snapshot_of(plane), 0)
    for voxel, value in enumerate(plane.ravel()):
        at = runs.find(voxel)
        assert (0 if at is None else runs.classes[at]) == value
