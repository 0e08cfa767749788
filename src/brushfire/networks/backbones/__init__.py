"""Networks that turn what a model sees into maps, of which one linear layer makes classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brushfire.networks.architectures import ENCODER_UNET, MSD, architecture_of, check_installed
from brushfire.networks.backbones.mixed_scale import MixedScaleBackbone

if TYPE_CHECKING:
    from brushfire.networks.backbones.protocol import Backbone
    from brushfire.networks.settings import NetworkSettings


def make_backbone(settings: NetworkSettings, channels: int, outputs: int) -> Backbone:
    """Return a network with random weights.

    Parameters
    ----------
    settings : NetworkSettings
        What it is.
    channels : int
        Its inputs; in three dimensions those of one slice.
    outputs : int
        Of the linear layer that will follow.

    Raises
    ------
    SettingsError
        If its package is not installed, or it cannot be as the settings say.
    """
    check_installed(architecture_of(settings.architecture))
    if settings.architecture == MSD:
        return MixedScaleBackbone(
            channels,
            settings.depth,
            settings.width,
            settings.dilations,
            outputs,
            border=settings.border,
        )
    if settings.architecture == ENCODER_UNET:
        from brushfire.networks.backbones.encoder_unet import EncoderNetwork

        return EncoderNetwork(settings, channels)
    from brushfire.networks.backbones.monai_networks import MonaiNetwork

    return MonaiNetwork(settings, channels)
