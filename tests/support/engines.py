"""A small volume with two classes, and how to listen to an engine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from brushfire.engine import Engine
from brushfire.engine import messages as m
from brushfire.geometry import Box
from brushfire.learning.settings import LearningSettings
from brushfire.networks.settings import NetworkSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from brushfire.annotations import LabelStore
    from brushfire.networks import ModelSnapshot
    from brushfire.volumes import Volume

SHAPE = (4, 96, 128)
TILE = 64
NOISE = 100.0
NETWORK = NetworkSettings(depth=4, dilations=(1, 2))
LEARNING = LearningSettings(patch=128)  # can still be halved
RESTORER = NetworkSettings(depth=4, dilations=(1, 2), features=False, restored=1)


def truth() -> np.ndarray:
    """Class 1 on the left, class 2 on the right."""
    labels = np.ones(SHAPE, np.uint8)
    labels[:, :, SHAPE[2] // 2 :] = 2
    return labels


def textured(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (1000 + 400.0 * truth() + 100 * rng.standard_normal(SHAPE)).astype(np.uint16)


def stripes() -> np.ndarray:
    """Return float intensities without noise, that another slice or shift would not match."""
    z, y, x = np.indices(SHAPE)
    return (1000 + 300 * np.sin(x / 5 + z / 9) * np.cos(y / 7)).astype(np.float32)


def noisy(seed: int = 0) -> np.ndarray:
    """Return `stripes` with independent noise."""
    rng = np.random.default_rng(seed)
    return (stripes() + NOISE * rng.standard_normal(SHAPE)).astype(np.float32)


def paint_strokes(store: LabelStore) -> None:
    """Several separate strokes of both classes on two slices."""
    for z in (0, 2):
        for y in range(8, 90, 16):
            for x in range(6, 120, 16):
                store[z, y : y + 3, x : x + 5] = truth()[z, y : y + 3, x : x + 5]


def start_engine(source: Volume, **settings: object) -> Engine:
    """Return a running engine; who calls closes it."""
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
    return engine


def first_model(source: Volume, strokes: LabelStore, **settings: object) -> ModelSnapshot:
    """Return the first model of an engine that is closed again."""
    engine = start_engine(source, **settings)
    engine.send(m.SetAnnotations(strokes.snapshot()))
    engine.send(m.Train())
    snapshot: ModelSnapshot = collect(engine, has(m.ModelShown))[-1].snapshot
    assert engine.close()
    return snapshot


def view(z: int = 0) -> m.SetView:
    return m.SetView(Box((z, 0, 0), (z + 1, *SHAPE[1:])))


def collect(
    engine: Engine, until: Callable[[list[m.Event]], bool], timeout: float = 60
) -> list[m.Event]:
    """Return the events up to the moment at which ``until(events)`` holds."""
    events: list[m.Event] = []
    deadline = time.monotonic() + timeout
    while not until(events):
        assert time.monotonic() < deadline, f"timed out after {[type(e).__name__ for e in events]}"
        events += engine.drain(1, wait=0.5)
    return events


def has(kind: type[m.Event], count: int = 1) -> Callable[[list[m.Event]], bool]:
    return lambda events: sum(isinstance(e, kind) for e in events) >= count
