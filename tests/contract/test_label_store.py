"""The label store against a plain numpy array, in memory and with a journal."""

from __future__ import annotations

import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brushfire.annotations import ClassCount, LabelStore, open_annotations
from brushfire.errors import AnnotationError
from brushfire.geometry import Box

SHAPE = (5, 9, 11)
CHUNKS = [(1, 4, 5), (2, 4, 5), (16, 256, 256)]


def axis_items(size):
    index = st.integers(-size, size - 1)
    edge = st.none() | st.integers(-size - 2, size + 2)
    step = st.none() | st.sampled_from([1, 1, 2, 3, -1, -2])
    return index | st.builds(slice, edge, edge, step)


@st.composite
def basic_keys(draw):
    count = draw(st.integers(0, 3))
    items = [draw(axis_items(SHAPE[axis])) for axis in range(count)]
    if count < 3 and draw(st.booleans()):
        items.append(Ellipsis)
    if draw(st.integers(0, 5)) == 0:
        items.insert(draw(st.integers(0, len(items))), None)
    return items[0] if len(items) == 1 and draw(st.booleans()) else tuple(items)


@st.composite
def array_keys(draw):
    count = draw(st.integers(0, 12))

    def points(axis):
        values = st.lists(
            st.integers(-SHAPE[axis], SHAPE[axis] - 1), min_size=count, max_size=count
        )
        return np.array(draw(values), dtype=np.intp)

    form = draw(st.sampled_from(["points", "plane", "line", "column", "list", "grid"]))
    if form == "points":  # what napari's data_setitem and undo use
        return points(0), points(1), points(2)
    if form == "plane":
        return draw(st.integers(0, SHAPE[0] - 1)), points(1), points(2)
    if form == "line":
        return points(0), slice(None), draw(st.integers(0, SHAPE[2] - 1))
    if form == "column":
        return slice(1, 4), slice(None), points(2)
    if form == "list":
        return [int(value) for value in points(0)]
    return np.ix_(points(0), points(1), points(2))


