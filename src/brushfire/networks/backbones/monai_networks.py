"""MONAI's segmentation networks (Cardoso 2022), without their last, linear layer.

Each is built from names and numbers that were checked; nothing of a file is evaluated.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from brushfire.errors import SettingsError
from brushfire.networks.architectures import architecture_of, read_arguments
from brushfire.networks.backbones.footprint import peak_bytes, step_bytes, without_values
from brushfire.networks.backbones.slabs import prepare_for_slabs
from brushfire.networks.loading import load_monai

if TYPE_CHECKING:
    from collections.abc import Callable

    from brushfire.networks.architectures import Architecture
    from brushfire.networks.backbones.protocol import Part
    from brushfire.networks.settings import NetworkSettings

_MOST_WEIGHTS = 200_000_000
_REACH = 16  # times the divisor: what convolutions and resolutions of these shapes pass on
_TRANSFORMER_RATE = 0.25


@dataclass(frozen=True)
class _Built:
    """A network as MONAI makes it, and what is to know of it."""

    net: nn.Module
    head: str
    """The linear layer: its input are the maps."""
    divisors: tuple[int, ...]
    """Along each axis."""
    stages: list[list[str]]
    """Names of modules, from the input to the head."""
    arguments: dict[str, Any]
    """What its class was called with, but for the outputs."""
    size: tuple[int, ...] | None = None
    """The only size that it takes, if there is but one."""


class MonaiNetwork(nn.Module):
    """One of MONAI's networks as the network inside a model; see `Backbone`.

    Images are padded with their outermost values to sizes that it can compute on.

    Parameters
    ----------
    settings : NetworkSettings
        Which, and how large.
    channels : int
        Inputs at each pixel, neighbouring slices included.

    Attributes
    ----------
    net : Module
        MONAI's, without its head.
    head : str
        Name in it of the linear layer that was taken out.

    Raises
    ------
    SettingsError
        If it cannot be as the settings say, or has too many weights.
    """

    def __init__(self, settings: NetworkSettings, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self._settings = settings
        with without_values():
            _check_size(self._build().net)
        built = self._build()
        self.maps = int(built.net.get_submodule(built.head).in_channels)  # type: ignore[arg-type]
        built.net.set_submodule(built.head, nn.Identity())
        self.net = built.net
        self.head = built.head
        self._arguments = built.arguments
        self._stages, self._divisors, self._size = built.stages, built.divisors, built.size
        self.divisor = max(built.divisors[-2:])
        self.reach = _REACH * self.divisor
        self.window = self._window()
        self.rate = _TRANSFORMER_RATE if self._kind.transformer else 1.0
        self._bytes: dict[tuple[int, ...], int] = {}

    @property
    def definition(self) -> dict[str, Any]:
        """What MONAI's class is called with to make this network, but for its outputs."""
        arguments = dict(self._arguments)
        for name in ("norm", "norm_name"):
            if self._settings.norm == "batch" and name in arguments:
                arguments[name] = _as_batch(arguments[name])
        return arguments

    @property
    def _kind(self) -> Architecture:
        return architecture_of(self._settings.architecture)

    @property
    def _inputs(self) -> int:
        """Channels of the network itself."""
        s = self._settings
        return self.channels // s.slices if s.axes == 3 else self.channels

    def _build(self) -> _Built:
        s, kind = self._settings, self._kind
        given = read_arguments(kind, s.arguments)
        try:
            load_monai()
            given |= {"spatial_dims": s.axes, "in_channels": self._inputs}
            built = _BUILDERS[kind.name](s, given)
        except ImportError as error:
            raise SettingsError(
                f"{kind.title} comes from MONAI, and from the packages that it needs.",
                got=str(error)[:200],
                do='Run: pip install "napari-brushfire[networks]", or choose MS-D.',
            ) from error
        except (ValueError, TypeError, KeyError, AssertionError, IndexError, RuntimeError) as error:
            raise SettingsError(
                f"{kind.title} can be built as the settings say.",
                got=f"{type(error).__name__}: {str(error)[:200]}",
                do="Choose another depth, width or arguments.",
            ) from error
        if s.norm == "batch":
            _normalise_by_batch(built.net)
        prepare_for_slabs(built.net)
        return built

    def _window(self) -> int | None:
        in_sight = (nn.modules.instancenorm._InstanceNorm, nn.GroupNorm)
        if self._size is not None:
            return int(self._size[-1])
        moves = not self._kind.transformer
        if moves and not any(isinstance(module, in_sight) for module in self.net.modules()):
            return None
        return self._settings.window

    def features_of(self, x: Tensor) -> Tensor:
        """Return the maps, (images, maps, y, x); see `Backbone`."""
        s = self._settings
        if s.axes == 3:
            x = x.view(x.shape[0], -1, s.slices, *x.shape[2:])
        maps = self._maps(x)
        return maps[:, :, s.context] if s.axes == 3 else maps

    def _maps(self, x: Tensor) -> Tensor:
        """Return the maps of (images, channels, ...), in parts where only one size is possible."""
        size = tuple(x.shape[2:])
        for axis, side in enumerate(self._size or ()):
            if size[axis] > side:
                parts = torch.split(x, side, axis + 2)
                return torch.cat([self._maps(part) for part in parts], axis + 2)
        maps: Tensor = self.net(_padded(x, self.computed_size(size)))
        return maps[(slice(None), slice(None), *(slice(0, side) for side in size))]

    def weighed(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Return the maps weighed by a linear layer; see `Backbone`."""
        return functional.conv2d(self.features_of(x), weight[:, :, None, None], bias)

    def bytes_of(self, height: int, width: int) -> int:
        """Return about how many bytes `weighed` takes; see `Backbone`."""
        s = self._settings
        size = self.computed_size((s.slices, height, width) if s.axes == 3 else (height, width))
        if size not in self._bytes:
            net = copy.deepcopy(self.net).to("meta").eval()
            with torch.no_grad():
                self._bytes[size] = peak_bytes(net, (1, self._inputs, *size))
        return self._bytes[size]

    def step_bytes(self, images: int, side: int) -> int:
        """Return about how many bytes a gradient step takes; see `Backbone`."""
        other = copy.deepcopy(self).to("meta").train()
        return step_bytes(other.features_of, (images, self.channels, side, side))

    def stages(self) -> list[list[Part]]:
        """Return the network's blocks from input to head; see `Backbone`."""
        names = [name for name, _ in self.named_parameters()]
        found = [
            [
                (name, slice(None))
                for name in names
                if any(name.startswith(f"net.{module}.") for module in modules)
            ]
            for modules in self._stages
        ]
        return [stage for stage in found if stage]

    def computed_size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Return the size that is computed on for an image of ``size``, (z,) y and x."""
        if self._size is not None:
            return self._size
        counts = [-(-side // step) for side, step in zip(size, self._divisors, strict=True)]
        # Two in the plane at least: a resolution with one pixel could not be normalised.
        counts[-2:] = [max(count, 2) for count in counts[-2:]]
        return tuple(count * step for count, step in zip(counts, self._divisors, strict=True))


def _check_size(net: nn.Module) -> None:
    weights = sum(parameter.numel() for parameter in net.parameters())
    if weights > _MOST_WEIGHTS:
        raise SettingsError(
            f"A network has at most {_MOST_WEIGHTS:,} weights.",
            got=f"{weights:,}",
            do="Choose a smaller width or depth.",
        )


def _padded(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return (images, channels, ...) with the outermost values repeated at the far ends."""
    more = [wanted - side for wanted, side in zip(size, x.shape[2:], strict=True)]
    if not any(more):
        return x
    sides = [end for side in reversed(more) for end in (0, side)]
    return functional.pad(x, sides, mode="replicate")


def _normalise_by_batch(net: nn.Module) -> None:
    """Replace what MONAI normalises by what is in sight, whatever it is asked for."""
    batch = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
    for name, module in list(net.named_modules()):
        for axes, instance in ((2, nn.InstanceNorm2d), (3, nn.InstanceNorm3d)):
            if isinstance(module, instance):
                net.set_submodule(name, batch[axes](module.num_features, affine=module.affine))


def _as_batch(norm: Any) -> Any:
    """Return what MONAI has to be asked for to normalise as `_normalise_by_batch` makes it."""
    kind, more = (norm, {}) if isinstance(norm, str) else norm
    if kind.lower() != "instance":
        return norm
    return ("batch", {"affine": more.get("affine", False)})


def _norm(s: NetworkSettings) -> Any:
    if s.norm == "group":
        return ("group", {"num_groups": 2})
    return (s.norm, {"affine": True})


def _basic_unet(s: NetworkSettings, given: dict[str, Any]) -> _Built:
    from monai.networks.nets.basic_unet import BasicUNet

    w = s.width
    usual = {"features": (w, w, 2 * w, 4 * w, 8 * w, w), "norm": _norm(s)}
    arguments = {**usual, **given}
    net = BasicUNet(out_channels=1, **arguments)
    down = [["conv_0"], *([f"down_{level}"] for level in range(1, 5))]
    up = [[f"upcat_{level}"] for level in range(4, 0, -1)]
    return _Built(net, "final_conv", (16,) * s.axes, down + up, arguments)


class _Dynamic(nn.Module):
    """MONAI's DynUNet without deep supervision, each module under one name only."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.input_block = net.input_block
        self.downsamples = net.downsamples
        self.bottleneck = net.bottleneck
        self.upsamples = net.upsamples
        self.output_block = net.output_block

    def forward(self, x: Tensor) -> Tensor:
        skips = [self.input_block(x)]
        for block in self.downsamples:
            skips.append(block(skips[-1]))
        x = self.bottleneck(skips[-1])
        for block in self.upsamples:
            x = block(x, skips.pop())
        result: Tensor = self.output_block(x)
        return result


def _dynunet(s: NetworkSettings, given: dict[str, Any]) -> _Built:
    from monai.networks.nets.dynunet import DynUNet

    strides = given.get("strides", [1] + [2] * (s.depth - 1))
    usual = {
        "kernel_size": [3] * len(strides),
        "strides": strides,
        "upsample_kernel_size": strides[1:],
        "filters": [min(s.width * 2**level, 320) for level in range(len(strides))],
        "norm_name": _norm(s),
    }
    arguments = {**usual, **given}
    net = _Dynamic(DynUNet(out_channels=1, **arguments))
    down = [["input_block"], *([f"downsamples.{n}"] for n in range(len(net.downsamples)))]
    up = [[f"upsamples.{n}"] for n in range(len(net.upsamples))]
    stages = [*down, ["bottleneck"], *up]
    return _Built(net, "output_block.conv.conv", _product(strides, s.axes), stages, arguments)


def _segresnet(s: NetworkSettings, given: dict[str, Any]) -> _Built:
    from monai.networks.nets.segresnet import SegResNet

    usual = {
        "init_filters": s.width,
        "norm": _norm(s),
        "blocks_down": (1, *[2] * (s.depth - 1)),
        "blocks_up": (1,) * (s.depth - 1),
    }
    arguments = {**usual, **given}
    net = SegResNet(out_channels=1, **arguments)
    levels = len(net.down_layers)
    down = [["convInit", "down_layers.0"], *([f"down_layers.{n}"] for n in range(1, levels))]
    up = [[f"up_samples.{n}", f"up_layers.{n}"] for n in range(levels - 1)]
    stages = [*down, *up, ["conv_final"]]
    return _Built(net, "conv_final.2.conv", (2 ** (levels - 1),) * s.axes, stages, arguments)


def _attention_unet(s: NetworkSettings, given: dict[str, Any]) -> _Built:
    from monai.networks.nets.attentionunet import AttentionUnet

    usual = {
        "channels": [s.width * 2**level for level in range(s.depth)],
        "strides": [2] * (s.depth - 1),
    }
    arguments = {**usual, **given}
    net = AttentionUnet(out_channels=1, **arguments)
    levels = len(arguments["channels"]) - 1
    down, up = [["model.0"]], []
    for level in range(levels):
        at = "model.1" + ".submodule.1" * level
        bottom = level == levels - 1
        down.append([f"{at}.submodule" if bottom else f"{at}.submodule.0"])
        up.append([f"{at}.attention", f"{at}.upconv", f"{at}.merge"])
    divisors = _product(arguments["strides"], s.axes)
    return _Built(net, "model.2.conv", divisors, [*down, *reversed(up)], arguments)


def _unetr(s: NetworkSettings, given: dict[str, Any]) -> _Built:
    from monai.networks.nets.unetr import UNETR

    size = given.get("img_size", s.window)
    if isinstance(size, int):
        depth = -(-s.slices // 16) * 16
        size = (depth, size, size) if s.axes == 3 else (size, size)
    if any(side % 16 for side in size) or size[-1] != size[-2]:
        raise ValueError(f"windows of {size} pixels; sides are alike, and multiples of 16")
    usual = {
        "feature_size": s.width,
        "hidden_size": 12 * s.width,
        "mlp_dim": 48 * s.width,
        "num_heads": 6,
        "norm_name": "instance",
    }
    arguments = {**usual, **given, "img_size": size}
    net = UNETR(out_channels=1, **arguments)
    thirds = [[f"vit.blocks.{n}" for n in range(first, first + 3)] for first in (0, 3, 6, 9)]
    stages = [
        ["vit.patch_embedding", "encoder1"],
        [*thirds[0], *thirds[1], "encoder2"],
        [*thirds[2], "encoder3"],
        [*thirds[3], "vit.norm", "encoder4"],
        *([f"decoder{level}"] for level in (5, 4, 3, 2)),
    ]
    return _Built(net, "out.conv.conv", (16,) * s.axes, stages, arguments, tuple(size))


def _swin_unetr(s: NetworkSettings, given: dict[str, Any]) -> _Built:
    from monai.networks.nets.swin_unetr import SwinUNETR

    usual = {"feature_size": s.width, "norm_name": "instance"}
    arguments = {**usual, **given}
    net = SwinUNETR(out_channels=1, **arguments)
    stages = [
        ["swinViT.patch_embed", "encoder1"],
        *(
            [f"swinViT.layers{n}", f"swinViT.layers{n}c", f"encoder{encoder}"]
            for n, encoder in ((1, 2), (2, 3), (3, 4), (4, 10))
        ),
        *([f"decoder{level}"] for level in (5, 4, 3, 2, 1)),
    ]
    patch = arguments.get("patch_size", 2)
    return _Built(net, "out.conv.conv", (patch**5,) * s.axes, stages, arguments)


def _product(strides: Any, axes: int) -> tuple[int, ...]:
    """Return how much all strides together shrink along each axis."""
    product = [1] * axes
    for stride in strides:
        each = [stride] * axes if isinstance(stride, int) else list(stride)
        product = [one * other for one, other in zip(product, each, strict=True)]
    return tuple(product)


_BUILDERS: dict[str, Callable[[NetworkSettings, dict[str, Any]], _Built]] = {
    "basic_unet": _basic_unet,
    "dynunet": _dynunet,
    "segresnet": _segresnet,
    "attention_unet": _attention_unet,
    "unetr": _unetr,
    "swin_unetr": _swin_unetr,
}
