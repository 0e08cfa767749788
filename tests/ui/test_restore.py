"""Denoising in a real window: choose what to learn from, see tiles, compare, go back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from brushfire.networks.settings import NetworkSettings
from brushfire.volumes import open_volume

from .conftest import SHAPE

if TYPE_CHECKING:
    from pathlib import Path

    from brushfire.geometry import Box

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
