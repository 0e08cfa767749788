"""A snapshot back into the kind of model that it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brushfire.networks.model import SegmentationModel
from brushfire.networks.restoration import RestorationModel

if TYPE_CHECKING:
    import torch

    from brushfire.networks.snapshot import ModelSnapshot


def model_of(
    snapshot: ModelSnapshot, device: str | torch.device = "cpu"
) -> SegmentationModel | RestorationModel:
    """Return the model that a snapshot holds.

    Raises
    ------
    ModelError
        If the weights are damaged or do not fit the settings.
    """
    if snapshot.settings.restored:
        return RestorationModel.from_snapshot(snapshot, device)
    return SegmentationModel.from_snapshot(snapshot, device)
