"""How the dock looks, what it says, and how it begins and ends."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from napari.utils.notifications import NotificationSeverity, notification_manager
from napari.utils.shortcuts import default_shortcuts
from qtpy.QtCore import QMimeData, QPoint, Qt, QUrl
from qtpy.QtGui import QDropEvent
from qtpy.QtWidgets import QApplication

from brushfire.geometry import Box
from brushfire.learning.reports import Evaluation, Verdict
from brushfire.session import JobState, LearningState, ScorePoint
from brushfire.ui import shortcuts
from brushfire.ui.controller import Controller
from brushfire.ui.dock import BrushfireDock
from brushfire.ui.layers import prediction_colormap, rgba, stroke_colormap
from brushfire.ui.panels.shape import format_dilations, parse_dilations
from brushfire.ui.style import palette_of
from brushfire.ui.viewport import visible_box

from .conftest import SHAPE, foam

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Window


SCORES = Evaluation(
    {1: 0.93, 2: 0.86, 3: None}, 0.895, 900, {1: (0.9, 0.96), 2: (0.7, 0.94)}, (0.81, 0.94),
    {1: 9, 2: 4}, {3: 2},
)  # fmt: skip
VERDICT = Verdict(
    "trained", True, "The trained network agrees better with the held-out strokes: 0.90, before"
    " 0.86.", 0.04, 0.01,
)  # fmt: skip


def everything_open(window: Window) -> None:
    dock = window.dock
    for step in dock.steps.values():
        step.set_open(True)
    dock.learn.network.button.setChecked(True)
    for part in (dock.learn.browser, dock.learn.save_form):
        part.show()
    dock.learn.browser.fold.button.setChecked(True)
    dock.learn.save_form.more.button.setChecked(True)
    window.session.rename_class(1, "a very long class name, as people do give them")
    dock.learn.update_view(
        LearningState(
            phase="training", step=123456, steps_per_second=9.1, device="a device with a long name",
            loss=((0, 1.0, 0.0), (9, 0.5, 3.0)), shown_model=17,
            scores=(ScorePoint(0, 1.0, 7, {1: 0.5, 2: 0.6}),),
            shown_dice=0.81, message="A sentence about what is missing, which may be long.",
            evaluation=SCORES, verdict=VERDICT, can_undo=True,
        )
    )  # fmt: skip
    dock.result.update_view(LearningState(shown_model=17))
    dock.result.export.region.setCurrentIndex(1)
    dock.result.export.path.setText(
        "/a/path/that/is/long/enough/to/be/wider/than/any/dock.ome.zarr"
    )
    dock.result.export._on_job(JobState(1, "export", "Exporting a long name.ome.zarr", 3, 10))
    dock.controller.say("warning", "A notice that is long enough to need two lines of the dock.")
    window.settle()


def test_nothing_needs_a_horizontal_scroll_bar(window: Window) -> None:
    bar = window.dock.scroll.horizontalScrollBar()
    looks = list(product(("dark", "light"), ((1280, 800), (1580, 980))))

    def fits() -> None:
        for theme, size in looks:
            window.viewer.theme = theme
            window.qt.resize(*size)
            window.settle()
            assert window.qt.width() == size[0]
            assert bar.maximum() == 0, (theme, size)
            assert window.dock.paint.table.horizontalScrollBar().maximum() == 0, (theme, size)

    fits()
    window.open(confirm=False)
    fits()
    window.session.confirm_volume()
    everything_open(window)
    fits()


def test_the_style_follows_the_theme(window: Window) -> None:
    window.viewer.theme = "dark"
    dark = palette_of(window.viewer)
    assert dark.accent in window.dock.styleSheet()
    window.viewer.theme = "light"
    light = palette_of(window.viewer)
    assert light != dark
    assert light.accent in window.dock.styleSheet()


def test_steps_open_one_after_the_other(window: Window) -> None:
    dock, steps = window.dock, window.dock.steps

    def opened() -> list[bool]:
        return [step.is_open for step in steps.values() if not step.isHidden()]

    assert opened() == [True, False, False, False]
    assert (
        "Open a volume or drop it here"
        in dock.volume.empty.findChildren(type(dock.status))[0].text()
    )
    window.open(confirm=False)
    assert not dock.volume.confirm.isHidden()
    assert window.layers.strokes is None
    dock.volume.confirm.click()
    assert opened() == [False, True, True, False]
    dock.update_states()
    assert "160" in steps["volume"].state.whole
    assert steps["paint"].state.whole == ""
    steps["paint"].head.setFocus()
    window.bot.keyClick(steps["paint"].head, Qt.Key.Key_Space)
    dock.update_states()
    assert "no strokes" in steps["paint"].state.whole


def test_the_one_prominent_button_is_the_next_thing_to_do(window: Window) -> None:
    dock = window.dock
    volume, paint = dock.volume, dock.paint.paint_button
    learn, export = dock.learn.start_button, dock.result.export.button

    def prominent() -> list[object]:
        dock.update_states()
        ours = (volume.open_button, volume.ask.open_button, volume.confirm, paint, learn, export)
        return [b for b in ours if b.property("role") == "primary" and b.isVisible()]

    assert prominent() == [volume.open_button]
    window.open(confirm=False)
    assert prominent() == [volume.confirm]
    assert "Check" in dock.status.text()
    volume.confirm.click()
    assert prominent() == [paint]
    window.viewer.dims.set_point(0, 3)
    window.teach()
    assert prominent() == [learn]
    window.learn()
    assert prominent() == [paint]
    learn.click()
    window.wait(lambda: window.session.learning.phase == "paused")
    dock.open_step("result")
    assert prominent() == [export]


def test_a_corrected_voxel_size_places_every_layer_and_keeps_the_slice(window: Window) -> None:
    window.open(confirm=False)
    window.viewer.dims.set_point(0, 2)
    for field, value in zip(window.dock.volume.voxel, ("0.05", "0.004", "0.004"), strict=True):
        field.setText(value)
    window.dock.volume.confirm.click()
    window.settle()
    assert window.session.volume.voxel_size == (0.05, 0.004, 0.004)
    for layer in (*window.layers.image, window.layers.strokes):
        assert tuple(layer.scale) == (0.05, 0.004, 0.004)
        assert {str(unit) for unit in layer.units} == {"micrometer"}
    box = visible_box(window.viewer, window.layers.strokes)
    assert box is not None
    assert (box.start[0], box.stop[0]) == (2, 3)


# ---------------------------------------------------------------------- colours
def test_class_colours_are_the_same_in_paint_and_prediction(window: Window) -> None:
    window.open()
    window.session.recolor_class(1, "#123456")
    classes = window.session.classes
    paint, prediction = stroke_colormap(classes), prediction_colormap(classes)
    wanted = rgba("#123456")
    assert np.allclose(paint.map(1), wanted)
    assert np.allclose(prediction.map(1), wanted)
    assert np.allclose(window.layers.strokes.colormap.map(1), wanted)
    stale = prediction.map(1 + 128)
    assert stale[3] < 1
    assert not np.allclose(stale[:3], wanted[:3])
    for value in (0, 9, 200):
        assert prediction.map(value)[3] == 0


def test_classes_are_added_renamed_and_removed_in_the_table(painted: Window) -> None:
    paint, session = painted.dock.paint, painted.session
    paint.add.click()
    assert len(session.classes) == 3
    added = session.classes[-1]
    assert session.active_class == added.value
    paint.table.item(2, 1).setText("clay")
    assert session.classes[-1].name == "clay"

    session.set_active_class(1)
    paint.remove.click()
    assert not paint.question.isHidden()
    assert "cannot be undone" in paint._question.text()
    paint.no.click()
    assert len(session.classes) == 3
    paint.remove.click()
    paint.yes.click()
    assert [entry.value for entry in session.classes] == [2, 3]
    assert not (session.labels[3] == 1).any()

    session.set_active_class(3)
    paint.remove.click()  # nothing painted, nothing to ask
    assert [entry.value for entry in session.classes] == [2]


# ---------------------------------------------------------------------- bad input
def test_bad_input_becomes_a_sentence_and_a_notification(window: Window, tmp_path) -> None:
    told = []
    notification_manager.notification_ready.connect(told.append)
    dock = window.dock
    dock.volume.open_path(str(tmp_path / "nothing.tif"))
    assert "nothing.tif" in dock.notice.text
    assert told[-1].severity == NotificationSeverity.ERROR
    assert "nothing.tif" in told[-1].message
    assert not dock.notice.copy.isHidden()
    dock.notice.copy.click()
    assert "Rule:" in QApplication.clipboard().text()
    assert window.session.volume is None

    np.save(tmp_path / "constant.npy", np.zeros((3, 8, 8)))
    window.dock.controller.attempt(window.session.open_volume, np.zeros((3, 64, 64), np.uint8))
    assert "constant" in dock.notice.text.lower()

    window.open()
    before = window.session.settings.network
    dock.learn.form.dilations.setText("1, two")
    dock.learn.form.apply.click()
    assert "Dilations" in dock.notice.text
    dock.learn.form.dilations.setText("1-90")
    dock.learn.form.apply.click()
    assert "1 to 64" in dock.notice.text
    assert window.session.settings.network == before
    dock.learn.form.dilations.setText("1, 2, 4")
    dock.learn.form.apply.click()
    window.wait(lambda: window.session.settings.network.dilations == (1, 2, 4))

    dock.paint.table.item(0, 1).setText("  ")
    assert window.session.classes[0].name.strip()
    assert dock.paint.table.item(0, 1).text() == window.session.classes[0].name
    notification_manager.notification_ready.disconnect(told.append)


def test_the_panel_keeps_a_border_that_it_does_not_ask_for(window: Window) -> None:
    window.open()
    window.session.configure(network=replace(window.session.settings.network, border="reflect"))
    window.dock.learn.form.dilations.setText("1, 2")
    window.dock.learn.form.apply.click()
    window.wait(lambda: window.session.settings.network.dilations == (1, 2))
    assert window.session.settings.network.border == "reflect"


def test_export_without_a_model_or_with_a_wrong_box_is_refused_inline(painted: Window) -> None:
    result = painted.dock.result
    result.export._export()
    assert "model" in painted.dock.notice.text
    result.export.region.setCurrentIndex(1)
    first, last = result.export.corners[1]
    first.setText("20")
    last.setText("10")
    result.export._export()
    assert "20:10" in painted.dock.notice.text
    assert result.export.button.isEnabled()
    assert painted.session.jobs == ()


def test_learning_from_one_class_says_what_is_missing(window: Window) -> None:
    window.open()
    window.stroke(3, 1, 12)
    window.dock.learn.start_button.click()
    learn = window.dock.learn
    window.wait(lambda: "class" in learn.message.text().lower() and not learn.message.isHidden())
    assert window.session.learning.shown_model is None


@pytest.mark.parametrize(
    ("text", "values"),
    [("1-3", (1, 2, 3)), ("1, 2,4", (1, 2, 4)), ("7", (7,)), ("2-3,9", (2, 3, 9))],
)
def test_dilations_are_read_and_written(text: str, values) -> None:
    assert parse_dilations(text) == values
    assert parse_dilations(format_dilations(values)) == values


# ---------------------------------------------------------------------- opening
@pytest.fixture
def stack(tmp_path: Path) -> Path:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, foam(), photometric="minisblack")
    return path


def test_a_project_opens_with_its_strokes_and_without_asking_again(
    window: Window, stack: Path
) -> None:
    window.dock.volume.open_path(str(stack))
    window.dock.volume.confirm.click()
    window.stroke(2, 1, 30)
    painted = window.session.labels[2].copy()
    window.session.close_volume()
    assert list(window.viewer.layers) == []
    assert not window.dock.volume.empty.isHidden()
    window.dock.volume.open_path(str(window.folder))
    assert window.session.confirmed
    assert painted.any()
    assert np.array_equal(window.layers.strokes.data[2], painted)
    assert not window.dock.paint.table.isHidden()


def test_dropping_a_file_on_the_dock_opens_it(window: Window, stack: Path) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(stack))])
    event = QDropEvent(
        QPoint(20, 20), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )  # fmt: skip
    window.dock.dropEvent(event)
    assert window.session.volume.shape == SHAPE
    assert len(window.layers.image) == 1


def test_what_napari_opens_with_our_reader_is_adopted(window: Window, stack: Path) -> None:
    window.viewer.open(str(stack), plugin="napari-brushfire")
    window.settle()
    assert window.session.volume.shape == SHAPE
    assert list(window.viewer.layers) == window.layers.image
    window.dock.volume.confirm.click()
    assert len(window.viewer.layers) == 2


def test_an_existing_layer_becomes_the_volume(window: Window) -> None:
    layer = window.viewer.add_image(foam(), scale=(3, 0.5, 0.5), units=("nm", "um", "um"))
    window.dock.volume.layer_button.click()
    assert window.session.volume.shape == SHAPE
    assert window.session.volume.voxel_size == pytest.approx((0.003, 0.5, 0.5))
    assert window.layers.image == [layer]
    window.dock.volume.confirm.click()
    assert len(window.viewer.layers) == 2
    assert np.allclose(window.layers.strokes.scale, layer.scale)


def test_a_colour_picture_is_refused_as_a_volume(window: Window) -> None:
    window.viewer.add_image(np.zeros((4, 32, 32, 3), np.uint8), rgb=True)
    window.dock.volume.layer_button.click()
    assert "grey" in window.dock.notice.text
    assert window.session.volume is None


def test_the_sample_opens_from_the_file_menu(window: Window) -> None:
    window.viewer.open_sample("napari-brushfire", "foam")
    window.settle()
    assert window.session.volume is not None
    assert window.session.volume.name == "foam"
    assert len(window.layers.image) == 1


def test_a_volume_without_levels_gets_a_pyramid_that_can_be_cancelled(window: Window) -> None:
    window.open(np.tile(foam(), (1, 7, 2)))
    volume = window.dock.volume
    assert window.session.volume.needs_pyramid
    window.dock.steps["volume"].set_open(True)
    volume.build.click()
    assert volume.build.isHidden()
    volume.progress.cancel.click()
    window.wait(lambda: window.session.jobs[-1].state != "running")
    assert not volume.build.isHidden() or len(window.session.volume.levels) > 1
    if len(window.session.volume.levels) == 1:
        volume.build.click()
        window.wait(lambda: len(window.session.volume.levels) > 1)
    window.settle()
    assert window.layers.image[0].multiscale
    assert volume.pyramid.isHidden()


# ---------------------------------------------------------------------- view and keys
def test_the_visible_box_follows_camera_slider_and_axes(window: Window) -> None:
    window.open()
    seen: list[Box] = []
    window.dock.controller.viewport.moved.connect(seen.append)
    window.viewer.dims.set_point(0, 4)
    window.wait(lambda: bool(seen) and seen[-1].shape[0] == 1 and seen[-1].start[0] == 4)
    assert seen[-1].size > 0.9 * SHAPE[1] * SHAPE[2]
    camera = window.viewer.scene.camera
    camera.zoom *= 6
    camera.center = (0, 40, 150)
    window.wait(lambda: seen[-1].stop[1] < SHAPE[1] and seen[-1].start[2] > 60)
    assert seen[-1].contains(Box((4, 40, 150), (5, 41, 151)))
    window.viewer.dims.order = (1, 0, 2)
    window.viewer.reset_view()
    window.wait(lambda: seen[-1].shape[1] == 1 and seen[-1].shape[2] > 60)
    window.viewer.dims.ndisplay = 3
    window.settle()
    assert visible_box(window.viewer, window.layers.image[0]) is None


def test_our_keys_are_none_of_naparis_and_work(painted: Window) -> None:
    taken = {str(key) for keys in default_shortcuts.values() for key in keys}
    ours = {key.replace("-", "+") for key in shortcuts.MEANINGS}
    assert not taken & ours
    keymap = {str(key): act for key, act in painted.viewer.keymap.items()}
    assert ours <= set(keymap)

    keymap["N"](painted.viewer)
    assert painted.session.active_class == 2
    keymap["N"](painted.viewer)
    assert painted.session.active_class == 1
    painted.viewer.dims.set_point(0, 0)
    keymap["J"](painted.viewer)
    assert painted.viewer.dims.current_step[0] == 3
    painted.stroke(5, 1, 12)
    keymap["Shift+J"](painted.viewer)
    assert painted.viewer.dims.current_step[0] == 5
    keymap["G"](painted.viewer)
    painted.wait(lambda: painted.session.learning.phase in ("fitting", "training"))
    painted.wait(lambda: painted.layers.prediction is not None)
    keymap["H"](painted.viewer)
    assert not painted.layers.prediction.visible
    keymap["G"](painted.viewer)
    painted.wait(lambda: painted.session.learning.phase == "paused")


def test_looks_of_the_prediction_and_extra_layers(painted: Window) -> None:
    painted.learn()
    result, layers = painted.dock.result, painted.layers
    result.opacity.setValue(20)
    assert layers.prediction.opacity == pytest.approx(0.2)
    result.contour.setChecked(True)
    assert layers.prediction.contour == 2
    layers.prediction.opacity = 0.6
    painted.dock.update_states()
    assert result.opacity.value() == 60
    result.probability.setCurrentIndex(1)
    result.uncertainty.setChecked(True)
    assert set(layers.extra) == {"probability", "uncertainty"}
    painted.wait(lambda: bool(painted.session.predictions.labels[3].all()))
    painted.wait(lambda: bool(np.asarray(layers.extra["probability"].data[3]).any()))
    painted.viewer.layers.remove(layers.extra["uncertainty"])
    assert not result.uncertainty.isChecked()
    result.probability.setCurrentIndex(0)
    assert layers.extra == {}


def test_the_plot_draws_the_newest_state_once(painted: Window) -> None:
    learn = painted.dock.learn
    painted.dock.open_step("learn")
    plot = learn.curves.plot
    before = plot.redraws
    for step in range(50):
        learn.update_view(
            LearningState("training", step, loss=((step, 1.0, float(step)),), shown_model=1)
        )
    assert plot.redraws <= before + 1
    painted.wait(lambda: plot.redraws > before)


# ---------------------------------------------------------------------- beginning and ending
def test_a_second_dock_in_a_window_shows_the_same_session(window: Window) -> None:
    second = BrushfireDock(window.viewer)
    assert second.session is window.session
    window.open()
    assert not second.paint.table.isHidden()
    second.close()


def test_each_window_has_its_own_session_and_ends_it(make_window) -> None:
    one, two = make_window(), make_window()
    assert one.session is not two.session
    one.open()
    two.open()
    one.viewer.screenshot(flash=False)
    before = two.viewer.screenshot(flash=False)
    one.viewer.close()
    np.testing.assert_array_equal(two.viewer.screenshot(flash=False), before)
    one.settle()
    assert one.dock.controller.closed
    assert not two.dock.controller.closed
    assert two.session.volume is not None
    two.session.paint(Box((1, 5, 5), (2, 9, 9)), np.ones((1, 4, 4), np.uint8))
    assert two.session.labels[1].any()


def test_a_volume_that_is_closed_in_one_window_leaves_what_another_shows(make_window) -> None:
    one, two = make_window(), make_window()
    one.open()
    two.open()
    one.viewer.screenshot(flash=False)
    before = two.viewer.screenshot(flash=False)
    one.session.close_volume()
    np.testing.assert_array_equal(two.viewer.screenshot(flash=False), before)


def test_closing_twice_is_harmless_and_a_new_controller_can_follow(window: Window) -> None:
    window.open()
    controller = window.dock.controller
    controller.close()
    controller.close()
    assert shortcuts.NEXT_CLASS not in {str(key) for key in window.viewer.keymap}
    follower = Controller.of(window.viewer)
    assert follower is not controller
    follower.close()


def test_a_deleted_dock_lets_go_and_the_session_goes_on(window: Window) -> None:
    window.open()
    session, viewer = window.session, window.viewer
    viewer.window.remove_dock_widget(window.dock)
    window.dock.deleteLater()
    window.settle()
    session.rename_class(1, "still here")
    session.process_events()
    again = BrushfireDock(viewer)
    assert again.session is session
    assert again.paint.table.item(0, 1).text() == "still here"
    viewer.window.add_dock_widget(again, name="Brushfire again")
    window.dock = again
