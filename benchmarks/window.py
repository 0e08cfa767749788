"""A real napari window with the Brushfire dock, for the benchmarks that need one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from brushfire.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari import Viewer
    from napari.layers import Labels
    from qtpy.QtWidgets import QApplication

    from brushfire.session import Session
    from brushfire.ui.dock import BrushfireDock


def open_window(session: Session) -> tuple[Viewer, BrushfireDock]:
    """Return a shown viewer of 1280x800 with the dock."""
    import napari

    from brushfire.ui.dock import BrushfireDock

    viewer = napari.Viewer(show=True)
    viewer.window.resize(1280, 800)
    dock = BrushfireDock(viewer, session)
    viewer.window.add_dock_widget(dock, name="Brushfire", area="right")
    settle()
    return viewer, dock


def application() -> QApplication:
    from napari.qt import get_qapp

    return get_qapp()


def settle(seconds: float = 0.2) -> None:
    """Let the event loop run for a while."""
    until = time.perf_counter() + seconds
    wait_until(lambda: time.perf_counter() >= until, seconds + 1)


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Run the event loop until ``condition()`` holds."""
    until = time.perf_counter() + timeout
    while not condition():
        if time.perf_counter() > until:
            return False
        application().processEvents()
        time.sleep(0.001)  # as a real event loop, leave the core to the engine between events
    return True


class Heartbeat:
    """The gaps between the ticks of a 5 ms timer: how long the main thread was away."""

    def __init__(self) -> None:
        from qtpy.QtCore import QTimer

        self.gaps: list[float] = []
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.setInterval(5)
        self._timer.timeout.connect(self._tick)

    def __enter__(self) -> Heartbeat:
        self._last = time.perf_counter()
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.stop()

    def _tick(self) -> None:
        now = time.perf_counter()
        self.gaps.append((now - self._last) * 1000)
        self._last = now


def draw(canvas: Canvas, points: Iterable[tuple[float, float]]) -> list[float]:
    """Drag the left button along canvas points; return the milliseconds of each move."""
    took = []
    points = list(points)
    canvas.press(points[0])
    for point in points[1:]:
        began = time.perf_counter()
        canvas.move(point)
        took.append((time.perf_counter() - began) * 1000)
        application().processEvents()
    canvas.release(points[-1])
    return took


class Canvas:
    """Real mouse events on the viewer's canvas."""

    def __init__(self, viewer: Viewer) -> None:
        from brushfire.ui.textures import canvas_widget

        self.widget = canvas_widget(viewer)

    @property
    def size(self) -> tuple[int, int]:
        return self.widget.width(), self.widget.height()

    def press(self, point: tuple[float, float]) -> None:
        self._send("MouseButtonPress", point, pressed=True)

    def move(self, point: tuple[float, float]) -> None:
        self._send("MouseMove", point, pressed=True)

    def release(self, point: tuple[float, float]) -> None:
        self._send("MouseButtonRelease", point, pressed=False)

    def _send(self, kind: str, point: tuple[float, float], *, pressed: bool) -> None:
        from qtpy.QtCore import QEvent, QPointF, Qt
        from qtpy.QtGui import QMouseEvent

        where = QPointF(*point)
        moving = kind == "MouseMove"
        button = Qt.MouseButton.NoButton if moving else Qt.MouseButton.LeftButton
        held = Qt.MouseButton.LeftButton if pressed else Qt.MouseButton.NoButton
        event = QMouseEvent(
            getattr(QEvent.Type, kind),
            where,
            QPointF(self.widget.mapToGlobal(where.toPoint())),
            button,
            held,
            Qt.KeyboardModifier.NoModifier,
        )
        application().sendEvent(self.widget, event)


def take_brush(dock: BrushfireDock, value: int, size: int = 10) -> Labels:
    """Make the annotation layer paint ``value``."""
    dock.session.set_active_class(value)
    dock.controller.paint()
    layer = dock.viewer.layers.selection.active
    layer.brush_size = size
    layer.selected_label = value
    return layer


def wavy_line(
    rng: np.random.Generator, size: tuple[int, int], length: int = 60
) -> list[tuple[float, float]]:
    """Return canvas points of a stroke that wanders within the middle of the canvas."""
    width, height = size
    start = rng.uniform([0.3 * width, 0.3 * height], [0.7 * width, 0.7 * height])
    steps = np.cumsum(rng.normal(0, 4, (length, 2)), axis=0)
    inside = np.clip(start + steps, [20, 20], [width - 20, height - 20])
    return [(float(x), float(y)) for x, y in inside]


class Painter:
    """Strokes that mean something: class 2 on what is bright in the shown slice, 1 on the rest.

    Strokes of random classes would teach that nothing can be known, and no model that has seen
    them could do better on those held out.
    """

    def __init__(self, viewer: Viewer, dock: BrushfireDock, canvas: Canvas, seed: int) -> None:
        volume = dock.session.volume
        assert volume is not None
        z = viewer.dims.current_step[0]
        plane = volume.read(Box((z, 0, 0), (z + 1, *volume.shape[1:])))[0, 0]
        smooth = gaussian_filter(plane.astype(np.float32), 3)
        spread = smooth[smooth > 0].std() / 4
        middle = np.median(smooth[smooth > 0])
        self._classes = np.select([smooth > middle + spread, smooth < middle - spread], [2, 1], 0)
        self._classes[plane == 0] = 0  # where a sparse volume has nothing
        self._voxel = np.array(volume.voxel_size[1:])
        self._viewer, self._dock, self._canvas = viewer, dock, canvas
        self._rng = np.random.default_rng(seed)

    def stroke(self, value: int, length: int = 15) -> None:
        """Draw a stroke of class ``value``."""
        take_brush(self._dock, value)
        draw(self._canvas, self._line(value, length))

    def _line(self, value: int, length: int) -> list[tuple[float, float]]:
        width, height = self._canvas.size
        for _ in range(20_000):
            x, y = self._rng.uniform(0.1, 0.9, 2) * (width, height)
            line = [(x + 2.0 * n, y) for n in range(length)]
            if all(self._class_at(point) == value for point in line):
                return line
        raise RuntimeError(f"no place in sight for a stroke of class {value}")

    def _class_at(self, point: tuple[float, float]) -> int:
        width, height = self._canvas.size
        x, y = point
        offset = np.array([y - height / 2, x - width / 2]) / self._viewer.camera.zoom
        row, column = ((np.array(self._viewer.camera.center[1:]) + offset) / self._voxel).astype(
            int
        )
        inside = 0 <= row < self._classes.shape[0] and 0 <= column < self._classes.shape[1]
        return int(self._classes[row, column]) if inside else 0
