"""Learning to restore: from pairs, from parts of one scan, from a volume alone.

Settings and reports load without torch; the learner is imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from brushfire.learning.restoring.reports import RestorationEvaluation
from brushfire.learning.restoring.scans import Scan
from brushfire.learning.restoring.settings import (
    FACTS,
    LOSS_TEXTS,
    RestorationSettings,
    Way,
    reshaped,
    suggest_restoration_network,
)

if TYPE_CHECKING:
    from brushfire.learning.restoring.learner import RestorationLearner

__all__ = [
    "FACTS",
    "LOSS_TEXTS",
    "RestorationEvaluation",
    "RestorationLearner",
    "RestorationSettings",
    "Scan",
    "Way",
    "reshaped",
    "suggest_restoration_network",
]


def __getattr__(name: str) -> object:
    if name == "RestorationLearner":
        return getattr(import_module("brushfire.learning.restoring.learner"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
