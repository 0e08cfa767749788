"""What a network would be, told before it is made: its weights, its memory, what it sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brushfire.networks.backbones.footprint import SPARE, without_values
from brushfire.networks.model import SegmentationModel
from brushfire.networks.pieces import LEAST
from brushfire.networks.restoration import RestorationModel

if TYPE_CHECKING:
    from brushfire.networks.settings import NetworkSettings

_USUAL_HALO = 64  # pixels: as much as most networks were ever measured to need


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """What a network would be.

    Parameters
    ----------
    parameters : int
        Weights that learn, those of what tells single pixels by their features apart.
    tile_bytes : int
        About what predicting the smallest part of a slice takes.
    step_bytes : int
        About what a step on the smallest patch takes.
    divisor : int
        Rows and columns at which it begins to compute are multiples of this.
    window : int or None
        Side of the fixed windows in which it computes, in pixels, if it needs such.
    reach : int
        Pixels beyond which nothing can reach what it answers.
    """

    parameters: int
    tile_bytes: int
    step_bytes: int
    divisor: int
    window: int | None
    reach: int

    @property
    def least_bytes(self) -> int:
        """About what it takes at work, at least."""
        return max(self.tile_bytes, round(SPARE * self.step_bytes))


def describe_network(settings: NetworkSettings, channels: int, classes: int = 0) -> NetworkFacts:
    """Return what a network would be; nothing of its size is held in memory.

    The first call for a network of MONAI imports it, which takes seconds.

    Parameters
    ----------
    settings : NetworkSettings
        Which.
    channels : int
        Of the volume.
    classes : int
        How many it tells apart; none where it restores.

    Raises
    ------
    SettingsError
        If its package is not installed, or it cannot be as the settings say.
    ModelError
        If there are too few parts of a scan to restore from.
    """
    with without_values():
        model = (
            RestorationModel(settings, channels)
            if settings.restored
            else SegmentationModel(settings, channels, range(1, classes + 1))
        )
    layers = model.layers
    halo = min(model.safe_halo, _USUAL_HALO) + layers.divisor - 1
    side = layers.window or LEAST + 2 * halo
    images = classes if settings.features else 1  # classes one by one
    return NetworkFacts(
        parameters=sum(one.numel() for one in model.parameters()),
        tile_bytes=model.bytes_of(side, side),
        step_bytes=layers.step_bytes(images, settings.smallest_patch),
        divisor=layers.divisor,
        window=layers.window,
        reach=model.safe_halo,
    )
