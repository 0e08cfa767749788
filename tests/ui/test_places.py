"""Where to paint next, in the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from qtpy.QtCore import Qt

from brushfire.engine import scouting
from brushfire.learning.places import Place
from brushfire.ui.viewport import visible_box

from .conftest import SHAPE

if TYPE_CHECKING:
    from brushfire.ui.panels.places import PlaceButton

    from .conftest import Window


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scouting, "SEARCH_SECONDS", 0.0)
    monkeypatch.setattr(scouting, "REST_SECONDS", 0.0)


def shown(window: Window) -> list[PlaceButton]:
    return [picture for picture in window.dock.places.pictures if not picture.isHidden()]


def suggest(window: Window, *places: Place) -> None:
    """Suggest these places, as the session does when a search was answered."""
    suggestions = window.session._suggestions
    suggestions.places = places
    suggestions._pictures = {place: window.session.read_thumbnail(place) for place in places}
    window.session.events.places_changed.emit(places)
    window.settle()


def place_at(z: int, y: int, x: int, **values: float) -> Place:
    kinds = {"uncertainty": 0.5, "disagreement": 0.0, "novelty": 1.0, "score": 0.5, **values}
    return Place(z, y, x, 32, **kinds, value=1)


def test_places_appear_while_it_learns_and_go_with_the_volume(painted: Window) -> None:
    panel = painted.dock.places
    assert panel.isHidden()
    painted.dock.learn.start_button.click()
    painted.wait(lambda: painted.session.learning.shown_model is not None)
    assert not panel.isHidden()
    painted.wait(lambda: bool(painted.session.places))
    pictures = shown(painted)
    assert [picture.place for picture in pictures] == list(painted.session.places)
    assert all(picture._image is not None for picture in pictures)
    assert panel.empty.isHidden()
    painted.session.close_volume()
    painted.settle()
    assert panel.isHidden()
    assert shown(painted) == []


def test_a_sentence_stands_where_there_is_nothing_to_suggest(painted: Window) -> None:
    panel = painted.dock.places
    painted.dock.learn.start_button.click()
    painted.wait(lambda: painted.session.learning.shown_model is not None)
    painted.session.pause()
    painted.wait(lambda: painted.session.learning.phase == "paused")
    suggest(painted, place_at(1, 80, 96))
    assert panel.empty.isHidden()
    suggest(painted)
    assert not panel.empty.isHidden()
    assert not panel.isHidden()
    painted.session.reset()
    painted.wait(panel.isHidden)


def test_a_click_goes_there_and_selects_nothing_else(painted: Window) -> None:
    viewer = painted.viewer
    chosen = viewer.layers.selection.active
    suggest(painted, place_at(1, 40, 60), place_at(5, 130, 150))
    painted.bot.mouseClick(shown(painted)[1], Qt.MouseButton.LeftButton)
    painted.wait(lambda: viewer.dims.current_step[0] == 5)
    assert np.allclose(viewer.scene.camera.center[-2:], (130, 150))
    assert viewer.layers.selection.active is chosen
    painted.settle()
    box = visible_box(viewer, painted.layers.strokes)
    assert box.contains(place_at(5, 130, 150).box.clip(SHAPE))
    shown(painted)[0].setFocus()
    painted.bot.keyClick(shown(painted)[0], Qt.Key.Key_Space)
    painted.wait(lambda: viewer.dims.current_step[0] == 1)


def test_a_place_is_well_seen_from_any_zoom(painted: Window) -> None:
    viewer = painted.viewer
    for zoom, z in ((0.02, 4), (500.0, 1)):
        viewer.scene.camera.zoom = zoom
        viewer.scene.camera.center = (0, 0, 0)
        place = place_at(z, 80, 96)
        suggest(painted, place)
        shown(painted)[0].click()
        painted.wait(lambda box=place.box: (visible_box(viewer, painted.layers.strokes)
                                            or place_at(0, 0, 0).box).contains(box))  # fmt: skip
        assert 0.5 < viewer.scene.camera.zoom < 20


def test_a_zoom_that_shows_the_place_stays(painted: Window) -> None:
    viewer = painted.viewer
    zoom = viewer.scene.camera.zoom
    suggest(painted, place_at(4, 80, 96))
    shown(painted)[0].click()
    assert viewer.scene.camera.zoom == zoom


def test_a_place_is_found_in_3d_and_in_any_order_of_axes(painted: Window) -> None:
    viewer = painted.viewer
    viewer.dims.order = (1, 0, 2)
    suggest(painted, place_at(4, 80, 96))
    shown(painted)[0].click()
    painted.wait(lambda: viewer.dims.current_step[1] == 80)
    assert np.allclose(viewer.scene.camera.center[-2:], (4, 96))
    viewer.dims.order = (0, 1, 2)
    viewer.dims.ndisplay = 3
    shown(painted)[0].click()
    painted.wait(lambda: viewer.dims.ndisplay == 2 and viewer.dims.current_step[0] == 4)


def test_a_tooltip_says_where_why_and_what_it_would_be(painted: Window) -> None:
    painted.session.rename_class(1, "clay")
    suggest(
        painted,
        place_at(1, 40, 60),
        place_at(2, 40, 60, novelty=9.0),
        place_at(4, 40, 60, disagreement=0.9),
    )
    tips = [picture.toolTip() for picture in shown(painted)]
    assert "Slice 1, row 40, column 60" in tips[0]
    assert "unsure" in tips[0]
    assert "unlike everything that you painted" in tips[1]
    assert "disagree" in tips[2]
    assert all("“clay”" in tip for tip in tips)
    painted.session.rename_class(1, "quartz")
    assert "“quartz”" in shown(painted)[0].toolTip()


def test_the_pictures_fit_and_are_drawn_in_either_theme(painted: Window) -> None:
    painted.qt.resize(1280, 800)
    suggest(painted, *(place_at(z, 40 + 8 * z, 60) for z in range(5)))
    painted.session.events.model_changed.emit(1)
    panel, bar = painted.dock.places, painted.dock.scroll.horizontalScrollBar()
    for theme in ("dark", "light"):
        painted.viewer.theme = theme
        painted.settle()
        assert bar.maximum() == 0, theme
        assert len(shown(painted)) == 5
        rights = [picture.geometry().right() for picture in shown(painted)]
        assert max(rights) <= panel.width(), theme
        image = shown(painted)[0].grab().toImage()
        colours = {image.pixelColor(x, 26).name() for x in range(3, 49)}
        assert len(colours) > 10, "a picture, not an empty frame"
