"""The panel as napari opens it: from its menus, with a viewer that hides private parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from napari._app_model import get_app_model
from napari.utils._proxies import PublicOnlyProxy

from brushfire.ui.controller import Controller
from brushfire.ui.dock import BrushfireDock

from .conftest import SHAPE, Window, foam
from .test_main_job import drag

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def plugin_window(make_napari_viewer: Any, qtbot: Any, tmp_path: Path) -> Any:
    """A window whose dock napari made, as from its Plugins menu."""
    viewer = make_napari_viewer(show=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-brushfire", "Brushfire")
    window = Window(viewer, dock, dock.session, tmp_path / "stack.brushfire", qtbot)
    window.qt.resize(1280, 800)
    window.settle()
    yield window
    dock.controller.close()
    vars(window).clear()


def test_the_dock_that_napari_makes_opens_a_volume_and_takes_strokes(
    plugin_window: Window, tmp_path: Path
) -> None:
    window = plugin_window
    assert isinstance(window.dock, BrushfireDock)
    assert not isinstance(window.dock.viewer, PublicOnlyProxy)
    assert Controller.of(PublicOnlyProxy(window.viewer)) is window.dock.controller

    tifffile.imwrite(tmp_path / "stack.tif", foam(), photometric="minisblack")
    window.dock.volume.open_path(str(tmp_path / "stack.tif"))
    assert window.session.volume.shape == SHAPE
    window.dock.volume.confirm.click()
    window.settle()
    window.viewer.dims.set_point(0, 3)
    window.dock.paint.paint_button.click()
    window.settle()
    drag(window, (30, 60), (130, 60))
    assert window.session.labels[3, 80, 60] == 1
    assert np.array_equal(window.layers.strokes.data[3], window.session.labels[3])


def test_the_layer_menu_opens_the_panel_on_the_selected_layer(
    make_napari_viewer: Any, qtbot: Any
) -> None:
    viewer = make_napari_viewer(show=True)
    layer = viewer.add_image(foam(), name="grey")
    viewer.layers.selection.active = layer
    get_app_model().commands.execute_command("napari-brushfire.use_layer").result()
    controller = Controller.of(viewer)
    try:
        assert controller.session.volume is not None
        assert controller.session.volume.shape == SHAPE
        assert controller.layers.image == [layer]
        assert any("Brushfire" in name for name in viewer.window.dock_widgets)
    finally:
        controller.close()
