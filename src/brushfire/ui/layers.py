"""The layers of a session in its viewer: image, strokes, prediction, and extra outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap
from psygnal import Signal
from qtpy.QtCore import QTimer

from brushfire.prediction import STALE
from brushfire.ui.arrays import PlaneArray
from brushfire.ui.connections import Connections
from brushfire.ui.textures import update_image, update_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Layer
    from napari.viewer import Viewer

    from brushfire.annotations import LabelClass
    from brushfire.session import Session, TileUpdate
    from brushfire.volumes import Volume

KEY = "brushfire"
"""Under this key of ``layer.metadata`` a layer says what it is to us."""

SOON_MS = 150
"""The prediction layer follows the strokes layer after this, so that each is drawn in between."""

NAMES = {
    "strokes": "Brushfire strokes",
    "prediction": "Brushfire prediction",
    "probability": "Brushfire probability",
    "uncertainty": "Brushfire uncertainty",
}


class SessionLayers:
    """Keeps the layers of one viewer in step with one session.

    Parameters
    ----------
    viewer : Viewer
        Where the layers are shown.
    session : Session
        What they show.
    """

    added = Signal(object)
    """A strokes, prediction or extra layer, after it became one of ours."""

    def __init__(self, viewer: Viewer, session: Session) -> None:
        self.viewer = viewer
        self.session = session
        self.image: list[Layer] = []
        self.strokes: Labels | None = None
        self.prediction: Labels | None = None
        self.extra: dict[str, Image] = {}
        self.opacity = 0.45
        self.contour = 0
        self._removing = False
        self._adopted: Layer | None = None
        self._shown: Volume | None = None
        self._soon = QTimer()
        self._soon.setSingleShot(True)
        self._soon.setInterval(SOON_MS)
        self._soon.timeout.connect(self._prepare_prediction)
        self._connections = Connections()
        for signal, slot in (
            (session.events.volume_changed, self.follow_volume),
            (session.events.classes_changed, self._recolor),
            (session.events.active_class_changed, self._choose_label),
            (session.events.tiles_changed, self._update_tiles),
            (session.events.predictions_reset, self._refresh_outputs),
        ):
            self._connections.connect(signal, slot)

    # ------------------------------------------------------------------ what is there
    @property
    def ours(self) -> tuple[Layer, ...]:
        """All layers that belong to the session and are in the viewer."""
        own = [*self.image, self.strokes, self.prediction, *self.extra.values()]
        return tuple(layer for layer in own if layer is not None and layer in self.viewer.layers)

    @property
    def planes(self) -> tuple[Layer, ...]:
        """Our single-scale layers, which must not be shown in 3D."""
        return tuple(layer for layer in self.ours if layer not in self.image)

    def reference(self) -> Layer | None:
        """Return the layer whose voxels are those of the volume's level 0."""
        for layer in (self.strokes, *self.image):
            if layer is not None and layer in self.viewer.layers:
                return layer
        return None

    def adopt(self, layer: Layer | None) -> None:
        """Use ``layer`` as the image of the volume that is opened next; None takes it back."""
        self._adopted = layer

    # ------------------------------------------------------------------ volume
    def follow_volume(self) -> None:
        """Show the session's volume, its strokes and its predictions, and nothing older."""
        volume = self.session.volume
        if volume is None:
            self._remove(self.ours)
            self._forget()
            return
        if not self._same_data(volume):
            self._remove(layer for layer in self.ours if layer is not self._adopted)
            self._forget()
            self._show_image(volume)
        self._shown = volume
        self.show_strokes()
        self._follow_stores()
        self._place(volume)

    def _follow_stores(self) -> None:
        """Point the prediction at the present store; a new network brings a new one."""
        if self.session.predictions is None:
            self._remove([self.prediction, *self.extra.values()])
            self.prediction, self.extra = None, {}
        elif self.prediction is None and self.session.confirmed:
            self._soon.start()

    def _prepare_prediction(self) -> None:
        """Add the prediction layer while it is still empty.

        Adding a layer takes napari over 100 ms, which somebody who paints would notice.
        """
        if self.session.confirmed and self.prediction is None:
            self.show_prediction()

    def _same_data(self, volume: Volume) -> bool:
        old = self._shown
        if old is None or not self.image:
            return False
        return (old.fingerprint, len(old.levels)) == (volume.fingerprint, len(volume.levels))

    def _show_image(self, volume: Volume) -> None:
        adopted, self._adopted = self._adopted, None
        if adopted is not None and adopted in self.viewer.layers:
            adopted.metadata = {**adopted.metadata, KEY: {"role": "image"}}
            self.image = [adopted]
            return
        for data, state, _ in image_tuples(volume):
            # The volume lands under strokes and predictions, and above nothing of the user's.
            self.image.append(self.viewer.add_image(data, **state))

    def show_image(self) -> None:
        """Bring the image layer back after the user removed it."""
        if self.session.volume is not None and not self._present(self.image):
            self.image = []
            self._show_image(self.session.volume)
            for at, layer in enumerate(self.image):
                self.viewer.layers.move(self.viewer.layers.index(layer), at)

    def show_strokes(self) -> Labels | None:
        """Show the annotation layer, bringing it back where the user removed it."""
        store = self.session.labels if self.session.confirmed else None
        if store is None:
            self._remove([self.strokes])
            self.strokes = None
            return None
        if self.strokes is not None and self.strokes in self.viewer.layers:
            if self.strokes.data.source is store:
                return self.strokes
            self._remove([self.strokes])
        self.strokes = self._add_labels(
            "strokes", PlaneArray(store, "Strokes"), 0.85, stroke_colormap(self.session.classes)
        )
        self.strokes.brush_size = 10
        self._choose_label(self.session.active_class)
        self.added.emit(self.strokes)
        return self.strokes

    def show_prediction(self) -> Labels | None:
        """Show the prediction layer, bringing it back where the user removed it."""
        store = self.session.predictions
        if store is None:
            return None
        if self.prediction is None or self.prediction not in self.viewer.layers:
            data = PlaneArray(store.labels, "Predictions")
            colors = prediction_colormap(self.session.classes)
            layer = self._add_labels("prediction", data, self.opacity, colors)
            layer.editable = False
            layer.contour = self.contour
            self.prediction = layer
            self._below_strokes(layer)
            self.added.emit(layer)
        return self.prediction

    def _add_labels(
        self, role: str, data: PlaneArray, opacity: float, colormap: DirectLabelColormap
    ) -> Labels:
        # cache=False: napari keeps slices of lazy arrays and would show what has changed since.
        # Colours set later than here would have napari build its overlays a second time.
        layer = Labels(
            data, name=NAMES[role], opacity=opacity, colormap=colormap, cache=False,
            multiscale=False, metadata={KEY: {"role": role}}, **self.placement(),
        )  # fmt: skip
        if role == "strokes":
            self.viewer.add_layer(layer)
        else:
            self.add_aside(layer)
        # Deleting, converting and merging by a slip of the hand are refused by napari itself.
        layer.locked = True
        return layer

    def add_aside(self, layer: Layer) -> None:
        """Add a layer and leave selected what is: who paints goes on painting."""
        selected = self.viewer.layers.selection.active
        self.viewer.add_layer(layer)
        if selected is not None:
            self.viewer.layers.selection.active = selected

    def _below_strokes(self, layer: Layer) -> None:
        layers = self.viewer.layers
        if self.strokes is not None and self.strokes in layers:
            layers.move(layers.index(layer), layers.index(self.strokes))

    # ------------------------------------------------------------------ extra outputs
    def show_extra(self, role: str, value: int | None = None) -> None:
        """Show the "probability" of class ``value``, or the "uncertainty"."""
        self.hide_extra(role)
        store = self.session.predictions
        if store is None:
            return
        data = store.uncertainty if role == "uncertainty" else store.probability(value or 0)
        layer = Image(
            PlaneArray(data, "Predictions"), name=NAMES[role], cache=False, multiscale=False,
            colormap="magma" if role == "uncertainty" else "viridis", contrast_limits=(0, 255),
            opacity=0.6, blending="translucent", metadata={KEY: {"role": role}},
            **self.placement(),
        )  # fmt: skip
        self.add_aside(layer)
        self.extra[role] = layer
        self._below_strokes(layer)
        self.added.emit(layer)

    def hide_extra(self, role: str) -> None:
        """Remove an extra output."""
        layer = self.extra.pop(role, None)
        self._remove([layer])

    # ------------------------------------------------------------------ following the session
    def _recolor(self) -> None:
        classes = self.session.classes
        if self.strokes is not None:
            self.strokes.colormap = stroke_colormap(classes)
        if self.prediction is not None:
            self.prediction.colormap = prediction_colormap(classes)

    def _choose_label(self, value: int) -> None:
        # Choosing a class must not end erasing, which is a mode of its own.
        if self.strokes is not None and value and self.strokes.selected_label != value:
            self.strokes.selected_label = value

    def _update_tiles(self, tiles: Sequence[TileUpdate]) -> None:
        boxes = [tile.box for tile in tiles]
        if self.prediction is None:  # a layer that the user removed stays away
            self.show_prediction()
        layers, shown = self.viewer.layers, self.prediction
        if shown is not None and shown in layers and not update_labels(shown, boxes):
            shown.refresh(extent=False)
        for layer in self.extra.values():
            if layer in layers and not update_image(self.viewer, layer, boxes):
                layer.refresh(extent=False)

    def _refresh_outputs(self) -> None:
        store = self.session.predictions
        if store is None:
            self._follow_stores()
            return
        if self.prediction is not None:
            self.prediction.data.source = store.labels
        for layer in (self.prediction, *self.extra.values()):
            if layer is not None and layer in self.viewer.layers:
                layer.refresh(extent=False)

    def set_opacity(self, opacity: float) -> None:
        """Set how much the prediction covers the image, 0 to 1."""
        self.opacity = opacity
        if self.prediction is not None:
            self.prediction.opacity = opacity

    def set_contour(self, width: int) -> None:
        """Show class borders of ``width`` pixels; 0 shows areas."""
        self.contour = width
        if self.prediction is not None:
            self.prediction.contour = width

    # ------------------------------------------------------------------ placing, removing
    def placement(self) -> dict[str, Any]:
        """Return where layers of the volume's voxels lie in the viewer's world."""
        volume = self.session.volume
        if self._present(self.image):
            image = self.image[0]
            return {
                "scale": image.scale[-3:], "translate": image.translate[-3:],
                "units": image.units[-3:], "axis_labels": image.axis_labels[-3:],
            }  # fmt: skip
        return placement(volume) if volume is not None else {}

    def _place(self, volume: Volume) -> None:
        """Follow a voxel size that was corrected after the layers were made."""
        where = placement(volume)
        moved = [layer for layer in self.ours if tuple(layer.scale) != where["scale"]]
        if not moved:
            return
        extra = self.viewer.dims.ndim - 3
        here = moved[0].world_to_data(self.viewer.dims.point[extra:])
        for layer in moved:
            layer.scale = where["scale"]
            if "units" in where:
                layer.units = where["units"]
        # The same slice again, and the whole of it: slider and camera stand in micrometres.
        for axis, point in enumerate(moved[0].data_to_world(here)):
            self.viewer.dims.set_point(axis + extra, float(point))
        self.viewer.reset_view()

    def _present(self, layers: Sequence[Layer]) -> bool:
        return bool(layers) and all(layer in self.viewer.layers for layer in layers)

    @property
    def removing(self) -> bool:
        """Whether we, and not the user, remove layers just now."""
        return self._removing

    def _remove(self, layers: Any) -> None:
        self._removing = True
        try:
            for layer in list(layers):
                if layer is not None and layer in self.viewer.layers:
                    self.viewer.layers.remove(layer)
        finally:
            self._removing = False

    def _forget(self) -> None:
        self.image, self.strokes, self.prediction, self.extra = [], None, None, {}
        self._shown = None

    def close(self) -> None:
        """Stop following the session."""
        self._soon.stop()
        self._connections.close()


