"""Partial updates of what a layer shows: the only module that uses napari's private parts.

The others find here what napari hands out under private names only.

``layer.refresh()`` reads and uploads the whole plane, 7 to 46 ms at 2560 x 2560; a tile of
256 x 256 takes under 1 ms this way. Everything here falls back to ``refresh()`` by returning
False, and the tests check that both ways show the same. Written for napari 0.9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers.labels.labels import _MaskedPaintAtom

from brushfire.geometry import Box, triple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Image, Labels, Layer
    from napari.viewer import Viewer
    from numpy.typing import NDArray
    from qtpy.QtWidgets import QMainWindow

    Rectangle = tuple[slice, slice]

ATTRIBUTES_USED = (
    "layer._slice", "layer._slice_input", "layer._slicing_state", "layer._raw_to_displayed",
    "layer._get_pt_not_disp", "colormap._data_to_texture", "canvas.layer_to_visual",
    "node._texture.scale_and_set_data", "labels._MaskedPaintAtom", "layer._undo_history",
    "canvas._scene_canvas.set_current",
)  # fmt: skip


MERGE_LIMIT = 1 << 24
"""Voxels of the largest box that one undo entry may span; a stroke is well below."""


def whole_viewer(viewer: Viewer) -> Viewer:
    """Return ``viewer`` itself where napari handed a plugin a proxy that hides private parts."""
    found: Viewer = getattr(viewer, "__wrapped__", viewer)
    return found


def main_window(viewer: Viewer) -> QMainWindow:
    """Return the window of ``viewer``; napari hands it out under a private name only."""
    return viewer.window._qt_window


def canvas_widget(viewer: Viewer) -> Any:
    """Return the Qt widget that receives the mouse over the canvas."""
    return viewer.window._qt_viewer.canvas.native


def keep_to_own_context(viewer: Viewer) -> None:
    """Let removed layers of ``viewer`` be deleted where they were drawn, not in another window.

    napari 0.9 deletes the programs and textures of a removed layer in whatever OpenGL context
    is current: that of the window drawn last, whose own objects bear the same numbers and are
    lost.
    """
    layers, canvas = viewer.layers, viewer.window._qt_viewer.canvas._scene_canvas
    for event in (layers.events.removed, layers.events.end_batch):
        # A bound method is held weakly, and goes with the canvas.
        event.connect(canvas.set_current, position="first")


def update_labels(layer: Labels, boxes: Sequence[Box]) -> bool:
    """Bring what ``layer`` shows up to date with its data inside ``boxes``.

    Parameters
    ----------
    layer : Labels
        A single-scale layer whose data changed behind napari's back.
    boxes : sequence of Box
        Where the data changed, in voxels of the data.

    Returns
    -------
    bool
        False where only ``layer.refresh()`` can do it.
    """
    if not layer.visible:
        return True  # napari slices a layer afresh when it becomes visible
    if not _shows_a_plane(layer):
        return False
    image = layer._slice.image
    if not image.raw.flags.writeable:
        return False
    for rectangle in _merge(_rectangles(layer, boxes)):
        image.raw[rectangle] = _read(layer, rectangle)
        if layer.contour > 0:
            # A contour at the edge of the tile depends on, and changes, what lies around it.
            rectangle = _grow(rectangle, layer.contour, image.raw.shape)
            shown = layer._raw_to_displayed(image.raw, data_slice=rectangle)
        else:
            shown = layer.colormap._data_to_texture(image.raw[rectangle])
        image.view[rectangle] = shown
        layer.events.labels_update(data=shown, offset=[side.start for side in rectangle])
    return True


def update_image(viewer: Viewer, layer: Image, boxes: Sequence[Box]) -> bool:
    """Do what `update_labels` does, for a single-scale image layer of ``viewer``."""
    if not layer.visible:
        return True
    visual = viewer.window._qt_viewer.canvas.layer_to_visual.get(layer)
    texture = getattr(getattr(visual, "node", None), "_texture", None)
    if not _shows_a_plane(layer) or texture is None:
        return False
    raw, view = layer._slice.image.raw, layer._slice.image.view
    if texture.shape[:2] != raw.shape[:2] or not raw.flags.writeable or not view.flags.writeable:
        return False
    for rectangle in _merge(_rectangles(layer, boxes)):
        block = _read(layer, rectangle)
        raw[rectangle] = block
        view[rectangle] = block
        offset = tuple(side.start for side in rectangle)
        texture.scale_and_set_data(np.ascontiguousarray(block), offset=offset, copy=False)
        visual.node.update()
    return True


def merge_stroke(layer: Labels) -> bool:
    """Make one undo entry of the many small ones that napari notes while the brush moves.

    A stroke across the canvas is hundreds of entries, each replayed by its own read and write;
    one box around all of them is undone ten times faster.

    Returns
    -------
    bool
        Whether the newest stroke was merged.
    """
    if not layer._undo_history:
        return False
    item = layer._undo_history[-1]
    if len(item) < 2 or not all(isinstance(atom, _MaskedPaintAtom) for atom in item):
        return False
    box = _box_of(item[0])
    for atom in item[1:]:
        box = box.union(_box_of(atom))
    if box.size > MERGE_LIMIT or any(atom.new_value != item[0].new_value for atom in item):
        return False
    changed, before = np.zeros(box.shape, bool), np.zeros(box.shape, layer.dtype)
    for atom in item:
        # No voxel changes twice in a stroke of one value, so their order does not matter.
        part = _box_of(atom).slices_in(box)
        inside = slice(None) if atom.mask is None else atom.mask
        changed[part][inside] = True
        before[part][inside] = atom.old_values
    layer._undo_history[-1] = [
        _MaskedPaintAtom(box.slices, changed, before[changed], item[0].new_value)
    ]
    return True


def _box_of(atom: Any) -> Box:
    key = atom.slice_key
    return Box(triple([s.start for s in key]), triple([s.stop for s in key]))


def shown_plane(layer: Layer) -> NDArray[Any]:
    """Return a copy of the pixels that ``layer`` shows, before colours."""
    return np.array(layer._slice.image.view)


def _shows_a_plane(layer: Layer) -> bool:
    return bool(
        layer._slicing_state.loaded
        and not layer._slice.empty
        and layer._slice_input.ndisplay == 2
        and not layer.multiscale
        # Only a slice request newer than the data on show would make them differ.
        and layer._slice.image.raw.shape
        == tuple(layer.data.shape[axis] for axis in layer._slice_input.displayed)
    )


def _rectangles(layer: Layer, boxes: Sequence[Box]) -> list[Rectangle]:
    """Return the parts of ``boxes`` on the plane on show, as slices of its two axes."""
    point = layer._get_pt_not_disp() if hasattr(layer, "_get_pt_not_disp") else _point(layer)
    rows, columns = layer._slice_input.displayed
    shape = layer.data.shape
    found = []
    for box in boxes:
        inside = box.clip(shape)
        if inside.size and all(inside.start[d] <= at < inside.stop[d] for d, at in point.items()):
            sides = inside.slices
            found.append((sides[rows], sides[columns]))
    return found


def _point(layer: Layer) -> dict[int, int]:
    slice_input = layer._slice.slice_input
    point = np.round(layer.world_to_data(slice_input.world_slice.point)).astype(int)
    return {axis: int(point[axis]) for axis in slice_input.not_displayed}


def _read(layer: Layer, rectangle: Rectangle) -> NDArray[Any]:
    """Read ``rectangle`` of the plane on show, its axes in the order on show."""
    displayed = list(layer._slice_input.displayed)
    key: list[Any] = [slice(None)] * 3
    for axis, at in _point(layer).items():
        key[axis] = at
    for axis, side in zip(displayed, rectangle, strict=True):
        key[axis] = side
    block = np.asarray(layer.data[tuple(key)])
    return block if displayed == sorted(displayed) else block.T


def _merge(rectangles: list[Rectangle]) -> list[Rectangle]:
    """Return one rectangle around all where that costs little more, else the ones given."""
    if len(rectangles) < 2:
        return rectangles
    around = (
        slice(min(r[0].start for r in rectangles), max(r[0].stop for r in rectangles)),
        slice(min(r[1].start for r in rectangles), max(r[1].stop for r in rectangles)),
    )
    if _area(around) <= 1.5 * sum(_area(r) for r in rectangles):
        return [around]
    return rectangles


def _area(rectangle: Rectangle) -> int:
    height, width = (side.stop - side.start for side in rectangle)
    return int(height * width)


def _grow(rectangle: Rectangle, margin: int, shape: Sequence[int]) -> Rectangle:
    rows, columns = (
        slice(max(side.start - margin, 0), min(side.stop + margin, length))
        for side, length in zip(rectangle, shape, strict=True)
    )
    return rows, columns
