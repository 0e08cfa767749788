"""Axes and time point of a source that does not say how it is to be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from .conftest import SHAPE, foam

pytestmark = pytest.mark.usefixtures("own_projects")

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Window


@pytest.fixture
def own_projects(window: Window) -> None:
    """Give each way of reading a file its own project beside it, as users have them."""
    window.session._wanted_folder = None


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, foam(), photometric="minisblack")
    return path


@pytest.fixture
def series(tmp_path: Path) -> Path:
    path = tmp_path / "series.tif"
    data = np.stack([foam(0), foam(1), foam(2)])
    tifffile.imwrite(path, data, imagej=True, metadata={"axes": "TZYX"})
    return path


def test_axes_can_be_changed_where_the_file_does_not_name_them(window: Window, stack: Path) -> None:
    panel = window.dock.volume
    panel.open_path(str(stack))
    assert not panel.reading.axes.isHidden()
    assert panel.reading.time.isHidden()
    assert panel.reading.axes.text() == "zyx"
    panel.reading.axes.setText("yzx")
    panel.reading.axes.editingFinished.emit()
    window.wait(lambda: window.session.volume.shape == (SHAPE[1], SHAPE[0], SHAPE[2]))
    assert window.session.volume.axes == "yzx"
    assert len(window.layers.image) == 1
    assert len(window.viewer.layers) == 1

    panel.reading.axes.setText("zzx")
    panel.reading.axes.editingFinished.emit()
    window.wait(lambda: "named once" in window.dock.notice.text)
    assert window.session.volume.axes == "yzx"
    assert panel.reading.axes.text() == "yzx"


def test_nothing_is_asked_of_a_source_that_says_it_all(window: Window) -> None:
    from brushfire.samples import sample_volume_path

    window.dock.volume.open_path(str(sample_volume_path()))
    assert window.dock.volume.reading.isHidden()
    window.dock.volume.confirm.click()
    assert window.dock.volume.reread.isHidden()


def test_a_series_asks_for_its_time_point_and_keeps_the_strokes_of_each(
    window: Window, series: Path
) -> None:
    panel = window.dock.volume
    panel.open_path(str(series))
    assert window.session.volume is None
    assert not panel.ask.isHidden()
    assert panel.empty.isHidden()
    assert "series.tif" in panel.ask.text.text()
    assert panel.ask.time.value() == 0
    panel.ask.time.setValue(9)
    panel.ask.open_button.click()
    assert "time=9" in window.dock.notice.text
    assert not panel.ask.isHidden()
    panel.ask.time.setValue(1)
    panel.ask.open_button.click()
    assert panel.ask.isHidden()
    assert window.session.volume.time == 1
    panel.confirm.click()
    window.stroke(2, 1, 30)
    painted = window.session.labels[2].copy()

    assert panel.reading.isHidden()
    window.dock.steps["volume"].set_open(True)
    assert not panel.reread.isHidden()
    panel.reread.click()
    assert not panel.reading.time.isHidden()
    panel.reading.time.setValue(2)
    window.wait(lambda: window.session.volume.time == 2)
    assert not window.session.confirmed
    assert not window.session.labels[2].any()
    panel.reading.time.setValue(1)
    window.wait(lambda: window.session.volume.time == 1)
    assert window.session.confirmed
    assert np.array_equal(window.session.labels[2], painted)


def test_asking_can_be_given_up(painted: Window, series: Path) -> None:
    before = painted.session.labels[3].copy()
    painted.dock.volume.open_path(str(series))
    panel = painted.dock.volume
    assert painted.dock.steps["volume"].is_open
    assert not panel.ask.isHidden()
    assert panel.form.isHidden()
    panel.ask.cancel.click()
    assert panel.ask.isHidden()
    assert not panel.form.isHidden()
    assert np.array_equal(painted.session.labels[3], before)
