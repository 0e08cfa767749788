"""What is measured of a model that restores: plain values; importable without torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEY = "restoration"


@dataclass(frozen=True)
class RestorationEvaluation:
    """How near a model comes to what it was not taught.

    Parameters
    ----------
    loss : float
        Mean squared difference from the target, in variances of the target; NaN where nothing is
        known. Where the target is noisy this holds its noise, which no model can predict.
    psnr, ssim : float or None
        Peak signal-to-noise ratio in dB, and structural similarity; None where there is no truth.
    noisy_loss, noisy_psnr, noisy_ssim : float or None
        The same of the input as it is given; None where the two cannot be compared, as they
        differ in channels.
    pixels : int
        Pixels that were compared.
    held_out : bool
        Whether they are of slices, or parts of slices, that nothing was learned from.
    """

    loss: float
    psnr: float | None = None
    ssim: float | None = None
    noisy_loss: float | None = None
    noisy_psnr: float | None = None
    noisy_ssim: float | None = None
    pixels: int = 0
    held_out: bool = True

    @property
    def score(self) -> float:
        """What models are chosen by, in dB, the higher the better."""
        if self.psnr is not None:
            return self.psnr
        return -10 * math.log10(max(self.loss, 1e-30))

    def __str__(self) -> str:
        """Say how good it is, in a few words."""
        if self.psnr is not None:
            return f"{self.psnr:.2f} dB"
        return f"an error of {self.loss:.4f}"

    def to_metrics(self) -> dict[str, Any]:
        """Return it as values that JSON can hold, for the metrics of a model."""
        values = asdict(self)
        if math.isnan(self.loss):
            values["loss"] = None
        return {_KEY: values}

    @classmethod
    def from_metrics(cls, metrics: Mapping[str, Any]) -> RestorationEvaluation | None:
        """Return what a model was saved with; None where it has none."""
        found = metrics.get(_KEY)
        if not found or found.get("loss") is None:
            return None
        known = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in found.items() if name in known})
