"""The window that the command line opens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from brushfire.errors import VolumeError

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot

VALUES = np.random.default_rng(0).integers(0, 200, (4, 64, 64), dtype=np.uint8)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    np.save(tmp_path / "grey.npy", VALUES)
    return tmp_path / "grey.npy"


def test_it_opens_a_volume_and_then_its_project(volume: Path, qtbot: QtBot) -> None:
    from brushfire.ui.controller import Controller
    from brushfire.ui.launch import open_window

    for path in (volume, volume.with_suffix(".brushfire")):
        viewer = open_window(path)
        controller = Controller.of(viewer)
        session = controller.session
        assert session.volume is not None
        assert session.volume.shape == VALUES.shape
        assert session.project is not None
        assert session.project.folder == volume.with_suffix(".brushfire")
        assert "Brushfire" in " ".join(viewer.window.dock_widgets)
        viewer.close()
        qtbot.waitUntil(lambda c=controller: c.closed)


def test_what_cannot_be_opened_leaves_no_window(tmp_path: Path, qtbot: QtBot) -> None:
    from napari import current_viewer

    from brushfire.ui.launch import open_window

    del qtbot
    with pytest.raises(VolumeError, match="path that exists"):
        open_window(tmp_path / "nothing.tif")
    assert current_viewer() is None
