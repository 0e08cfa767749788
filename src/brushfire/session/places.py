"""The places that are suggested, each with a small picture that a thread has read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import map_coordinates

from brushfire.geometry import Box, triple
from brushfire.jobs import Jobs

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from brushfire.annotations import LabelStore
    from brushfire.engine.messages import PlacesFound
    from brushfire.learning.places import Place
    from brushfire.volumes import Volume

    Picture = NDArray[np.uint8]

PICTURE = 112
"""Side of a picture, pixels: sharp at half of that on a screen of double density."""

SURROUNDINGS = 3
"""A picture shows this many sides of its place: less, and nobody knows where they are."""


class Suggestions:
    """The newest places and their pictures, told together.

    Pictures are read in a thread, since a slow disk must not hold up the window. A place whose
    picture cannot be read is suggested without one.
    """

    def __init__(self) -> None:
        self.places: tuple[Place, ...] = ()
        self._revision = 0
        self._pictures: dict[Place, Picture] = {}
        self._threads = Jobs()
        self._newest = 0
        self._waiting: dict[int, PlacesFound] = {}
        self._told: set[str] = set()

    def picture(self, place: Place) -> Picture | None:
        """Return the picture of a suggested place, if there is one."""
        return self._pictures.get(place)

    def take(self, volume: Volume, found: PlacesFound) -> None:
        """Read the pictures of new places; `fetch` tells when they are there."""
        for job in self._waiting:
            self._threads.cancel(job)
        self._newest += 1
        self._waiting = {self._newest: found}

        def work(progress: object, cancelled: Callable[[], bool]) -> dict[Place, Picture]:
            return _pictures(volume, found.places, cancelled)

        self._threads.start(self._newest, work)

    def fetch(self) -> bool:
        """Take in what was read; return whether there are other places than before."""
        changed = False
        for report in self._threads.fetch():
            if report.state == "running" or report.job not in self._waiting:
                continue
            found = self._waiting.pop(report.job)
            self._revision = found.revision
            self._pictures = report.result or {}
            changed = changed or self.places != found.places
            self.places = found.places
        return changed

    def leave_painted(self, labels: LabelStore) -> bool:
        """Drop places that were painted meanwhile; return whether there were any."""
        if not self.places:
            return False
        strokes = labels.snapshot()
        left = tuple(place for place in self.places if not place.touched_by(strokes))
        changed, self.places = left != self.places, left
        return changed

    def go_back(self, revision: int) -> bool:
        """Drop places of a model after this one; return whether there were any."""
        before = any(found.revision > revision for found in self._waiting.values())
        return self.clear() if before or self._revision > revision else False

    def clear(self) -> bool:
        """Drop all places; return whether there were any."""
        for job in self._waiting:
            self._threads.cancel(job)
        some = bool(self.places)
        self.places, self._pictures, self._waiting, self._revision = (), {}, {}, 0
        return some

    def is_news(self, error: Exception) -> bool:
        """Whether this error of a search was not told yet."""
        news = str(error) not in self._told
        self._told.add(str(error))
        return news

    def close(self) -> None:
        """Drop everything and end the thread."""
        self.clear()
        self._told.clear()
        self._threads.close()
        self._threads.fetch()


def read_picture(volume: Volume, place: Place, size: int = PICTURE) -> Picture:
    """Return a place and what lies around it as greys, (size, size), as the volume is displayed.

    What is outside the volume is black.

    Parameters
    ----------
    volume : Volume
        Where to read: one small box of the coarsest level that has the detail.
    place : Place
        In the middle of the picture.
    size : int
        Pixels.

    Raises
    ------
    VolumeError
        If the volume cannot be read, or is closed.
    """
    span = SURROUNDINGS * place.side
    level = _level(volume, span / size)
    shape, factors = volume.levels[level].shape, volume.levels[level].factors
    z = min(int(place.z / factors[0]), shape[0] - 1)
    sides, start, stop = [], [z], [z + 1]
    for middle, factor, length in zip((place.y, place.x), factors[1:], shape[1:], strict=True):
        at = (middle + span * ((np.arange(size) + 0.5) / size - 0.5)) / factor - 0.5
        start.append(min(max(int(at[0]), 0), length - 1))
        stop.append(min(max(int(at[-1]) + 2, 1), length))
        sides.append(at - start[-1])
    block = volume.read(Box(triple(start), triple(stop)), level=level)[:, 0].astype(np.float32)
    grid = np.stack(np.meshgrid(*sides, indexing="ij"))
    limits = volume.statistics()
    greys = [
        (map_coordinates(_whole(plane, low), grid, order=1, mode="constant", cval=low) - low)
        / (high - low)
        for plane, low, high in zip(block, limits.low, limits.high, strict=True)
    ]
    shown: Picture = np.rint(255 * np.clip(np.mean(greys, axis=0), 0, 1)).astype(np.uint8)
    return shown


def _pictures(
    volume: Volume, places: tuple[Place, ...], cancelled: Callable[[], bool]
) -> dict[Place, Picture]:
    read: dict[Place, Picture] = {}
    for place in places:
        if not cancelled():
            read[place] = read_picture(volume, place)
    return read


def _level(volume: Volume, step: float) -> int:
    """Return the coarsest level whose pixels are not larger than ``step`` of level 0."""
    fine = [n for n, one in enumerate(volume.levels) if max(one.factors[1:]) <= max(step, 1.0)]
    return max(fine, default=0)


def _whole(plane: NDArray[Any], low: float) -> NDArray[np.float32]:
    """Return a plane without what is no number, which would spread between pixels."""
    return np.asarray(np.nan_to_num(plane, nan=low, posinf=low, neginf=low), np.float32)
