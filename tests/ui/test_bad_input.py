"""What is no volume becomes a sentence in the window, and takes nothing away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import zarr
from napari.utils.notifications import NotificationSeverity, notification_manager
from qtpy.QtCore import QMimeData, QPoint, Qt, QUrl
from qtpy.QtGui import QDropEvent

from brushfire.errors import VolumeError

from .conftest import SHAPE, foam

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari.utils.notifications import Notification

    from .conftest import Window


def tiff(path: Path, data: np.ndarray) -> None:
    tifffile.imwrite(path, data, photometric="minisblack")


def truncated(path: Path) -> None:
    tiff(path, foam())
    path.write_bytes(path.read_bytes()[: foam().nbytes // 2])


BAD = {
    "missing.tif": (lambda path: None, "missing.tif"),
    "empty.tif": (lambda path: path.touch(), "empty"),
    "truncated.tif": (truncated, "truncated"),
    "bare.zarr": (
        lambda path: zarr.create_array(path, shape=(4, 8, 8), dtype="u1", chunks=(4, 8, 8)),
        "metadata",
    ),
    "nan.tif": (lambda path: tiff(path, np.full((3, 32, 32), np.nan, np.float32)), "finite"),
    "constant.tif": (lambda path: tiff(path, np.zeros((3, 32, 32), np.uint8)), "constant"),
    "five.npy": (lambda path: np.save(path, np.ones((2, 3, 4, 32, 32), np.uint8)), "axes"),
    "complex.npy": (lambda path: np.save(path, np.ones((3, 32, 32), np.complex64)), "real numbers"),
}


@pytest.fixture
def told() -> Iterator[list[Notification]]:
    """Notifications of napari."""
    found: list[Notification] = []
    notification_manager.notification_ready.connect(found.append)
    yield found
    notification_manager.notification_ready.disconnect(found.append)


def drop(window: Window, path: Path) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    event = QDropEvent(
        QPoint(20, 20), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )  # fmt: skip
    window.dock.dropEvent(event)
    window.settle()


def test_it_is_told_in_a_sentence_and_the_open_volume_stays(
    painted: Window, tmp_path: Path, told: list[Notification]
) -> None:
    session, layers = painted.session, list(painted.viewer.layers)
    volume, store, strokes = session.volume, session.labels, session.labels[3].copy()
    for number, (name, (make, word)) in enumerate(BAD.items()):
        make(tmp_path / name)
        told.clear()
        drop(painted, tmp_path / name)

        assert [one.severity for one in told] == [NotificationSeverity.ERROR], name
        sentence = told[0].message
        assert word in sentence
        assert sentence.endswith("."), name
        assert painted.dock.notice.text == sentence, name

        assert session.volume is volume, name
        assert session.labels is store, name
        assert np.array_equal(store[3], strokes), name
        assert [one for one in painted.viewer.layers if one in layers] == layers, name
        # The window is usable, and the layer still paints into the store.
        column = 20 * (1 + number)
        painted.stroke(4, 2, column)
        assert store[4, 60, column] == 2, name


def test_the_empty_window_is_usable_after_all_of_them(
    window: Window, tmp_path: Path, told: list[Notification]
) -> None:
    for name, (make, word) in BAD.items():
        make(tmp_path / name)
        told.clear()
        drop(window, tmp_path / name)
        assert [word in one.message for one in told] == [True], name
        assert window.session.volume is None
        assert list(window.viewer.layers) == []
    window.dock.volume.ask.cancel.click()
    tiff(tmp_path / "good.tif", foam())
    drop(window, tmp_path / "good.tif")
    assert window.session.volume.shape == SHAPE


def test_one_slice_is_a_volume_that_can_be_painted(window: Window, tmp_path: Path) -> None:
    tiff(tmp_path / "slice.tif", foam()[0])
    drop(window, tmp_path / "slice.tif")
    window.dock.volume.confirm.click()
    window.settle()
    assert window.session.volume.shape == (1, *SHAPE[1:])
    window.stroke(0, 1, 30)
    assert window.session.labels[0, 60, 30] == 1


def test_what_napari_opens_with_our_reader_says_the_same(window: Window, tmp_path: Path) -> None:
    for name, (make, word) in BAD.items():
        make(tmp_path / name)
        if name.startswith("missing") or name.endswith(".npy"):
            continue  # napari has its own sentence for the first, and its own reader for NumPy
        with pytest.raises(VolumeError, match=word):
            window.viewer.open(str(tmp_path / name), plugin="napari-brushfire")
        assert list(window.viewer.layers) == []
        assert window.session.volume is None
