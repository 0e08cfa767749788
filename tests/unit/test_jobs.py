"""Background work always ends, once, and says how."""

from __future__ import annotations

import threading

import pytest

from brushfire.errors import Cancelled
from brushfire.jobs import Clerk, JobReport, Jobs


def reports_until_end(jobs: Jobs) -> list[JobReport]:
    seen: list[JobReport] = []
    pause = threading.Event()
    while not any(r.state != "running" for r in seen):
        seen += jobs.fetch()
        pause.wait(0.001)
    return seen


def test_a_job_reports_progress_and_its_result() -> None:
    jobs = Jobs()

    def work(progress, cancelled):
        progress(1, 2)
        progress(2, 2)
        return "done"

    jobs.start(7, work)
    seen = reports_until_end(jobs)
    assert seen[-1] == JobReport(7, "finished", result="done")
    assert JobReport(7, "running", 2, 2) in seen
    jobs.close()


def test_a_cancelled_job_ends_as_cancelled() -> None:
    jobs = Jobs()
    started = threading.Event()

    def work(progress, cancelled):
        started.set()
        while not cancelled():
            pass
        raise Cancelled

    jobs.start(1, work)
    assert started.wait(10)
    jobs.cancel(1)
    assert [r.state for r in reports_until_end(jobs)] == ["cancelled"]


def test_a_failed_job_hands_over_its_error() -> None:
    jobs = Jobs()

    def work(progress, cancelled):
        raise RuntimeError("no disk")

    jobs.start(1, work)
    (report,) = reports_until_end(jobs)
    assert report.state == "failed"
    with pytest.raises(RuntimeError, match="no disk"):
        raise report.error


def test_closing_cancels_what_runs() -> None:
    jobs = Jobs()
    ended = threading.Event()

    def work(progress, cancelled):
        while not cancelled():
            pass
        ended.set()
        raise Cancelled

    jobs.start(1, work)
    jobs.close()
    assert ended.is_set()


def test_a_clerk_works_in_order_and_survives_errors() -> None:
    done: list[int] = []
    errors: list[Exception] = []
    clerk = Clerk(errors.append)
    clerk.do(lambda: done.append(1))
    clerk.do(lambda: done.append(1 // 0))
    clerk.do(lambda: done.append(2))
    clerk.close()
    clerk.close()
    assert done == [1, 2]
    assert [type(e) for e in errors] == [ZeroDivisionError]
