"""What the terminal shows, and what Ctrl-C does."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import FrameType


_WIDE = 200


class JobFailedError(Exception):
    """A job ended with this sentence, which its session has written already."""


def output() -> Console:
    """Return the console for results."""
    # A file or a program that reads them has no width to keep to.
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)


def messages() -> Console:
    """Return the console for progress and notices, apart from results."""
    return Console(stderr=True, highlight=False)


def say(console: Console, text: str) -> None:
    """Print one line as it is: not wrapped, so that paths can be copied, and without markup."""
    console.print(text, markup=False, soft_wrap=True)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table; headings that are all empty are left out."""
    made = Table(show_header=any(headings), box=None, pad_edge=False)
    for heading in headings:
        made.add_column(heading, overflow="fold")
    for row in rows:
        made.add_row(*(cell.replace("[", r"\[") for cell in row))
    return made


def dice(score: float | None) -> str:
    """Return a Dice coefficient as text; "-" where there is none."""
    return "-" if score is None else f"{score:.3f}"


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar while the block runs; yields ``update(done, total, text)``.

    A total of 0 means that the end is unknown, which shows as a bar that moves. In a log file a
    line is written at the beginning and after every tenth.
    """
    console = messages()
    if not console.is_terminal:
        yield _log(console, title)
        return
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task(title, total=None)

        def update(done: int, total: int, text: str) -> None:
            bar.update(task, completed=done, total=total or None, description=text)

        yield update


def _log(console: Console, title: str) -> Callable[[int, int, str], None]:
    say(console, title)
    told = 0

    def update(done: int, total: int, text: str) -> None:
        nonlocal told
        tenth = 10 * done // total if total else 0
        if tenth != told:
            told = tenth
            say(console, f"{text} ({10 * tenth} %)")

    return update


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Let Ctrl-C set the event that is yielded, so that work ends where it can go on later.

    A second Ctrl-C interrupts at once.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        del number, frame
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        say(messages(), "Ending; press Ctrl-C again to end at once.")

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
