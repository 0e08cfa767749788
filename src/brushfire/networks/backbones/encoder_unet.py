"""A U-Net (Ronneberger 2015) with one of timm's encoders, and MONAI's decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from brushfire.networks.backbones.built import Built, BuiltNetwork
from brushfire.networks.loading import load_monai, load_timm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from brushfire.networks.architectures import Encoder

_RATE = 0.25  # so that what the encoder knows outlasts the first steps, as in transformers


class EncoderNetwork(BuiltNetwork):
    """A U-Net with an encoder that may have learned on ImageNet; see `Backbone`.

    Its weights are random until `take_encoder` is called.
    """

    rate = _RATE

    def take_encoder(self, weights: Mapping[str, Tensor]) -> None:
        """Give the encoder weights of timm, for as many channels as there are.

        Parameters
        ----------
        weights : mapping of str to Tensor
            As timm names them, for three channels.

        Raises
        ------
        RuntimeError, KeyError
            If they are of another encoder.
        """
        encoder = self.net.get_submodule("encoder")
        learned = _make_encoder(self._settings.encoder, self.channels, weights)
        encoder.load_state_dict(learned.state_dict())
        for module in encoder.modules():
            if isinstance(module, nn.BatchNorm2d) and module.num_batches_tracked is not None:
                module.num_batches_tracked.clamp_(min=1)  # not every file tells that it has seen

    def _make(self, given: dict[str, Any]) -> Built:
        load_timm()
        load_monai()
        encoder = _make_encoder(self._settings.encoder, self.channels)
        net = _EncoderUnet(encoder, self.channels, self._settings.width)
        up = [[f"decoder.blocks.{level}"] for level in range(len(net.decoder.blocks))]
        divisor = encoder.feature_info.reduction()[-1]
        return Built(net, "head", (divisor,) * 2, [*_stages(encoder), *up], given)


class _EncoderUnet(nn.Module):
    """Shaped as in segmentation_models (Iakubovskii 2019)."""

    def __init__(self, encoder: Any, channels: int, width: int) -> None:
        from monai.networks.nets.flexible_unet import UNetDecoder

        super().__init__()
        self.encoder = encoder
        seen = encoder.feature_info.channels()
        widths = [width * 2**level for level in reversed(range(len(seen)))]
        self.decoder = UNetDecoder(
            spatial_dims=2,
            encoder_channels=(channels, *seen),
            decoder_channels=widths,
            act=("relu", {"inplace": True}),
            norm="batch",
            dropout=0.0,
            bias=False,
            upsample="nontrainable",
            pre_conv="default",
            interp_mode="nearest",
            align_corners=None,
            is_pad=False,
        )
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = self.encoder(x)
        maps: Tensor = self.head(self.decoder([x, *features], len(features) - 1))
        return maps


def _make_encoder(
    encoder: Encoder | None, channels: int, weights: Mapping[str, Tensor] | None = None
) -> Any:
    """Return one of timm's encoders; nothing is fetched."""
    import timm

    assert encoder is not None
    given = {} if weights is None else {"pretrained_cfg_overlay": {"state_dict": dict(weights)}}
    return timm.create_model(
        encoder.weights,
        features_only=True,
        in_chans=channels,
        pretrained=weights is not None,
        **given,
    )


def _stages(encoder: Any) -> list[list[str]]:
    """Return the names of an encoder's blocks, up to each resolution that the decoder sees."""
    ends = encoder.feature_info.module_name()
    found: list[list[str]] = [[]]
    for name in _blocks(encoder):
        found[-1].append(f"encoder.{name}")
        if name in ends[:-1]:
            found.append([])
    return found


def _blocks(encoder: nn.Module) -> Iterator[str]:
    for name, child in encoder.named_children():
        if name == "blocks":
            yield from (f"blocks.{block}" for block, _ in child.named_children())
        else:
            yield name