def load_layers() -> None:
    """Make napari load now what its first layers need: its table of units, and pandas.

    Together these take most of a second: better while the dock opens than while a volume does.
    """
    plane = np.zeros((2, 2), np.uint8)
    Image(plane, units=("micrometer",) * 2)
    Labels(plane, colormap=stroke_colormap(()))


def image_tuples(
    volume: Volume, metadata: dict[str, Any] | None = None
) -> list[tuple[Any, dict[str, Any], str]]:
    """Return layer data tuples of ``volume``, one for each channel, with nothing read whole."""
    statistics = volume.statistics()
    single = len(volume.channels) == 1
    found = []
    for channel, name in enumerate(volume.channels):
        levels = [volume.view(level, channel) for level in range(len(volume.levels))]
        state: dict[str, Any] = {
            "name": volume.name if single else f"{volume.name} {name}",
            "multiscale": len(levels) > 1,
            "contrast_limits": (statistics.low[channel], statistics.high[channel]),
            "blending": "translucent" if channel == 0 else "additive",
            "cache": False,
            "metadata": {KEY: {"role": "image", **(metadata or {})}},
            **placement(volume),
        }
        found.append((levels if len(levels) > 1 else levels[0], state, "image"))
    return found


def placement(volume: Volume) -> dict[str, Any]:
    """Return the scale, and the unit where the voxel size is known, of a layer of ``volume``."""
    found: dict[str, Any] = {
        "scale": tuple(float(size) for size in volume.voxel_size), "axis_labels": ("z", "y", "x")
    }  # fmt: skip
    if volume.voxel_size_known:
        found["units"] = ("micrometer",) * 3
    return found


