from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.memory import empty_labels, paint_bars, stripes

from brushfire.geometry import Box
from brushfire.learning.regions import StrokeRegions

SHAPE = (4, 64, 80)


def held_mask(regions: StrokeRegions, labels: np.ndarray) -> np.ndarray:
    """Labelled voxels that do not teach."""
    teaching = [
        regions.teaching_labels(Box((z, 0, 0), (z + 1, *labels.shape[1:])))
        for z in range(len(labels))
    ]
    return (labels > 0) & (np.stack(teaching) == 0)


def read_all(snapshot: object) -> np.ndarray:
    return snapshot.read(Box.of_shape(SHAPE))  # type: ignore[attr-defined,no-any-return]


def test_nothing_is_held_out_before_the_third_region() -> None:
    store, regions = empty_labels(SHAPE), StrokeRegions(0.2)
    for count, x in enumerate((2, 20, 40), start=1):
        store[1, 10:12, x : x + 6] = 1
        regions.update(store.snapshot())
        assert bool(regions.counts(held=True)) == (count >= 3)
    assert regions.counts(held=False) == {1: 24}
    assert regions.counts(held=True) == {1: 12}


def test_about_the_share_of_regions_is_held_out_of_each_class() -> None:
    store, regions = empty_labels(SHAPE), StrokeRegions(0.25)
    truth = stripes(SHAPE)
    for z in range(4):
        paint_bars(store, truth, z, step=8)
    regions.update(store.snapshot())
    held, taught = regions.counts(held=True), regions.counts(held=False)
    for value in (1, 2):
        assert 0.15 < held[value] / (held[value] + taught[value]) < 0.35


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_regions_keep_their_side_while_strokes_are_added(data: st.DataObject) -> None:
    store, regions = empty_labels(SHAPE), StrokeRegions(0.3, seed=1)
    before = np.zeros(SHAPE, bool)
    labelled = np.zeros(SHAPE, np.uint8)
    for _ in range(data.draw(st.integers(1, 8))):
        z, value = data.draw(st.integers(0, 3)), data.draw(st.integers(1, 2))
        y, x = data.draw(st.integers(0, 60)), data.draw(st.integers(0, 70))
        new = np.zeros(SHAPE, np.uint8)
        new[z, y : y + 3, x : x + data.draw(st.integers(1, 10))] = value
        # Only free voxels: strokes that meet may be merged, and then one side has to give way.
        near = np.zeros(SHAPE, bool)
        near[z, max(y - 1, 0) : y + 4, max(x - 1, 0) : x + 11] = True
        if labelled[near].any():
            continue
        store[z, y : y + 3, x : x + 10] = new[z, y : y + 3, x : x + 10]
        labelled = np.where(new > 0, new, labelled)
        regions.update(store.snapshot())
        held = held_mask(regions, labelled)
        assert np.array_equal(held[new == 0], before[new == 0])
        before = held


def test_a_region_keeps_its_side_when_it_grows() -> None:
    store, regions = empty_labels(SHAPE), StrokeRegions(0.2)
    for x in (2, 20, 40):
        store[1, 10:12, x : x + 6] = 1
    regions.update(store.snapshot())
    (held,) = regions.seeds
    x = held[2]
    store[1, 9:13, x : x + 7] = 1
    regions.update(store.snapshot())
    assert regions.counts(held=True) == {1: 28}


def test_a_class_of_which_too_much_is_held_out_gets_regions_back() -> None:
    store, regions = empty_labels(SHAPE), StrokeRegions(0.2)
    for x in (2, 20, 40):
        store[1, 10:12, x : x + 6] = 1
        store[2, 10:12, x : x + 6] = 2
    regions.update(store.snapshot())
    for z, _, x, value in regions.seeds:
        for other in {2, 20, 40} - {x}:
            store[z, 10:12, other : other + 6] = 0
        if value == 2:
            store[z, 8:20, x : x + 8] = 2
    regions.update(store.snapshot())
    assert regions.counts(held=True) == {}
    assert regions.counts(held=False) == {1: 12, 2: 96}


def test_an_update_that_failed_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    store, regions = empty_labels(SHAPE), StrokeRegions(0.2)
    store[1, 10, 2:8] = 1
    regions.update(store.snapshot())
    store[2, 10, 2:8] = 3
    with monkeypatch.context() as patched:
        patched.setattr(StrokeRegions, "_part", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            regions.update(store.snapshot())
    assert regions.update(store.snapshot()) == (2,)
    assert regions.counts(held=False) == {1: 6, 3: 6}


def test_only_changed_slices_are_looked_at() -> None:
    store, regions = empty_labels(SHAPE), StrokeRegions(0.2)
    store[0, 5, 5] = 1
    store[2, 5, 5] = 1
    assert regions.update(store.snapshot()) == (0, 2)
    assert regions.update(store.snapshot()) == ()
    store[2, 9, 9] = 2
    assert regions.update(store.snapshot()) == (2,)
    store[0, 5, 5] = 0
    assert regions.update(store.snapshot()) == (0,)
    assert regions.counts(held=False) == {1: 1, 2: 1}


def test_another_run_holds_out_what_this_one_did() -> None:
    store = empty_labels(SHAPE)
    truth = stripes(SHAPE)
    for z in range(3):
        paint_bars(store, truth, z)
    first, second = StrokeRegions(0.2, seed=0), StrokeRegions(0.2, seed=99)
    first.update(store.snapshot())
    second.adopt(first.seeds)
    second.update(store.snapshot())
    labels = store.snapshot().read(Box.of_shape(SHAPE))
    assert np.array_equal(held_mask(first, labels), held_mask(second, labels))


def test_no_share_holds_nothing_out() -> None:
    store, regions = empty_labels(SHAPE), StrokeRegions(0.0)
    paint_bars(store, stripes(SHAPE), 0)
    regions.update(store.snapshot())
    assert regions.counts(held=True) == {}


def test_most_of_a_class_always_teaches() -> None:
    store, regions = empty_labels(SHAPE), StrokeRegions(0.5)
    store[0, 0:30, 0:30] = 1
    store[0, 40, 0] = 1
    store[0, 44, 0] = 1
    regions.update(store.snapshot())
    assert regions.counts(held=False)[1] >= 900


def test_points_are_bounded_and_lie_on_strokes() -> None:
    shape = (1, 300, 300)
    store, regions = empty_labels(shape), StrokeRegions(0.2)
    store[0, :, :150] = 1
    store[0, 10, 200] = 2
    regions.update(store.snapshot())
    points = regions.points(held=False)[0]
    assert len(points) == 4096 + 1
    found = store.snapshot().read(Box.of_shape(shape))[0][tuple(points.voxels.T)]
    assert np.array_equal(found, points.classes)


@pytest.mark.parametrize("value", [1, 127])
def test_one_voxel_teaches(value: int) -> None:
    store, regions = empty_labels(SHAPE), StrokeRegions(0.2)
    store[3, 63, 79] = value
    regions.update(store.snapshot())
    assert regions.counts(held=False) == {value: 1}
