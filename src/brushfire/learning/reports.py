"""What learning reports: plain values; importable without torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brushfire.learning.doubts import Doubt
    from brushfire.networks.snapshot import ModelSnapshot

Measured = Literal["held out", "cross-validated", "not at all"]

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
        Mean Dice of the candidate less that of the model shown before, where both have one.
    margin : float or None
        By how much the candidate could have been worse and still be as good as can be told.
    """

    shown: str
    accepted: bool
    reason: str
    difference: float | None = None
    margin: float | None = None


@dataclass(frozen=True)
class Proposal:
    """Whether the newest weights replace the shown ones, and what both reach.

    Parameters
    ----------
    snapshot : ModelSnapshot or None
        The model that is shown from now on; None where the one before is kept.
    evaluation : Evaluation
        Of the candidate.
    shown : Evaluation or None
        Of the model shown before, on the same strokes.
    verdict : Verdict
        Which is shown, and why.
    doubts : tuple of Doubt
        Strokes that contradict the others, as far as is known.
    """

    snapshot: ModelSnapshot | None
    evaluation: Evaluation
    shown: Evaluation | None
    verdict: Verdict
    doubts: tuple[Doubt, ...] = ()

    @property
    def now(self) -> Evaluation:
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
    remembered : Remembered or None
        What the one with the start still knows of it then.
    """

    started: float
    scratch: float
    steps: int
    strokes: int
    remembered: Remembered | None = None

    def __str__(self) -> str:
        """Say it in a sentence."""
        gain = self.started - self.scratch
        if abs(gain) < _CHANCE:
            said = "makes no difference"
        else:
            said = "helps" if gain > 0 else "does harm"
        sentence = (
            f"The start {said}: Dice {self.started:.3f} with it and {self.scratch:.3f} from"
            f" scratch, on {self.strokes} held-out strokes after {self.steps} gradient steps."
        )
        kept = self.remembered
        if kept is None:
            return sentence
        return f"{sentence} Where it came from it reaches {kept.figures}."
