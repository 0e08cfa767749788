"""What learning reports: plain values; importable without torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from brushfire.learning.restoring.reports import RestorationEvaluation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brushfire.learning.doubts import Doubt
    from brushfire.networks.snapshot import ModelSnapshot

Measured = Literal["held out", "cross-validated", "not at all"]
Correction = Literal["calibrated", "second stage", "as learned"]
"""Biases shifted to shares of classes; the last layer fitted with them; neither any more."""

FORGOT = 0.05
"""Of mean Dice on what a project started from: who loses more, and more than chance, is told so."""

_CHANCE = 0.005  # of mean Dice: less makes no difference


@dataclass(frozen=True)
class StepReport:
    """One gradient step: its number from 1, its loss, its learning rate, and how long it took."""

    step: int
    loss: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """Agreement with strokes that were not learned from.

    Parameters
    ----------
    dice : dict
        For each class its Dice coefficient, or None where it has no such stroke.
    mean : float or None
        Over the classes that have one.
    voxels : int
        Voxels that were compared.
    intervals : dict
        Lower and upper end of the 90 % interval of the Dice of each class that has one.
    mean_interval : tuple of two float, or None
        Of the mean.
    strokes : dict
        Stroke regions of each class that were compared.
    wanting : dict
        Classes without a score, and how many strokes more would give them one.
    how : {"held out", "cross-validated", "not at all"}
        On strokes that are held out for good; or each on a fit without it; or there are none.
    """

    dice: dict[int, float | None]
    mean: float | None
    voxels: int
    intervals: dict[int, tuple[float, float]] = field(default_factory=dict)
    mean_interval: tuple[float, float] | None = None
    strokes: dict[int, int] = field(default_factory=dict)
    wanting: dict[int, int] = field(default_factory=dict)
    how: Measured = "held out"

    def to_metrics(self) -> dict[str, Any]:
        """Return the scores as values that JSON can hold, for the metrics of a model."""
        return {
            "dice": {str(value): dice for value, dice in self.dice.items()},
            "mean_dice": self.mean,
            "held_out_voxels": self.voxels,
            "intervals": {str(value): list(ends) for value, ends in self.intervals.items()},
            "mean_interval": list(self.mean_interval) if self.mean_interval else None,
            "compared_strokes": {str(value): count for value, count in self.strokes.items()},
            "measured": self.how,
        }

    @classmethod
    def from_metrics(cls, metrics: Mapping[str, Any]) -> Evaluation | None:
        """Return the scores that a model was saved with; None where it has none.

        Models of before have no intervals.
        """
        if metrics.get("mean_dice") is None:
            return None
        ends = metrics.get("mean_interval")
        return cls(
            dice={int(value): dice for value, dice in metrics.get("dice", {}).items()},
            mean=float(metrics["mean_dice"]),
            voxels=int(metrics.get("held_out_voxels", 0)),
            intervals={
                int(value): (float(low), float(high))
                for value, (low, high) in metrics.get("intervals", {}).items()
            },
            mean_interval=(float(ends[0]), float(ends[1])) if ends else None,
            strokes={
                int(value): int(count)
                for value, count in metrics.get("compared_strokes", {}).items()
            },
            how=metrics.get("measured", "held out"),
        )


Judged = Evaluation | RestorationEvaluation
E_co = TypeVar("E_co", bound=Judged, covariant=True)


def read_evaluation(metrics: Mapping[str, Any]) -> Judged | None:
    """Return what a model of either kind was saved with; None where it has no score."""
    return RestorationEvaluation.from_metrics(metrics) or Evaluation.from_metrics(metrics)


@dataclass(frozen=True)
class Verdict:
    """Which model is shown, and why.

    Parameters
    ----------
    shown : str
        What kind it is: "fitted", a quick fit on features, or "trained", the network.
    accepted : bool
        Whether it is shown since this verdict; False where the one before was kept.
    reason : str
        A sentence for the user.
    difference : float or None
        Mean Dice of the candidate less that of the model shown before, where both have one; in
        models that restore, dB.
    margin : float or None
        By how much the candidate could have been worse and still be as good as can be told.
    """

    shown: str
    accepted: bool
    reason: str
    difference: float | None = None
    margin: float | None = None


@dataclass(frozen=True)
class Proposal(Generic[E_co]):
    """Whether the newest weights replace the shown ones, and what both reach.

    Parameters
    ----------
    snapshot : ModelSnapshot or None
        The model that is shown from now on; None where the one before is kept.
    evaluation : Evaluation or RestorationEvaluation
        Of the candidate.
    shown : Evaluation, RestorationEvaluation or None
        Of the model shown before, on the same strokes or slices.
    verdict : Verdict
        Which is shown, and why.
    doubts : tuple of Doubt
        Strokes that contradict the others, as far as is known.
    """

    snapshot: ModelSnapshot | None
    evaluation: E_co
    shown: E_co | None
    verdict: Verdict
    doubts: tuple[Doubt, ...] = ()

    @property
    def now(self) -> E_co:
        """Of the model that is shown from now on."""
        kept = self.shown if self.snapshot is None else None
        return kept or self.evaluation


@dataclass(frozen=True)
class Remembered:
    """Agreement with labels of other volumes that were not learned here, and with those here.

    Parameters
    ----------
    dice : float
        Mean over classes, of the model that is shown, on what it started from.
    at_start : float or None
        Of the model that the project started from; None where it is not known any more.
    voxels : int
        How many were asked for.
    whole : bool
        Whether the whole model was asked, for strokes; else what tells pixels by their features,
        for single voxels.
    here, here_at_start : float or None
        The same of both on the held-out strokes of this volume, where there are enough.
    margin : float
        By how much less may be known by chance, or makes no difference.
    """

    dice: float
    at_start: float | None
    voxels: int
    whole: bool = False
    here: float | None = None
    here_at_start: float | None = None
    margin: float = FORGOT

    @property
    def forgot(self) -> bool:
        """Whether clearly less is known of what it started from than when it came."""
        return self.at_start is not None and self.dice < self.at_start - self.margin

    @property
    def figures(self) -> str:
        """Dice on what it started from, now and when it came."""
        return _both(self.dice, self.at_start)

    def line(self, name: str) -> str:
        """Say it of a start of this name, in a line."""
        said = f"On {name}, where it came from: {self.figures}"
        return (
            said if self.here is None else f"{said}; here: {_both(self.here, self.here_at_start)}"
        )

    def warning(self, name: str) -> str:
        """Say what is lost, and what can be done, or nothing where little is."""
        if not self.forgot:
            return ""
        assert self.at_start is not None
        return (
            f"It forgets {name}: {self.at_start - self.dice:.2f} less than when it came. That does"
            " no harm here; for a model that serves both, go back, or paint there too."
        )

    def to_metrics(self) -> dict[str, Any]:
        """Return it as values that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_metrics(cls, found: Mapping[str, Any] | None) -> Remembered | None:
        """Return what a model was saved with; None where it has none."""
        if not found:
            return None
        return cls(
            dice=float(found["dice"]),
            at_start=found.get("at_start"),
            voxels=int(found.get("voxels", 0)),
            whole=bool(found.get("whole", False)),
            here=found.get("here"),
            here_at_start=found.get("here_at_start"),
            margin=float(found.get("margin", FORGOT)),
        )


