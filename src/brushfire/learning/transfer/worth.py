"""What a start was worth: the same steps with it and from scratch, on the same strokes.

Strokes that correct a start are about what it got wrong, and tell less without it than those of
somebody who began from scratch. So this says what the start adds to these strokes, not where that
other user would be.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from brushfire.errors import Cancelled, LearningError
from brushfire.learning.gate import interval_of_gain, mean_dice
from brushfire.learning.learner import Learner
from brushfire.learning.reports import Remembered, Worth
from brushfire.networks.snapshot import answers

if TYPE_CHECKING:
    from collections.abc import Callable

    from brushfire.annotations import AnnotationSnapshot
    from brushfire.learning.examples import Examples
    from brushfire.learning.gate import Answers
    from brushfire.learning.patches import Patches
    from brushfire.learning.settings import LearningSettings
    from brushfire.networks.settings import NetworkSettings
    from brushfire.networks.snapshot import ModelSnapshot
    from brushfire.volumes import Volume


def measure_worth(
    volume: Volume,
    network: NetworkSettings,
    learning: LearningSettings,
    labels: AnnotationSnapshot,
    *,
    weights: ModelSnapshot | None,
    examples: Examples | None,
    patches: Patches | None = None,
    steps: int,
    device: str = "cpu",
    step_bytes: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Worth:
    """Learn twice from the strokes of a volume, with a start and without, and compare.

    Parameters
    ----------
    volume, network, learning, labels
        As for a learner; the network is that of the start.
    weights, examples, patches
        What the project started from.
    steps : int
        Gradient steps of each.
    device : str
        As torch names it.
    step_bytes : float
        Memory that a step may take.
    progress, cancelled : callable
        As in `brushfire.jobs.Jobs.start`.

    Raises
    ------
    Cancelled
        Soon after ``cancelled()`` is True.
    LearningError
        If there are too few strokes to hold some out of each class.
    """
    answered = []
    remembered = None
    for turn, helped in enumerate((True, False)):
        learner = Learner(
            volume,
            network,
            replace(learning, schedule=learning.schedule if helped else "all"),
            device=device,
            step_bytes=step_bytes,
            examples=examples if helped else None,
            patches=patches if helped else None,
            weights=weights if helped else None,
        )
        if helped and weights is not None and answers(weights):
            learner.restore([replace(weights, revision=1)])
        learner.set_annotations(labels)
        if learner.ready is not None:
            raise LearningError(
                "What a start is worth is measured on held-out strokes.",
                got="too few strokes",
                do=learner.ready,
            )
        learner.fit()
        _held_out(learner)
        for step in range(steps):
            if cancelled():
                raise Cancelled
            progress(turn * steps + step, 2 * steps)
            learner.step()
        learner.propose()
        answered.append(_held_out(learner))
        if helped and learner.shown is not None:
            remembered = Remembered.from_metrics(learner.shown.metrics.get("before"))
    started, alone = answered
    return Worth(
        float(mean_dice(started)),
        float(mean_dice(alone)),
        steps,
        len(started),
        interval_of_gain(started, alone),
        remembered,
    )


def _held_out(learner: Learner) -> Answers:
    """Return what is answered on held-out strokes; LearningError where there are too few."""
    answers = learner.answers()
    if answers is None or not len(answers):
        raise LearningError(
            "What a start is worth is measured on held-out strokes of two classes.",
            got="too few of them",
            do="Paint some more strokes of each class, then ask again.",
        )
    return answers
