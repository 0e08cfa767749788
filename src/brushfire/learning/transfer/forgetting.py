"""What a model still knows of what it started from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from brushfire.learning.evaluation import answers_of
from brushfire.learning.gate import mean_dice
from brushfire.learning.reports import Remembered
from brushfire.networks.model import SegmentationModel

if TYPE_CHECKING:
    from brushfire.learning.examples import Examples
    from brushfire.networks.snapshot import ModelSnapshot

SHARE = 5
"""One of so many labelled voxels of other volumes is not learned from, but asked for."""


class Memory:
    """Asks models for voxels of other volumes.

    What is asked is what tells pixels by their features: these voxels have no surroundings. A
    model with other features, or none, is not asked.

    Parameters
    ----------
    kept : Examples
        Voxels that nothing learns from.
    start : ModelSnapshot or None
        What the project started from.
    """

    def __init__(self, kept: Examples, start: ModelSnapshot | None) -> None:
        self._kept = kept
        self._start = start
        self._first: float | None = None

    def ask(self, model: SegmentationModel) -> Remembered | None:
        """Return what a model knows of them; None where it cannot be asked."""
        now = self._dice(model)
        if now is None:
            return None
        if self._start is not None:
            self._first = self._dice(SegmentationModel.from_snapshot(self._start))
            self._start = None  # asked once
        return Remembered(now, self._first, len(self._kept))

    def _dice(self, model: SegmentationModel) -> float | None:
        kept = self._kept.of(model.classes)
        if model.pixels is None or model.inputs != kept.features.shape[1] or not len(kept):
            return None
        with torch.no_grad():
            raw = torch.from_numpy(kept.features).to(model.device)
            logits = model.pixels(raw.t()[None])[0].t()
        each = np.arange(len(kept))  # every voxel is an observation of its own
        found = answers_of(logits, model.classes, kept.classes, each, model.classes)
        return float(mean_dice(found))
