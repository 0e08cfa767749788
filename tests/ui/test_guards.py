"""What napari would read whole, or a slip of the hand would lose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from napari._app_model import get_app_model
from napari.layers import Labels

from brushfire.annotations import open_annotations
from brushfire.errors import AnnotationError
from brushfire.ui.arrays import PlaneArray

if TYPE_CHECKING:
    from .conftest import Window

HUGE = (512, 1024, 1024)


class Counting:
    """A huge source that notes the largest read."""

    shape, dtype = HUGE, np.dtype(np.uint8)

    def __init__(self) -> None:
        self.largest = 0

    def __getitem__(self, key):
        shape = np.broadcast_to(np.uint8(0), HUGE)[key].shape
        self.largest = max(self.largest, int(np.prod(shape, dtype=np.int64)))
        return np.zeros(shape, np.uint8)


def said(window: Window) -> str:
    return window.dock.notice.text


def test_3d_hides_our_planes_before_anything_is_read_and_shows_them_again(
    window: Window,
) -> None:
    window.open()
    source = Counting()
    window.layers.strokes.data = PlaneArray(source, "Strokes")
    source.largest = 0
    window.viewer.dims.ndisplay = 3
    window.settle()
    assert not window.layers.strokes.visible
    assert "3D" in said(window)
    assert source.largest <= HUGE[1] * HUGE[2]

    window.layers.strokes.visible = True
    assert not window.layers.strokes.visible
    assert source.largest <= HUGE[1] * HUGE[2]

    window.viewer.dims.ndisplay = 2
    window.settle()
    assert window.layers.strokes.visible
    assert source.largest <= HUGE[1] * HUGE[2]


def test_a_layer_the_user_hid_stays_hidden_after_3d(window: Window) -> None:
    window.open()
    window.layers.strokes.visible = False
    window.viewer.dims.ndisplay = 3
    window.viewer.dims.ndisplay = 2
    assert not window.layers.strokes.visible


def test_what_would_read_or_lose_all_strokes_is_refused_and_changes_nothing(
    window: Window,
) -> None:
    window.open()
    layer = window.layers.strokes
    window.viewer.layers.selection.active = layer
    before, label = list(window.viewer.layers), layer.selected_label
    for act in (
        lambda: np.asarray(layer.data),
        lambda: np.max(layer.data),
        lambda: layer.data.astype(np.int64),
    ):
        with pytest.raises(AnnotationError, match="Use Export"):
            act()
    for command in ("napari.layer.duplicate", "napari.layer.convert_to_int64"):
        with pytest.raises(AnnotationError, match="not copied or converted"):
            get_app_model().commands.execute_command(command).result()
        assert list(window.viewer.layers) == before, command
        assert layer.data.dtype == np.uint8
    window.viewer.layers.remove_selected()
    assert layer in window.viewer.layers, "it is locked"
    # The key for a new label only explains.
    bound = next(act for key, act in layer.keymap.items() if str(key) == "M")
    bound(layer)
    assert layer.selected_label == label
    assert "Paint step" in said(window)


def test_fill_goes_back_to_two_dimensions(window: Window) -> None:
    window.open()
    layer = window.layers.strokes
    layer.n_edit_dimensions = 3
    assert layer.n_edit_dimensions == 3
    layer.mode = "fill"
    assert layer.n_edit_dimensions == 2
    assert "flood" in said(window)
    layer.n_edit_dimensions = 3
    assert layer.n_edit_dimensions == 2
    layer.mode = "paint"
    layer.n_edit_dimensions = 3
    assert layer.n_edit_dimensions == 3


def test_labels_that_are_no_class_are_not_taken(window: Window) -> None:
    window.open()
    layer = window.layers.strokes
    layer.selected_label = 2
    assert window.session.active_class == 2
    layer.selected_label = 77
    assert layer.selected_label == 2
    assert "no class 77" in said(window)
    layer.selected_label = 0
    assert layer.selected_label == 0
    window.session.set_active_class(1)
    assert layer.selected_label == 1


def test_strokes_survive_their_layer_and_come_back(painted: Window) -> None:
    before = painted.session.labels[3].copy()
    assert before.any()
    painted.viewer.layers.remove(painted.layers.strokes)
    assert "safe" in said(painted)
    assert np.array_equal(painted.session.labels[3], before)
    painted.dock.notice.action.click()
    assert painted.layers.strokes in painted.viewer.layers
    assert np.array_equal(painted.layers.strokes.data[3], before)


def test_a_removed_prediction_stays_away_until_asked_for(painted: Window) -> None:
    painted.learn()
    painted.viewer.layers.remove(painted.layers.prediction)
    tiles = len(painted.session.predictions)
    painted.viewer.dims.set_point(0, 1)
    painted.wait(lambda: len(painted.session.predictions) > tiles)
    assert painted.layers.prediction not in painted.viewer.layers
    painted.dock.notice.action.click()
    assert painted.layers.prediction in painted.viewer.layers


def test_a_removed_image_comes_back_below_the_strokes(painted: Window) -> None:
    painted.viewer.layers.remove(painted.layers.image[0])
    assert painted.session.volume is not None
    painted.dock.notice.action.click()
    layers = list(painted.viewer.layers)
    assert layers.index(painted.layers.image[0]) < layers.index(painted.layers.strokes)


def test_small_volumes_may_be_read_whole_by_index() -> None:
    store = open_annotations(None, (4, 5, 6))
    array = PlaneArray(store, "Strokes")
    assert array[:, :, :].shape == (4, 5, 6)
    assert PlaneArray(Counting(), "Strokes")[:, :, :].shape == (1, 1, 1)
    assert PlaneArray(Counting(), "Strokes")[...].shape == (1, 1, 1)
    assert isinstance(Labels(array, multiscale=False), Labels)
    store.close()
