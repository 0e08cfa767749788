"""A partial texture update shows the same as a full refresh."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import napari
import numpy as np
import pytest

from brushfire.geometry import Box
from brushfire.ui import textures
from brushfire.ui.arrays import PlaneArray

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Layer

    from .conftest import Window

SHAPE = (9, 40, 56)
BOXES = [Box((4, 8, 16), (5, 24, 32)), Box((4, 24, 16), (5, 40, 48)), Box((0, 0, 0), (1, 8, 8))]
ORDERS = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (2, 0, 1)]


class Source:
    """An array that hands out copies, as our stores do."""

    def __init__(self) -> None:
        self.values = np.zeros(SHAPE, np.uint8)
        self.shape, self.dtype = SHAPE, self.values.dtype

    def __getitem__(self, key):
        return self.values[key].copy()


def change(source: Source) -> None:
    rng = np.random.default_rng(0)
    for box in BOXES:
        source.values[box.slices] = rng.integers(0, 4, box.shape)


def look(window: Window) -> np.ndarray:
    window.settle()
    return window.viewer.screenshot(flash=False)


def partial_equals_refresh(
    window: Window, source: Source, layer: Layer, order: tuple[int, ...], update: Callable
) -> None:
    """Look at a new layer before and after a change, and take the layer away."""
    window.viewer.add_layer(layer)
    window.viewer.dims.order = order
    for axis, at in enumerate((4, 20, 20)):
        window.viewer.dims.set_point(axis, at)
    window.viewer.reset_view()
    empty = look(window)

    change(source)
    assert update(layer, BOXES)
    some, some_plane = look(window), textures.shown_plane(layer)
    layer.refresh()
    full, full_plane = look(window), textures.shown_plane(layer)

    assert np.array_equal(some_plane, full_plane), order
    assert np.array_equal(some, full), order
    assert not np.array_equal(empty, full), order
    window.viewer.layers.remove(layer)


@pytest.mark.parametrize("contour", [0, 2])
def test_labels_partial_equals_refresh(window: Window, contour: int) -> None:
    for order in ORDERS:
        source = Source()
        layer = napari.layers.Labels(PlaneArray(source, "Labels"), cache=False, multiscale=False)
        layer.contour = contour
        partial_equals_refresh(window, source, layer, order, textures.update_labels)


def test_image_partial_equals_refresh(window: Window) -> None:
    for order in ORDERS:
        source = Source()
        layer = napari.layers.Image(
            PlaneArray(source, "Image"), cache=False, multiscale=False, contrast_limits=(0, 4)
        )
        update = partial(textures.update_image, window.viewer)
        partial_equals_refresh(window, source, layer, order, update)


def test_boxes_beside_the_plane_change_nothing(window: Window) -> None:
    source = Source()
    layer = napari.layers.Labels(PlaneArray(source, "Labels"), cache=False, multiscale=False)
    window.viewer.add_layer(layer)
    window.viewer.dims.set_point(0, 7)
    change(source)
    assert textures.update_labels(layer, BOXES)
    assert not textures.shown_plane(layer).any()


def test_a_hidden_layer_needs_no_update_and_is_right_when_shown(window: Window) -> None:
    source = Source()
    layer = napari.layers.Labels(PlaneArray(source, "Labels"), cache=False, multiscale=False)
    window.viewer.add_layer(layer)
    window.viewer.dims.set_point(0, 4)
    layer.visible = False
    change(source)
    assert textures.update_labels(layer, BOXES)
    layer.visible = True
    assert np.array_equal(textures.shown_plane(layer), source.values[4])


def test_what_cannot_be_updated_in_part_asks_for_a_refresh(window: Window) -> None:
    layer = napari.layers.Labels(PlaneArray(Source(), "Labels"), cache=False, multiscale=False)
    window.viewer.add_layer(layer)
    window.viewer.dims.ndisplay = 3
    assert not textures.update_labels(layer, BOXES)