def _both(now: float, before: float | None) -> str:
    return f"{now:.2f}" if before is None else f"{now:.2f} ({before:.2f} when it came)"


@dataclass(frozen=True)
class Worth:
    """Mean Dice on held-out strokes after the same steps.

    Parameters
    ----------
    started, scratch : float
        With the start, and without.
    steps : int
        Gradient steps that each made.
    strokes : int
        Held-out strokes that both were asked for.
    interval : tuple of float, optional
        Ends between which the difference lies with 90 % certainty; None where the strokes are too
        few to tell.
    remembered : Remembered or None
        What the one with the start still knows of it then.
    """

    started: float
    scratch: float
    steps: int
    strokes: int
    interval: tuple[float, float] | None = None
    remembered: Remembered | None = None

    def __str__(self) -> str:
        """Say it in a sentence; which way it went, only where the strokes can tell."""
        low, high = self.interval or (-math.inf, math.inf)
        if low > -_CHANCE and high < _CHANCE:
            said = "The start makes no difference"
        elif low > 0:
            said = "The start helps"
        elif high < 0:
            said = "The start does harm"
        else:
            said = "The strokes cannot tell yet whether the start helps"
        sure = "" if self.interval is None else f" ({low:+.3f} to {high:+.3f} at 90 %)"
        sentence = (
            f"{said}: Dice {self.started:.3f} with it and {self.scratch:.3f} from scratch{sure},"
            f" on {self.strokes} held-out strokes after {self.steps} gradient steps."
        )
        kept = self.remembered
        if kept is None:
            return sentence
        return f"{sentence} Where it came from it reaches {kept.figures}."


@dataclass(frozen=True)
class Proportions:
    """How common classes are in a volume, as far as a model tells.

    Parameters
    ----------
    found : dict
        The share of each class in what the model predicts, at some places all over the volume.
    estimated : dict
        How common each is, as the model estimates it itself.
    """

    found: dict[int, float]
    estimated: dict[int, float]


@dataclass(frozen=True)
class Calibration:
    """What was done to a model so that classes are as common as they are known to be.

    Parameters
    ----------
    how : {"calibrated", "second stage", "as learned"}
        What was done.
    typed : dict
        The shares that the user gave; later models keep to them. Empty for the model's estimate.
    shares : dict
        The share of each class that it was done with.
    before, after : dict
        The share of each class in what is predicted at some places, before it and after.
    dice_before, dice_after : float or None
        Mean Dice on held-out strokes; None where no honest score can be told.
    """

    how: Correction
    typed: dict[int, float]
    shares: dict[int, float]
    before: dict[int, float]
    after: dict[int, float]
    dice_before: float | None = None
    dice_after: float | None = None

    @property
    def reason(self) -> str:
        """Why the model is shown, in sentences."""
        if self.how == "as learned":
            return "As learned: corrected as far as the strokes allow."
        whose = "the shares you gave" if self.typed else "its own estimate of the shares"
        done = "Calibrated to" if self.how == "calibrated" else "Its last layer was fitted with"
        later = "Later models keep to them." if self.typed else "Later models do without."
        return f"{done} {whose}. {later}"

    def __str__(self) -> str:
        """Say all that is not in numbers of classes."""
        if self.dice_before is None or self.dice_after is None:
            return self.reason
        return f"{self.reason} Held-out Dice {self.dice_after:.3f}, before {self.dice_before:.3f}."
