"""A small network learns from a large one what that says of a volume, and is faster ever after.

The student sees the teacher's probabilities, softened by a temperature, everywhere (Hinton, Vinyals
& Dean 2015): what a teacher takes for half likely tells more than a class. No label is needed;
strokes may have a say beside.
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from brushfire.errors import Cancelled, LearningError, ModelError, SettingsError
from brushfire.learning.adamw import AdamW
from brushfire.learning.comparison import (
    DistillationReport,
    agreement_of,
    speeds_of,
    weights_of,
)
from brushfire.learning.convex import class_weights
from brushfire.learning.distillation_settings import DistillationSettings
from brushfire.learning.fitting import COUNT_POWER, index_table
from brushfire.learning.losses import segmentation_loss
from brushfire.learning.regions import StrokeRegions
from brushfire.learning.settings import LearningSettings, check_patch
from brushfire.learning.tuition import Tuition
from brushfire.learning.warming import warm_up
from brushfire.networks.architectures import MSD
from brushfire.networks.halo import measure_halo
from brushfire.networks.model import SegmentationModel
from brushfire.networks.sliced import BUDGET_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from brushfire.annotations import AnnotationSnapshot
    from brushfire.learning.tuition import Piece
    from brushfire.networks.settings import NetworkSettings
    from brushfire.volumes import Volume

__all__ = ["DistillationReport", "DistillationSettings", "Distiller", "distil", "softened_loss"]

_VISITS = 2  # times that the pixels of a place are looked at until the teacher is asked at another
_WARM_UP = 20  # steps until the full learning rate
_CLIP = 1.0  # norm of a gradient
_MOST_LOST = 5  # steps in a row that come to nothing, until learning ends


class Distiller:
    """Teaches a student, one short call at a time; used by one thread.

    Parameters
    ----------
    teacher : SegmentationModel
        Stays as it is.
    volume : Volume
        What both segment.
    student : NetworkSettings
        Shape of the student: MS-D without features.
    labels : AnnotationSnapshot or None
        Strokes that have a say too; those of classes that the teacher does not know are left out.
    settings : DistillationSettings
        How it learns.
    held_out : sequence
        One voxel (z, y, x, class) of each stroke that has no say: it judges what is learned later.
    network_bytes : int
        Memory that a prediction may take.

    Raises
    ------
    ModelError
        If the teacher is for another number of channels, or tells no two classes apart.
    SettingsError
        If the student is no such network, or the teacher's, or sees farther than a patch.
    LearningError
        If the labels have another shape than the volume.
    """

    def __init__(
        self,
        teacher: SegmentationModel,
        volume: Volume,
        student: NetworkSettings,
        labels: AnnotationSnapshot | None,
        settings: DistillationSettings,
        *,
        held_out: Sequence[Sequence[int]] = (),
        network_bytes: int = BUDGET_BYTES,
    ) -> None:
        _check_pair(teacher, volume, student, settings)
        warm_up()
        self._teacher = teacher = copy.deepcopy(teacher).requires_grad_(False).eval()
        # A shift is taken over in the end: what is learned later gets one of its own.
        self._shift = teacher.prior_shift.clone()
        teacher.prior_shift.zero_()
        self._settings = settings
        self._network_bytes = network_bytes
        strokes = _strokes(volume, labels, held_out)
        self._tuition = Tuition(
            teacher,
            volume,
            context=student.context,
            strokes=strokes,
            patch=settings.patch,
            kept_bytes=settings.cache_bytes,
            network_bytes=network_bytes,
            rng=np.random.default_rng(settings.seed),
        )
        self._every = max(1, round(_VISITS * self._tuition.pixels / settings.patch**2))
        counts = {} if strokes is None else strokes.counts(held=False)
        numbers = torch.tensor([counts.get(value, 0) for value in teacher.classes])
        self._weights = class_weights(numbers, COUNT_POWER).float() if numbers.any() else None
        self._student = _new_student(teacher, student, settings.seed)
        self._optimiser = AdamW(self._student.parameters(), weight_decay=settings.weight_decay)
        self._began = time.monotonic()
        self.steps = 0
        self._lost = 0

    @property
    def share(self) -> float:
        """How much of the learning is done, 0 to 1."""
        spent = time.monotonic() - self._began
        return min(1.0, max(self.steps / self._settings.steps, spent / self._settings.seconds))

    def step(self) -> float:
        """Make one gradient step, and ask the teacher more every now and then; return the loss.

        Raises
        ------
        LearningError
            If losses or gradients are not finite, several times in a row.
        """
        rate = self._rate()
        if self.steps % self._every == 0:
            self._tuition.learn_more()
        pieces = self._tuition.draw()
        pixels = sum(piece.labels.size for piece in pieces)
        self._optimiser.forget_gradients()
        total = 0.0
        for piece in pieces:
            loss = self._loss(piece) * (piece.labels.size / pixels)
            torch.autograd.backward(loss)
            total += float(loss.detach())
        norm = float(torch.nn.utils.clip_grad_norm_(self._student.parameters(), _CLIP))
        self.steps += 1
        if math.isfinite(total) and math.isfinite(norm):
            self._optimiser.step(rate)
            self._lost = 0
            return total
        self._lost += 1
        if self._lost >= _MOST_LOST:
            raise LearningError(
                "The loss of a step and its gradients are finite numbers.",
                got=f"a loss of {total} in step {self.steps}",
                do="Choose a lower learning rate, and look for extreme intensities in the volume.",
            )
        return total

    def _rate(self) -> float:
        """Return the learning rate of the next step: up at once, and down to nothing in the end."""
        falling = 0.5 + 0.5 * math.cos(math.pi * self.share)
        return self._settings.learning_rate * min(falling, (self.steps + 1) / _WARM_UP)

    def _loss(self, piece: Piece) -> Tensor:
        settings, student = self._settings, self._student
        logits = student.logits(student.normalise(_inputs(student, piece.intensities)))
        likely = torch.from_numpy(piece.likely.astype(np.float32)).to(logits.device)
        taught = torch.from_numpy(piece.taught).to(logits.device)
        loss = softened_loss(logits, likely[None], taught[None], settings.temperature)
        if self._weights is None or settings.mix == 0 or not piece.labels.any():
            return loss
        target = index_table(student.classes)[torch.from_numpy(piece.labels.astype(np.int64))]
        of_strokes = segmentation_loss(
            logits, target[None].to(logits.device), self._weights.to(logits)
        )
        return (1 - settings.mix) * loss + settings.mix * of_strokes

    def finish(
        self, *, cancelled: Callable[[], bool] = lambda: False
    ) -> tuple[SegmentationModel, DistillationReport]:
        """Return the student with the halo that it needs, and what came of it.

        Raises
        ------
        Cancelled
            Soon after ``cancelled()`` is True.
        """
        spent = time.monotonic() - self._began
        student = self._student.requires_grad_(False).eval()
        for model in (student, self._teacher):
            model.prior_shift.copy_(self._shift)
        answers = []
        for box in self._tuition.held:
            if cancelled():
                raise Cancelled
            answers.append(self._tuition.ask(box))
        student.halo = measure_halo(student, [answer.intensities for answer in answers])
        dice, alike = agreement_of(student, answers, self._network_bytes)
        models = (self._teacher, student)
        slabs = [self._tuition.slab(model.context) for model in models]
        teacher_speed, student_speed = speeds_of(models, slabs, self._network_bytes)
        known = [one for one in dice.values() if one is not None]
        report = DistillationReport(
            dice=dice,
            agreement=statistics.mean(known) if known else None,
            alike=alike,
            steps=self.steps,
            seconds=spent,
            teacher_speed=teacher_speed,
            student_speed=student_speed,
            teacher_weights=weights_of(self._teacher),
            student_weights=weights_of(student),
        )
        return student, report


def distil(
    teacher: SegmentationModel,
    volume: Volume,
    student: NetworkSettings,
    labels: AnnotationSnapshot | None,
    settings: DistillationSettings,
    *,
    held_out: Sequence[Sequence[int]] = (),
    network_bytes: int = BUDGET_BYTES,
    progress: Callable[[int, int], None] = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[SegmentationModel, DistillationReport]:
    """Teach a small network what a large one says of a volume.

    Parameters
    ----------
    teacher, volume, student, labels, settings, held_out, network_bytes
        As for `Distiller`.
    progress : callable
        Takes how many hundredths are done, and 100.
    cancelled : callable
        Asked at each step.

    Returns
    -------
    SegmentationModel, DistillationReport
        The student, for the same classes, and how it compares.

    Raises
    ------
    Cancelled
        Soon after ``cancelled()`` is True.
    ModelError, SettingsError, LearningError
        As for `Distiller`, and where learning runs into numbers that are not finite.
    """
    distiller = Distiller(
        teacher, volume, student, labels, settings, held_out=held_out, network_bytes=network_bytes
    )
    while distiller.share < 1:
        if cancelled():
            raise Cancelled
        progress(int(100 * distiller.share), 100)
        distiller.step()
    return distiller.finish(cancelled=cancelled)


def softened_loss(logits: Tensor, likely: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """Return how far a student is from its teacher, both softened.

    Parameters
    ----------
    logits : Tensor
        Of the student, (images, classes, y, x).
    likely : Tensor
        Logarithms of the teacher's probabilities, the same shape.
    taught : Tensor
        bool, (images, y, x), which pixels count.
    temperature : float
        What both are divided by. The loss is multiplied by its square, so that gradients are of
        one size whatever it is.

    Returns
    -------
    Tensor
        The mean Kullback-Leibler divergence from the teacher's probabilities; at least 0.
    """
    mine = (logits / temperature).log_softmax(1)
    theirs = (likely / temperature).log_softmax(1)
    apart = functional.kl_div(mine, theirs, reduction="none", log_target=True).sum(1)
    return temperature**2 * (apart * taught).sum() / taught.sum().clamp(min=1)


def _new_student(
    teacher: SegmentationModel, settings: NetworkSettings, seed: int
) -> SegmentationModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = SegmentationModel(
            settings,
            teacher.channels,
            teacher.classes,
            mean=teacher.intensity_mean.tolist(),
            std=teacher.intensity_std.tolist(),
        )
    return student.to(teacher.device).train()


def _inputs(model: SegmentationModel, slab: np.ndarray[Any, Any]) -> Tensor:
    """Return (1, channels * slices, y, x) of (channels, slices, y, x)."""
    return torch.from_numpy(slab).to(model.device).flatten(0, 1)[None]


def _strokes(
    volume: Volume, labels: AnnotationSnapshot | None, held_out: Sequence[Sequence[int]]
) -> StrokeRegions | None:
    if labels is None:
        return None
    if tuple(labels.shape) != tuple(volume.shape):
        raise LearningError(
            f"Labels have the shape of the volume, {volume.shape}.",
            got=labels.shape,
            do="Give those that were painted on this volume, or none.",
        )
    strokes = StrokeRegions(0.0)
    strokes.adopt(held_out)
    strokes.update(labels)
    return strokes


def _check_pair(
    teacher: SegmentationModel,
    volume: Volume,
    student: NetworkSettings,
    settings: DistillationSettings,
) -> None:
    channels = len(volume.channels)
    if teacher.channels != channels:
        raise ModelError(
            f"A teacher for this volume has {channels} channel(s).",
            got=f"one with {teacher.channels}",
            do="Choose a model of such volumes.",
        )
    if len(teacher.classes) < 2:
        raise ModelError(
            "A teacher tells two classes or more apart.",
            got=f"{len(teacher.classes)} class(es)",
            do="Choose a model that has learned more.",
        )
    if student.architecture != MSD or student.features:
        raise SettingsError(
            "A student is an MS-D network that sees intensities: that is what makes it fast.",
            got=f"{student.architecture}{' with features' if student.features else ''}",
            do="Choose the network msd without features.",
        )
    if student == teacher.settings:
        raise SettingsError(
            "A student is another network than its teacher.",
            got="the same settings",
            do="Choose less depth, or use the teacher as it is.",
        )
    check_patch(student, LearningSettings(patch=settings.patch))
