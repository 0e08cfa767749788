"""Small networks of MONAI, as their definitions and as modules, and files with them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from brushfire.networks import NetworkSettings, SegmentationModel

if TYPE_CHECKING:
    from pathlib import Path

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "BasicUNet": (
        "BasicUNet",
        {"spatial_dims": 2, "in_channels": 2, "out_channels": 3, "features": [4, 4, 8, 8, 8, 4]},
    ),
    "DynUNet": (
        "DynUNet",
        {
            "spatial_dims": 2, "in_channels": 2, "out_channels": 3, "kernel_size": [3, 3, 3, 3],
            "strides": [1, 2, 2, 2], "upsample_kernel_size": [2, 2, 2], "filters": [4, 4, 8, 8],
            "res_block": True,
        },
    ),
    "SegResNet": (
        "SegResNet",
        {
            "spatial_dims": 2, "in_channels": 2, "out_channels": 3, "init_filters": 4,
            "norm": ["group", {"num_groups": 2}], "blocks_down": [1, 1], "blocks_up": [1],
        },
    ),
    "AttentionUnet": (
        "AttentionUnet",
        {
            "spatial_dims": 2, "in_channels": 2, "out_channels": 3, "channels": [4, 8, 8],
            "strides": [2, 2],
        },
    ),
    "UNETR": (
        "UNETR",
        {
            "spatial_dims": 2, "in_channels": 2, "out_channels": 3, "img_size": [64, 64],
            "feature_size": 4, "hidden_size": 24, "mlp_dim": 48, "num_heads": 4,
        },
    ),
    "SwinUNETR": (
        "SwinUNETR",
        {
            "spatial_dims": 2, "in_channels": 2, "out_channels": 3, "feature_size": 12,
            "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 2], "window_size": 4,
        },
    ),
    "BasicUNet 3D": (
        "BasicUNet",
        {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "features": [2, 2, 4, 4, 4, 2]},
    ),
    "DynUNet 3D": (
        "DynUNet",
        {
            "spatial_dims": 3, "in_channels": 2, "out_channels": 3,
            "kernel_size": [[1, 3, 3], 3, 3], "strides": [1, [1, 2, 2], 2],
            "upsample_kernel_size": [[1, 2, 2], 2], "filters": [2, 4, 4], "norm_name": "batch",
        },
    ),
}  # fmt: skip
"""By what they are: MONAI's name of each, and what its class is called with."""


ABOUT = {
    "name": "Cells (of a test)",
    "description": "Told by their shape.",
    "licence": "CC-BY-4.0",
    "authors": "A. Nobody, B. Somebody",
    "cite": "Nobody 2020, https://doi.org/10.1000/xyz123",
}
"""What may be said of a model."""


def network_of(kind: str, **more: Any) -> nn.Module:
    """Return a network of MONAI with weights that let every layer matter."""
    from monai.networks import nets

    name, arguments = NETWORKS[kind]
    torch.manual_seed(0)
    network: nn.Module = getattr(nets, name)(**{**arguments, **more})
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
    return network.eval()


def saved(value: object) -> bytes:
    """Return what torch saves of a value."""
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def unpacked(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files to a folder and return it."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def made_here(kind: str) -> SegmentationModel:
    """Return a model of two channels as Brushfire makes them, with weights that matter."""
    torch.manual_seed(0)
    settings = {
        "dynunet": NetworkSettings(3, 4, slices=3, features=False, architecture="dynunet"),
        "dynunet 3D": NetworkSettings(
            3, 4, slices=5, features=False, architecture="dynunet", axes=3, norm="instance"
        ),
        "windows": NetworkSettings(
            2, 4, features=False, architecture="segresnet", norm="group", window=64
        ),
        "attention": NetworkSettings(3, 4, features=False, architecture="attention_unet"),
        "msd": NetworkSettings(4, 1, slices=3, features=False, border="reflect"),
        "features": NetworkSettings(4, 1),
        "adapter": NetworkSettings(3, 4, features=False, architecture="dynunet", adapter=3),
    }[kind]
    model = SegmentationModel(settings, 2, (4, 2), mean=[10.0, 20.0], std=[2.0, 3.0]).eval()
    with torch.no_grad():
        model.head_weight.normal_(0, 0.3)
        model.prior_shift[0] = 0.3
        for value in model.buffers():
            if value.ndim == 1 and value.is_floating_point() and len(value) > 16:
                value.uniform_(0.5, 1.5)  # so that what was noted while learning matters
    return model


class Writes:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.path), "w"))
