from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.memory import empty_labels, paint_bars, stripes, volume_of

from brushfire.geometry import Box
from brushfire.learning.regions import StrokeRegions
from brushfire.learning.sampler import Cells, Patch, PatchSampler, SlabCache
from brushfire.learning.warping import warped
from brushfire.scribbles import scribbles


@settings(max_examples=20, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(20, 90), st.integers(20, 90)),
    side=st.sampled_from([16, 33, 200]),
    margin=st.sampled_from([0, 7, 49]),
    seed=st.integers(0, 99),
)
def test_patches_hold_what_the_volume_and_the_strokes_hold(
    shape: tuple[int, int, int], side: int, margin: int, seed: int
) -> None:
    truth = stripes(shape)
    volume = volume_of(truth, noise=0)
    store, regions = empty_labels(shape), StrokeRegions(0.0)
    paint_bars(store, truth, shape[0] - 1)
    store[0, 1, 1] = truth[0, 1, 1]
    regions.update(store.snapshot())
    cache = SlabCache(volume, 1, 2**20)
    sampler = PatchSampler(cache, regions, shape, np.random.default_rng(seed))
    for patch in sampler.draw(3, side, margin=margin, vary=False):
        above, below, left, right = patch.margins
        height, width = patch.intensities.shape[2:]
        inner = patch.intensities[0, 1, above : height - below, left : width - right]
        assert sorted(inner.shape) == sorted((min(side, shape[1]), min(side, shape[2])))
        assert inner.shape == patch.labels.shape
        assert patch.labels.any()
        # Without noise intensity is the class: so labels and intensities were turned alike.
        assert np.array_equal(inner[patch.labels > 0], patch.labels[patch.labels > 0])


@given(quarters=st.integers(0, 3), flip=st.booleans())
def test_turning_keeps_margins_around_the_labels(quarters: int, flip: bool) -> None:
    block = np.arange(9 * 11, dtype=np.float32).reshape(1, 1, 9, 11)
    labels = block[0, 0, 1:7, 2:8].astype(np.uint8)
    patch = Patch(block, labels, labels.astype(np.int64), (1, 2, 2, 3)).turned(quarters, flip=flip)
    above, below, left, right = patch.margins
    height, width = patch.intensities.shape[2:]
    inner = patch.intensities[0, 0, above : height - below, left : width - right]
    assert np.array_equal(inner.astype(np.uint8), patch.labels)


@given(seed=st.integers(0, 1000), height=st.integers(40, 90), margin=st.integers(0, 9))
def test_labels_are_bent_as_what_they_label_is(seed: int, height: int, margin: int) -> None:
    rng = np.random.default_rng(seed)
    image = np.kron(rng.integers(1, 4, (5, 5)), np.ones((20, 20)))[:height].astype(np.float32)
    inner = image[margin : height - margin, 2:97].astype(np.uint8)
    patch = Patch(image[None, None], inner, inner.astype(np.int64), (margin, margin, 2, 3))
    found = warped(patch, rng)
    assert found.intensities.shape == patch.intensities.shape
    assert found.margins == patch.margins
    seen = found.intensities[0, 0, margin : height - margin, 2:97]
    known = found.labels > 0
    assert np.array_equal(known, found.regions >= 0)
    assert np.array_equal(found.labels[known], found.regions[known])
    assert known.mean() > 0.5
    # Interpolated at borders: elsewhere what is seen is what it is called.
    assert (np.abs(seen - found.labels)[known] <= 0.5).mean() > 0.9
    assert not np.array_equal(found.labels, patch.labels), "something was bent"


def test_classes_teach_equally_often() -> None:
    shape = (1, 200, 200)
    store, regions = empty_labels(shape), StrokeRegions(0.0)
    store[0, :100] = 1
    store[0, 190, 190] = 2
    regions.update(store.snapshot())
    sampler = PatchSampler(
        SlabCache(volume_of(stripes(shape)), 0, 2**20), regions, shape, np.random.default_rng(0)
    )
    patches = sampler.draw(100, 32, margin=0, vary=True)
    assert 35 < sum((patch.labels == 2).any() for patch in patches) < 65


def test_held_out_strokes_are_in_no_patch() -> None:
    shape = (2, 64, 64)
    truth = stripes(shape)
    store, regions = empty_labels(shape), StrokeRegions(0.3)
    paint_bars(store, truth, 0)
    regions.update(store.snapshot())
    box = Box((0, 0, 0), (1, 64, 64))
    taught = regions.teaching_labels(box) > 0
    painted = store.snapshot().read(box)[0] > 0
    held = {tuple(v) for v in regions.points(held=True)[0].voxels.tolist()}
    assert held == {tuple(v) for v in np.argwhere(painted & ~taught).tolist()}
    assert held


def test_the_cache_stays_under_its_budget_and_right() -> None:
    shape = (3, 600, 600)
    truth = np.random.default_rng(0).integers(1, 9, shape).astype(np.uint8)
    volumes = [volume_of(values, noise=0, channels=2) for values in (truth, truth[:, ::-1])]
    cells = Cells(4 * 2**20)
    caches = [SlabCache(volume, 1, cells) for volume in volumes]
    rng = np.random.default_rng(1)
    for turn in range(30):
        z, y, x = rng.integers(0, (3, 500, 500))
        box = Box((z, y, x), (z + 1, y + 90, x + 90))
        expected = volumes[turn % 2].read_padded(box.grow((1, 0, 0)))
        assert np.array_equal(caches[turn % 2].read(box), expected)
        assert cells.nbytes <= 4 * 2**20
        assert cells.nbytes == sum(block.nbytes for block in cells._kept.values())


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1000),
    fraction=st.sampled_from([0.001, 0.013, 0.1, 1.0]),
    classes=st.integers(1, 5),
)
def test_scribbles_stay_in_their_class_and_budget(seed: int, fraction: float, classes: int) -> None:
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.integers(0, classes + 1, (8, 7)), np.ones((12, 13), int)).astype(np.uint8)
    labels = scribbles(truth, fraction, rng)
    assert labels.dtype == np.uint8
    assert np.array_equal(labels[labels > 0], truth[labels > 0])
    assert (labels > 0).sum() <= max(fraction * truth.size, classes)
    assert set(np.unique(labels)) - {0} == set(np.unique(truth)) - {0}


@pytest.mark.parametrize("value", [1, 2])
def test_scribbles_are_several_strokes_of_each_class(value: int) -> None:
    from scipy import ndimage

    truth = stripes((1, 256, 256), period=128)[0]
    labels = scribbles(truth, 0.013, np.random.default_rng(0))
    assert ndimage.label(labels == value)[1] >= 3
