"""Outlines of strokes that the user should look at, as a layer of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Shapes

from brushfire.ui.connections import Connections
from brushfire.ui.layers import KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brushfire.geometry import Box
    from brushfire.learning.doubts import Doubt
    from brushfire.ui.layers import SessionLayers

NAME = "Brushfire strokes to check"
_COLOR = "#ff5470"  # seen on grey, and no class has it by default


class DoubtMarks:
    """Boxes around the strokes that contradict others, in a layer that comes when asked for.

    Parameters
    ----------
    layers : SessionLayers
        Of the window.
    """

    def __init__(self, layers: SessionLayers) -> None:
        self._layers = layers
        self._layer: Shapes | None = None
        self._shown: tuple[Doubt, ...] = ()
        self._connections = Connections()
        events = layers.session.events
        self._connections.connect(events.learning_changed, self._follow)
        self._connections.connect(events.volume_changed, self._follow_volume)

    def show(self, doubts: Sequence[Doubt]) -> None:
        """Outline these strokes, and no others, until there are other doubts."""
        viewer = self._layers.viewer
        if self._layer is None or self._layer not in viewer.layers:
            self._layer = Shapes(
                ndim=3, name=NAME, face_color="transparent", edge_color=_COLOR, edge_width=2,
                metadata={KEY: {"role": "doubts"}}, **self._layers.placement(),
            )  # fmt: skip
            self._layers.add_aside(self._layer)
            self._shown = ()
        if self._shown != tuple(doubts):
            self._shown = tuple(doubts)
            self._layer.data = []
            self._layer.add_rectangles(
                [_corners(doubt.box) for doubt in doubts],
                edge_color=_COLOR, face_color="transparent", edge_width=2,
            )  # fmt: skip

    def _follow(self, *_: object) -> None:
        """Keep the outlines true once they are shown; take them away where there are none."""
        viewer, doubts = self._layers.viewer, self._layers.session.learning.doubts
        if self._layer is None or self._layer not in viewer.layers:
            return
        if doubts:
            self.show(doubts)
        else:
            viewer.layers.remove(self._layer)
            self._layer, self._shown = None, ()

    def _follow_volume(self) -> None:
        """Follow a voxel size that was corrected after the outlines were drawn."""
        self._follow()
        if self._layer is not None:
            for name, value in self._layers.placement().items():
                if name in ("scale", "translate", "units"):
                    setattr(self._layer, name, value)

    def close(self) -> None:
        """Stop following the session."""
        self._connections.close()


def _corners(box: Box) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return the corners of a box one slice thick, (4, 3), where pixels begin and end."""
    (z, top, left), (_, bottom, right) = box.start, box.stop
    ends = ((top, left), (top, right), (bottom, right), (bottom, left))
    return np.array([(z, y - 0.5, x - 0.5) for y, x in ends])
