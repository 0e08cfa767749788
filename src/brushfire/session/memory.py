"""The memory budget, and who gets which share of it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from brushfire.errors import SettingsError

GIB = 2**30
SMALLEST = GIB // 2


def default_budget() -> int:
    """Return half of this machine's memory in bytes, at most 16 GiB."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on every system
        total = 8 * GIB
    return max(SMALLEST, min(16 * GIB, total // 2))


@dataclass(frozen=True, slots=True)
class Shares:
    """How many bytes each part may hold.

    The rest of the budget is for the libraries themselves and what is on its way between threads.
    ``network`` is what a tile's maps may take, and as much again those of a training step.
    """

    predictions: int
    learning: int
    reading: int
    blocks: int
    network: int


def shares(budget_bytes: int) -> Shares:
    """Divide a budget.

    Parameters
    ----------
    budget_bytes : int
        Of the whole session.

    Raises
    ------
    SettingsError
        Less than half a gibibyte, with which nothing useful can be done.
    """
    if budget_bytes < SMALLEST:
        raise SettingsError(
            "The memory budget is at least 0.5 GiB.",
            got=f"{budget_bytes / GIB:.2f} GiB",
            do="Give it more.",
        )
    return Shares(
        predictions=min(budget_bytes // 8, 2 * GIB),
        learning=min(budget_bytes // 8, GIB),
        reading=min(budget_bytes // 8, GIB // 2),
        blocks=min(budget_bytes // 4, GIB),
        network=min(budget_bytes // 4, GIB),
    )
