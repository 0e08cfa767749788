"""Lessons of all scans of a series: as many of each, and held-out slices in all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brushfire.learning.restoring.division import divide
from brushfire.learning.restoring.lessons import Lesson, Lessons
from brushfire.learning.sampler import Cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from brushfire.geometry import Box
    from brushfire.learning.restoring.scans import Scan
    from brushfire.learning.restoring.settings import RestorationSettings
    from brushfire.networks.restoration import RestorationModel


class Series:
    """Makes lessons of one scan or several; all are kept in memory under one bound.

    Parameters
    ----------
    scans : sequence of Scan
        One at least.
    regions : sequence of Box
        Where in each there is something to learn from.
    settings : RestorationSettings
        The way, how patches vary, and what is held out and kept.
    context : int
        Slices that the network sees on each side.
    kept : sequence of sequence of int
        Slices of each scan that a model was not taught, see `divide`.

    Raises
    ------
    LearningError
        If no slice of a scan is left to learn from.
    """

    def __init__(
        self,
        scans: Sequence[Scan],
        regions: Sequence[Box],
        settings: RestorationSettings,
        *,
        context: int,
        kept: Sequence[Sequence[int]] = (),
    ) -> None:
        known = [*kept, *[()] * len(regions)]
        self.divisions = tuple(
            divide(region, settings.held_out, slices)
            for region, slices in zip(regions, known, strict=False)
        )
        volumes, targets = Cells(settings.cache_bytes), Cells(settings.cache_bytes)
        # Patches of one step have one size, also where scans have not.
        height, width = (min(scan.volume.shape[axis] for scan in scans) for axis in (1, 2))
        self._lessons = [
            Lessons(
                scan,
                settings,
                division,
                context=context,
                largest=(height, width),
                kept=volumes,
                kept_targets=targets,
            )
            for scan, division in zip(scans, self.divisions, strict=True)
        ]

    @property
    def any_held(self) -> bool:
        """Whether anything is held out."""
        return any(division.any_held for division in self.divisions)

    def draw(
        self, model: RestorationModel, count: int, side: int, rng: np.random.Generator
    ) -> Lesson:
        """Return patches that teach, each of any scan, see `Lessons.draw`."""
        chosen = [int(rng.integers(len(self._lessons))) for _ in range(count)]
        return Lesson.of([self._lessons[at].draw(model, 1, side, rng) for at in chosen])

    def judged(self, model: RestorationModel, side: int, most: int) -> list[Lesson]:
        """Return lessons to judge by, one of each scan at least, see `Lessons.judged`."""
        each = max(1, most // len(self._lessons))
        return [lesson for one in self._lessons for lesson in one.judged(model, side, each)]
