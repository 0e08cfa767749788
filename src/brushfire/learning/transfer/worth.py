"""What a start was worth: the same steps with it and from scratch, on the same strokes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from brushfire.errors import Cancelled, LearningError
from brushfire.learning.learner import Learner
from brushfire.learning.reports import Remembered, Worth
from brushfire.networks.snapshot import answers

if TYPE_CHECKING:
    from collections.abc import Callable

    from brushfire.annotations import AnnotationSnapshot
    from brushfire.learning.examples import Examples
    from brushfire.learning.patches import Patches
    from brushfire.learning.reports import Evaluation
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
    scores = []
    strokes = 0
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
        _check_held_out(learner.evaluate())
        for step in range(steps):
            if cancelled():
                raise Cancelled
            progress(turn * steps + step, 2 * steps)
            learner.step()
        learner.propose()
        found = learner.evaluate()
        scores.append(_check_held_out(found))
        strokes = sum(found.strokes.values())
        if helped and learner.shown is not None:
            remembered = Remembered.from_metrics(learner.shown.metrics.get("before"))
    return Worth(scores[0], scores[1], steps, strokes, remembered)


def _check_held_out(found: Evaluation) -> float:
    """Return the mean Dice on held-out strokes; LearningError where there are too few."""
    if found.mean is None or found.how != "held out":
        raise LearningError(
            "What a start is worth is measured on held-out strokes of two classes.",
            got="too few of them",
            do="Paint some more strokes of each class, then ask again.",
        )
    return found.mean
