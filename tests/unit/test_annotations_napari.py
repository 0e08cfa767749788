"""A real napari Labels layer on the store does what it does on a numpy array."""

from __future__ import annotations

import numpy as np
import pytest

from brushfire.annotations import LabelStore, open_annotations
from brushfire.errors import AnnotationError

napari_layers = pytest.importorskip("napari.layers")
SHAPE = (4, 60, 70)


def show(layer, order=(0, 1, 2), point=(1, 30, 30), ndisplay=2):
    from napari.components import Dims

    dims = Dims(ndim=3, ndisplay=ndisplay, order=order, range=tuple((0, n - 1, 1) for n in SHAPE))
    dims.point = point
    layer._slice_dims(dims)


@pytest.fixture(params=[(1, 512, 512), (1, 16, 20), (2, 16, 20)], ids=str)
def pair(request):
    """A layer on a store and one on a numpy array."""
    store, array = LabelStore(SHAPE, chunk=request.param), np.zeros(SHAPE, np.uint8)
    layers = [
        napari_layers.Labels(data, name="labels", cache=False, multiscale=False)
        for data in (store, array)
    ]
    for layer in layers:
        show(layer)
    return layers


def check(pair):
    ours, plain = pair
    assert np.array_equal(ours.data[...], plain.data)
    assert np.array_equal(ours._slice.image.raw, plain._slice.image.raw)
    counts = {value: count.voxels for value, count in ours.data.counts().items()}
    values, voxels = np.unique(plain.data[plain.data > 0], return_counts=True)
    assert counts == dict(zip(values.tolist(), voxels.tolist(), strict=True))


def both(pair, act):
    for layer in pair:
        act(layer)
    check(pair)


def test_brush_and_eraser(pair):
    both(pair, lambda layer: layer.paint((1, 20, 20), 3))
    both(pair, lambda layer: layer.paint((1, 0, 69), 2))  # cut by the corner
    both(pair, lambda layer: layer.paint((1, 24, 22), 0))

    def drag(layer):
        layer.mode = "paint"
        with layer.block_history():
            layer._draw(5, (1, 10, 10), (1, 40, 55))

    both(pair, drag)
    assert pair[0].data.counts()[5].slices == 1


def test_undo_and_redo(pair):
    both(pair, lambda layer: layer.paint((1, 20, 20), 3))
    both(pair, lambda layer: layer.paint((1, 22, 24), 4))
    both(pair, lambda layer: layer.fill((1, 50, 50), 6))
    for _ in range(3):
        both(pair, lambda layer: layer.undo())
    assert pair[0].data.counts() == {}
    for _ in range(3):
        both(pair, lambda layer: layer.redo())
    assert set(pair[0].data.counts()) == {3, 4, 6}


@pytest.mark.parametrize("contiguous", [True, False])
def test_fill_in_the_plane(pair, contiguous):
    def fill(layer):
        layer.contiguous = contiguous
        layer.paint((1, 20, 20), 3)
        layer.paint((1, 50, 50), 3)
        layer.fill((1, 20, 20), 4)

    both(pair, fill)
    assert (3 in pair[0].data.counts()) == contiguous
    both(pair, lambda layer: layer.fill((1, 0, 0), 2))
    both(pair, lambda layer: layer.fill((1, 0, 0), 2))
    assert set(pair[0].data.annotated_slices()) == {1}


def test_polygons(pair):
    corners = np.array([[1, 5, 5], [1, 40, 10], [1, 30, 60]])
    both(pair, lambda layer: layer.paint_polygon(corners, 7))
    both(pair, lambda layer: layer.undo())


def test_keeping_what_is_there(pair):
    def paint(layer):
        layer.paint((1, 20, 20), 3)
        layer.preserve_labels = True
        layer.paint((1, 24, 24), 4)

    both(pair, paint)


def test_setting_voxels_by_coordinates(pair):
    z, y, x = np.full(40, 1), np.arange(40) % 17 + 10, np.arange(40) + 5
    both(pair, lambda layer: layer.data_setitem((z, y, x), 9))
    both(pair, lambda layer: layer.data_setitem((z, y, x), (np.arange(40) % 5).tolist()))
    both(pair, lambda layer: layer.undo())
    both(pair, lambda layer: layer.undo())
    assert pair[0].data.counts() == {}


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 0, 1), (2, 1, 0)])
def test_painting_on_the_other_planes(pair, order):
    for layer in pair:
        show(layer, order=order, point=(2, 33, 41))
        layer.brush_size = 5
    both(pair, lambda layer: layer.paint((2, 33, 41), 3))
    both(pair, lambda layer: layer.fill((0, 33, 41), 2))
    both(pair, lambda layer: layer.undo())


def test_a_ball_through_slices(pair):
    def paint(layer):
        layer.n_edit_dimensions = 3
        layer.brush_size = 7
        layer.paint((1, 30, 30), 3)

    both(pair, paint)
    assert pair[0].data.annotated_slices() == (0, 1, 2, 3)


def test_moving_through_slices_and_looking_at_values(pair):
    both(pair, lambda layer: layer.paint((1, 20, 20), 3))
    for layer in pair:
        assert layer.get_value((1, 20, 20)) == 3
        show(layer, point=(2, 30, 30))
    check(pair)
    for layer in pair:
        assert layer.get_value((2, 20, 20)) == 0
        show(layer, point=(1, 30, 30), ndisplay=3)
    check(pair)


def test_a_value_that_is_no_class_leaves_everything_as_it_was(pair):
    ours = pair[0]
    with pytest.raises(AnnotationError, match="1 to 127"):
        ours.paint((1, 20, 20), 200)
    assert ours.data.revision == 0


def test_painted_strokes_are_in_the_journal(tmp_path):
    store = open_annotations(tmp_path, SHAPE)
    layer = napari_layers.Labels(store, name="labels", cache=False, multiscale=False)
    show(layer)
    layer.paint((1, 20, 20), 3)
    layer.fill((1, 0, 0), 2)
    layer.undo()
    expected = store[...]
    store.close()
    again = open_annotations(tmp_path, SHAPE)
    assert np.array_equal(again[...], expected)
    assert again.revision == 3
    again.close()
