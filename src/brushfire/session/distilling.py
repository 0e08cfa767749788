"""A small, fast network in place of the one that is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brushfire.engine.device import is_out_of_memory, set_up_thread
from brushfire.errors import ModelError, SettingsError
from brushfire.learning.distillation_settings import DistillationSettings
from brushfire.learning.settings import check_patch
from brushfire.networks.architectures import MSD
from brushfire.networks.settings import NetworkSettings
from brushfire.session.memory import shares

if TYPE_CHECKING:
    from collections.abc import Callable

    from brushfire.jobs import Work
    from brushfire.learning.comparison import DistillationReport
    from brushfire.networks import ModelSnapshot
    from brushfire.session.session import Session

DEPTH, WIDTH = 24, 1
"""Layers of a student, and maps that each adds."""
STEPS, SECONDS = 3000, 600.0
"""How long it learns at most."""

_CONTEXT = 3  # slices that a student of a network in three dimensions sees
_CACHED = 8  # parts of what a job may hold, of which answers have one, and what is read another
_MOST_CACHED = 128 * 2**20
# What learning goes on from: strokes that judge it stay those that do.
_KEPT = ("annotations", "held_out_regions", "step", "seconds", "prior", "known", "shares")


@dataclass(frozen=True)
class Student:
    """A small network that learned what a large one says.

    Parameters
    ----------
    model : ModelSnapshot
        It; not among the session's models before it is shown.
    teacher : int
        Revision of the model that it learned from.
    report : DistillationReport
        How both compare.
    """

    model: ModelSnapshot
    teacher: int
    report: DistillationReport

    def __str__(self) -> str:
        """Say it in a sentence."""
        return _said(self.report, self.teacher)


def student_of(
    teacher: NetworkSettings, *, depth: int = DEPTH, width: int = WIDTH
) -> NetworkSettings:
    """Return the small network that takes the place of a large one."""
    slices = teacher.slices if teacher.axes == 2 else _CONTEXT
    return NetworkSettings(
        depth=depth, width=width, slices=slices, features=False, border=teacher.border
    )


def is_small(network: NetworkSettings) -> bool:
    """Whether a network is as small as a usual student already."""
    plain = network.architecture == MSD and not network.features and network.axes == 2
    return plain and network.depth * network.width <= DEPTH * WIDTH


def prepare_distilling(
    session: Session,
    teacher: ModelSnapshot | None,
    *,
    depth: int,
    width: int,
    steps: int,
    seconds: float,
    seed: int,
) -> Work:
    """Return the work of teaching a small network what a session shows, which gives a `Student`.

    It takes what one job may hold; the engine keeps what it has.

    Parameters
    ----------
    session : Session
        With an open volume.
    teacher : ModelSnapshot or None
        The model that it shows.
    depth, width : int
        Of the student.
    steps, seconds : int, float
        How long it learns at most.
    seed : int
        Of weights, places and patches.

    Raises
    ------
    ModelError
        There is no model.
    SettingsError
        There is no such student, or nobody can learn with it on.
    """
    if teacher is None:
        raise ModelError(
            "A student learns from a model that has learned.",
            got="a project without a model",
            do="Start learning in the window first, or run 'brushfire train' on it.",
        )
    student = student_of(teacher.settings, depth=depth, width=width)
    check_patch(student, session.settings.learning)
    volume, labels, device = session.segmented, session.labels, session.learning.device
    assert volume is not None
    assert labels is not None
    strokes, whole = labels.snapshot(), teacher
    room = shares(session.settings.memory_budget_bytes).blocks
    cached = min(room // _CACHED, _MOST_CACHED)
    settings = DistillationSettings(steps=steps, seconds=seconds, seed=seed, cache_bytes=cached)

    def work(progress: Callable[[int, int], None], cancelled: Callable[[], bool]) -> Student:
        from brushfire.learning.distillation import distil
        from brushfire.networks import SegmentationModel

        set_up_thread()
        try:
            made, report = distil(
                SegmentationModel.from_snapshot(whole, device),
                volume,
                student,
                strokes if len(strokes.slices()) else None,
                settings,
                held_out=whole.metrics.get("held_out_regions", ()),
                network_bytes=room - 2 * cached,
                progress=progress,
                cancelled=cancelled,
            )
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise SettingsError(
                "A small network learns in the memory that is free.",
                got=str(error) or type(error).__name__,
                do="Close other programs, then ask again. What is shown stays.",
            ) from error
        about = {key: whole.metrics[key] for key in _KEPT if key in whole.metrics}
        about |= {
            "distilled_from": whole.revision,
            "distillation": report.to_metrics(),
            "reason": _said(report, whole.revision),
        }
        return Student(made.snapshot(0, about), whole.revision, report)

    return work


def _said(found: DistillationReport, teacher: int) -> str:
    alike = "" if found.agreement is None else f" (Dice {found.agreement:.2f} with it)"
    speed = f"is {found.faster:.1f} times as fast" if found.faster > 1 else "is no faster"
    return (
        f"The small network says what model {teacher} says{alike} and {speed}:"
        f" {found.student_weights:,} weights, before {found.teacher_weights:,}."
    )
