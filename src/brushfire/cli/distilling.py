"""Make a small, fast network of the model that a project shows."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from brushfire.annotations import open_annotations
from brushfire.cli.adopt import state_with
from brushfire.cli.convert import check_new, write_model
from brushfire.cli.headless import project_of
from brushfire.cli.terminal import dice, interruptible, progress_bar
from brushfire.errors import Cancelled, ModelError, VolumeError
from brushfire.learning.distillation_settings import DistillationSettings
from brushfire.learning.settings import check_patch
from brushfire.networks.settings import NetworkSettings
from brushfire.project import open_project

if TYPE_CHECKING:
    from pathlib import Path

    from brushfire.annotations import AnnotationSnapshot
    from brushfire.learning.comparison import DistillationReport
    from brushfire.networks import ModelSnapshot, SegmentationModel
    from brushfire.project import Project

_CONTEXT = 3  # slices that a student of a network in three dimensions sees


def distil_project(
    place: Path,
    *,
    depth: int,
    width: int,
    steps: int,
    seconds: float,
    out: Path | None,
    overwrite: bool,
    axes: str | None,
    time: int | None,
    device: str | None,
    budget: int | None,
) -> list[tuple[str, str]]:
    """Teach an MS-D network what a project's shown model says; return what to tell of it.

    Parameters
    ----------
    place : Path
        A project folder, or the volume that the project belongs to.
    depth, width : int
        Of the student.
    steps, seconds : int, float
        How long it learns at most.
    out : Path, optional
        File to write it to; by default the project keeps it, as the model that is shown.
    overwrite : bool
        Whether ``out`` may be there already.
    axes, time : optional
        How to read the volume.
    device, budget : optional
        As for `Session`.

    Raises
    ------
    Cancelled
        Ctrl-C was pressed; nothing was changed.
    ModelError
        The project shows no model, or one for another number of channels, or ``out`` exists.
    SettingsError
        The student cannot be, or is the model that is shown.
    VolumeError
        The project's volume cannot be opened, or has changed.
    ProjectError, AnnotationError, StorageError
        The folder is no project, in use elsewhere, or cannot be written.
    """
    from brushfire.engine.device import choose_device
    from brushfire.networks import SegmentationModel
    from brushfire.session.memory import shares

    if out is not None:
        check_new(out, overwrite=overwrite)
    folder = project_of(place, axes, time)
    # Whoever has the project open would write over its settings; read what they left.
    with closing(open_annotations(folder, open_project(folder).state.volume.shape)) as labels:
        project = open_project(folder)
        shown = _shown(project)
        student = _student(shown, depth, width)
        if out is None:
            check_patch(student, project.state.settings.learning)
        room = shares(budget or project.state.settings.memory_budget_bytes)
        settings = DistillationSettings(
            steps=steps, seconds=seconds, cache_bytes=room.learning // 2
        )
        teacher = SegmentationModel.from_snapshot(shown, choose_device(device))
        made, report = _taught(project, teacher, student, labels.snapshot(), settings, room.network)
        revision = max(project.models(), default=0) + 1
        about = {
            "distilled_from": shown.revision,
            "distillation": report.to_metrics(),
            "reason": f"It says what model {shown.revision} says, and is faster.",
        }
        snapshot = made.snapshot(revision, about)
        where = str(out)
        if out is None:
            project.save_model(snapshot)
            project.save(state_with(project, snapshot))
            project.log("model distilled", revision=revision, teacher=shown.revision)
            where = f"{folder}, model {revision}, shown from now on"
        else:
            write_model(out, snapshot.weights)
    names = {one.value: one.name for one in project.state.classes}
    return [*_told(report, names), ("Kept in", where)]


def _shown(project: Project) -> ModelSnapshot:
    revision = project.state.shown_model
    if revision is None:
        raise ModelError(
            "A student learns from a model that has learned.",
            got="a project without a model",
            do="Run 'brushfire train' on it first, or start learning in the window.",
        )
    return project.load_model(revision)


def _student(teacher: ModelSnapshot, depth: int, width: int) -> NetworkSettings:
    seen = teacher.settings
    slices = seen.slices if seen.axes == 2 else _CONTEXT
    return NetworkSettings(
        depth=depth, width=width, slices=slices, features=False, border=seen.border
    )


def _taught(
    project: Project,
    teacher: SegmentationModel,
    student: NetworkSettings,
    labels: AnnotationSnapshot,
    settings: DistillationSettings,
    network_bytes: int,
) -> tuple[SegmentationModel, DistillationReport]:
    """Return what learned on the project's volume, and how well, behind a progress bar."""
    from brushfire.learning.distillation import distil
    from brushfire.volumes import open_volume

    reference = project.state.volume
    if reference.source is None:
        raise VolumeError(
            "A student learns on the volume that its teacher knows.",
            got=f"{project.folder}, whose volume was in memory only",
            do="Save that volume to a file, and learn there.",
        )
    with closing(
        open_volume(reference.source, axes=reference.axes, time=reference.time, cache_bytes=0)
    ) as volume:
        if volume.fingerprint != reference.fingerprint:
            raise VolumeError(
                "A student learns on the volume that its teacher knows.",
                got=f"{reference.source}, which has changed since",
                do="Put that file back, or open the project in the window and learn again.",
            )
        title = f"Distilling the model of {project.folder.stem}"
        with interruptible() as stop, progress_bar(title) as update:
            try:
                return distil(
                    teacher,
                    volume,
                    student,
                    labels if len(labels.slices()) else None,
                    settings,
                    network_bytes=network_bytes,
                    progress=lambda done, total: update(done, total, title),
                    cancelled=stop.is_set,
                )
            except Cancelled:
                raise Cancelled("Ended early. Nothing was changed.") from None


def _told(report: DistillationReport, names: dict[int, str]) -> list[tuple[str, str]]:
    return [
        ("Steps", f"{report.steps}, in {report.seconds:.0f} s"),
        ("Agreement (Dice)", dice(report.agreement)),
        *((f"  {names.get(value, value)}", dice(score)) for value, score in report.dice.items()),
        ("Told alike", f"{100 * report.alike:.1f} % of the voxels of places that taught nothing"),
        ("Seconds a megapixel", f"{report.student_speed:.3g}, before {report.teacher_speed:.3g}"),
        ("Faster", f"{report.faster:.1f} times"),
        ("Weights", f"{report.student_weights:,}, before {report.teacher_weights:,}"),
    ]
