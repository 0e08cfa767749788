"""Models in the proportions that a user knows: complete what was said, apply it, note it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from brushfire.errors import SettingsError
from brushfire.learning.dual_stage import calibrated, second_stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from brushfire.learning.probe import Site
    from brushfire.learning.reports import Correction
    from brushfire.learning.sampler import Block, SlabCache
    from brushfire.networks.model import SegmentationModel
    from brushfire.networks.snapshot import ModelSnapshot

NOTED = ("prior", "known", "shares", "second_stage")
"""Metrics of a model that say what it was taught, or told, of how common classes are."""

_LEAST = 1e-4  # of the volume: a class that an estimate rules out may be there all the same
_ROUNDING = 0.005  # by which shares of all classes may miss one: people round


@dataclass(frozen=True)
class Known:
    """What a user said of how common classes are; it goes with a model to those after it.

    Parameters
    ----------
    shares : mapping
        For some classes or all, which part of the volume they are.
    how : {"calibrated", "second stage"}
        What is made of it.
    """

    shares: Mapping[int, float]
    how: Correction

    def to_metrics(self) -> dict[str, Any]:
        """Return it as values that JSON can hold, for the metrics of a model."""
        return {"shares": _by_class(self.shares), "how": self.how}

    @classmethod
    def of(cls, model: ModelSnapshot | None) -> Known | None:
        """Return what a model is kept to; None where nobody said anything."""
        found = None if model is None else model.metrics.get("known")
        if not found:
            return None
        shares = {int(value): float(one) for value, one in found["shares"].items()}
        return cls(shares, found["how"])


def notes(
    prior: Mapping[int, float] | None,
    known: Known | None = None,
    shares: Mapping[int, float] | None = None,
    *,
    staged: bool = False,
) -> dict[str, Any]:
    """Return what a model notes of its proportions, for its metrics; the keys are in `NOTED`.

    Parameters
    ----------
    prior : mapping or None
        How common classes were in what its last layer learnt from.
    known : Known, optional
        What later models are kept to.
    shares : mapping, optional
        How common it takes classes to be by now.
    staged : bool
        Whether its last layer is that of a second stage.
    """
    found: dict[str, Any] = {}
    if prior is not None:
        found["prior"] = _by_class(prior)
    if known is not None:
        found["known"] = known.to_metrics()
    if shares:
        found["shares"] = _by_class(shares)
    if staged:
        found["second_stage"] = True
    return found


def prior_of(model: ModelSnapshot) -> dict[int, float] | None:
    """Return how common classes were in what a model learnt from; None where it is not noted."""
    return _noted(model, "prior")


def shares_of(model: ModelSnapshot) -> dict[int, float] | None:
    """Return how common a model was told that classes are; None where it was not."""
    return _noted(model, "shares")


def _noted(model: ModelSnapshot, key: str) -> dict[int, float] | None:
    found = {int(value): float(one) for value, one in model.metrics.get(key, {}).items()}
    return found if set(found) == set(model.classes) else None


def check_shares(
    shares: Mapping[int, float], classes: Sequence[int], names: Mapping[int, str]
) -> None:
    """Check what a user says of how common the classes of a model are.

    Parameters
    ----------
    shares : mapping
        For some classes or all, which part of the volume they are. Those of all sum to one; else
        the others share what is left.
    classes : sequence of int
        That the model tells.
    names : mapping
        Of the classes.

    Raises
    ------
    SettingsError
        If a share is not between 0 and 1, a class is not the model's, or the sum is wrong.
    """
    for value, share in shares.items():
        name = names.get(value, f"class {value}")
        if value not in classes:
            raise SettingsError(
                "The model has learned every class that a share is given for.",
                got=f"{name}, which it does not know",
                do="Paint strokes of it and learn first, or leave it out.",
            )
        if not 0 < share < 1:  # NaN is not
            raise SettingsError(
                "A class has more than nothing of the volume, and less than all of it.",
                got=f"{100 * share:g} % for {name}",
                do="Give a small share to a class that is hardly there.",
            )
    total, complete = sum(shares.values()), len(shares) == len(classes)
    if complete and not math.isclose(total, 1, abs_tol=_ROUNDING):
        raise SettingsError(
            "The shares of all classes sum to 100 %.",
            got=f"{100 * total:.4g} %",
            do="Change one, or leave one out: it gets what is left.",
        )
    if not complete and total >= 1:
        raise SettingsError(
            "Shares of some classes leave something for the others.",
            got=f"{100 * total:.4g} % without {len(classes) - len(shares)} of the classes",
            do="Give smaller ones, in parts of the whole volume.",
        )


def completed(typed: Mapping[int, float], estimated: Mapping[int, float]) -> dict[int, float]:
    """Return a share of each class that is estimated: as typed, the others share what is left."""
    said = {value: share for value, share in typed.items() if value in estimated}
    rest = {value: max(one, _LEAST) for value, one in estimated.items() if value not in said}
    left = max(1 - sum(said.values()), _LEAST) if rest else 0.0
    whole = {**said, **{value: left * one / sum(rest.values()) for value, one in rest.items()}}
    total = sum(whole.values())
    return {value: whole[value] / total for value in estimated}


def in_proportion(
    model: SegmentationModel,
    shares: Mapping[int, float],
    how: Correction,
    prior: Mapping[int, float] | None,
    labelled: Callable[[], tuple[SlabCache, Sequence[Site]]],
) -> tuple[SegmentationModel, Mapping[int, float] | None]:
    """Return a model that takes classes to be so common, and what its layers take for true.

    Parameters
    ----------
    model : SegmentationModel
        Stays as it is.
    shares : mapping
        Of each of its classes.
    how : {"calibrated", "second stage"}
        What to do.
    prior : mapping or None
        How common classes were in what it learnt from; None for all the same.
    labelled : callable
        Returns where intensities come from and where labels are, for the second stage.

    Raises
    ------
    ModelError, LearningError
        As for `second_stage`.
    """
    if how == "second stage":
        return second_stage(model, *labelled(), shares), shares
    return calibrated(model, shares, prior=prior), prior


def found_in(
    model: SegmentationModel, slabs: Sequence[Block], network_bytes: int
) -> dict[int, float]:
    """Return the share of each class in what a model predicts in the middle slices of slabs."""
    count = len(model.classes)
    voxels = np.zeros(count)
    for slab in slabs:
        likely = model.probabilities(slab, budget_bytes=network_bytes)[:, 0]
        voxels += np.bincount(likely.argmax(0).ravel(), minlength=count)
    return dict(zip(model.classes, (voxels / voxels.sum()).tolist(), strict=True))


def _by_class(shares: Mapping[int, float]) -> dict[str, float]:
    return {str(value): float(share) for value, share in shares.items()}
