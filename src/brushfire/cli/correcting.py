"""Models in place of the one that a project shows: a small one, and one in true proportions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brushfire.cli.convert import write_model
from brushfire.cli.headless import follow, need_model
from brushfire.cli.terminal import JobFailedError, dice
from brushfire.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from brushfire.learning.comparison import DistillationReport
    from brushfire.learning.reports import Correction
    from brushfire.session import Session

_SECONDS = 300.0  # for the engine to answer


def distil_model(
    session: Session, *, depth: int, width: int, steps: int, seconds: float, out: Path | None
) -> list[tuple[str, str]]:
    """Teach a small network what a session shows; return what to tell of it.

    Parameters
    ----------
    session : Session
        With an open project.
    depth, width, steps, seconds
        As for `Session.distil`.
    out : Path, optional
        File to write it to; by default the project keeps it, as the model that is shown.

    Raises
    ------
    Cancelled
        Ctrl-C was pressed; nothing was changed.
    JobFailedError
        With the sentence that says why there is no student.
    ModelError, SettingsError, StorageError
        The project shows no model, there is no such student, or the file cannot be written.
    """
    job = session.distil(depth=depth, width=width, steps=steps, seconds=seconds)
    follow(session, job)
    student = session.student
    assert student is not None
    where = str(out)
    if out is None:
        need_model(session)
        session.show_student()
        shown = _next_model(session)
        assert session.project is not None
        where = f"{session.project.folder}, model {shown}, shown from now on"
    else:
        write_model(out, student.model.weights)
    names = {one.value: one.name for one in session.classes}
    return [*_told(student.report, names), ("Kept in", where)]


def calibrate_model(
    session: Session, named: Mapping[str, float], how: Correction
) -> tuple[list[tuple[str, str, str]], str]:
    """Correct what a session shows for how common classes are.

    Parameters
    ----------
    session : Session
        With an open project.
    named : mapping
        The share of some classes or all, by their names.
    how : {"calibrated", "second stage", "as learned"}
        As for `Session.calibrate`.

    Returns
    -------
    list of tuple, str
        Each class with its share in what is predicted before and after, and what was done.

    Raises
    ------
    ModelError, LearningError, SettingsError
        It cannot be, or there is no class of a name; nothing has changed.
    JobFailedError
        With the sentence that says why nothing came of it.
    """
    need_model(session)
    values = {one.name.strip().casefold(): one.value for one in session.classes}
    for name in named:
        if name.strip().casefold() not in values:
            raise SettingsError(
                "A share is that of a class of the project.",
                got=name,
                do=f"Choose one of: {', '.join(one.name for one in session.classes)}.",
            )
    before = session.proportions
    shares = {values[name.strip().casefold()]: share for name, share in named.items()}
    session.calibrate(shares, how)
    _wait(session, lambda: session.proportions is not before)
    told = session.proportions.calibration
    if told is None:
        raise JobFailedError(session.proportions.problem)
    names = {one.value: one.name for one in session.classes}
    rows = [
        (names.get(value, str(value)), _percent(share), _percent(told.after.get(value, 0.0)))
        for value, share in told.before.items()
    ]
    return rows, f"Model {session.model_revision} is shown from now on. {told}"


def _next_model(session: Session) -> int | None:
    """Wait until another model is shown; return its revision."""
    before = session.learning.shown_model
    _wait(session, lambda: session.learning.shown_model != before)
    return session.learning.shown_model


def _wait(session: Session, done: Callable[[], bool]) -> None:
    if not session.wait_for(done, _SECONDS):
        raise JobFailedError(session.learning.message or "The model could not be shown.")


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


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