def stroke_colormap(classes: Sequence[LabelClass]) -> DirectLabelColormap:
    """Return the colours of the classes; every other value is transparent."""
    return _colormap({entry.value: rgba(entry.color) for entry in classes})


def prediction_colormap(classes: Sequence[LabelClass]) -> DirectLabelColormap:
    """Return the colours of the classes, paler where the tile is `STALE`."""
    colors: dict[int | None, Any] = {}
    for entry in classes:
        fresh = rgba(entry.color)
        colors[entry.value] = fresh
        # Half way to grey at two thirds of the cover: clearly older, still the same class.
        stale = 0.55 * fresh[:3] + 0.45 * fresh[:3].mean()
        colors[entry.value + STALE] = np.append(stale, 0.6).astype(np.float32)
    return _colormap(colors)


def _colormap(colors: dict[int | None, Any]) -> DirectLabelColormap:
    nothing = np.zeros(4, np.float32)
    return DirectLabelColormap(color_dict={None: nothing, 0: nothing, **colors})


def rgba(color: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return "#rrggbb" as four numbers from 0 to 1."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return np.array([*parts, 1.0], np.float32)


def role_of(layer: Layer) -> str | None:
    """Return what ``layer`` is to us: "image", "strokes", "prediction", ..., or None."""
    entry = layer.metadata.get(KEY) if isinstance(layer.metadata, dict) else None
    return entry.get("role") if isinstance(entry, dict) else None
