"""What a project that starts from another one replays, and says of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from brushfire.engine import coach
from brushfire.learning.settings import LearningSettings
from brushfire.library import Library
from brushfire.networks.settings import NetworkSettings
from brushfire.project import open_project
from brushfire.session import Session
from support.engines import paint_strokes, textured

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLAIN = NetworkSettings(depth=4, dilations=(1, 2), features=False)
PATIENCE = 60


@pytest.fixture
def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Session]]:
    monkeypatch.setenv("BRUSHFIRE_LIBRARY", str(tmp_path / "library"))
    monkeypatch.setattr(coach, "PROPOSE_SECONDS", 0.1)
    made: list[Session] = []
    yield made
    for session in made:
        session.close()


def opened(sessions: list[Session], path: Path) -> Session:
    if not path.exists():
        scale = 1 + len(sessions)
        tifffile.imwrite(path, (scale * textured()).astype(np.float32), photometric="minisblack")
    session = Session(device="cpu", memory_budget_bytes=2**30, suggest=False)
    sessions.append(session)
    session.open_volume(path)
    return session


def done(session: Session, job: int) -> str:
    def state() -> object:
        return next(one for one in session.jobs if one.id == job)

    assert session.wait_for(lambda: state().state != "running", PATIENCE)
    assert state().state == "finished", state().message
    return state().message


def test_a_network_without_features_takes_crops_along_replays_and_says_what_it_knows(
    sessions: list[Session], tmp_path: Path
) -> None:
    first = opened(sessions, tmp_path / "first.tif")
    first.configure(network=PLAIN, learning=LearningSettings(patch=64))
    paint_strokes(first.labels)
    first.start()
    assert first.wait_for(lambda: first.learning.shown_model is not None, PATIENCE)
    first.stop()
    assert first.wait_for(lambda: first.learning.phase == "idle", PATIENCE)
    done(first, first.save_to_library("bare"))
    done(first, first.save_to_library("with crops", crops=True))
    first.close()
    bare, whole = (Library().get(name) for name in ("bare", "with crops"))
    assert bare.patches is None
    assert whole.patches is not None
    assert whole.patches.taught is not None
    assert whole.patches.asked is not None

    second = opened(sessions, tmp_path / "second.tif")
    done(second, second.start_from(tmp_path / "first.brushfire"))
    assert second.classes_from_start == {1, 2}
    paint_strokes(second.labels)
    second.start()
    assert second.wait_for(lambda: second.learning.remembered is not None, PATIENCE)
    found = second.learning.remembered
    assert found.whole
    assert found.at_start is not None
    assert found.dice > 0.5
    folder = second.project.folder
    second.close()
    kept = open_project(folder).load_patches()
    assert kept is not None
    assert kept.counts == whole.patches.counts

    again = opened(sessions, tmp_path / "second.tif")
    assert again.classes_from_start == {1, 2}
    done(again, again.save_to_library("both", crops=True))
    both = Library().get("both").patches
    assert both is not None
    assert len(both) > len(kept)
    again.remove_class(2)
    assert again.classes_from_start == {1}
    again.reset()
    assert again.classes_from_start == frozenset()
    again.close()
    assert not (folder / "patches.safetensors").exists()

    third = opened(sessions, tmp_path / "third.tif")
    done(third, third.start_from("with crops"))
    assert third.classes_from_start == {1, 2}
    third.configure(learning=replace(third.settings.learning, replay=0.0))
    assert third.classes_from_start == frozenset()
    third.close()
    damaged = tmp_path / "third.brushfire"
    (damaged / "patches.safetensors").write_bytes(b"no crops")
    told: list[str] = []
    last = Session(device="cpu", memory_budget_bytes=2**30, suggest=False)
    sessions.append(last)
    last.events.notified.connect(lambda notice: told.append(notice.text))
    last.open_project(damaged)
    assert any("without crops" in text for text in told)
    assert last.started_from == "with crops"
