"""Which networks there are, and what each can be; importable without torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from brushfire.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

Norm = Literal["batch", "instance", "group"]
NORMS: tuple[Norm, ...] = ("batch", "instance", "group")

WINDOW = 192
"""Side in pixels of the fixed windows of networks that need such, by default."""

_LONGEST = 4096  # characters of further arguments


@dataclass(frozen=True)
class Span:
    """Whole numbers that may be chosen: from, to, in steps of, and what is taken by default."""

    lowest: int
    highest: int
    usual: int
    step: int = 1

    def check(self, what: str, value: int) -> None:
        """Check a value.

        Raises
        ------
        SettingsError
            If it is none of them.
        """
        if self.lowest <= value <= self.highest and value % self.step == 0:
            return
        steps = "" if self.step == 1 else f", a multiple of {self.step}"
        one = self.lowest == self.highest
        rule = f"is {self.lowest}" if one else f"is from {self.lowest} to {self.highest}{steps}"
        raise SettingsError(f"{what} {rule}.", got=value, do=f"Choose {self.usual}, say.")


@dataclass(frozen=True)
class Architecture:
    """A kind of network.

    Parameters
    ----------
    name : str
        As in settings and files.
    title : str
        As people read it.
    text : str
        What it is good for, and its paper.
    depth, width : Span
        What `NetworkSettings.depth` and `width` may be: for U-shaped networks the number of
        resolutions, and the channels at the finest.
    packages : tuple of str
        What must be installed: that which it comes from, and what else it needs.
    extra : str
        Of this package, with which they come.
    axes : tuple of int
        Dimensions in which it computes.
    transformer : bool
        Whether every pixel of a window sees every other, or windows inside it, so that what it
        answers depends on where the window lies.
    far : bool
        Whether values reach much farther than the margin of a tile.
    norms : tuple of str
        How its layers may be normalised.
    arguments : frozenset of str
        Further arguments of its definition that settings may give, by MONAI's names.
    """

    name: str
    title: str
    text: str
    depth: Span
    width: Span
    packages: tuple[str, ...] = ("monai",)
    extra: str = "networks"
    axes: tuple[int, ...] = (2, 3)
    transformer: bool = False
    far: bool = False
    norms: tuple[Norm, ...] = NORMS
    arguments: frozenset[str] = field(default_factory=frozenset)

    @property
    def in_windows(self) -> bool:
        """Whether it computes in fixed windows, however its layers are normalised."""
        return self.transformer or self.far


@dataclass(frozen=True)
class Encoder:
    """An encoder that learned on ImageNet, from timm (Wightman 2019).

    Parameters
    ----------
    weights : str
        timm's name of it, and of what it learned.
    title : str
        As people read it.
    text : str
        Its weights without a decoder, and its paper.
    """

    weights: str
    title: str
    text: str

    @property
    def name(self) -> str:
        """As in settings: without what it learned."""
        return self.weights.partition(".")[0]

    @property
    def repository(self) -> str:
        """Where its weights are on the Hugging Face Hub."""
        return f"timm/{self.weights}"


ENCODERS: Mapping[str, Encoder] = {
    one.name: one
    for one in (
        Encoder("resnet18.a1_in1k", "ResNet-18", "11.2 M weights (He 2016)."),
        Encoder("resnet34.a1_in1k", "ResNet-34", "21.3 M weights (He 2016)."),
        Encoder("resnet50.a1_in1k", "ResNet-50", "23.5 M weights (He 2016)."),
        Encoder("mobilenetv2_100.ra_in1k", "MobileNetV2", "1.8 M weights (Sandler 2018)."),
        Encoder("efficientnet_lite0.ra_in1k", "EfficientNet-Lite0", "3.0 M weights (Tan 2019)."),
        Encoder("efficientnet_b0.ra_in1k", "EfficientNet-B0", "3.6 M weights (Tan 2019)."),
        Encoder("mobilenetv3_large_100.ra_in1k", "MobileNetV3", "3.0 M weights (Howard 2019)."),
    )
}
"""All encoders by the names that timm and others give them."""

USUAL_ENCODER = "resnet18"

MSD = "msd"
UNETR = "unetr"
ENCODER_UNET = "encoder_unet"

ARCHITECTURES: Mapping[str, Architecture] = {
    one.name: one
    for one in (
        Architecture(
            MSD,
            "MS-D",
            "Few weights, learns from a handful of slices (Pelt & Sethian 2018).",
            Span(1, 400, 24),
            Span(1, 64, 1),
            packages=(),
            axes=(2,),
        ),
        Architecture(
            "basic_unet",
            "U-Net",
            "The plain U-Net (Ronneberger 2015; MONAI BasicUNet).",
            Span(5, 5, 5),
            Span(4, 128, 16, 2),
            arguments=frozenset({"features", "act", "norm", "bias", "dropout", "upsample"}),
        ),
        Architecture(
            "dynunet",
            "nnU-Net's shape",
            "Strided convolutions, wider with depth (Isensee 2021; MONAI DynUNet).",
            Span(3, 7, 5),
            Span(4, 128, 16),
            arguments=frozenset(
                {"kernel_size", "strides", "upsample_kernel_size", "filters", "dropout",
                 "norm_name", "act_name", "res_block", "trans_bias"}
            ),
        ),
        Architecture(
            "segresnet",
            "SegResNet",
            "Residual encoder, slim decoder (Myronenko 2018; MONAI SegResNet).",
            Span(2, 6, 4),
            Span(4, 128, 16, 2),
            arguments=frozenset(
                {"init_filters", "dropout_prob", "act", "norm", "blocks_down", "blocks_up",
                 "upsample_mode"}
            ),
        ),
        Architecture(
            "attention_unet",
            "Attention U-Net",
            "Gates tell which details to let through (Oktay 2018; MONAI AttentionUnet).",
            Span(3, 6, 4),
            Span(4, 128, 16, 2),
            arguments=frozenset(
                {"channels", "strides", "kernel_size", "up_kernel_size", "dropout"}
            ),
        ),
        Architecture(
            UNETR,
            "UNETR",
            "A transformer over patches of 16 pixels (Hatamizadeh 2022; MONAI UNETR).",
            Span(4, 4, 4),
            Span(4, 64, 16, 4),
            transformer=True,
            arguments=frozenset(
                {"feature_size", "hidden_size", "mlp_dim", "num_heads", "proj_type", "norm_name",
                 "conv_block", "res_block", "dropout_rate", "qkv_bias", "img_size"}
            ),
        ),
        Architecture(
            "swin_unetr",
            "Swin UNETR",
            "Attention within shifted windows (Hatamizadeh 2022; MONAI SwinUNETR).",
            Span(5, 5, 5),
            Span(12, 96, 12, 12),
            transformer=True,
            arguments=frozenset(
                {"patch_size", "depths", "num_heads", "window_size", "qkv_bias", "mlp_ratio",
                 "feature_size", "norm_name", "drop_rate", "attn_drop_rate", "dropout_path_rate",
                 "normalize", "patch_norm", "downsample", "use_v2"}
            ),
        ),
        Architecture(
            ENCODER_UNET,
            "ImageNet U-Net",
            "A U-Net whose encoder learned on photographs (encoders of timm, decoder of MONAI).",
            Span(6, 6, 6),
            Span(4, 64, 16, 4),
            packages=("timm", "monai"),
            extra="encoders",
            axes=(2,),
            far=True,
            norms=("batch",),
            arguments=frozenset({"encoder"}),
        ),
    )
}  # fmt: skip
"""All networks by name."""


def architecture_of(name: str) -> Architecture:
    """Return the network of a name.

    Raises
    ------
    SettingsError
        If there is none.
    """
    found = ARCHITECTURES.get(name)
    if found is None:
        raise SettingsError(
            "A network is one of those that Brushfire knows.",
            got=repr(name),
            do=f"Choose one of: {', '.join(ARCHITECTURES)}.",
        )
    return found


def check_installed(architecture: Architecture) -> None:
    """Check that what a network needs is there; nothing is imported.

    Raises
    ------
    SettingsError
        If a package is not installed.
    """
    for package in architecture.packages:
        if find_spec(package) is None:
            raise not_installed(architecture, f"an installation without {package}")


def not_installed(architecture: Architecture, got: str) -> SettingsError:
    """Return what says that a network cannot be had here."""
    return SettingsError(
        f"{architecture.title} comes from the package {architecture.packages[0]}, and from those"
        " that it needs.",
        got=got,
        do=f'Run: pip install "napari-brushfire[{architecture.extra}]", or choose MS-D.',
    )


def read_arguments(architecture: Architecture, text: str) -> dict[str, Any]:
    """Return the further arguments of a network's definition: plain values only.

    Parameters
    ----------
    architecture : Architecture
        Whose.
    text : str
        A JSON object, as in `NetworkSettings.arguments`.

    Raises
    ------
    SettingsError
        If it is no such object, or names what is no argument of that network, or no encoder.
    """
    try:
        values = json.loads(text) if len(text) <= _LONGEST else None
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise SettingsError(
            "Further arguments of a network are a JSON object.",
            got=text[:60],
            do='Write for example {"dropout": 0.1}, or {}.',
        )
    unknown = sorted(set(values) - architecture.arguments)
    if unknown:
        known = ", ".join(sorted(architecture.arguments)) or "none"
        raise SettingsError(
            f"{architecture.title} has these further arguments: {known}.",
            got=", ".join(unknown),
            do="Leave the others out.",
        )
    encoder = values.get("encoder", USUAL_ENCODER)
    if not isinstance(encoder, str) or encoder not in ENCODERS:
        raise SettingsError(
            f"The encoder of {architecture.title} is one of these: {', '.join(ENCODERS)}.",
            got=repr(encoder)[:60],
            do="Choose one of them.",
        )
    return values


def encoder_of(architecture: str, arguments: str) -> Encoder | None:
    """Return the encoder that settings of this name and these arguments have, if any."""
    if architecture != ENCODER_UNET:
        return None
    given = read_arguments(architecture_of(architecture), arguments)
    return ENCODERS[given.get("encoder", USUAL_ENCODER)]
