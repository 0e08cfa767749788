"""The line that a user draws across an edge, as a layer that is there while it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes
from psygnal import Signal
from qtpy.QtCore import QTimer

from brushfire.session import EdgeLine
from brushfire.ui.connections import Connections
from brushfire.ui.layers import KEY

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

    from brushfire.session import Session
    from brushfire.ui.layers import SessionLayers

NAME = "Edge profile"
COLOR = "#ffd34d"  # seen on grey
SOON_MS = 100
"""The line is read once it was not changed for as long."""
_PIXELS = 2  # of the screen that the line is wide when drawing begins
_FLAT = 1e-3  # of a voxel: less is rounding


class EdgeLayer:
    """A layer with one line; it goes with the volume, and when the task is another one.

    Parameters
    ----------
    viewer : Viewer
        Where it is shown.
    session : Session
        Of the volume in which the line lies.
    layers : SessionLayers
        The other layers of the session.
    """

    changed = Signal(object)
    """the line, an `EdgeLine`, or None where there is none any more"""

    def __init__(self, viewer: Viewer, session: Session, layers: SessionLayers) -> None:
        self.layer: Shapes | None = None
        self._viewer, self._session, self._layers = viewer, session, layers
        self._before: Layer | None = None
        self._of: object = None
        self._soon = QTimer()
        self._soon.setSingleShot(True)
        self._soon.setInterval(SOON_MS)
        self._soon.timeout.connect(self._read)
        self._connections = Connections()
        self._connections.connect(session.events.volume_changed, self._follow_volume)
        self._connections.connect(viewer.layers.events.removed, self._on_removed)

    def draw(self) -> None:
        """Let the user draw a line in place of the one there is; then all is as it was before."""
        layers = self._viewer.layers
        self._viewer.dims.ndisplay = 2
        before = layers.selection.active
        if self.layer is None:
            self.layer = self._add()
        if before is not self.layer:
            self._before = before
        self.layer.visible = True
        layers.selection.active = self.layer
        self.layer.mode = "add_line"

    def _add(self) -> Shapes:
        where = self._layers.placement()
        layer = Shapes(
            ndim=3, name=NAME, edge_color=COLOR, metadata={KEY: {"role": "edge"}}, **where
        )
        pixel = self._viewer.scene.camera.zoom * min(where["scale"])
        layer.current_edge_width = max(_PIXELS / pixel, 0.1)
        self._layers.add_aside(layer)
        layer.events.data.connect(self._on_data)
        self._of = self._session.labels
        return layer

    def remove(self) -> None:
        """Take the layer away, with its line."""
        if self.layer is not None:
            self._viewer.layers.remove(self.layer)

    # ------------------------------------------------------------------ following
    def _on_data(self, event: Any) -> None:
        # napari tells of a line before it is done with it: read it when it is.
        self._soon.start()

    def _read(self) -> None:
        layer = self.layer
        if layer is None or layer._is_creating:
            return
        if layer.nshapes > 1:  # the newest counts
            layer.selected_data = set(range(layer.nshapes - 1))
            layer.remove_selected()
        if layer.nshapes:
            self._end_drawing(layer)
        self.changed.emit(self.line())

    def _end_drawing(self, layer: Shapes) -> None:
        """Give the mouse back to the layer that had it; the ends can be dragged when asked for."""
        if layer.mode != "add_line":
            return
        layer.mode = "direct"
        layer.selected_data = set()
        before, self._before = self._before, None
        if before is not None and before in self._viewer.layers:
            self._viewer.layers.selection.active = before

    def line(self) -> EdgeLine | None:
        """Return the line that is drawn, in the slice in which it was."""
        if self.layer is None or not self.layer.nshapes:
            return None
        start, stop = np.asarray(self.layer.data[-1], np.float64)[[0, -1]]
        extra = self._viewer.dims.ndim - 3
        sliced = [axis - extra for axis in self._viewer.dims.not_displayed]
        # Of a line that runs along an axis, two planes are possible: the one on screen.
        axes = [axis for axis in (*sliced, 0, 1, 2) if axis >= 0]
        axis = min(axes, key=lambda one: abs(start[one] - stop[one]) > _FLAT)
        return EdgeLine(tuple(start.tolist()), tuple(stop.tolist()), axis)

    def _follow_volume(self) -> None:
        """Go with the volume; follow a voxel size that was corrected."""
        if self.layer is None:
            return
        if self._session.labels is not self._of:
            self.remove()
            return
        for name, value in self._layers.placement().items():
            if name in ("scale", "translate", "units"):
                setattr(self.layer, name, value)
        self._soon.start()

    def _on_removed(self, event: Any) -> None:
        if event.value is self.layer and self.layer is not None:
            self.layer.events.data.disconnect(self._on_data)
            self.layer = self._before = None
            self._soon.stop()
            self.changed.emit(None)

    def close(self) -> None:
        """Stop following."""
        self._soon.stop()
        self._connections.close()
