"""Denoising in a real window: choose what to learn from, see tiles, compare, go back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from scipy.special import ndtr

from brushfire.geometry import Box
from brushfire.learning.restoring.edges import RISE
from brushfire.networks.settings import NetworkSettings
from brushfire.prediction import RestoredTile
from brushfire.session import TileUpdate
from brushfire.ui.textures import canvas_widget
from brushfire.volumes import open_volume

from .conftest import SHAPE

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Window


def clean() -> np.ndarray:
    z, y, x = np.indices(SHAPE)
    return (120 + 50 * np.sin(x / 9 + z / 7) * np.cos(y / 11)).astype(np.uint8)


def noisy() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (clean() + 20 * rng.standard_normal(SHAPE)).clip(0, 255).astype(np.uint8)


@pytest.fixture
def denoising(window: Window, tmp_path: Path) -> Window:
    """A window with a noisy volume in which somebody chose to denoise, and a clean file."""
    tifffile.imwrite(tmp_path / "clean.tif", clean(), photometric="minisblack")
    window.open(noisy())
    window.viewer.dims.set_point(0, 3)
    window.dock.tasks.restore.click()
    return window


def use(window: Window, clean_path: Path) -> None:
    panel = window.dock.restore
    panel.form.way.choose("pairs")
    panel.form.clean.path.setText(str(clean_path))
    panel.use_button.click()
    window.wait(lambda: panel.progress.isHidden() and window.session.jobs[-1].state != "running")


def test_a_volume_is_denoised_compared_and_exported_and_painted_again(
    denoising: Window, tmp_path: Path
) -> None:
    window, dock, session = denoising, denoising.dock, denoising.session
    assert dock.steps["paint"].isHidden()
    assert session.task == "segment"
    use(window, tmp_path / "clean.tif")
    assert session.task == "restore"
    assert "clean.tif" in dock.restore.chosen.whole

    dock.restore.start_button.click()
    window.wait(lambda: bool(np.isfinite(session.restored.channel()[3]).all()))
    dock.restore.stop.click()
    window.wait(lambda: session.learning.phase == "idle")
    window.settle()
    (layer,) = window.dock.controller.restored.shown
    assert dock.restore.score.score.text().endswith(" dB")
    assert "Noisy input:" in dock.restore.score.before.text()
    shown = layer._slice.image.view
    assert np.abs(shown - clean()[3]).mean() < np.abs(noisy()[3] - clean()[3].astype(float)).mean()

    dock.open_step("restored")
    dock.restored.divider.setValue(500)
    before = np.isnan(layer._slice.image.view)
    assert before[:, : SHAPE[2] // 2 - 1].all()
    assert not before[:, SHAPE[2] // 2 + 1 :].any()
    dock.restored.divider.setValue(0)
    assert not np.isnan(layer._slice.image.view).any()

    dock.restored.residual.click()
    residual = window.dock.controller.restored.residual
    low, high = residual.contrast_limits
    assert low == -high
    window.wait(lambda: not dock.restored.found.isHidden())

    export = dock.restored.export
    export.path.setText(str(tmp_path / "slice.tif"))
    export.format.setCurrentText("BigTIFF")
    export.type.choose("uint8")
    export.button.click()
    assert "Choose clip or rescale" in dock.notice.text
    export.how.choose("clip")
    export.button.click()
    window.wait(lambda: not export.done.isHidden())
    made = open_volume(tmp_path / "slice.tif")
    assert (made.shape, made.dtype) == ((1, *SHAPE[1:]), np.uint8)
    made.close()

    dock.tasks.segment.click()
    window.wait(lambda: session.task == "segment" and session.learning.phase == "idle")
    assert not dock.steps["paint"].isHidden()
    assert dock.steps["restore"].isHidden()
    assert layer in window.viewer.layers

    # What was denoised is segmented, where somebody asks for it.
    learn = dock.learn.segmented
    assert not learn.isHidden()
    learn.choice.choose("denoised")
    learn.choice.activated.emit(learn.choice.currentIndex())
    window.wait(lambda: session.denoised is not None and learn.progress.isHidden())
    assert learn.choice.chosen == "denoised"
    window.teach()
    session.restored.clear()
    window.learn()
    window.viewer.dims.set_point(0, 5)
    window.wait(lambda: bool(np.isfinite(session.restored.channel()[5]).all()))
    window.wait(lambda: bool((session.predictions.labels[5] > 0).all()))
    assert session.denoised.revision == session.restored.revision
    learn.choice.choose("given")
    learn.choice.activated.emit(learn.choice.currentIndex())
    assert session.denoised is None


def test_a_series_is_learned_from_where_the_way_allows_it(
    denoising: Window, tmp_path: Path
) -> None:
    window, panel, form = denoising, denoising.dock.restore, denoising.dock.restore.form
    form.way.choose("zoomed")
    assert not form.also.button.isEnabled()
    assert "grids of their own" in form.also.button.toolTip()
    form.way.choose("pairs")
    assert form.also.button.isEnabled()
    assert form.also_clean.isHidden()
    layer = window.viewer.add_image(noisy()[::-1].copy(), name="late", units=("micrometer",) * 3)
    form.also._take(layer, layer.name)
    assert not form.also_clean.isHidden()
    form.clean.path.setText(str(tmp_path / "clean.tif"))
    panel.use_button.click()
    assert "no clean one for further scan 1" in panel.error.text()
    tifffile.imwrite(tmp_path / "late_clean.tif", clean()[::-1], photometric="minisblack")
    form.also_clean.add(str(tmp_path / "late_clean.tif"))
    use(window, tmp_path / "clean.tif")
    assert panel.chosen.whole == "From pairs, 2 scans: clean.tif"
    (other,) = window.session.restoration.others
    assert other.volume.name == "late"
    assert other.target.name == "late_clean"


def test_what_does_not_fit_is_told_in_the_form_and_3d_hides_what_is_denoised(
    denoising: Window, tmp_path: Path
) -> None:
    window, panel = denoising, denoising.dock.restore
    panel.use_button.click()
    assert "Choose the clean volume" in panel.error.text()
    tifffile.imwrite(tmp_path / "short.tif", clean()[:4], photometric="minisblack")
    use(window, tmp_path / "short.tif")
    window.wait(lambda: "one shape" in panel.error.text())
    assert not panel.error.isHidden()
    assert not panel.form.isHidden()

    use(window, tmp_path / "clean.tif")
    assert panel.error.isHidden()
    (layer,) = window.dock.controller.restored.shown
    window.viewer.dims.ndisplay = 3
    window.settle()
    assert not layer.visible
    window.viewer.dims.ndisplay = 2
    window.settle()
    assert layer.visible
    window.dock.controller.toggle_prediction()
    assert not layer.visible
    layer.locked = False
    window.viewer.layers.remove(layer)
    window.dock.notice.action.click()
    assert window.dock.controller.restored.shown[0] in window.viewer.layers


def test_a_zoomed_scan_is_shown_where_it_lies_with_its_own_voxels(
    window: Window, tmp_path: Path
) -> None:
    coarse = noisy()[:, ::2, ::2]
    window.session.open_volume(coarse, voxel_size=(1.0, 2.0, 2.0))
    window.session.confirm_volume()
    window.dock.tasks.restore.click()
    zoomed = clean()[1:4, 20:84, 30:94]
    form = window.dock.restore.form
    form.way.choose("zoomed")
    layer = window.viewer.add_image(zoomed, scale=(1.0, 1.0, 1.0), units=("micrometer",) * 3)
    form.zoomed._take(layer, layer.name)
    for field, value in zip(form.offset, (1.0, 20.0, 30.0), strict=True):
        field.set_value(value)
    form.refine.setChecked(False)
    window.dock.restore.use_button.click()
    window.wait(lambda: window.session.restoration is not None)

    (layer,) = window.dock.controller.restored.shown
    image = window.layers.image[0]
    assert tuple(layer.scale) == (1.0, 1.0, 1.0)
    assert layer.data.shape == SHAPE
    corners = [one.data_to_world((-0.5, -0.5, -0.5)) for one in (layer, image)]
    assert corners[0] == pytest.approx(corners[1])
    assert not window.dock.restored.residual.isEnabled()
    assert "finer voxels" in window.dock.restored.residual.toolTip()


def test_the_slice_on_screen_of_a_zoomed_scan_comes_first(window: Window) -> None:
    window.open(noisy())
    session, dock = window.session, window.dock
    fine = clean().repeat(2, 0).repeat(2, 1).repeat(2, 2)[2:10, 40:200, 40:200]
    part = open_volume(fine, voxel_size=(0.5, 0.5, 0.5))
    network = NetworkSettings(depth=4, dilations=(1, 2), features=False, restored=1)
    job = session.restore_from(
        "pairs", target=part, offset=(1.0, 20.0, 20.0), refine=False, network=network
    )
    window.wait(lambda: next(one for one in session.jobs if one.id == job).state != "running")
    window.wait(lambda: bool(dock.controller.restored.shown))
    (layer,) = dock.controller.restored.shown
    # Two of these slices lie in one of the volume.
    window.viewer.dims.set_point(0, layer.data_to_world((7, 0, 0))[0])
    window.settle()
    told: list[Box] = []
    session.events.restored_tiles_changed.connect(
        lambda tiles: told.extend(tile.box for tile in tiles)
    )
    session.start()
    window.wait(lambda: bool(told))
    assert told[0].start[0] == 7


def test_what_has_no_target_is_shown_between_limits_of_its_own_until_somebody_sets_them(
    denoising: Window,
) -> None:
    window, session = denoising, denoising.session
    window.dock.restore.form.way.choose("blind")
    window.dock.restore.use_button.click()
    window.wait(lambda: session.restoration is not None)
    (layer,) = window.dock.controller.restored.shown
    wide = tuple(layer.contrast_limits)
    session.start()
    window.wait(lambda: tuple(layer.contrast_limits) != wide)
    values = session.restored.channel()[3]
    low, high = np.nanpercentile(values, (5, 95))
    assert layer.contrast_limits[0] < low < high < layer.contrast_limits[1]
    layer.contrast_limits = (100, 120)
    revision = session.model_revision
    window.wait(lambda: session.restored.revision > revision)
    window.wait(lambda: len(session.restored.fresh()) > 0)
    assert tuple(layer.contrast_limits) == (100, 120)


def blurred_edge(width: float) -> np.ndarray:
    """Return an edge along x, ``width`` voxels from 10 to 90 %."""
    x = np.arange(SHAPE[2]) - 80
    return np.broadcast_to(50 + 100 * ndtr(x * RISE / width), SHAPE).astype(np.float32)


def drag(window: Window, start: tuple[int, int], stop: tuple[int, int]) -> None:
    """Drag the mouse over the canvas, from pixel to pixel of the slice."""
    canvas, camera = canvas_widget(window.viewer), window.viewer.scene.camera

    def point(pixel: tuple[int, int]) -> QPoint:
        y, x = (np.array(pixel) - camera.center[1:]) * camera.zoom
        return QPoint(round(canvas.width() / 2 + x), round(canvas.height() / 2 + y))

    QTest.mouseMove(canvas, point(start))
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=point(start))
    for part in (0.5, 1.0):
        y, x = (round(a + part * (b - a)) for a, b in zip(start, stop, strict=True))
        QTest.mouseMove(canvas, point((y, x)))
        window.settle()
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=point(stop))


def test_a_line_across_an_edge_tells_whether_denoising_blurs_it(
    window: Window, tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "clean.tif", blurred_edge(6), photometric="minisblack")
    window.open(blurred_edge(4))
    window.viewer.dims.set_point(0, 3)
    window.dock.tasks.restore.click()
    use(window, tmp_path / "clean.tif")
    session, dock, layers = window.session, window.dock, window.viewer.layers
    view, edge = dock.restored.edge, dock.controller.edge
    layers.selection.active = window.layers.strokes
    window.layers.strokes.mode = "paint"

    view.draw.click()
    assert layers.selection.active is edge.layer
    assert "Drag" in view.text.text()
    window.settle()
    drag(window, (70, 60), (70, 100))
    window.wait(lambda: "Not restored there yet" in view.text.text())
    assert "As given: 4.0" in view.text.text()
    assert (layers.selection.active, window.layers.strokes.mode) == (window.layers.strokes, "paint")
    assert session.labels.snapshot().revision == 0  # nothing was painted

    box = Box((3, 0, 0), (4, *SHAPE[1:]))
    for index in session.restored.grid.indices(box):
        cell = session.restored.grid.box(index)
        values = blurred_edge(6)[cell.slices][None]
        session.restored.put(RestoredTile(index, cell, session.restored.revision, values))
    session.events.restored_tiles_changed.emit((TileUpdate(box, 1),))
    window.wait(lambda: "wider" in view.text.text())
    assert not view.plot.isHidden()
    assert not view.plot.grab().toImage().isNull()
    view.save(str(tmp_path / "edge.csv"))
    assert (tmp_path / "edge.csv").read_text(encoding="utf-8").count("\ndenoised,") > 38

    edge.layer.add_lines(np.array([(3, 70, 60), (3, 70, 63)]))
    window.wait(lambda: "too short" in view.text.text())
    assert edge.layer.nshapes == 1
    edge.layer.data = [np.array([(3, 0, 0), (3, 0, 2000)])]
    window.wait(lambda: "at most 1000 voxels" in view.text.text())
    assert view.plot.isHidden()
    window.viewer.dims.order = (1, 0, 2)  # a line along x lies in two planes: the one on screen
    edge.layer.data = [np.array([(3, 70, 60), (3, 70, 100)])]
    assert edge.line().axis == 1
    dock.tasks.segment.click()
    assert edge.layer is None
    assert [one for one in layers if one.name == "Edge profile"] == []
    assert session.edge is None


def test_how_is_learned_and_by_which_network_is_chosen_in_a_fold(
    denoising: Window, tmp_path: Path
) -> None:
    window, session, panel = denoising, denoising.session, denoising.dock.restore
    use(window, tmp_path / "clean.tif")
    assert not panel.network.isHidden()
    panel.network.button.click()
    form = panel.shape_form
    window.wait(lambda: "weights" in form.facts.whole)
    assert form.loss.refusal("ssim") == ""
    assert "random weights" in form.architecture.refusal("encoder_unet")
    form.loss.choose("l1")
    form.depth.setValue(6)
    form.slices.choose(3)
    form.apply.click()
    window.wait(lambda: session.restoration.state.network.depth == 6)
    state = session.restoration.state
    assert (state.learning.loss, state.network.slices) == ("l1", 3)

    panel.change.click()
    panel.form.way.choose("neighbours")
    panel.use_button.click()
    window.wait(lambda: session.restoration.state.learning.way == "neighbours")
    assert "clean target" in form.loss.refusal("ssim")
    assert "sees that one alone" in form.slices.refusal(3)
