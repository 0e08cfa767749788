"""Say in a sentence which model is shown and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brushfire.learning.reports import Verdict

if TYPE_CHECKING:
    from brushfire.learning.gate import Comparison, Decision
    from brushfire.networks.snapshot import ModelSnapshot

WENT_BACK = "You went back. Another model comes after new strokes, or when it is clearly better."
_RESTORED = "This model was saved with the project."

_NAMES = {"fitted": "the quick fit", "trained": "the trained network"}


def name_of(kind: str) -> str:
    """Return what a kind of model is called: "fitted", "trained"."""
    return _NAMES.get(kind, f"the {kind} model")


def decided(kind: str, comparison: Comparison, decision: Decision) -> str:
    """Say what became of a candidate beside the shown model, on held-out strokes."""
    name = name_of(kind)
    new, old = _two(comparison.candidate, comparison.shown)
    if comparison.same:
        return f"Kept: {name} answers the held-out strokes as the shown model does ({old})."
    match decision:
        case "better":
            said = f"{name} agrees better with the held-out strokes: {new}, before {old}."
        case "surer":
            said = (
                f"{name} agrees as well with the held-out strokes, {new}, and is surer of the"
                " right classes."
            )
        case "follows":
            said = (
                f"{name} follows your new strokes and agrees about as well with the held-out ones:"
                f" {new}, before {old}."
            )
        case "worse":
            said = f"Kept: {name} is worse on the held-out strokes ({new}, shown {old})."
        case "no better":
            said = f"Kept: {name} is no better on the held-out strokes ({new}, shown {old})."
    return sentence(said)


def first(kind: str, mean: float | None, *, among: int) -> str:
    """Say why a model is the first to be shown, ``among`` so many candidates."""
    name = name_of(kind)
    score = "" if mean is None else f": {mean:.2f}"
    if among > 1:
        return sentence(f"{name} agrees best with the held-out strokes{score}.")
    return sentence(f"{name} is the first answer to your strokes{score}.")


def knows_classes(kind: str) -> str:
    """Say that a model is shown because it has the classes of the strokes."""
    return sentence(f"{name_of(kind)} knows the classes of your strokes; the one before did not.")


def follows_fit(kind: str) -> str:
    """Say that a fit is shown where no stroke can be held out."""
    return sentence(
        f"{name_of(kind)} follows your strokes. The network learns on; there are too few strokes"
        " to judge it by."
    )


def keeps_fit(kind: str) -> str:
    """Say that a model stays where no stroke can be held out."""
    return f"Kept: {name_of(kind)}. There are too few strokes to judge another model by."


def newest(kind: str) -> str:
    """Say that there is no choice because nothing is to be held out."""
    return sentence(f"{name_of(kind)}, the newest: nothing is held out to choose by.")


def went_back(snapshot: ModelSnapshot) -> Verdict:
    """Say that the user went back to a model."""
    return Verdict(kind_of(snapshot), True, WENT_BACK)


def restored(snapshot: ModelSnapshot) -> Verdict:
    """Say why a stored model is shown: as was said when it was made, if that is known."""
    return Verdict(kind_of(snapshot), True, str(snapshot.metrics.get("reason", _RESTORED)))


def kind_of(snapshot: ModelSnapshot) -> str:
    """Return "fitted" or "trained"; models of before are trained."""
    return str(snapshot.metrics.get("kind", "trained"))


def _two(new: float, old: float) -> tuple[str, str]:
    """Return two scores with as many digits as tell them apart, two to four."""
    for digits in (2, 3):
        if f"{new:.{digits}f}" != f"{old:.{digits}f}":
            return f"{new:.{digits}f}", f"{old:.{digits}f}"
    if abs(new - old) < 1e-9:
        return f"{new:.2f}", f"{old:.2f}"
    return f"{new:.4f}", f"{old:.4f}"


def sentence(text: str) -> str:
    """Return a text with a capital at its beginning."""
    return text[0].upper() + text[1:]
