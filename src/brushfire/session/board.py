"""The jobs that a user started: their states, their threads, and the two stages of an export."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from brushfire.errors import ProjectError
from brushfire.jobs import JobReport, Jobs
from brushfire.learning.reports import Worth
from brushfire.library import Entry, bare_name
from brushfire.session.denoised import Denoised
from brushfire.session.distilling import Student
from brushfire.session.restoration import Restoration
from brushfire.session.starting import Lesson
from brushfire.session.states import JobState
from brushfire.volumes import Volume

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brushfire.jobs import Work
    from brushfire.session.exports import Export

Ending = Literal["finished", "cancelled", "failed"]

CANCELLED = {
    "export": "Cancelled. What was predicted is kept, for another export with the same model.",
    "pyramid": "Cancelled. Nothing was kept.",
    "start": "Cancelled. Nothing was taken over.",
    "save": "Cancelled. Nothing was saved.",
    "worth": "Cancelled. Nothing was measured.",
    "distil": "Cancelled. Nothing was changed.",
    "restore": "Cancelled. Nothing was taken over.",
    "denoised": "Cancelled. What is segmented stays as it was.",
}

PREDICTION_ENDED = (
    "Prediction ended before this export was done. Export again: what was predicted is kept."
)


class JobBoard:
    """Every job of a session, ended ones included.

    Parameters
    ----------
    on_change : callable
        Takes each new `JobState`.
    on_error : callable
        Takes the error of a job that failed.
    """

    def __init__(
        self, on_change: Callable[[JobState], None], on_error: Callable[[Exception], None]
    ) -> None:
        self._states: dict[int, JobState] = {}
        self._exports: dict[int, Export] = {}
        self._cancelled: set[int] = set()
        self._predicting: set[int] = set()
        self._threads = Jobs()
        self._on_change = on_change
        self._on_error = on_error

    @property
    def states(self) -> tuple[JobState, ...]:
        """All jobs, oldest first."""
        return tuple(self._states.values())

    @property
    def next_id(self) -> int:
        """The id that the next job gets."""
        return max(self._states, default=0) + 1

    @property
    def exports(self) -> tuple[Export, ...]:
        """The exports that run."""
        return tuple(self._exports.values())

    def start_pyramid(self, path: str, work: Work) -> int:
        """Build a pyramid in a thread; return the job's id, that of one under way if there is."""
        return self._start_once(
            JobState(self.next_id, "pyramid", "Building the pyramid", path=path), work
        )

    def start_lesson(self, path: Path, work: Work) -> int:
        """Read what was learned elsewhere; return the job's id, that of one under way if any."""
        rule = "What was learned elsewhere is read one at a time."
        self._check_alone("start", str(path), rule)
        title = f"Reading what {bare_name(path)} learned"
        return self._start_once(JobState(self.next_id, "start", title, path=str(path)), work)

    def start_saving(self, name: str, work: Work) -> int:
        """Save a model to the library; return the job's id, that of one under way if any."""
        self._check_alone("save", name, "Models are saved to the library one at a time.")
        title = f"Saving {name} to the library"
        return self._start_once(JobState(self.next_id, "save", title, path=name), work)

    def start_restoring(self, work: Work) -> int:
        """Check what is restored from; return the job's id, that of one under way if any."""
        title = "Looking at what to restore from"
        return self._start_once(JobState(self.next_id, "restore", title), work)

    def start_denoised(self, work: Work) -> int:
        """Look at what is to be segmented; return the job's id, that of one under way if any."""
        title = "Looking at the denoised volume"
        return self._start_once(JobState(self.next_id, "denoised", title), work)

    def start_measuring(self, work: Work) -> int:
        """Measure what a start was worth; return the job's id, that of one under way if any."""
        return self._start_once(JobState(self.next_id, "worth", "Learning from scratch, too"), work)

    def start_distilling(self, work: Work) -> int:
        """Make a small, fast network; return the job's id, that of one under way if any."""
        return self._start_once(JobState(self.next_id, "distil", "Making a fast network"), work)

    def _check_alone(self, kind: str, path: str, rule: str) -> None:
        for state in self.states:
            if (state.kind, state.state) == (kind, "running") and state.path != path:
                raise ProjectError(
                    rule, got=f"{path}, beside {state.path}", do="Wait for that, or cancel it."
                )

    def _start_once(self, job: JobState, work: Work) -> int:
        for state in self.states:
            if state.kind == job.kind and state.state == "running":
                return state.id
        self._set(job)
        self._threads.start(job.id, work)
        return job.id

    def add_export(self, export: Export) -> None:
        """Note an export whose region the engine predicts now."""
        self._exports[export.job] = export
        self._predicting.add(export.job)
        title = f"Exporting {export.path.name}"
        self._set(
            JobState(export.job, "export", title, message="Predicting", path=str(export.path))
        )

    def region_predicted(self, job: int, volume: Volume, budget_bytes: int) -> None:
        """Write and check the target of an export, its region being on disk now."""
        export = self._exports[job]
        if job in self._cancelled:
            self.end(job, "cancelled")
            return
        self._set(replace(self._states[job], message="Writing and checking", done=0, total=0))

        def work(progress: Callable[[int, int], None], stop: Callable[[], bool]) -> Any:
            return export.write(volume, budget_bytes, progress, stop)

        self._predicting.discard(job)
        self._threads.start(job, work)

    def progress(self, job: int, done: int, total: int) -> None:
        """Note how far a job is."""
        if self._states[job].state == "running":
            self._set(replace(self._states[job], done=done, total=total))

    def end(
        self,
        job: int,
        outcome: Ending,
        error: Exception | None = None,
        result: Any = None,
        message: str | None = None,
    ) -> None:
        """Give a job its terminal state; a second ending is ignored."""
        export = self._exports.pop(job, None)
        self._predicting.discard(job)
        self._cancelled.discard(job)
        if export is not None and outcome == "finished":
            self._remove(export.set_aside(self.exports))
        if self._states[job].state != "running":
            return
        message = message or str(error)
        if outcome != "failed":
            kind = self._states[job].kind
            message = _describe(result) if outcome == "finished" else CANCELLED[kind]
        self._set(replace(self._states[job], state=outcome, message=message))
        if error is not None:
            self._on_error(error)

    def engine_ended(self) -> None:
        """End the exports that waited for an engine which is no more."""
        for job in sorted(self._predicting):
            self.end(job, "failed", message=PREDICTION_ENDED)

    def cancel(self, job: int) -> None:
        """Ask a job to end, wherever it is by now."""
        self._cancelled.add(job)
        self._threads.cancel(job)

    def fetch(self) -> list[Any]:
        """Take in what the threads report; return the results of those that finished."""
        results = []
        for report in self._threads.fetch():
            wanted = self._states[report.job].state == "running"
            self._take(report)
            if report.state == "finished" and wanted:
                results.append(report.result)
        return results

    def close(self) -> None:
        """End every thread and every job."""
        self._threads.close()
        for job in self.states:
            # What was read and not taken over is lost.
            if job.kind in ("start", "restore", "denoised"):
                self.end(job.id, "cancelled")
        self.fetch()
        for job in self.states:
            self.end(job.id, "cancelled")

    @staticmethod
    def _remove(folders: list[Path]) -> None:
        """Remove folders of any size away from the session's thread."""

        def work() -> None:
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)

        if folders:
            threading.Thread(target=work, name="brushfire-removing", daemon=True).start()

    def _take(self, report: JobReport) -> None:
        if report.state == "running":
            self.progress(report.job, report.done, report.total)
        else:
            self.end(report.job, report.state, report.error, report.result)

    def _set(self, job: JobState) -> None:
        self._states[job.id] = job
        self._on_change(job)


def _describe(result: Any) -> str:
    if isinstance(result, Volume):
        return f"The volume has {len(result.levels)} levels now."
    if isinstance(result, Lesson):
        return f"Started from {result.name}."
    if isinstance(result, Entry):
        return f"Saved to the library as {result.name}."
    if isinstance(result, Worth | Student):
        return str(result)
    if isinstance(result, Denoised):
        return f"Segmenting what model {result.revision} denoises."
    if isinstance(result, Restoration):
        return "Checked. Start learning to restore."
    return f"Done and checked: {result.path}"
