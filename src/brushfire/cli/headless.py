"""Drive a session from a terminal: wait for its jobs, show how far they are, end cleanly."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from brushfire.cli.terminal import JobFailedError, interruptible, messages, progress_bar, say
from brushfire.errors import (
    Cancelled,
    LearningError,
    ModelError,
    ProjectError,
    VolumeError,
)
from brushfire.project import SUFFIX, default_folder, open_project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from brushfire.learning.transfer.schedules import Schedule
    from brushfire.learning.transfer.strategies import StartSettings
    from brushfire.session import JobState, LearningState, Notice, Session

_TURN = 0.2
_END_SECONDS = 60.0
_RESTORE_SECONDS = 120.0


@contextmanager
def session_of(
    place: Path, *, axes: str | None, time: int | None, device: str | None, budget: int | None
) -> Iterator[Session]:
    """Open a project without a window and close it in the end, its strokes and models kept.

    Parameters
    ----------
    place : Path
        The project folder, or the volume that the project belongs to.
    axes, time : optional
        How to read the volume, as for `Session.open_volume`, where the project does not know it
        or its volume says something else by now.
    device, budget : optional
        As for `Session`.
    """
    folder = project_of(place, axes, time)
    with _session(folder, device, budget) as session:
        _open(session, folder, axes, time)
        yield session


@contextmanager
def _session(
    folder: Path | None = None, device: str | None = None, budget: int | None = None
) -> Iterator[Session]:
    """Make a session that says in the terminal what it has to say, and close it in the end."""
    from brushfire.session import Session

    session = Session(folder, device=device, memory_budget_bytes=budget, suggest=False)
    told = session.events.notified.connect(_on_notice)
    try:
        yield session
    finally:
        session.close()
        session.events.notified.disconnect(told)


@contextmanager
def opened(
    place: Path,
    *,
    axes: str | None,
    time: int | None,
    device: str | None = None,
    budget: int | None = None,
) -> Iterator[Session]:
    """Do what `session_of` does, and make a project where a volume has none."""
    with _session(None, device, budget) as session:
        if _is_project(place):
            session.open_project(place)
        else:
            session.open_volume(place, axes=axes, time=time)
        yield session


def _is_project(place: Path) -> bool:
    return place.suffix == SUFFIX or (place / "project.json").is_file()


def _open(session: Session, folder: Path, axes: str | None, time: int | None) -> None:
    reference = open_project(folder).state.volume
    if (axes is None and time is None) or reference.source is None:
        session.open_project(folder)
        return
    session.open_volume(
        reference.source,
        axes=reference.axes if axes is None else axes,
        voxel_size=reference.voxel_size,
        time=reference.time if time is None else time,
    )


def project_of(place: Path, axes: str | None, time: int | None) -> Path:
    """Return ``place`` if it is a project, else the project of the volume there.

    Parameters
    ----------
    place : Path
        A project folder or a volume.
    axes, time : optional
        How to read the volume.

    Raises
    ------
    VolumeError
        There is no such volume.
    ProjectError
        It has no project yet, or ``place`` is a folder that is neither.
    """
    from brushfire.volumes import open_volume

    if _is_project(place):
        return open_project(place).folder
    try:
        volume = open_volume(place, axes=axes, time=time)
    except VolumeError:
        if place.is_dir() and place.suffix != ".zarr":
            open_project(place)
        raise
    try:
        folder = default_folder(volume)
    finally:
        volume.close()
    if not (folder / "project.json").is_file():
        raise ProjectError(
            "A volume has a project once somebody has painted on it.",
            got=f"{place} without {folder}",
            do=f"Paint on it first, with 'brushfire open {place}', or name its project folder.",
        )
    return folder


def start_of(source: str) -> Path:
    """Return the project or model file that is meant: by its path, its volume, or its name.

    Raises
    ------
    VolumeError, ProjectError, StorageError
        As `project_of` does; the library cannot be read.
    """
    from brushfire.library import is_model_file
    from brushfire.library.foreign import is_foreign
    from brushfire.session.starting import find_start

    found = find_start(source)
    # Of what is not there, reading says what it could have been.
    a_volume = found.exists() and not is_model_file(found) and not is_foreign(found)
    return project_of(found, None, None) if a_volume else found


def begin(
    place: Path,
    source: str,
    start: StartSettings,
    schedule: Schedule | None = None,
    *,
    replace: bool,
    axes: str | None,
    time: int | None,
) -> list[tuple[str, str]]:
    """Start a project from what was learned elsewhere; return what to tell of it.

    Parameters
    ----------
    place : Path
        A project folder, or a volume, which gets a project if it has none.
    source : str
        The project that has learned, or its volume; a model file; or a name in the library.
    start : StartSettings
        Which weights are taken over.
    schedule : str, optional
        Which of them learn from then on; as the project has it by default.
    replace : bool
        Whether to forget what the project has learned so far.
    axes, time : optional
        How to read the volume.

    Raises
    ------
    ProjectError
        It has learned something, or is the same project.
    JobFailedError
        With the sentence that says why nothing can be taken over.
    """
    theirs = start_of(source)
    with opened(place, axes=axes, time=time) as session:
        before = (None, session.model_revision)
        job = session.start_from(theirs, start=start, schedule=schedule, replace=replace)
        follow(session, job)
        assert session.project is not None
        folder = ("Project", str(session.project.folder))
        if session.awaits_strokes:
            return [folder, ("Model", f"none yet: layers from {theirs} wait for strokes")]
        if not session.wait_for(
            lambda: session.learning.shown_model not in before, _RESTORE_SECONDS
        ):
            raise JobFailedError(session.learning.message or "The model could not be loaded.")
        names = [one.name for one in session.classes if one.value in session.classes_from_start]
        return [
            folder,
            ("Model", f"{session.learning.shown_model}, from {theirs}"),
            ("Known from the start", ", ".join(names) or "nothing: paint each class"),
        ]


def follow(session: Session, job: int) -> JobState:
    """Wait for a job behind a progress bar; Ctrl-C cancels it.

    Raises
    ------
    JobFailedError
        With the sentence of the job.
    Cancelled
        It was cancelled; what it finished is kept.
    """
    state = _state(session, job)
    with interruptible() as stop, progress_bar(state.title) as update:
        cancelling = False
        while (state := _state(session, job)).state == "running":
            update(state.done, state.total, f"{state.title}: {state.message or 'working'}")
            if stop.is_set() and not cancelling:
                cancelling = True
                session.cancel(job)
            _turn(session)
    if state.state == "failed":
        raise JobFailedError(state.message)
    if state.state == "cancelled":
        raise Cancelled(state.message)
    return state


def need_model(session: Session) -> int:
    """Wait until the project's model that segments is loaded; return its revision.

    Raises
    ------
    ModelError
        The project has none, or one of another version.
    ProjectError, StorageError
        Its file is damaged or cannot be read.
    """
    project = session.project
    if project is None or project.state.shown_model is None:
        raise ModelError(
            "This needs a model that has learned.",
            got="a project without a model",
            do="Run 'brushfire train' on it first, or start learning in the window.",
        )
    session.work_on("segment")  # what was worked on last may have been denoising
    wanted = project.state.shown_model
    project.load_model(wanted)  # says at once why it cannot be read, if it cannot
    if not session.wait_for(lambda: session.learning.shown_model is not None, _RESTORE_SECONDS):
        raise ModelError(
            "The model of a project can be loaded.",
            got=session.learning.message or f"model {wanted} did not load",
            do="Run 'brushfire models list' and 'brushfire doctor' on this machine.",
        )
    return wanted


def segment_on(session: Session, what: Literal["given", "denoised"] | None) -> None:
    """Work on segmentation, of the volume as it is or denoised; None for as before.

    Raises
    ------
    ProjectError, JobFailedError
        Nothing is denoised, or it cannot be segmented.
    """
    session.work_on("segment")
    job = None if what is None else session.segment_on(what)
    if job is not None:
        follow(session, job)


def learn(session: Session, seconds: float) -> LearningState:
    """Learn from the project's strokes for some seconds of the wall clock, or until it rests.

    Ctrl-C ends it early; the best model so far is kept either way.

    Raises
    ------
    LearningError
        The strokes do not allow learning.
    Cancelled
        Ctrl-C was pressed.
    """
    with interruptible() as stop, progress_bar("Learning") as update:
        session.start()
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not stop.is_set():
            update(round(seconds - left), round(seconds), session.status)
            _turn(session)
            _raise_what_is_missing(session)
            if session.learning.phase == "resting":
                say(messages(), "Learning ended: nothing better came for long.")
                break
        session.stop()
        session.wait_for(lambda: session.learning.phase == "idle", _END_SECONDS)
    if stop.is_set():
        raise Cancelled("Ended early. The best model so far is kept.")
    return session.learning


def _raise_what_is_missing(session: Session) -> None:
    state = session.learning
    if state.phase == "waiting" and state.message:
        few = "a stroke" if session.classes_from_start else "strokes of at least two classes"
        raise LearningError(
            f"Learning needs {few}.",
            got=state.message.rstrip("."),
            do="Open the project in the window and paint what is missing.",
        )


def _turn(session: Session) -> None:
    session.wait_for(lambda: False, _TURN)


def _state(session: Session, job: int) -> JobState:
    return next(state for state in session.jobs if state.id == job)


def _on_notice(notice: Notice) -> None:
    # A failed job tells its sentence as its state too; main prints that one.
    if notice.level != "error":
        say(messages(), notice.text)
