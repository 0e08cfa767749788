"""The layers of what is restored: beside what it was made from, and what was removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from psygnal import Signal

from brushfire.geometry import Box, triple
from brushfire.ui.arrays import PlaneArray
from brushfire.ui.connections import Connections
from brushfire.ui.layers import KEY, placement
from brushfire.ui.textures import update_image
from brushfire.ui.viewport import visible_box

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.layers import Layer
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from brushfire.session import Session, TileUpdate
    from brushfire.session.restoration import Restoration
    from brushfire.ui.layers import SessionLayers

NAME = "Brushfire denoised"
RESIDUAL = "Brushfire residual"
WIDEST = 99.5  # percentile of the residual on screen that its colours reach
INNER = (0.5, 99.5)  # percentiles of a restored tile between which it is shown without a target
BEYOND = 0.1  # of what lies between them, on either side
CHECKED = 512  # pixels of a side of the plane that is checked for structure


class Divided:
    """Restored intensities, not a number before a place along one axis.

    napari draws that transparent, so that what it was made from is seen there.

    Parameters
    ----------
    source : object
        z, y, x, with ``shape``, ``dtype`` and ``__getitem__``.
    """

    ndim = 3

    def __init__(self, source: Any) -> None:
        self.source = source
        self.shape: tuple[int, int, int] = tuple(source.shape)
        self.dtype = np.dtype(source.dtype)
        self.axis, self.start = 2, 0

    def __getitem__(self, key: Any) -> NDArray[Any]:
        block: NDArray[Any] = self.source[key]
        if self.start <= 0:
            return block
        keys = [*key] if isinstance(key, tuple) else [key]
        if Ellipsis in keys:
            at = keys.index(Ellipsis)
            keys[at : at + 1] = [slice(None)] * (4 - len(keys))
        keys += [slice(None)] * (3 - len(keys))
        before = np.arange(self.shape[self.axis])[keys[self.axis]] < self.start
        if before.ndim == 0:
            return np.full_like(block, np.nan) if before else block
        axis = sum(not np.isscalar(k) for k in keys[: self.axis])
        found = block.copy()
        found[(slice(None),) * axis + (before,)] = np.nan
        return found


class Removed:
    """What restoring took away: what was given, minus what is restored.

    Parameters
    ----------
    given : callable
        Returns what was given, indexed as the other.
    restored : object
        View, z, y, x.
    """

    ndim = 3

    def __init__(self, given: Callable[[Any], NDArray[np.float32]], restored: Any) -> None:
        self._given, self._restored = given, restored
        self.shape: tuple[int, int, int] = tuple(restored.shape)
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        left: NDArray[np.float32] = self._given(key) - self._restored[key]
        return left


class RestoredLayers:
    """Keeps the layers of what is restored in step with one session.

    Parameters
    ----------
    viewer : Viewer
        Where they are shown.
    session : Session
        What is restored.
    layers : SessionLayers
        The other layers of the session; these lie between its image and its strokes.
    """

    added = Signal(object)
    """A layer, after it became one of ours."""

    def __init__(self, viewer: Viewer, session: Session, layers: SessionLayers) -> None:
        self.viewer = viewer
        self.session = session
        self.shown: list[Image] = []
        self.residual: Image | None = None
        self._layers = layers
        self._of: object = None
        self._divided = 0.0
        self._fitted: dict[Layer, tuple[float, ...]] = {}  # limits that are ours to change
        self._fitted_to: int | None = None
        self._task: str = session.task
        self._hidden: list[Layer] = []
        self.removing = False
        self._connections = Connections()
        events = session.events
        for signal, slot in (
            (events.restoration_changed, self.follow),
            (events.volume_changed, self._place),
            (events.restored_tiles_changed, self._update_tiles),
            (events.restored_reset, self._refresh),
            (viewer.dims.events.order, self._turn),
            (layers.added, self._put_away),
        ):
            self._connections.connect(signal, slot)
        self.follow()

    @property
    def planes(self) -> tuple[Layer, ...]:
        """Our layers in the viewer; all are single-scale and must not be shown in 3D."""
        own = [*self.shown, *([self.residual] if self.residual is not None else [])]
        return tuple(layer for layer in own if layer in self.viewer.layers)

    @property
    def layer(self) -> Image | None:
        """The first restored layer, while it is in the viewer."""
        there = self.shown and self.shown[0] in self.viewer.layers
        return self.shown[0] if there else None

    def visible(self) -> Box | None:
        """Return the restored voxels on screen, see `visible_box`."""
        return None if self.layer is None else visible_box(self.viewer, self.layer)

    # ------------------------------------------------------------------ following
    def follow(self) -> None:
        """Show what is restored now, and nothing older."""
        if self.session.restored is self._of:
            return
        self._remove(self.planes)
        self.shown, self.residual, self._divided = [], None, 0.0
        self._of = self.session.restored
        self.show()

    def show(self) -> None:
        """Show the restored layers, bringing them back where the user removed one."""
        restoration, store = self.session.restoration, self.session.restored
        if restoration is None or store is None:
            return
        if self.shown and all(one in self.viewer.layers for one in self.shown):
            return
        self._remove(self.shown)
        self._fitted, self._fitted_to = {}, None
        names, limits = restoration.channels, self._limits(restoration)
        self.shown = []
        for at, name in enumerate(names):
            layer = Image(
                PlaneArray(Divided(store.channel(at)), "Restored intensities"),
                name=NAME if len(names) == 1 else f"{NAME} {name}", cache=False, multiscale=False,
                contrast_limits=limits[at], colormap="gray",
                blending="translucent" if at == 0 else "additive",
                metadata={KEY: {"role": "restored"}}, **self._placement(restoration),
            )  # fmt: skip
            self.shown.append(layer)
            self._add(layer)
            if restoration.target is None:
                self._fitted[layer] = tuple(layer.contrast_limits)
        self._divide()

    def _limits(self, restoration: Restoration) -> list[tuple[float, float]]:
        """Return contrast limits: those of the target, else those that the image has now."""
        if restoration.target is not None:
            known = restoration.target.statistics()
            return list(zip(known.low, known.high, strict=True))
        images = [one for one in self._layers.image if one in self.viewer.layers]
        if not images:
            known = restoration.source.statistics()
            images_of = list(zip(known.low, known.high, strict=True))
        else:
            images_of = [tuple(one.contrast_limits) for one in images]
        return [images_of[min(at, len(images_of) - 1)] for at in range(restoration.outputs)]

    def _placement(self, restoration: Restoration) -> dict[str, Any]:
        where = self._layers.placement()
        if self.session.volume is None or restoration.state.offset is None:
            return where
        fine = placement(restoration.source)
        corner = np.asarray(where.get("translate", (0.0, 0.0, 0.0))) - np.divide(where["scale"], 2)
        # A layer's origin is the middle of its first voxel, not the corner.
        first = corner + restoration.corner + np.divide(fine["scale"], 2)
        return {**fine, "translate": tuple(first)}

    def _place(self) -> None:
        restoration = self.session.restoration
        if restoration is not None:
            where = self._placement(restoration)
            for layer in self.planes:
                if tuple(layer.scale) != tuple(where["scale"]):
                    layer.scale = where["scale"]

    def _add(self, layer: Image) -> None:
        self._layers.add_aside(layer)
        layer.locked = True
        layers = self.viewer.layers
        below = [one for one in (*self._layers.image, *self.shown) if one in layers]
        below = [one for one in below if one is not layer]
        if below:
            layers.move(layers.index(layer), 1 + max(layers.index(one) for one in below))
        self.added.emit(layer)

    def _update_tiles(self, tiles: Sequence[TileUpdate]) -> None:
        self._fit_contrast(tiles[-1])
        self._update([tile.box for tile in tiles])

    def _fit_contrast(self, tile: TileUpdate) -> None:
        """Let layers without a target show what a newer model makes, until somebody sets limits.

        Those of a noisy image are as wide as its noise: between them little would be seen.
        """
        store = self.session.restored
        if store is None or tile.revision == self._fitted_to:
            return
        self._fitted_to = tile.revision
        for at, layer in enumerate(self.shown):
            values = store.channel(at)[tile.box.slices]
            values = values[np.isfinite(values)]
            if tuple(layer.contrast_limits) != self._fitted.get(layer) or not values.size:
                continue
            low, high = np.percentile(values, INNER)
            margin = BEYOND * (high - low)
            if margin > 0:
                layer.contrast_limits = (float(low - margin), float(high + margin))
                self._fitted[layer] = tuple(layer.contrast_limits)

    def _update(self, boxes: Sequence[Box], layers: Sequence[Layer] | None = None) -> None:
        for layer in self.planes if layers is None else layers:
            if layer in self.viewer.layers and not update_image(self.viewer, layer, boxes):
                layer.refresh(extent=False)

    def _refresh(self) -> None:
        for layer in self.planes:
            layer.refresh(extent=False)

    # ------------------------------------------------------------------ task
    def follow_task(self, task: str) -> None:
        """Put away the prediction while the volume is denoised, and bring it back afterwards."""
        self._task = task
        if task == "restore":
            for layer in (self._layers.prediction, *self._layers.extra.values()):
                self._put_away(layer)
            return
        hidden, self._hidden = self._hidden, []
        for layer in hidden:
            if layer in self.viewer.layers and self.viewer.dims.ndisplay == 2:
                layer.visible = True

    def _put_away(self, layer: Layer | None) -> None:
        theirs = (self._layers.prediction, *self._layers.extra.values())
        if self._task == "restore" and layer is not None and layer in theirs and layer.visible:
            layer.visible = False
            self._hidden.append(layer)

    def toggle(self) -> None:
        """Show or hide what is restored."""
        self.show()
        self.set_visible(not all(one.visible for one in self.shown))

    def set_visible(self, on: bool) -> None:
        """Show or hide what is restored."""
        self.show()
        for layer in self.shown:
            layer.visible = on

    # ------------------------------------------------------------------ before and after
    def divide(self, share: float) -> None:
        """Show before left of a place, and after right of it.

        Parameters
        ----------
        share : float
            Of what is on screen, 0 (after everywhere) to 1 (before everywhere).
        """
        self._divided = share
        self._divide()

    def _turn(self, event: object = None) -> None:
        if self._divided:
            self._divide()
            self._refresh()

    def _divide(self) -> None:
        if not self.shown:
            return
        axis, start = self._place_of(self.shown[0])
        for layer in self.shown:
            half: Divided = layer.data.source
            old, turned = half.start, half.axis != axis
            half.axis, half.start = axis, start
            if layer in self.viewer.layers and (turned or old != start):
                first, last = [0, 0, 0], [*half.shape]
                first[axis], last[axis] = sorted((old, start))
                self._update([Box(triple(first), triple(last))], [layer])

    def _place_of(self, layer: Layer) -> tuple[int, int]:
        axis = max(self.viewer.dims.displayed[-1] - (self.viewer.dims.ndim - 3), 0)
        length = layer.data.shape[axis]
        if self._divided in (0.0, 1.0):
            return axis, round(self._divided * length)
        box = visible_box(self.viewer, layer)
        low, high = (0, length) if box is None else (box.start[axis], box.stop[axis])
        return axis, round(low + self._divided * (high - low))

    # ------------------------------------------------------------------ residual
    @property
    def no_residual(self) -> str:
        """Why there is no residual to show, or ""."""
        restoration = self.session.restoration
        if restoration is None:
            return "Nothing is restored yet."
        if restoration.state.offset is not None:
            return "What is restored has finer voxels than the volume: they cannot be subtracted."
        return ""

    def show_residual(self) -> None:
        """Show what was removed: the first channel as it was given, minus the restored one."""
        restoration, store = self.session.restoration, self.session.restored
        if restoration is None or store is None or self.no_residual or self.residual in self.planes:
            return
        data = Removed(restoration.given, store.channel(0))
        widest = self._widest(data)
        self.residual = Image(
            PlaneArray(data, "Residuals"), name=RESIDUAL, cache=False, multiscale=False,
            contrast_limits=(-widest, widest), colormap="RdBu_r", blending="translucent",
            metadata={KEY: {"role": "residual"}}, **self._placement(restoration),
        )  # fmt: skip
        self._add(self.residual)

    def hide_residual(self) -> None:
        """Remove the residual."""
        layer, self.residual = self.residual, None
        self._remove([layer] if layer is not None else [])

    def _widest(self, data: Removed) -> float:
        """Return what the colours reach, from what is on screen now."""
        box, found = self.checked(), 0.0
        if box is not None:
            left = np.abs(data[box.slices])
            left = left[np.isfinite(left)]
            found = float(np.percentile(left, WIDEST)) if left.size else 0.0
        if found > 0:
            return found
        low, high = self.shown[0].contrast_limits if self.shown else (0.0, 1.0)
        return float(high - low) / 4

    def checked(self) -> Box | None:
        """Return the voxels in the middle of the screen that are checked for structure."""
        box = self.visible()
        if box is None or 1 not in box.shape:
            return None
        sides = [max(0, (n - CHECKED) // 2) for n in box.shape]
        start = [a + side for a, side in zip(box.start, sides, strict=True)]
        stop = [min(b, a + CHECKED) for a, b in zip(start, box.stop, strict=True)]
        return Box(triple(start), triple(stop))

    # ------------------------------------------------------------------ removing
    def _remove(self, layers: Sequence[Layer]) -> None:
        self.removing = True
        try:
            for layer in list(layers):
                if layer in self.viewer.layers:
                    self.viewer.layers.remove(layer)
        finally:
            self.removing = False

    def close(self) -> None:
        """Stop following the session."""
        self._connections.close()
