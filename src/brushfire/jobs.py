"""Work in a background thread that always ends, and says how."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from brushfire.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable

    Work = Callable[[Callable[[int, int], None], Callable[[], bool]], Any]

_REPORT_SECONDS = 0.1
_TURN_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class JobReport:
    """Progress of a job, or its one terminal report.

    Parameters
    ----------
    job : int
        Which job.
    state : {"running", "finished", "cancelled", "failed"}
        Anything but "running" is the last report of the job.
    done, total : int
        How far it is, in units of its own.
    result : object
        What it returned, when finished.
    error : Exception, optional
        Why it failed.
    """

    job: int
    state: Literal["running", "finished", "cancelled", "failed"]
    done: int = 0
    total: int = 0
    result: Any = None
    error: Exception | None = None


class Jobs:
    """Threads of one owner; their reports wait until the owner fetches them.

    One works at a time, so that the memory of one is the memory of all.
    """

    def __init__(self) -> None:
        self._reports: queue.SimpleQueue[JobReport] = queue.SimpleQueue()
        self._running: dict[int, tuple[threading.Thread, threading.Event]] = {}
        self._turn = threading.Lock()

    def start(self, job: int, work: Work) -> None:
        """Run ``work(progress, cancelled)`` in a thread, once no other job works.

        Parameters
        ----------
        job : int
            Name of the job in its reports.
        work : callable
            Calls ``progress(done, total)`` now and then, and raises `Cancelled` soon after
            ``cancelled()`` is True.
        """
        stop = threading.Event()
        last = 0.0

        def progress(done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last > _REPORT_SECONDS or done >= total:
                last = now
                self._reports.put(JobReport(job, "running", done, total))

        def run() -> None:
            try:
                report = JobReport(job, "finished", result=self._wait_and(work, progress, stop))
            except Cancelled:
                report = JobReport(job, "cancelled")
            except Exception as error:  # noqa: BLE001 - the terminal report carries it
                report = JobReport(job, "failed", error=error)
            self._reports.put(report)

        thread = threading.Thread(target=run, name=f"brushfire-job-{job}", daemon=True)
        self._running[job] = (thread, stop)
        thread.start()

    def _wait_and(
        self, work: Work, progress: Callable[[int, int], None], stop: threading.Event
    ) -> Any:
        while not self._turn.acquire(timeout=_TURN_SECONDS):
            if stop.is_set():
                raise Cancelled
        try:
            return work(progress, stop.is_set)
        finally:
            self._turn.release()

    def cancel(self, job: int) -> None:
        """Ask ``job`` to end; its terminal report follows."""
        if job in self._running:
            self._running[job][1].set()

    def fetch(self) -> list[JobReport]:
        """Return the reports since the last call, oldest first; never blocks."""
        reports: list[JobReport] = []
        while True:
            try:
                report = self._reports.get_nowait()
            except queue.Empty:
                return reports
            if report.state != "running":
                self._running.pop(report.job, None)
            reports.append(report)

    def close(self, timeout: float = 10.0) -> None:
        """Cancel every job and wait for it."""
        for _, stop in self._running.values():
            stop.set()
        for thread, _ in list(self._running.values()):
            thread.join(timeout)


class Clerk:
    """Writes small files in order, away from the caller's thread.

    Parameters
    ----------
    on_error : callable
        Takes what a piece of work raised; called in the clerk's thread.
    """

    def __init__(self, on_error: Callable[[Exception], None]) -> None:
        self._on_error = on_error
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="brushfire-clerk", daemon=True)
        self._thread.start()

    def do(self, work: Callable[[], None]) -> None:
        """Add a piece of work; returns at once."""
        self._work.put(work)

    def close(self, timeout: float = 10.0) -> None:
        """Finish what was asked for and end; safe to call again."""
        self._work.put(None)
        self._thread.join(timeout)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - handed to the owner, who tells the user
                self._on_error(error)
