"""Which part of the volume is on screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from brushfire.geometry import Box, Triple, triple
from brushfire.ui.connections import Connections
from brushfire.ui.textures import canvas_widget

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.layers import Layer
    from napari.viewer import Viewer

SOON_MS = 40
SETTLED_MS = 250

SIDES_SEEN = (4, 10, 20)
"""Squares side by side on the canvas while one is well seen: at least, at best, at most."""


class Viewport(QObject):
    """Reports the visible box after the camera or a slider moved, at most 25 times a second.

    napari brings ``corner_pixels`` up to date when it draws, so they are read after the event
    loop had a turn, and once more when things have settled.

    Parameters
    ----------
    viewer : Viewer
        The viewer to watch.
    layer : callable
        Returns the layer whose voxels count, or None.
    parent : QObject
        Owner of the timers.
    """

    moved = Signal(object)

    def __init__(self, viewer: Viewer, layer: Callable[[], Layer | None], parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._layer = layer
        self._last: Box | None = None
        self._timers = [self._timer(SOON_MS), self._timer(SETTLED_MS)]
        self._connections = Connections()
        dims, camera = viewer.dims.events, viewer.scene.camera.events
        for event in (
            dims.current_step, dims.order, dims.ndisplay,
            camera.center, camera.zoom, viewer.scene.camera.events.angles,
        ):  # fmt: skip
            self._connections.connect(event, self.touch)

    def touch(self, event: object = None) -> None:
        """Read the visible box soon."""
        soon, settled = self._timers
        if not soon.isActive():
            soon.start()
        settled.start()

    def close(self) -> None:
        """Stop watching."""
        self._connections.close()
        for timer in self._timers:
            timer.stop()

    def forget(self) -> None:
        """Report the box again even where it has not changed."""
        self._last = None
        self.touch()

    def _timer(self, interval: int) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(interval)
        timer.timeout.connect(self._read)
        return timer

    def _read(self) -> None:
        layer = self._layer()
        box = visible_box(self._viewer, layer) if layer is not None else None
        if box is not None and box != self._last:
            self._last = box
            self.moved.emit(box)


def visible_box(viewer: Viewer, layer: Layer) -> Box | None:
    """Return the voxels of ``layer`` on screen at level 0, one thick along the sliced axis.

    None while the viewer shows 3D, or something that does not reach the layer.
    """
    if viewer.dims.ndisplay != 2 or layer.ndim != 3:
        return None
    shape, factors = _level_zero(layer)
    # A viewer may have more axes than the layer; layers are aligned at the last ones.
    extra = viewer.dims.ndim - 3
    shown = [axis - extra for axis in viewer.dims.displayed]
    if min(shown) < 0:
        return None
    point = np.round(layer.world_to_data(viewer.dims.point[extra:])).astype(int)
    corners = np.asarray(layer.corner_pixels)
    start, stop = [0, 0, 0], [0, 0, 0]
    for axis in range(3):
        if axis in shown:
            start[axis] = int(corners[0, axis] * factors[axis])
            stop[axis] = int(np.ceil((corners[1, axis] + 1) * factors[axis]))
        else:
            start[axis] = int(point[axis])
            stop[axis] = int(point[axis]) + 1
    if any(b <= a for a, b in zip(start, stop, strict=True)):
        return None
    box = Box(triple(start), triple(stop)).clip(shape)
    return box if box.size else None


def show_square(viewer: Viewer, layer: Layer, voxel: Sequence[int], side: int) -> None:
    """Bring a voxel into the middle of the canvas, so that a square around it is well seen.

    The zoom stays as it is where that is so already. What is selected stays selected.

    Parameters
    ----------
    viewer : Viewer
        Left in 2D.
    layer : Layer
        Whose voxels count, at level 0.
    voxel : sequence of int
        z, y, x.
    side : int
        Of the square in pixels.
    """
    viewer.dims.ndisplay = 2
    world = np.asarray(layer.data_to_world(tuple(voxel)), float)
    extra = viewer.dims.ndim - 3
    shown = [axis - extra for axis in viewer.dims.displayed]
    for axis in set(range(3)) - set(shown):
        viewer.dims.set_point(axis + extra, float(world[axis]))
    if min(shown) < 0:
        return  # slices of another layer's axes: there is no place on them
    camera, canvas = viewer.scene.camera, canvas_widget(viewer)
    camera.center = (0.0, *(float(world[axis]) for axis in shown))
    pixel = max(float(layer.scale[axis]) for axis in shown)
    room = min(canvas.width(), canvas.height())
    low, wanted, high = (sides * side * pixel for sides in SIDES_SEEN)
    if not low <= room / camera.zoom <= high:
        camera.zoom = room / wanted


def _level_zero(layer: Layer) -> tuple[Triple, tuple[float, ...]]:
    if layer.multiscale:
        factors = layer.downsample_factors[layer.data_level]
        return triple(layer.level_shapes[0]), tuple(float(f) for f in factors)
    return triple(layer.data.shape), (1.0, 1.0, 1.0)
