"""Measure what a start was worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brushfire.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Callable

    from brushfire.jobs import Work
    from brushfire.learning.examples import Examples
    from brushfire.learning.patches import Patches
    from brushfire.learning.reports import Worth
    from brushfire.networks import ModelSnapshot
    from brushfire.session.session import Session


def prepare_measuring(
    session: Session,
    weights: ModelSnapshot | None,
    examples: Examples | None,
    patches: Patches | None,
    steps: int,
    *,
    step_bytes: int,
) -> Work:
    """Return the work of comparing a start with none, which gives a `Worth`.

    Parameters
    ----------
    session : Session
        With a volume and strokes.
    weights, examples, patches
        What it started from.
    steps : int
        Gradient steps of each.
    step_bytes : int
        Memory that a step may take.

    Raises
    ------
    ProjectError
        It started from nothing.
    """
    if weights is None:
        raise ProjectError(
            "What a start is worth is measured where there was one.",
            got="a project that began from scratch",
            do="Start from what was learned elsewhere first.",
        )
    volume, labels, learning = session.segmented, session.labels, session.settings.learning
    assert volume is not None
    assert labels is not None
    strokes, start = labels.snapshot(), weights

    def work(progress: Callable[[int, int], None], cancelled: Callable[[], bool]) -> Worth:
        from brushfire.learning.transfer.worth import measure_worth

        return measure_worth(
            volume,
            start.settings,
            learning,
            strokes,
            weights=start,
            examples=examples,
            patches=patches,
            steps=steps,
            step_bytes=step_bytes,
            progress=progress,
            cancelled=cancelled,
        )

    return work
