"""Judge a model that restores on lessons that it was not taught."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from brushfire.learning.restoring.lessons import as_given
from brushfire.learning.restoring.reports import RestorationEvaluation
from brushfire.learning.restoring.scores import psnr, range_of, ssim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from brushfire.learning.restoring.lessons import Lesson
    from brushfire.networks.restoration import RestorationModel

    Answer = np.ndarray[Any, np.dtype[np.float32]]


def judge(
    model: RestorationModel,
    lessons: Sequence[Lesson],
    given: RestorationEvaluation | None,
    *,
    truth: bool,
    held_out: bool,
) -> RestorationEvaluation:
    """Return how near a model comes to the targets of lessons.

    Parameters
    ----------
    model : RestorationModel
        Any weights.
    lessons : sequence of Lesson
        Of one image each.
    given : RestorationEvaluation or None
        How near the input comes, see `judge_given`.
    truth : bool
        Whether the targets are what is looked for, and not another noisy image of it.
    held_out : bool
        Whether nothing was learned from them.
    """
    with torch.no_grad():
        answers = [_array(model.restored_of(lesson.inputs)) for lesson in lessons]
    found = _judge(answers, lessons, truth=truth)
    if given is not None:
        found = replace(found, noisy_loss=given.loss, noisy_psnr=given.psnr, noisy_ssim=given.ssim)
    return replace(found, held_out=held_out)


def judge_given(
    model: RestorationModel, lessons: Sequence[Lesson], *, truth: bool
) -> RestorationEvaluation | None:
    """Return how near the inputs of lessons come to their targets, as they are.

    None where they have other channels.

    Parameters
    ----------
    model : RestorationModel
        Says how intensities were normalised.
    lessons, truth
        As for `judge`.
    """
    answers = []
    for lesson in lessons:
        given = as_given(model, lesson)
        if given is None:
            return None
        answers.append(_array(given))
    return _judge(answers, lessons, truth=truth)


def _judge(
    answers: Sequence[Answer], lessons: Sequence[Lesson], *, truth: bool
) -> RestorationEvaluation:
    each = [
        (answer, _array(lesson.target), _array(lesson.weight) > 0)
        for answer, lesson in zip(answers, lessons, strict=True)
    ]
    pixels = sum(int(known.sum()) for _, _, known in each)
    if not pixels:
        return RestorationEvaluation(float("nan"))
    apart = sum(float(np.square(a - t)[k].sum(dtype=np.float64)) for a, t, k in each)
    found = RestorationEvaluation(apart / pixels, pixels=pixels)
    if not truth:
        return found
    outputs = range(each[0][1].shape[0])
    scores = [_scores([(a[one], t[one], k[one]) for a, t, k in each]) for one in outputs]
    peaks, alike = (np.array([score[at] for score in scores]) for at in (0, 1))
    if not np.isfinite(peaks).all():
        return found
    similar = float(alike.mean()) if np.isfinite(alike).all() else None
    return replace(found, psnr=float(peaks.mean()), ssim=similar)


def _scores(images: Sequence[tuple[Answer, Answer, NDArray[np.bool_]]]) -> tuple[float, float]:
    """Return PSNR over all images of a channel, and mean SSIM, by the span of all their truth."""
    answer, truth = (np.concatenate([one[at][one[2]] for one in images]) for at in (0, 1))
    span = range_of(truth)
    alike = np.array([ssim(a, t, data_range=span, valid=k) for a, t, k in images])
    alike = alike[np.isfinite(alike)]
    similar = float(alike.mean()) if alike.size else float("nan")
    return psnr(answer, truth, data_range=span), similar


def _array(values: Tensor) -> Answer:
    found: Answer = values[0].cpu().numpy()
    return found
