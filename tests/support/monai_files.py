"""Small networks of MONAI, as their definitions and as modules."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

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
