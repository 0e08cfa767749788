"""A small network, and true proportions, in place of what is shown: asked for and undone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from brushfire.engine import messages as m
from brushfire.errors import LearningError, ModelError, SettingsError
from brushfire.geometry import Box
from brushfire.learning.settings import LearningSettings
from brushfire.library import Library
from brushfire.networks import NetworkSettings, SegmentationModel
from brushfire.session import Session
from support.engines import (
    LEARNING,
    NETWORK,
    SHAPE,
    collect,
    first_model,
    has,
    paint_strokes,
    textured,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE = 60
RARE = {2: 0.05}
QUICK = {"depth": 3, "steps": 3}
PLAIN = NetworkSettings(depth=4, dilations=(1, 2), features=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "halves.npy"
    np.save(target, textured())
    return target


@pytest.fixture
def make_session(path: Path) -> Iterator[Callable[..., Session]]:
    made: list[Session] = []

    def make(network: NetworkSettings | None = NETWORK, budget: int = 2**30) -> Session:
        session = Session(device="cpu", memory_budget_bytes=budget, suggest=False)
        made.append(session)
        session.open_volume(path, axes="zyx")
        if network is not None:
            session.configure(network=network, learning=LearningSettings(patch=64))
        return session

    yield make
    for session in made:
        session.close()


@pytest.fixture
def learned(make_session: Callable[..., Session]) -> Session:
    """A session that is paused and shows a model."""
    return taught(make_session())


def taught(session: Session) -> Session:
    paint_strokes(session.labels)
    session.start()
    wait(session, lambda: session.learning.shown_model is not None)
    session.pause()
    wait(session, lambda: session.learning.phase == "paused")
    return session


def wait(session: Session, condition: Callable[[], bool]) -> None:
    assert session.wait_for(condition, PATIENCE), session.status


def finished(session: Session, job: int):
    def state():
        return next(one for one in session.jobs if one.id == job)

    wait(session, lambda: state().state != "running")
    return state()


def told(session: Session, act: Callable[[], None]):
    before = session.proportions
    act()
    wait(session, lambda: session.proportions is not before)
    return session.proportions


def test_a_small_network_is_made_shown_and_left_again(
    learned: Session, make_session: Callable[..., Session], path: Path
) -> None:
    teacher = learned.learning.shown_model
    learned.start()
    state = finished(learned, learned.distil(**QUICK))
    assert state.state == "finished", state.message
    assert "times as fast" in state.message or "no faster" in state.message
    assert f"says what model {learned.student.teacher} says" in state.message
    assert learned.settings.network == NETWORK, "nothing is changed until it is chosen"
    learned.pause()
    wait(learned, lambda: learned.learning.phase == "paused")
    large = learned.learning.shown_model
    assert large >= teacher
    small = learned.student.model.settings

    learned.show_student()
    assert learned.student is None
    wait(learned, lambda: learned.learning.shown_model > large)
    assert learned.settings.network == small
    assert learned.learning.can_undo
    assert "small network says" in learned.learning.verdict.reason
    state = learned.learning
    assert (state.shown_dice, state.evaluation) == (None, None), "nobody has measured it"
    learned.undo_model()
    wait(learned, lambda: learned.learning.shown_model == large)
    assert learned.settings.network == NETWORK

    finished(learned, learned.distil(**QUICK))
    learned.show_student()
    wait(learned, lambda: learned.learning.shown_model > large + 1)
    newest = learned.learning.shown_model
    # Learning goes on from it, with its network.
    learned.start()
    wait(learned, lambda: learned.learning.phase == "training" and learned.learning.step > 0)
    learned.close()
    again = make_session(network=None)
    assert again.settings.network == small
    assert again.model_revision >= newest


def test_learning_from_a_small_network_and_back_over_it(learned: Session) -> None:
    large = learned.learning.shown_model
    finished(learned, learned.distil(**QUICK))
    learned.show_student()
    wait(learned, lambda: learned.learning.shown_model > large)
    small = learned.learning.shown_model
    told(learned, lambda: learned.calibrate(RARE))
    assert learned.learning.shown_model == small + 1
    learned.undo_model()
    wait(learned, lambda: learned.learning.shown_model == small)
    learned.undo_model()
    wait(learned, lambda: learned.learning.shown_model == large)
    learned.start()
    wait(learned, lambda: learned.learning.phase == "training")


def test_a_small_network_is_kept_in_the_library_and_dropped(
    learned: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRUSHFIRE_LIBRARY", str(tmp_path / "library"))
    with pytest.raises(ModelError):
        learned.show_student()
    with pytest.raises(ModelError):
        learned.save_to_library("small", student=True)
    finished(learned, learned.distil(**QUICK))
    assert finished(learned, learned.save_to_library("small", student=True)).state == "finished"
    assert Library().card("small").network["depth"] == 3
    learned.drop_student()
    assert learned.student is None
    finished(learned, learned.distil(**QUICK))
    learned.reset()
    wait(learned, lambda: learned.learning.shown_model is None)
    assert learned.student is None


def test_a_small_network_that_is_cancelled_or_cannot_be(
    make_session: Callable[..., Session],
) -> None:
    session = make_session(budget=2**29)
    with pytest.raises(ModelError, match="has learned"):
        session.distil()
    taught(session)
    shown = session.learning.shown_model
    session.start()
    job = session.distil(steps=10**6)
    wait(session, lambda: any(one.done for one in session.jobs if one.id == job))
    step = session.learning.step
    wait(session, lambda: session.learning.step > step)
    session.cancel(job)
    assert finished(session, job).message == "Cancelled. Nothing was changed."
    with pytest.raises(SettingsError):
        session.distil(depth=0)
    assert session.learning.running
    assert session.learning.shown_model >= shown
    assert session.student is None


def test_too_little_memory_fails_the_job_with_a_sentence(learned: Session) -> None:
    wide = NetworkSettings(depth=100, width=20, features=False)
    model = SegmentationModel(wide, 1, (1, 2)).snapshot(1, {})
    learned._record.snapshot = model
    state = finished(learned, learned.distil(**QUICK))
    assert state.state == "failed"
    assert "fit into the memory that the network gets" in state.message
    assert learned.learning.phase == "paused"


def test_shares_are_estimated_given_kept_and_undone(
    learned: Session, make_session: Callable[..., Session]
) -> None:
    shown = learned.learning.shown_model
    state = told(learned, learned.estimate_proportions)
    assert state.model == shown
    assert state.proportions.estimated[2] == pytest.approx(0.5, abs=0.1)
    assert state.completed(RARE) == pytest.approx({1: 0.95, 2: 0.05})
    state = told(learned, lambda: learned.calibrate(RARE))
    assert learned.learning.shown_model == shown + 1
    assert "Calibrated to the shares you gave" in learned.learning.verdict.reason
    assert state.calibration.shares == pytest.approx({1: 0.95, 2: 0.05})
    assert learned.known_shares == RARE
    assert told(learned, learned.estimate_proportions).calibration is state.calibration
    learned.labels[3, 50:54, 100:110] = 2
    learned.start()
    wait(learned, lambda: learned.learning.shown_model > shown + 1)
    assert learned.known_shares == RARE
    learned.configure(network=PLAIN)
    newest = learned.learning.shown_model
    wait(learned, lambda: learned.learning.shown_model > newest)
    assert learned.known_shares == RARE
    learned.pause()
    wait(learned, lambda: learned.learning.phase == "paused")
    told(learned, lambda: learned.calibrate(RARE, "second stage"))
    learned.close()
    again = make_session(network=None)
    wait(again, lambda: again.learning.shown_model is not None)
    assert again.known_shares == RARE
    told(again, lambda: again.calibrate(how="as learned"))
    assert again.known_shares == {}
    again.undo_model()
    wait(again, lambda: again.known_shares == RARE)


def test_bad_shares_are_refused_and_learning_goes_on(make_session: Callable[..., Session]) -> None:
    session = make_session()
    with pytest.raises(ModelError, match="Start learning first"):
        session.calibrate(RARE)
    taught(session)
    session.rename_class(2, "pore")
    third = session.add_class("crack")
    for shares in ({2: -0.1}, {1: 0.7, 2: 0.7}, {third.value: 0.1}, {2: float("nan")}):
        with pytest.raises(SettingsError):
            session.calibrate(shares)
    with pytest.raises(ModelError, match="multi-scale input"):
        session.calibrate(RARE, "second stage")
    assert "multi-scale input" in session.second_stage_problem
    # Another network was chosen and has not learned: the engine says so, and goes on.
    session.configure(network=PLAIN)
    state = told(session, lambda: session.calibrate(RARE))
    assert "Start learning first" in state.problem
    assert session.learning.phase == "paused"
    session.start()
    wait(session, lambda: session.settings.network == session._record.snapshot.settings)
    assert session.second_stage_problem == ""
    session.labels.replace(2, 0)
    with pytest.raises(LearningError, match="none of pore"):
        session.calibrate(RARE, "second stage")


def test_an_engine_takes_the_network_of_a_model_and_goes_back(make_engine, strokes, volume) -> None:
    first = first_model(volume, strokes, network=NETWORK, learning=LEARNING)
    engine = make_engine(network=NETWORK, revision=first.revision)
    engine.send(m.Restore(first))
    small = SegmentationModel(PLAIN, 1, first.classes).snapshot(0, {"reason": "It is small."})
    engine.send(m.Adopt(small))
    events = collect(engine, has(m.ModelShown, 2))
    taken = [one.network for one in events if isinstance(one, m.NetworkTaken)]
    assert taken == [PLAIN]
    assert events[-1].snapshot.revision == first.revision + 1
    assert (events[-1].can_undo, events[-1].verdict.reason) == (True, "It is small.")
    engine.send(m.UndoModel())
    events = collect(engine, has(m.ModelShown))
    assert next(one.network for one in events if isinstance(one, m.NetworkTaken)) == NETWORK
    assert (events[-1].snapshot, events[-1].can_undo) == (first, False)
    engine.send(m.SetView(Box((0, 0, 0), (1, *SHAPE[1:]))))
    assert collect(engine, has(m.TilePredicted))[-1].tile.revision == first.revision
