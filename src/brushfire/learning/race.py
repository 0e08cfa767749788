"""Choose the model that is shown: a quick fit and a trained network race on held-out strokes.

The fit learns little and can hardly be wrong on few strokes; the network learns more and may have
learnt it from these strokes only. Which of them is ahead is seen on strokes that neither knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brushfire.learning import reasons
from brushfire.learning.evaluation import describe
from brushfire.learning.gate import Answers, compare, decide, rank
from brushfire.learning.regions import FEWEST_REGIONS
from brushfire.learning.reports import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from brushfire.learning.gate import Comparison
    from brushfire.learning.regions import StrokeRegions
    from brushfire.learning.reports import Evaluation, Measured
    from brushfire.networks.model import SegmentationModel

_FEW = 2  # held-out strokes of a class with which a race is more than a toss of a coin


@dataclass(frozen=True, eq=False)
class Entrant:
    """A model that is or may be shown.

    Parameters
    ----------
    kind : str
        "fitted" or "trained".
    model : SegmentationModel
        The model.
    seen : int
        Revision of the newest strokes that its last fit has seen.
    """

    kind: str
    model: SegmentationModel
    seen: int


@dataclass(frozen=True)
class Strokes:
    """What there is to judge by.

    Parameters
    ----------
    version : int
        Grows when a stroke changed.
    changed : int
        Revision of the annotations that changed one last.
    classes : tuple of int
        Class values that are learned.
    judge : {"held out", "cross-validated", "not at all"}
        Held-out strokes of two classes at least; too few strokes for that; or none are wanted.
    wanting : mapping
        For each class how many more strokes would give it a score where it has none.
    few : bool
        Whether so few are held out that a score says next to nothing of which model is better:
        not two classes have two.
    """

    version: int
    changed: int
    classes: tuple[int, ...]
    judge: Measured
    wanting: Mapping[int, int]
    few: bool = False

    @classmethod
    def of(cls, regions: StrokeRegions, *, changed: int, held_out: float) -> Strokes:
        """Return what regions give; ``held_out`` is the share that is to be held out."""
        held, taught = regions.strokes(held=True), regions.strokes(held=False)
        judge: Measured = "held out" if len(held) > 1 else "cross-validated"
        if held_out == 0:
            judge = "not at all"
        fewest = {"held out": FEWEST_REGIONS, "cross-validated": 2}.get(judge, 0)
        wanting = {value: max(fewest - count, 1) for value, count in taught.items() if fewest}
        few = sum(count >= _FEW for count in held.values()) < 2
        return cls(regions.version, changed, tuple(taught), judge, wanting, few)


@dataclass(frozen=True)
class Finish:
    """How a race ended: the model to show, if another one than before, and the scores."""

    winner: Entrant | None
    evaluation: Evaluation
    shown: Evaluation | None
    verdict: Verdict


class Race:
    """The model that is shown and those that may take its place.

    With held-out strokes of at least two classes, `decide` compares the best candidate with the
    shown model on them; classes without a held-out stroke have no say, since otherwise one rare
    class would keep the network away for good.

    With fewer, or one of each, nothing can tell whether a trained network is better, or an older
    model better than one that knows more strokes; and on so few strokes the fit generalises
    better. So the fit is shown and follows every stroke; the network learns on and waits. Where
    the user wants nothing held out at all, the newest trained model is shown.

    Who goes back to an earlier model has seen what no score tells. What was left that way comes
    back only after new strokes, or when it is clearly better than every model that was left and
    than the one gone back to: by more than the margin, and by 0.01 Dice at least.

    Parameters
    ----------
    measure : callable
        Returns what a model answers on the held-out strokes.
    cross_validate : callable
        Returns what convex fits answer on strokes they have not seen, if that can be told.
    """

    def __init__(
        self,
        measure: Callable[[SegmentationModel], Answers],
        cross_validate: Callable[[], Answers | None],
    ) -> None:
        self.shown: Entrant | None = None
        self._measure, self._cross_validate = measure, cross_validate
        self._left: list[Entrant] = []
        self._left_at = 0
        self._version = -1
        self._known: dict[Entrant, Answers] = {}
        self._cross_validated: tuple[int, Answers | None] | None = None

    def show(self, entrant: Entrant) -> None:
        """Show a model from now on."""
        self.shown = entrant

    def go_back(self, entrant: Entrant, version: int) -> None:
        """Show an earlier model because the user wants that; the strokes are of a version."""
        if self.shown is not None:
            self._left.append(self.shown)
        self._left_at = version
        self.shown = entrant

    def forget(self) -> None:
        """Forget what was measured: other parts of the strokes are looked at from now on."""
        self._version = -1

    def run(self, entrants: Sequence[Entrant], strokes: Strokes) -> Finish:
        """Decide which model is shown; `show` it where there is a winner."""
        self._look_at(strokes)
        if strokes.judge == "held out" and not strokes.few:
            finish = self._by_strokes(entrants, strokes)
        elif strokes.judge != "not at all":
            finish = self._by_fit(entrants, strokes)
        else:
            finish = self._by_age(entrants, strokes)
        kept = {*entrants, *self._left, self.shown}
        self._known = {one: answers for one, answers in self._known.items() if one in kept}
        return finish

    def evaluate(self, entrants: Sequence[Entrant], strokes: Strokes) -> Evaluation:
        """Return how the shown model does, or the best candidate where none is shown."""
        self._look_at(strokes)
        if strokes.judge != "held out":
            return self._score(self.shown or entrants[0], strokes)
        return self._score(self.shown or self._best(entrants), strokes)

    def answers(self, entrants: Sequence[Entrant], strokes: Strokes) -> Answers | None:
        """Return what `evaluate` counts, region by region; None where too few are held out."""
        self._look_at(strokes)
        if strokes.judge != "held out":
            return None
        return self._answers(self.shown or self._best(entrants))

    # -- the three ways to judge -------------------------------------------------------------

    def _by_strokes(self, entrants: Sequence[Entrant], strokes: Strokes) -> Finish:
        shown = self.shown
        if shown is None:
            best = self._best(entrants)
            mean = self._score(best, strokes).mean
            return self._won(best, reasons.first(best.kind, mean, among=len(entrants)), strokes)
        others = [one for one in entrants if not self._answers(one).same(self._answers(shown))]
        best = self._best(others or entrants)
        comparison = compare(self._answers(best), self._answers(shown))
        if self._left:
            if self._clear(best, comparison):
                said = reasons.decided(best.kind, comparison, "better")
                return self._won(best, said, strokes, comparison)
            return self._kept(best, reasons.WENT_BACK, strokes, comparison)
        if shown.model.classes != best.model.classes:
            return self._won(best, reasons.knows_classes(best.kind), strokes)
        decision = decide(comparison, fresh=shown.seen < strokes.changed <= best.seen)
        said = reasons.decided(best.kind, comparison, decision)
        if decision in ("better", "surer", "follows"):
            return self._won(best, said, strokes, comparison)
        return self._kept(best, said, strokes, comparison)

    def _by_fit(self, entrants: Sequence[Entrant], strokes: Strokes) -> Finish:
        shown = self.shown
        best = next((one for one in entrants if one.kind == "fitted"), entrants[0])
        if shown is None:
            mean = self._score(best, strokes).mean
            return self._won(best, reasons.first(best.kind, mean, among=1), strokes)
        if self._left:
            return self._kept(best, reasons.WENT_BACK, strokes)
        fresh = shown.seen < strokes.changed <= best.seen
        if fresh or shown.model.classes != best.model.classes:
            return self._won(best, reasons.follows_fit(best.kind), strokes)
        return self._kept(best, reasons.keeps_fit(shown.kind), strokes)

    def _by_age(self, entrants: Sequence[Entrant], strokes: Strokes) -> Finish:
        best = next((one for one in entrants if one.kind == "trained"), entrants[0])
        if self.shown is not None and self._left:
            return self._kept(best, reasons.WENT_BACK, strokes)
        return self._won(best, reasons.newest(best.kind), strokes)

    def _clear(self, best: Entrant, comparison: Comparison) -> bool:
        """Whether a candidate is clearly better than the shown model and all that were left."""
        mine = self._answers(best)
        return comparison.clear and all(
            compare(mine, self._answers(one)).clear for one in self._left
        )

    # -- inside ------------------------------------------------------------------------------

    def _won(
        self,
        winner: Entrant,
        reason: str,
        strokes: Strokes,
        comparison: Comparison | None = None,
    ) -> Finish:
        before = None if self.shown is None else self._score(self.shown, strokes)
        verdict = _verdict(winner.kind, reason, comparison, accepted=True)
        return Finish(winner, self._score(winner, strokes), before, verdict)

    def _kept(
        self,
        candidate: Entrant,
        reason: str,
        strokes: Strokes,
        comparison: Comparison | None = None,
    ) -> Finish:
        assert self.shown is not None
        verdict = _verdict(self.shown.kind, reason, comparison, accepted=False)
        shown = self._score(self.shown, strokes)
        return Finish(None, self._score(candidate, strokes), shown, verdict)

    def _best(self, entrants: Sequence[Entrant]) -> Entrant:
        return max(entrants, key=lambda one: rank(self._answers(one)))

    def _answers(self, entrant: Entrant) -> Answers:
        if entrant not in self._known:
            self._known[entrant] = self._measure(entrant.model)
        return self._known[entrant]

    def _score(self, entrant: Entrant, strokes: Strokes) -> Evaluation:
        answers: Answers | None = None
        if strokes.judge == "held out":
            answers = self._answers(entrant)
        elif strokes.judge == "cross-validated" and entrant.kind == "fitted":
            if self._cross_validated is None or self._cross_validated[0] != strokes.version:
                self._cross_validated = strokes.version, self._cross_validate()
            answers = self._cross_validated[1]
        return describe(answers, strokes.classes, strokes.judge, strokes.wanting)

    def _look_at(self, strokes: Strokes) -> None:
        """Forget what was measured on other strokes."""
        if strokes.version != self._version:
            self._version, self._known = strokes.version, {}
        if strokes.version != self._left_at:
            self._left = []


def _verdict(kind: str, reason: str, comparison: Comparison | None, *, accepted: bool) -> Verdict:
    if comparison is None:
        return Verdict(kind, accepted, reason)
    return Verdict(kind, accepted, reason, comparison.difference, comparison.margin)
