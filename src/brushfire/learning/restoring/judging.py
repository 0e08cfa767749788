"""Judge a model that restores on lessons that it was not taught."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from brushfire.learning.restoring.lessons import as_given
from brushfire.learning.restoring.reports import RestorationEvaluation
from brushfire.learning.restoring.scores import ssim

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    targets = [_array(lesson.target) for lesson in lessons]
    known = [_array(lesson.weight) > 0 for lesson in lessons]
    apart = [
        np.square(answer.astype(np.float64) - target)[valid]
        for answer, target, valid in zip(answers, targets, known, strict=True)
    ]
    pixels = sum(one.size for one in apart)
    loss = sum(float(one.sum()) for one in apart) / max(pixels, 1)
    if not truth or pixels == 0:
        return RestorationEvaluation(loss, pixels=pixels)
    peaks, likeness = [], []
    each = list(zip(answers, targets, known, strict=True))
    for output in range(targets[0].shape[0]):
        ofs = [(a[output], t[output], k[output]) for a, t, k in each]
        values = np.concatenate([t[k] for _, t, k in ofs])
        span = float(np.ptp(values)) if values.size else 0.0
        error = np.concatenate([np.square(a.astype(np.float64) - t)[k] for a, t, k in ofs])
        if span <= 0:
            continue
        peaks.append(10 * np.log10(span**2 / max(float(error.mean()), 1e-30)))
        likeness += [ssim(a, t, data_range=span, valid=k) for a, t, k in ofs]
    if not peaks:
        return RestorationEvaluation(loss, pixels=pixels)
    finite = [one for one in likeness if np.isfinite(one)]
    similar = float(np.mean(finite)) if finite else None
    return RestorationEvaluation(loss, float(np.mean(peaks)), similar, pixels=pixels)


def _array(values: Tensor) -> Answer:
    found: Answer = values[0].cpu().numpy()
    return found
