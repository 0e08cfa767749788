"""What learning reports: plain values; importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brushfire.networks.snapshot import ModelSnapshot


@dataclass(frozen=True)
class StepReport:
    """One gradient step: its number from 1, its loss, its learning rate, and how long it took."""

    step: int
    loss: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """Agreement with the held-out strokes.

    Parameters
    ----------
    dice : dict
        For each class its Dice coefficient, or None where it has no held-out stroke.
    mean : float or None
        Over the classes that have one.
    voxels : int
        Held-out voxels that were compared.
    """

    dice: dict[int, float | None]
    mean: float | None
    voxels: int


@dataclass(frozen=True)
class Proposal:
    """Whether the newest weights replace the shown ones, and what both reach.

    Parameters
    ----------
    snapshot : ModelSnapshot or None
        The model that is shown from now on; None where the newest weights are worse.
    evaluation : Evaluation
        Of the newest weights.
    shown : Evaluation or None
        Of the model shown before, on the same strokes.
    """

    snapshot: ModelSnapshot | None
    evaluation: Evaluation
    shown: Evaluation | None
