"""Work of which only the newest counts, in a thread of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brushfire.jobs import Jobs

if TYPE_CHECKING:
    from brushfire.jobs import JobReport, Work


class Newest:
    """Runs work apart from other jobs, which may take minutes; what is older is cancelled."""

    def __init__(self) -> None:
        self._threads = Jobs()
        self._job = 0

    def start(self, work: Work) -> None:
        """Run work in place of what was asked for before; `fetch` tells when it ends."""
        self._threads.cancel(self._job)
        self._job += 1
        self._threads.start(self._job, work)

    def fetch(self) -> JobReport | None:
        """Return the end of the newest work, once, if it has finished or failed."""
        ended = None
        for report in self._threads.fetch():
            if report.job == self._job and report.state in ("finished", "failed"):
                ended = report
        return ended

    def close(self) -> None:
        """End the thread."""
        self._threads.close()
        self._threads.fetch()
