"""Places where another stroke would teach most, from the engine and from the session."""

from __future__ import annotations

import pickle
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from brushfire.annotations import open_annotations
from brushfire.engine import messages as m
from brushfire.engine import scouting
from brushfire.errors import VolumeError
from brushfire.geometry import Box
from brushfire.learning.settings import LearningSettings
from brushfire.networks.settings import NetworkSettings
from brushfire.session import Session
from brushfire.session import places as session_places
from brushfire.session.places import PICTURE, read_picture
from brushfire.volumes import open_volume
from support.engines import collect, first_model, has, view

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from brushfire.annotations import LabelStore
    from brushfire.engine import Engine
    from brushfire.learning.places import Place
    from brushfire.networks import ModelSnapshot
    from brushfire.volumes import Volume

SHAPE = (6, 200, 260)
SMALL = NetworkSettings(depth=4, dilations=(1, 2))
PATIENCE = 60


def halves(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    labels = np.ones(shape, np.uint8)
    labels[:, :, shape[2] // 2 :] = 2
    return labels


def grains(seed: int = 0) -> np.ndarray:
    """Two classes left and right, and a third texture in the lower half of the last slices."""
    rng = np.random.default_rng(seed)
    values = 1000 + 400.0 * halves() + 100 * rng.standard_normal(SHAPE)
    values[3:, 100:] = 4000 + 900 * rng.standard_normal((3, 100, SHAPE[2]))
    return values.clip(0, 65535).astype(np.uint16)


def paint(store: LabelStore, z: int = 0) -> None:
    for y in range(20, 90, 16):
        for x in range(20, 250, 40):
            store[z, y : y + 3, x : x + 6] = halves()[z, y : y + 3, x : x + 6]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let searches begin without a rest."""
    monkeypatch.setattr(scouting, "SEARCH_SECONDS", 0.0)
    monkeypatch.setattr(scouting, "REST_SECONDS", 0.0)


@pytest.fixture
def volume() -> Volume:
    return open_volume(grains(), name="grains")


@pytest.fixture
def strokes() -> LabelStore:
    store = open_annotations(None, SHAPE)
    paint(store)
    return store


@pytest.fixture
def make_engine(make_engine: Callable[..., Engine]) -> Callable[..., Engine]:
    return lambda *source, **options: make_engine(*source, **{"scout": True, **options})


def start(make_engine, strokes, *more):
    engine = make_engine(learning=LearningSettings(patch=64))
    for command in (*more, m.SetAnnotations(strokes.snapshot()), m.Train()):
        engine.send(command)
    return engine


def found(events) -> list[m.PlacesFound]:
    return [event for event in events if isinstance(event, m.PlacesFound)]


def endings(events, turn="places"):
    return [e for e in events if isinstance(e, m.TurnEnded) and e.turn == turn]


def of(revision):
    return lambda es: any(e.revision == revision for e in found(es))


@pytest.fixture(scope="module")
def stored() -> ModelSnapshot:
    """Return the model of an engine that saw the strokes of these tests and is gone."""
    store = open_annotations(None, SHAPE)
    paint(store)
    return first_model(open_volume(grains()), store, learning=LearningSettings(patch=64))


# -- the engine ------------------------------------------------------------------------------


def test_places_come_after_a_model_and_name_what_they_answer(make_engine, strokes):
    engine = start(make_engine, strokes)
    events = collect(engine, has(m.PlacesFound))
    shown = [e.snapshot.revision for e in events if isinstance(e, m.ModelShown)]
    (answer,) = found(events)
    assert answer.revision in shown
    assert answer.annotations == strokes.revision
    assert 1 <= len(answer.places) <= 5
    best = answer.places[0]
    assert best.z >= 3, "what looks like no stroke"
    assert best.y > 90
    assert pickle.loads(pickle.dumps(answer)) == answer


def test_learning_goes_on_beside_the_search(make_engine, strokes):
    engine = start(make_engine, strokes)
    events = collect(engine, has(m.PlacesFound))
    assert has(m.Stepped)(events)
    assert not endings(events)
    assert not endings(events, "learning")


def test_a_search_ends_with_the_model_it_began_with_and_the_next_takes_the_newest(stored, strokes):
    told: list[m.Event] = []
    scout = scouting.Scout(open_volume(grains()), told.append)
    scout.set_annotations(strokes.snapshot())
    newer = stored.revision + 1
    scout.set_model(stored, "cpu")
    for _ in range(3):
        scout.work(2**28)
    scout.set_model(replace(stored, revision=newer), "cpu")
    assert not told, "the search goes on"
    while len(told) < 2:
        assert scout.due_in() == 0
        scout.work(2**28)
    assert [answer.revision for answer in found(told)] == [stored.revision, newer]
    assert scout.due_in() is None


def test_one_question_is_answered_once_and_then_the_engine_sleeps(make_engine, strokes, stored):
    engine = make_engine()
    engine.send(m.SetAnnotations(strokes.snapshot()))
    engine.send(m.Restore(stored))
    first = collect(engine, has(m.PlacesFound))[-1]
    assert engine._scout.due_in() is None
    strokes[5, 150, 150] = 1
    engine.send(m.SetAnnotations(strokes.snapshot()))
    events = collect(engine, has(m.PlacesFound))
    assert found(events)[0].annotations == strokes.revision > first.annotations


def test_places_come_in_time_while_nothing_else_happens(make_engine, strokes, stored, monkeypatch):
    monkeypatch.setattr(scouting, "REST_SECONDS", 0.3)
    engine = make_engine()
    engine.send(m.SetAnnotations(strokes.snapshot()))
    engine.send(m.Restore(stored))
    collect(engine, has(m.PlacesFound))


def held_in_a_search(engine, monkeypatch) -> tuple[threading.Event, threading.Event]:
    """Let the next search wait in its first piece; return "it waits" and "go on"."""
    waits, go_on = threading.Event(), threading.Event()
    real = scouting.PlaceSearch.step

    def step(self, budget):
        if not waits.is_set():
            waits.set()
            assert go_on.wait(PATIENCE)
        return real(self, budget)

    monkeypatch.setattr(scouting.PlaceSearch, "step", step)
    return waits, go_on


@pytest.mark.parametrize("command", [m.Reset(), "restore"])
def test_a_search_of_a_model_that_is_gone_is_dropped(
    make_engine, strokes, stored, monkeypatch, command
):
    engine = make_engine()
    waits, go_on = held_in_a_search(engine, monkeypatch)
    engine.send(m.SetAnnotations(strokes.snapshot()))
    engine.send(m.Restore(replace(stored, revision=9)))
    assert waits.wait(PATIENCE)
    engine.send(m.Restore(stored) if command == "restore" else command)
    go_on.set()
    events = collect(engine, has(m.TurnEnded))
    assert [e.outcome for e in endings(events)] == ["cancelled"]
    if command == "restore":
        events += collect(engine, has(m.PlacesFound))
    assert engine.close()
    events += engine.drain(10**6)
    assert {e.revision for e in found(events)} <= {stored.revision}


def test_strokes_painted_during_a_search_leave_no_place_there(
    make_engine, strokes, stored, monkeypatch
):
    engine = make_engine()
    waits, go_on = held_in_a_search(engine, monkeypatch)
    engine.send(m.SetAnnotations(strokes.snapshot()))
    engine.send(m.Restore(stored))
    assert waits.wait(PATIENCE)
    strokes[3:, 90:, :] = 1
    engine.send(m.SetAnnotations(strokes.snapshot()))
    go_on.set()
    (answer, *_) = found(collect(engine, has(m.PlacesFound)))
    assert not any(place.touched_by(strokes.snapshot()) for place in answer.places)


def test_a_search_that_fails_ends_alone_and_tries_again_with_new_strokes(
    make_engine, strokes, monkeypatch
):
    broken = [True]
    real = scouting.PlaceSearch.step

    def step(self, budget):
        if broken:
            raise OSError(5, "the disk is gone")
        return real(self, budget)

    monkeypatch.setattr(scouting.PlaceSearch, "step", step)
    engine = start(make_engine, strokes, view())
    events = collect(engine, lambda es: bool(endings(es)))
    events += collect(engine, has(m.Stepped, 3))
    (failed,) = endings(events)
    assert failed.outcome == "failed"
    assert "the disk is gone" in str(failed.error)
    assert not endings(events, "learning")
    assert not endings(events, "streaming")
    engine.send(m.Reset())
    engine.send(m.Train())
    events = collect(engine, has(m.ModelForgotten))
    events += collect(engine, has(m.ModelShown))
    events += collect(engine, has(m.Stepped, 3))
    assert not endings(events), "another model alone is no reason to try again"
    broken.clear()
    strokes[2, 50:54, 30:40] = 1
    engine.send(m.SetAnnotations(strokes.snapshot()))
    collect(engine, has(m.PlacesFound))


def test_out_of_memory_in_a_search_is_no_reason_to_leave_a_device(
    make_engine, strokes, stored, monkeypatch
):
    def step(self, budget):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(scouting.PlaceSearch, "step", step)
    engine = make_engine()
    engine.send(m.SetAnnotations(strokes.snapshot()))
    engine.send(m.Restore(stored))
    events = collect(engine, lambda es: bool(endings(es)))
    assert [e.device for e in events if isinstance(e, m.DeviceChosen)] == ["cpu"]
    assert "memory" in str(endings(events)[0].error)


def test_closing_ends_a_search(make_engine, strokes, stored, monkeypatch):
    engine = make_engine()
    waits, go_on = held_in_a_search(engine, monkeypatch)
    engine.send(m.SetAnnotations(strokes.snapshot()))
    engine.send(m.Restore(stored))
    assert waits.wait(PATIENCE)
    engine.send(m.Shutdown())
    go_on.set()
    assert engine.close()
    events = engine.drain(10**6)
    assert [e.outcome for e in endings(events)] == ["cancelled"]
    assert not found(events)


def test_nobody_looks_for_places_that_nobody_wants(make_engine, strokes):
    engine = make_engine(scout=False, learning=LearningSettings(patch=64))
    engine.send(m.SetAnnotations(strokes.snapshot()))
    engine.send(m.Train())
    events = collect(engine, has(m.Stepped, 3))
    assert engine._scout.due_in() is None
    assert not found(events)


def test_only_models_that_learnt_the_same_from_the_same_are_compared(stored, strokes):
    scout = scouting.Scout(open_volume(grains()), lambda event: None)
    scout.set_annotations(strokes.snapshot())

    def shown(revision, **changes):
        metrics = {**stored.metrics, **changes.pop("metrics", {})}
        scout.set_model(replace(stored, revision=revision, metrics=metrics, **changes), "cpu")
        return [one.revision for one in scout._committee()]

    assert shown(1) == [1]
    assert shown(2) == [2, 1]
    assert shown(3) == [3, 2, 1]
    assert shown(4) == [4, 2, 1]
    assert [shown(revision) for revision in range(5, 30)][-1] == [29, 21, 14]
    assert shown(4) == [4]
    assert shown(5, metrics={"annotations": 99}) == [5]
    assert shown(6, metrics={"annotations": 99}) == [6, 5]
    assert shown(7, classes=(1, 2, 3)) == [7]
    assert shown(5) == [5, 4]


# -- the session -----------------------------------------------------------------------------


@pytest.fixture
def make_session() -> Iterator[Callable[..., Session]]:
    made: list[Session] = []

    def make(**options: object) -> Session:
        session = Session(device="cpu", memory_budget_bytes=2**30, autosave=False, **options)
        made.append(session)
        session.open_volume(grains(), voxel_size=(1.0, 1.0, 1.0))
        session.configure(network=SMALL, learning=LearningSettings(patch=64))
        return session

    yield make
    for session in made:
        session.close()


def suggested(make_session) -> Session:
    session = make_session()
    paint(session.labels)
    session.start()
    assert session.wait_for(lambda: bool(session.places), PATIENCE)
    return session


def test_places_come_with_pictures_leave_when_painted_and_go_with_their_model(make_session):
    session = make_session()
    told: list[tuple[Place, ...]] = []
    session.events.places_changed.connect(told.append)
    paint(session.labels)
    assert session.places == ()
    session.start()
    assert session.wait_for(lambda: bool(session.places), PATIENCE)
    assert told[-1] == session.places
    for place in session.places:
        picture = session.picture_of(place)
        assert picture.shape == (PICTURE, PICTURE)
        assert picture.dtype == np.uint8
        assert np.ptp(picture) > 30
        assert np.array_equal(picture, session.read_thumbnail(place))

    session.pause()
    assert session.wait_for(lambda: session.learning.phase == "paused", PATIENCE)
    place = session.places[0]
    session.paint(Box((place.z, place.y, place.x), (place.z + 1, place.y + 4, place.x + 4)),
                  np.full((1, 4, 4), 2, np.uint8))  # fmt: skip
    assert session.wait_for(lambda: place not in session.places, PATIENCE)
    assert session.places, "the others stay"

    session.reset()
    assert session.wait_for(lambda: not session.places, PATIENCE)
    assert told[-1] == ()


def test_places_go_with_their_volume(make_session):
    session = suggested(make_session)
    told = []
    session.events.places_changed.connect(told.append)
    session.close_volume()
    assert session.wait_for(lambda: not session.places, PATIENCE)
    assert told[-1] == ()


def test_a_picture_that_cannot_be_read_leaves_the_place(make_session, monkeypatch):
    def fail(*args):
        raise OSError(5, "the disk is gone")

    monkeypatch.setattr(session_places, "read_picture", fail)
    session = suggested(make_session)
    assert all(session.picture_of(place) is None for place in session.places)


def test_a_failing_search_is_told_once_and_is_no_message_of_learning(make_session, monkeypatch):
    def step(self, budget):
        raise OSError(5, "the disk is gone")

    monkeypatch.setattr(scouting.PlaceSearch, "step", step)
    session = make_session()
    notices = []
    session.events.notified.connect(notices.append)
    paint(session.labels)
    session.start()
    assert session.wait_for(lambda: bool(notices), PATIENCE)
    session.paint(Box((2, 50, 30), (3, 52, 34)), np.ones((1, 2, 4), np.uint8))
    ended = []
    real = session._suggestions.is_news
    monkeypatch.setattr(
        session._suggestions, "is_news", lambda error: ended.append(error) or real(error)
    )
    assert session.wait_for(lambda: bool(ended), PATIENCE)
    session.process_events()
    assert len(notices) == 1
    assert "disk" not in session.learning.message
    assert session.learning.phase in ("fitting", "training")


def test_a_picture_shows_the_place_in_its_middle_as_the_volume_is_shown():
    values = np.full((3, 300, 400), 100, np.uint16)
    values[1, 140:160, 190:210] = 300
    values[:, 0, :] = 0  # so that the display goes from 0 to 300
    values[:, -30:, :] = 300
    volume = open_volume(values)
    place = place_at(1, 150, 200)
    picture = read_picture(volume, place, 96)
    assert picture.shape == (96, 96)
    assert picture[40:56, 40:56].min() == 255
    assert picture[:30].max() < 100
    assert read_picture(volume, place, 24).shape == (24, 24)
    corner = read_picture(volume, place_at(0, 2, 399), 40)
    assert corner.shape == (40, 40)


def test_a_picture_of_many_channels_and_of_holes_is_a_picture():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((2, 3, 40, 30)).astype(np.float32)
    values[:, 1, 5:20] = np.nan
    volume = open_volume(values, axes="czyx")
    assert read_picture(volume, place_at(1, 20, 15)).shape == (PICTURE, PICTURE)
    volume.close()
    with pytest.raises(VolumeError):
        read_picture(volume, place_at(1, 20, 15))


def place_at(z: int, y: int, x: int) -> Place:
    from brushfire.learning.places import Place

    return Place(z, y, x, 32, 0.5, 0.0, 1.0, 0.5, 1)
