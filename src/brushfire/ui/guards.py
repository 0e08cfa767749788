"""Keeps napari from reading a whole volume, and users from losing what they did not mean to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brushfire.ui.connections import Connections
from brushfire.ui.layers import role_of
from brushfire.ui.textures import merge_stroke

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Labels, Layer
    from napari.viewer import Viewer

    from brushfire.session import Session
    from brushfire.ui.layers import SessionLayers
    from brushfire.ui.restored import RestoredLayers

    Action = tuple[str, Callable[[], object]]
    Say = Callable[..., None]


class Guards:
    """Watches a viewer for the few actions that would harm, and says what to do instead.

    Parameters
    ----------
    viewer : Viewer
        The viewer to watch.
    session : Session
        Whose layers are guarded.
    layers : SessionLayers
        Those layers.
    restored : RestoredLayers
        And those of what is restored.
    say : callable
        ``say(level, text, action=None)`` shows an inline sentence.
    """

    def __init__(
        self,
        viewer: Viewer,
        session: Session,
        layers: SessionLayers,
        restored: RestoredLayers,
        say: Say,
    ) -> None:
        self._viewer = viewer
        self._session = session
        self._layers = layers
        self._restored = restored
        self._say = say
        self._hidden: list[Layer] = []
        self._guarded: Any = None
        self._connections = Connections()
        self._on_strokes = Connections()
        connect = self._connections.connect
        # Hidden before napari slices for 3D, which would read everything; shown again only after
        # it has sliced for 2D.
        connect(viewer.dims.events.ndisplay, self._before_display, position="first")
        connect(viewer.dims.events.ndisplay, self._after_display, position="last")
        connect(layers.added, self._guard)
        connect(restored.added, self._guard)
        connect(viewer.layers.events.removed, self._on_removed)

    def close(self) -> None:
        """Stop watching."""
        self._connections.close()
        self._on_strokes.close()

    # ------------------------------------------------------------------ 3D
    @property
    def _planes(self) -> tuple[Layer, ...]:
        return (*self._layers.planes, *self._restored.planes)

    def _before_display(self, event: object = None) -> None:
        if self._viewer.dims.ndisplay != 3:
            return
        hidden = [layer for layer in self._planes if layer.visible]
        for layer in hidden:
            layer.visible = False
        if hidden:
            self._hidden = hidden
            self._say(
                "info",
                "Strokes and predictions are hidden in 3D, which would read the whole volume. "
                "They come back in 2D.",
            )

    def _after_display(self, event: object = None) -> None:
        if self._viewer.dims.ndisplay == 3:
            return
        hidden, self._hidden = self._hidden, []
        for layer in hidden:
            if layer in self._viewer.layers:
                layer.visible = True

    def _on_visible(self, event: object = None) -> None:
        if self._viewer.dims.ndisplay != 3:
            return
        for layer in self._planes:
            if layer.visible:
                layer.visible = False
                self._say("info", "Strokes and predictions are shown in 2D only.")

    # ------------------------------------------------------------------ painting
    def _guard(self, layer: Layer) -> None:
        layer.events.visible.connect(self._on_visible)
        if role_of(layer) != "strokes":
            return
        self._guarded = layer
        self._on_strokes.close()
        self._on_strokes.connect(layer.events.paint, self._merge_stroke)
        self._on_strokes.connect(layer.events.mode, self._limit_fill)
        self._on_strokes.connect(layer.events.n_edit_dimensions, self._limit_fill)
        self._on_strokes.connect(layer.events.selected_label, self._follow_label)
        layer.bind_key("M", self._explain_new_label, overwrite=True)

    def _merge_stroke(self, event: object = None) -> None:
        merge_stroke(self._guarded)

    def _limit_fill(self, event: object = None) -> None:
        layer = self._guarded
        if layer is not None and str(layer.mode) == "fill" and layer.n_edit_dimensions > 2:
            layer.n_edit_dimensions = 2
            self._say(
                "warning",
                "Fill works in the plane you see: in 3D it would flood the whole volume. "
                "It was set back to 2 dimensions.",
            )

    def _follow_label(self, event: object = None) -> None:
        layer = self._guarded
        if layer is None or layer.selected_label == 0:
            return
        values = [entry.value for entry in self._session.classes]
        if layer.selected_label in values:
            if layer.selected_label != self._session.active_class:
                self._session.set_active_class(layer.selected_label)
            return
        if self._session.active_class in values:
            wanted = layer.selected_label
            layer.selected_label = self._session.active_class
            self._say("info", f"There is no class {wanted}. Add one in the Paint step.")

    def _explain_new_label(self, layer: Labels) -> None:
        self._say("info", "New classes are added with the button in the Paint step.")

    # ------------------------------------------------------------------ removed layers
    def _on_removed(self, event: object) -> None:
        layers = self._layers
        if layers.removing or self._restored.removing or self._session.volume is None:
            return
        layer = event.value  # type: ignore[attr-defined]
        if layer is layers.strokes:
            self._say(
                "info",
                "The strokes layer was removed from the list; the strokes themselves are safe.",
                action=("Show it again", layers.show_strokes),
            )
        elif layer is layers.prediction:
            self._say(
                "info",
                "The prediction layer was removed from the list.",
                action=("Show it again", layers.show_prediction),
            )
        elif layer in self._restored.shown:
            self._say(
                "info",
                "The denoised layer was removed from the list.",
                action=("Show it again", self._restored.show),
            )
        elif layer in layers.image:
            self._say(
                "info",
                "The image layer was removed; the volume is still open.",
                action=("Show it again", layers.show_image),
            )
