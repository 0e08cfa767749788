"""Real napari windows with the real session; they need a screen or Xvfb."""

from __future__ import annotations

import gc
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from napari.viewer import Viewer

    from brushfire.session import Session
    from brushfire.ui.dock import BrushfireDock

SHAPE = (6, 160, 192)
TIMEOUT = 60.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        reason = "needs a screen: run the tests with xvfb-run, as `make test` does"
        for item in items:
            if "tests/ui" in str(item.path):
                item.add_marker(pytest.mark.skip(reason=reason))


def truth() -> np.ndarray:
    """Stripes of two classes, alike in every slice."""
    x = np.arange(SHAPE[2]) // 24 % 2
    return np.broadcast_to((1 + x).astype(np.uint8), SHAPE).copy()


def foam(seed: int = 0) -> np.ndarray:
    """Noisy intensities that tell the two classes of `truth` apart."""
    rng = np.random.default_rng(seed)
    return (60.0 * truth() + 12 * rng.standard_normal(SHAPE)).clip(0, 255).astype(np.uint8)


@dataclass
class Window:
    """A napari window with the Brushfire dock."""

    viewer: Viewer
    dock: BrushfireDock
    session: Session
    folder: Path
    bot: Any

    @property
    def layers(self) -> Any:
        return self.dock.controller.layers

    @property
    def qt(self) -> Any:
        from brushfire.ui.textures import main_window

        return main_window(self.viewer)

    def wait(self, condition: Callable[[], bool], seconds: float = TIMEOUT) -> None:
        self.bot.waitUntil(condition, timeout=round(1000 * seconds))

    def settle(self) -> None:
        """Give Qt and vispy turns until nothing is left to draw."""
        from qtpy.QtWidgets import QApplication

        for _ in range(5):
            QApplication.processEvents()

    def open(self, data: np.ndarray | None = None, confirm: bool = True) -> None:
        self.session.open_volume(foam() if data is None else data, voxel_size=(1.0, 1.0, 1.0))
        if confirm:
            self.session.confirm_volume()
        self.settle()

    def stroke(self, z: int, value: int, column: int, rows: tuple[int, int] = (20, 140)) -> None:
        """Paint a vertical line through the layer, as one undoable stroke."""
        layer = self.layers.strokes
        with layer.block_history():
            for y in range(*rows, 2):
                layer.paint((z, y, column), value, refresh=False)
        layer._partial_labels_refresh()

    def teach(self, z: int = 3) -> None:
        """Paint several strokes of both classes."""
        self.layers.strokes.brush_size = 4
        for column in (12, 60, 108, 156):
            self.stroke(z, 1, column)
        for column in (36, 84, 132, 180):
            self.stroke(z, 2, column)

    def learn(self) -> None:
        """Start learning and wait for the first tile."""
        self.dock.learn.start_button.click()
        self.wait(lambda: len(self.session.predictions) > 0)


@pytest.fixture(autouse=True)
def settled() -> None:
    """Let no search for leaked windows look through what was there before the test.

    napari collects garbage whenever layers come and go, and its check three times a test. What is
    loaded stays loaded, and takes most of that time; whatever a test makes is looked at as before.
    """
    import napari  # noqa: F401

    import brushfire.ui.dock  # noqa: F401

    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def clean_application(settled: None, mock_app_model: Any) -> None:
    """Give each test napari's commands afresh, those too that open a window by themselves."""


@pytest.fixture
def make_window(
    make_napari_viewer: Any, qtbot: Any, tmp_path: Path
) -> Iterator[Callable[..., Window]]:
    from brushfire.session import Session
    from brushfire.ui.dock import BrushfireDock

    made: list[Window] = []

    def make(*, size: tuple[int, int] = (1280, 800), session: Session | None = None) -> Window:
        viewer = make_napari_viewer(show=True)
        folder = tmp_path / f"project{len(made)}.brushfire"
        session = session or Session(project_folder=folder, memory_budget_bytes=1 << 30)
        dock = BrushfireDock(viewer, session)
        viewer.window.add_dock_widget(dock, name="Brushfire", add_vertical_stretch=False)
        window = Window(viewer, dock, session, folder, qtbot)
        window.qt.resize(*size)
        made.append(window)
        window.settle()
        return window

    yield make
    for window in made:
        window.dock.controller.close()
        # pytest keeps a test's arguments; napari's check for leaked viewers runs before it lets go.
        vars(window).clear()


@pytest.fixture
def window(make_window: Callable[..., Window]) -> Window:
    return make_window()


@pytest.fixture
def painted(window: Window) -> Window:
    """A window with a confirmed volume that has strokes of both classes."""
    window.open()
    window.viewer.dims.set_point(0, 3)
    window.teach()
    return window
