"""MONAI's segmentation networks (Cardoso 2022), without their last, linear layer.

Each is built from names and numbers that were checked; nothing of a file is evaluated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from brushfire.networks.backbones.built import Built, BuiltNetwork
from brushfire.networks.backbones.slabs import prepare_for_slabs
from brushfire.networks.loading import load_monai

if TYPE_CHECKING:
    from collections.abc import Callable

    from brushfire.networks.settings import NetworkSettings


class MonaiNetwork(BuiltNetwork):
    """One of MONAI's networks as the network inside a model; see `Backbone`."""

    @property
    def definition(self) -> dict[str, Any]:
        """What MONAI's class is called with to make this network, but for its outputs."""
        arguments = dict(self._arguments)
        for name in ("norm", "norm_name"):
            if self._settings.norm == "batch" and name in arguments:
                arguments[name] = _as_batch(arguments[name])
        return arguments

    def _make(self, given: dict[str, Any]) -> Built:
        load_monai()
        s = self._settings
        given |= {"spatial_dims": s.axes, "in_channels": self._inputs}
        built = _BUILDERS[s.architecture](s, given)
        if s.norm == "batch":
            _normalise_by_batch(built.net)
        prepare_for_slabs(built.net)
        return built


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


def _basic_unet(s: NetworkSettings, given: dict[str, Any]) -> Built:
    from monai.networks.nets.basic_unet import BasicUNet

    w = s.width
    usual = {"features": (w, w, 2 * w, 4 * w, 8 * w, w), "norm": _norm(s)}
    arguments = {**usual, **given}
    net = BasicUNet(out_channels=1, **arguments)
    down = [["conv_0"], *([f"down_{level}"] for level in range(1, 5))]
    up = [[f"upcat_{level}"] for level in range(4, 0, -1)]
    return Built(net, "final_conv", (16,) * s.axes, down + up, arguments)


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


def _dynunet(s: NetworkSettings, given: dict[str, Any]) -> Built:
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
    return Built(net, "output_block.conv.conv", _product(strides, s.axes), stages, arguments)


def _segresnet(s: NetworkSettings, given: dict[str, Any]) -> Built:
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
    return Built(net, "conv_final.2.conv", (2 ** (levels - 1),) * s.axes, stages, arguments)


def _attention_unet(s: NetworkSettings, given: dict[str, Any]) -> Built:
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
    return Built(net, "model.2.conv", divisors, [*down, *reversed(up)], arguments)


def _unetr(s: NetworkSettings, given: dict[str, Any]) -> Built:
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
    return Built(net, "out.conv.conv", (16,) * s.axes, stages, arguments, tuple(size))


def _swin_unetr(s: NetworkSettings, given: dict[str, Any]) -> Built:
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
    return Built(net, "out.conv.conv", (patch**5,) * s.axes, stages, arguments)


def _product(strides: Any, axes: int) -> tuple[int, ...]:
    """Return how much all strides together shrink along each axis."""
    product = [1] * axes
    for stride in strides:
        each = [stride] * axes if isinstance(stride, int) else list(stride)
        product = [one * other for one, other in zip(product, each, strict=True)]
    return tuple(product)


_BUILDERS: dict[str, Callable[[NetworkSettings, dict[str, Any]], Built]] = {
    "basic_unet": _basic_unet,
    "dynunet": _dynunet,
    "segresnet": _segresnet,
    "attention_unet": _attention_unet,
    "unetr": _unetr,
    "swin_unetr": _swin_unetr,
}
