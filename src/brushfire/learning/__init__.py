"""Learning from strokes: which patches, which loss, one step, what is held out.

Settings load without torch; the names that need torch are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from brushfire.learning.settings import LearningSettings

if TYPE_CHECKING:
    from brushfire.learning.learner import Evaluation, Learner, Proposal, StepReport, Verdict

__all__ = ["Evaluation", "Learner", "LearningSettings", "Proposal", "StepReport", "Verdict"]


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(import_module("brushfire.learning.learner"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
