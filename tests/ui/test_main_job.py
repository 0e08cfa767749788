"""The main job in a real window: paint with the mouse, learn, see a tile, export."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QPoint, Qt

from brushfire.annotations import open_annotations
from brushfire.ui.textures import canvas_widget
from brushfire.volumes import open_volume

if TYPE_CHECKING:
    from .conftest import Window


def on_canvas(window: Window, y: float, x: float) -> QPoint:
    """Return where voxel (y, x) of the slice on show is on the canvas widget."""
    camera = window.viewer.scene.camera
    widget = canvas_widget(window.viewer)
    _, cy, cx = camera.center
    column = widget.width() / 2 + (x - cx) * camera.zoom
    line = widget.height() / 2 + (y - cy) * camera.zoom
    return QPoint(round(column), round(line))


def drag(window: Window, start: tuple[int, int], stop: tuple[int, int]) -> None:
    widget, bot = canvas_widget(window.viewer), window.bot
    bot.mouseMove(widget, on_canvas(window, *start))
    bot.mousePress(widget, Qt.MouseButton.LeftButton, pos=on_canvas(window, *start))
    for share in np.linspace(0, 1, 12):
        y, x = ((1 - share) * a + share * b for a, b in zip(start, stop, strict=True))
        bot.mouseMove(widget, on_canvas(window, y, x))
        window.settle()
    bot.mouseRelease(widget, Qt.MouseButton.LeftButton, pos=on_canvas(window, *stop))
    window.settle()


def test_mouse_strokes_reach_store_and_journal_and_teach_what_the_screen_shows(
    window: Window,
) -> None:
    window.open()
    window.viewer.dims.set_point(0, 3)
    window.dock.paint.paint_button.click()
    window.layers.strokes.brush_size = 5
    window.settle()

    drag(window, (30, 12), (130, 12))
    drag(window, (30, 60), (130, 60))
    drag(window, (30, 108), (130, 108))
    window.session.set_active_class(2)
    drag(window, (30, 36), (130, 36))
    drag(window, (30, 84), (130, 84))
    drag(window, (30, 132), (130, 132))

    store = window.session.labels
    assert store is not None
    assert store[3, 80, 12] == 1
    assert store[3, 80, 36] == 2
    assert store[3, 80, 24] == 0
    store.flush(10)
    on_disk = open_annotations_copy(window)
    assert np.array_equal(on_disk, store[3])

    before = window.viewer.screenshot(flash=False)
    window.dock.learn.start_button.click()
    window.wait(lambda: window.session.learning.shown_model is not None)
    window.wait(lambda: bool((window.session.predictions.labels[3] != 0).all()))
    window.settle()
    after = window.viewer.screenshot(flash=False)

    assert window.layers.prediction in window.viewer.layers
    changed = (before != after).any(axis=-1).mean()
    assert changed > 0.2
    predicted = window.session.predictions.labels[3] & 127
    assert (predicted[:, 8:16] == 1).mean() > 0.9
    assert (predicted[:, 32:40] == 2).mean() > 0.9


def open_annotations_copy(window: Window) -> np.ndarray:
    """Read slice 3 from a copy of the project's folder, as after a crash."""
    import shutil

    copy = window.folder.with_name("after-crash")
    shutil.copytree(window.folder, copy)
    for lock in copy.rglob("*lock*"):
        lock.unlink()
    restored = open_annotations(copy, window.session.labels.shape)
    try:
        return restored[3]
    finally:
        restored.close()


def test_the_panel_exports_a_slice_and_says_where_it_is(painted: Window, tmp_path) -> None:
    painted.learn()
    result = painted.dock.result
    painted.dock.open_step("result")
    target = tmp_path / "slice.ome.zarr"
    result.export.path.setText(str(target))
    result.export.button.click()
    painted.wait(lambda: any(job.state == "finished" for job in painted.session.jobs))
    painted.wait(lambda: not result.export.done.isHidden())

    assert str(target) in result.export.done.text()
    assert result.export.button.isEnabled()
    masks = open_volume(target)
    assert masks.shape == (1, 160, 192)


def test_undo_takes_one_stroke_back_in_store_and_picture(painted: Window) -> None:
    before = painted.session.labels[3].copy()
    shown = painted.layers.strokes._slice.image.view.copy()
    painted.stroke(3, 1, 170)
    assert not np.array_equal(painted.session.labels[3], before)
    after = painted.session.labels[3].copy()
    assert len(painted.layers.strokes._undo_history[-1]) == 1  # merged, so that undo is quick
    painted.layers.strokes.undo()
    assert np.array_equal(painted.session.labels[3], before)
    assert np.array_equal(painted.layers.strokes._slice.image.view, shown)
    painted.layers.strokes.redo()
    assert np.array_equal(painted.session.labels[3], after)


def test_counts_and_states_follow_the_strokes(painted: Window) -> None:
    paint = painted.dock.paint
    counts = painted.session.labels.counts()
    painted.wait(lambda: paint.table.item(0, 2).text().strip() != "0")
    shown = "".join(c for c in paint.table.item(0, 2).text() if c.isdigit())
    assert int(shown) == counts[1].voxels
    assert paint.table.item(0, 3).text() == "1"
    assert "on 1 slice" in paint.state
