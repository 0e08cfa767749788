"""Say in a sentence which model that restores is shown, and why."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from brushfire.learning.reasons import name_of, sentence
from brushfire.learning.reports import Verdict

if TYPE_CHECKING:
    from brushfire.learning.restoring.reports import RestorationEvaluation

_CHANCE = 0.002  # dB: less makes no difference


def decided(
    kind: str,
    found: RestorationEvaluation,
    before: RestorationEvaluation | None,
    left: RestorationEvaluation | None = None,
) -> Verdict:
    """Return whether a model is shown in place of the one before: if it is better.

    Parameters
    ----------
    kind : str
        "fitted" or "trained".
    found, before : RestorationEvaluation
        Of this model and of the one that is shown, if any, on the same lessons.
    left : RestorationEvaluation, optional
        Of the model that the user went back from, which is to be beaten too.
    """
    name = name_of(kind)
    where = "on held-out slices" if found.held_out else "on slices that it learned from"
    if before is None:
        score = f": {found}" if math.isfinite(found.score) else ""
        return Verdict(kind, True, sentence(f"{name} is the first answer{score} {where}."))
    gain = found.score - before.score
    if not math.isfinite(gain):
        return Verdict(kind, True, sentence(f"{name}, the newest: there is nothing to judge by."))
    ahead = gain if left is None else min(gain, found.score - left.score)
    if ahead > _CHANCE:
        said = sentence(f"{name} restores better {where}: {found}, before {before}.")
        return Verdict(kind, True, said, gain, _CHANCE)
    if gain > _CHANCE:
        said = f"Kept: you went back, and {name} is no better than what you left ({left})."
    else:
        worse = "worse" if gain < -_CHANCE else "no better"
        said = f"Kept: {name} is {worse} {where} ({found}, shown {before})."
    return Verdict(kind, False, said, gain, _CHANCE)
