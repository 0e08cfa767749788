"""Models of Brushfire as plain modules, for programs that make a network by name and arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brushfire.networks.model import SegmentationModel
from brushfire.networks.settings import NetworkSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brushfire.networks.sliced import Core


class SegmentationNetwork(SegmentationModel):
    """A whole model, which gives probabilities of intensities as they are.

    Parameters
    ----------
    settings : mapping of str to object
        Those of `NetworkSettings`.
    channels : int
        Channels of the volume.
    classes : sequence of int
        Class values, in the order of the outputs.
    """

    def __init__(self, settings: Mapping[str, Any], channels: int, classes: Sequence[int]) -> None:
        super().__init__(NetworkSettings(**settings), channels, classes)

    def forward(self, x: Tensor, core: Core | None = None) -> Tensor:
        """Return probabilities (images, classes, y, x) of (images, channels * slices, y, x)."""
        return super().forward(x, core).softmax(1)