@st.composite
def mask_keys(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    share = draw(st.sampled_from([0.0, 0.1, 0.6, 1.0]))
    form = draw(st.sampled_from(["volume", "slices", "rows", "plane"]))
    if form == "volume":
        return rng.random(SHAPE) < share
    if form == "slices":
        return rng.random(SHAPE[:1]) < share
    if form == "rows":
        return rng.random(SHAPE[:2]) < share
    return draw(st.integers(0, SHAPE[0] - 1)), rng.random(SHAPE[1:]) < share


KEYS = basic_keys() | array_keys() | mask_keys()


@st.composite
def edits(draw):
    key = draw(KEYS)
    shape = np.zeros(SHAPE, np.uint8)[key].shape
    top = draw(st.sampled_from([1, 3, 127]))
    form = draw(st.sampled_from(["zero", "value", "block", "broadcast"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    if form == "zero":
        return key, 0
    if form == "value":
        return key, draw(st.integers(0, top))
    if form == "block":
        return key, rng.integers(0, top + 1, shape).astype(draw(st.sampled_from(["u1", "i8"])))
    part = tuple(1 if rng.random() < 0.5 else n for n in shape)
    return key, rng.integers(0, top + 1, part).astype(np.uint8)


def expected_counts(array):
    return {
        int(value): ClassCount(
            int((array == value).sum()), int((array == value).any(axis=(1, 2)).sum())
        )
        for value in np.unique(array[array > 0])
    }


def check(store, array):
    assert np.array_equal(store[...], array)
    assert store.counts() == expected_counts(array)
    assert store.annotated_slices() == tuple(np.flatnonzero(array.any(axis=(1, 2))))


def check_snapshot(snapshot, array):
    assert np.array_equal(snapshot.read(Box.of_shape(array.shape)), array)
    assert snapshot.counts() == expected_counts(array)
    assert snapshot.slices() == tuple(np.flatnonzero(array.any(axis=(1, 2))))
    for z in range(array.shape[0]):
        plane = np.zeros(array.shape[1:], np.uint8)
        for box, labels in snapshot.planes(z):
            plane[box.slices[1:]] = labels
        assert np.array_equal(plane, array[z])


def apply(store, array, key, value):
    before, revision = array.copy(), store.revision
    array[key] = value
    store[key] = value
    assert store.revision - revision == (not np.array_equal(before, array))
    found, wanted = store[key], array[key]
    assert type(found) is type(wanted)
    assert found.dtype == wanted.dtype
    assert np.array_equal(found, wanted)


@settings(max_examples=150, deadline=None)
@given(st.lists(edits(), min_size=1, max_size=6), st.sampled_from(CHUNKS), st.data())
def test_any_edits_give_what_numpy_gives(sequence, chunk, data):
    store, array = LabelStore(SHAPE, chunk=chunk), np.zeros(SHAPE, np.uint8)
    kept = []
    for key, value in sequence:
        apply(store, array, key, value)
        check(store, array)
        if data.draw(st.booleans()):
            kept.append((store.snapshot(), array.copy()))
        if data.draw(st.integers(0, 3)) == 0:
            old, new = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 3))
            store.replace(old, new)
            array[array == old] = new
            check(store, array)
    for snapshot, copy in kept:
        check_snapshot(snapshot, copy)
    revisions = [snapshot.revision for snapshot, _ in kept]
    assert revisions == sorted(revisions)


@settings(max_examples=20, deadline=None)
@given(st.lists(edits(), min_size=1, max_size=5), st.integers(0, 5), st.booleans())
def test_any_edits_come_back_from_disk(sequence, checkpoint_at, replacing):
    array = np.zeros(SHAPE, np.uint8)
    with TemporaryDirectory() as name:
        store = open_annotations(Path(name), SHAPE)
        for number, (key, value) in enumerate(sequence):
            apply(store, array, key, value)
            if number == checkpoint_at:
                assert store.checkpoint(20)
        if replacing:
            store.replace(1, 2)
            array[array == 1] = 2
        revision = store.revision
        assert store.flush(20)
        copy = Path(name) / "copy"
        copy_journal(Path(name), copy)
        store.close()
        assert store.journal_error is None
        for folder in (copy, Path(name)):  # as after a crash, and after a tidy end
            again = open_annotations(folder, SHAPE)
            check(again, array)
            assert again.revision == revision
            assert again.recovery is None
            again.close()


def copy_journal(source, target):
    """Copy what a crash would leave."""
    target.mkdir()
    for path in [*source.glob("journal/**/*"), *source.glob("annotations.zarr/**/*")]:
        if path.is_file():
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())


@pytest.fixture(params=["memory", "journal"])
def store(request, tmp_path):
    made = open_annotations(None if request.param == "memory" else tmp_path, (4, 600, 700))
    yield made
    made.close()


def test_looks_like_an_array(store):
    assert store.shape == (4, 600, 700)
    assert store.dtype == np.uint8
    assert (store.ndim, store.size, store.nbytes, len(store)) == (3, 1680000, 1680000, 4)
    assert store[0].shape == (600, 700)
    assert isinstance(store[1, 2, 3], np.uint8)


def test_empty_volumes_take_no_memory_and_erasing_gives_it_back(store):
    assert store.memory_bytes == 0
    store[2, 100:110, 500:520] = 3
    assert 0 < store.memory_bytes < store.nbytes
    store[2] = 0
    assert store.memory_bytes == 0
    assert store.counts() == {}
    assert store.revision == 2


def test_what_is_read_is_a_copy(store):
    store[1, :5, :5] = 2
    read = store[1:2, :5, :5]
    read[...] = 7
    assert (store[1, :5, :5] == 2).all()


def test_an_edit_that_changes_nothing_is_none(store):
    store[0, :3, :3] = 1
    snapshot = store.snapshot()
    store[0, 1, 1] = 1
    store[3] = 0
    store[:0] = 5
    store.replace(9, 4)
    assert store.revision == 1
    assert store.snapshot() is snapshot


def test_a_snapshot_can_be_read_by_others_while_painting_goes_on(store):
    store[1, 100:200, 100:600] = 1
    snapshot = store.snapshot()
    expected = snapshot.read(Box((1, 0, 0), (2, 600, 700)))
    started, stop, wrong = threading.Event(), threading.Event(), []

    def read():
        while not stop.is_set():
            if not np.array_equal(snapshot.read(Box((1, 0, 0), (2, 600, 700))), expected):
                wrong.append("torn")
            started.set()

    reader = threading.Thread(target=read)
    reader.start()
    started.wait()
    for value in range(2, 60):
        store[1, value : value + 100, value : value + 500] = value
    stop.set()
    reader.join()
    assert wrong == []
    assert snapshot.revision == 1


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        (0, 128, "1 to 127"),
        (0, -1, "1 to 127"),
        (0, 1.5, "whole numbers"),
        (0, "membrane", "whole numbers"),
        (0, np.ones((3, 3), np.uint8), "shape"),
        ((slice(0, 2), slice(0, 2), slice(0, 2)), np.ones((1, 2, 2, 3)), "shape"),
        (([0], [0], [0]), [1, 2], "shape"),
    ],
)
def test_labels_that_do_not_fit_are_told(store, key, value, part):
    with pytest.raises(AnnotationError, match=part):
        store[key] = value
    assert store.revision == 0
    assert store.counts() == {}


