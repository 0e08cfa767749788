"""How a student compares with its teacher: what they tell alike, and how long each takes."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brushfire.learning.sampler import Block
    from brushfire.learning.tuition import Answer
    from brushfire.networks.model import SegmentationModel

_RUNS = 5  # of each network, to tell how long it takes


@dataclass(frozen=True)
class DistillationReport:
    """What came of it.

    Parameters
    ----------
    dice : dict
        For each class, how far the student's voxels are the teacher's, in places that taught
        nothing; None where neither finds it.
    agreement : float or None
        The mean of these.
    alike : float
        Share of voxels there that both tell alike.
    steps : int
        Gradient steps.
    seconds : float
        How long all took.
    teacher_speed, student_speed : float
        Seconds per megapixel of a slice, the medians of runs in turn.
    teacher_weights, student_weights : int
        Numbers that were learned by gradients; what is fitted on strokes is not counted.
    """

    dice: dict[int, float | None]
    agreement: float | None
    alike: float
    steps: int
    seconds: float
    teacher_speed: float
    student_speed: float
    teacher_weights: int
    student_weights: int

    @property
    def faster(self) -> float:
        """How many times as fast as the teacher the student is."""
        return self.teacher_speed / self.student_speed

    def to_metrics(self) -> dict[str, Any]:
        """Return it as values that JSON can hold."""
        return {**asdict(self), "dice": {str(value): one for value, one in self.dice.items()}}


def agreement_of(
    student: SegmentationModel, answers: Sequence[Answer], network_bytes: int
) -> tuple[dict[int, float | None], float]:
    """Return the Dice of each class with a teacher's answers, and the share that is told alike.

    Parameters
    ----------
    student : SegmentationModel
        Any weights.
    answers : sequence of Answer
        With as many slices as it sees.
    network_bytes : int
        Memory that a prediction may take.
    """
    count = len(student.classes)
    both, either, pixels = np.zeros(count), np.zeros(count), 0
    for answer in answers:
        slab = answer.intensities
        found = student.probabilities(slab, budget_bytes=network_bytes)[:, 0].argmax(0)
        theirs = answer.likely.argmax(0)
        both += np.bincount(found[found == theirs], minlength=count)
        either += np.bincount(found.ravel(), minlength=count)
        either += np.bincount(theirs.ravel(), minlength=count)
        pixels += found.size
    dice = {
        value: 2 * float(b) / float(e) if e else None
        for value, b, e in zip(student.classes, both, either, strict=True)
    }
    return dice, float(both.sum()) / pixels


def speeds_of(
    models: Sequence[SegmentationModel], slabs: Sequence[Block], network_bytes: int
) -> list[float]:
    """Return the seconds of each model per megapixel, the medians of runs in turn.

    Parameters
    ----------
    models : sequence of SegmentationModel
        Any weights.
    slabs : sequence of ndarray
        What each predicts, (channels, slices, y, x).
    network_bytes : int
        Memory that a prediction may take.
    """
    took: list[list[float]] = [[] for _ in models]
    for _ in range(_RUNS + 1):
        for model, slab, times in zip(models, slabs, took, strict=True):
            began = time.perf_counter()
            model.probabilities(slab, budget_bytes=network_bytes)
            times.append((time.perf_counter() - began) / math.prod(slab.shape[2:]) * 1e6)
    return [statistics.median(times[1:]) for times in took]  # the first run sets things up


def weights_of(model: SegmentationModel) -> int:
    """Return how many numbers a model learns by gradients."""
    return sum(parameter.numel() for parameter in model.parameters())
