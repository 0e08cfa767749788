"""An engine over a small volume with known classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from brushfire.annotations import open_annotations
from brushfire.engine import coach
from brushfire.volumes import open_volume
from support.engines import SHAPE, paint_strokes, start_engine, textured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