@pytest.mark.parametrize("key", [4, -5, (0, 600), (0, 0, 0, 0), (..., ...), ([0, 4],), 1.5, "a"])
def test_indices_that_are_not_there_raise_as_in_numpy(store, key):
    with pytest.raises(IndexError):
        np.zeros(store.shape, np.uint8)[key]
    with pytest.raises(IndexError):
        store[key]
    with pytest.raises(IndexError):
        store[key] = 1


def test_the_whole_is_never_loaded(store):
    with pytest.raises(AnnotationError, match="never loaded at once"):
        np.asarray(store)
    huge = LabelStore((2160, 2560, 2560))
    with pytest.raises(AnnotationError, match="2D"):
        huge[:]
    assert huge[:, 5].shape == (2160, 2560)


@pytest.mark.parametrize("shape", [(0, 4, 4), (4, 4), (1, 2, 3, 4)])
def test_a_shape_has_three_axes(shape):
    with pytest.raises(AnnotationError, match="three axes"):
        LabelStore(shape)


@pytest.mark.parametrize(("value", "new"), [(0, 1), (128, 1), (1, 200)])
def test_only_classes_are_replaced(store, value, new):
    with pytest.raises(AnnotationError):
        store.replace(value, new)


def test_a_closed_store_can_be_read_but_not_painted(store):
    store[0, :2, :2] = 1
    store.close()
    store.close()
    assert store.counts() == {1: ClassCount(4, 1)}
    with pytest.raises(AnnotationError, match="closed"):
        store[0, 0, 0] = 2
    with pytest.raises(AnnotationError, match="closed"):
        store.replace(1, 2)
    assert store.flush()
    assert store.checkpoint()


def test_snapshots_tell_which_slices_changed_between_them(store):
    store[0, 1:3, 1:3] = 1
    before = store.snapshot()
    assert store.snapshot().changed_slices(before) == set()
    last = store.shape[0] - 1
    store[last, 2, 2] = 2
    store[0, 1, 1] = 0
    after = store.snapshot()
    assert {0, last} <= after.changed_slices(before)
    for z in set(range(store.shape[0])) - after.changed_slices(before):
        plane = Box((z, 0, 0), (z + 1, *store.shape[1:]))
        assert np.array_equal(after.read(plane), before.read(plane))


def test_a_snapshot_reads_inside_only(store):
    with pytest.raises(AnnotationError, match="inside"):
        store.snapshot().read(Box((0, 0, 0), (5, 1, 1)))


def test_memory_only_stores_are_always_safe():
    store = open_annotations(None, (2, 3, 4))
    store[0] = 1
    assert store.flush(0)
    assert store.checkpoint()
    assert store.unsaved_seconds == 0
    assert store.journal_error is None
