"""An engine over a small volume with known classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import tifffile

from brushfire.annotations import open_annotations
from brushfire.engine import coach
from brushfire.session import Session
from brushfire.volumes import open_volume
from support.engines import SHAPE, noisy, paint_strokes, start_engine, stripes, textured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from brushfire.annotations import LabelStore
    from brushfire.engine import Engine
    from brushfire.volumes import Volume


@pytest.fixture
def volume() -> Volume:
    return open_volume(textured(), name="halves")


@pytest.fixture
def strokes() -> LabelStore:
    store = open_annotations(None, SHAPE)
    paint_strokes(store)
    return store


@pytest.fixture
def make_session() -> Iterator[Callable[..., Session]]:
    """Return what makes sessions, which are closed in the end."""
    made: list[Session] = []

    def make(**options: object) -> Session:
        session = Session(device="cpu", memory_budget_bytes=2**30, suggest=False, **options)
        made.append(session)
        return session

    yield make
    for session in made:
        session.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a noisy volume, a clean one, and parts of a scan."""
    tifffile.imwrite(tmp_path / "noisy.tif", noisy(), photometric="minisblack")
    tifffile.imwrite(tmp_path / "clean.tif", stripes(), photometric="minisblack")
    for part in range(3):
        values = noisy(1 + part)
        tifffile.imwrite(tmp_path / f"part{part}.tif", values, photometric="minisblack")
    return tmp_path


@pytest.fixture(autouse=True)
def without_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the quick fit follow new strokes without a rest."""
    monkeypatch.setattr(coach, "REFIT_SECONDS", 0.0)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the trained network race every moment rather than every few seconds."""
    monkeypatch.setattr(coach, "PROPOSE_SECONDS", 0.1)


@pytest.fixture
def make_engine(volume: Volume) -> Iterator[Callable[..., Engine]]:
    made: list[Engine] = []

    def make(source: Volume = volume, **settings: object) -> Engine:
        made.append(start_engine(source, **settings))
        return made[-1]

    yield make
    for engine in made:
        assert engine.close()
