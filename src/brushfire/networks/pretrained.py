"""Weights that were learned on textures and shapes made by code, shipped with the package.

`tools/pretraining/pretrain.py` makes them.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load

from brushfire.networks.architectures import MSD

if TYPE_CHECKING:
    from brushfire.networks.model import SegmentationModel

FILE = "shapes.safetensors"
_STRENGTH = 0.25  # of the correction at first: made-up pictures are believed in part


@cache
def _weights() -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = load(files(__package__).joinpath(FILE).read_bytes())
    return weights


def take_over_pretrained(model: SegmentationModel, *, weights: bool = True) -> bool:
    """Give a model the shipped weights; return whether it took them.

    How its inputs are standardised is taken over in any case. The layers of one that takes no
    weights change nothing.

    Parameters
    ----------
    model : SegmentationModel
        With features.
    weights : bool
        Whether they are wanted.
    """
    shipped = _weights()
    model.input_mean.copy_(shipped["input_mean"])
    model.input_std.copy_(shipped["input_std"])
    own = dict(model.named_parameters())
    dilations = tuple(int(value) for value in shipped["dilations"])
    names = [name for name in shipped if name in own]
    fits = (
        weights
        and model.settings.architecture == MSD
        and model.settings.layer_dilations == dilations
        and set(names) == set(own)
        and all(own[name].shape == shipped[name].shape for name in names)
    )
    with torch.no_grad():
        for name in names if fits else ():
            own[name].copy_(shipped[name])
        model.head_weight.mul_(_STRENGTH if fits else 0)
        model.head_bias.mul_(_STRENGTH if fits else 0)
    return fits
