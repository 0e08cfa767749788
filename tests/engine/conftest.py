"""An engine over a small volume with known classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from brushfire.annotations import open_annotations
from brushfire.engine import Engine
from brushfire.volumes import open_volume
from support.engines import LEARNING, NETWORK, SHAPE, TILE, paint_strokes, textured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from brushfire.annotations import LabelStore
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
def make_engine(volume: Volume) -> Iterator[Callable[..., Engine]]:
    made: list[Engine] = []

    def make(source: Volume = volume, **settings: object) -> Engine:
        chosen = {
            "network": NETWORK,
            "learning": LEARNING,
            "tile": TILE,
            "network_bytes": 2**28,
            "device": "cpu",
            "scout": False,
        }
        engine = Engine(source, **{**chosen, **settings})
        engine.start()
        made.append(engine)
        return engine

    yield make
    for engine in made:
        assert engine.close()
