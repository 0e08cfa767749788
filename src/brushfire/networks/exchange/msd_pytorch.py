"""Segmentation networks of msd_pytorch (https://github.com/ahendriksen/msd_pytorch).

Its `MSDSegmentationModel` computes, on (images, inputs, y, x):

- a fixed 1x1 convolution ``scale_in`` that normalises the inputs;
- layers of ``width`` maps each: a 3x3 convolution with one dilation a layer over the inputs and
  all earlier maps, then ReLU. Beyond its edges an image is mirrored so that the outermost pixels
  are seen twice, which is border "symmetric" here: a pixel ``i`` before the first is ``i - 1``
  after it. (There it is called reflection. No image is smaller than the largest dilation.);
- a 1x1 layer over inputs and all maps, and the logarithm of softmax.

That is a model here without features: the order of maps is the same, ``scale_in`` becomes the mean
and standard deviation of intensities, and softmax is softmax. Nothing but rounding differs.

Its files hold neither dilations nor class values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from brushfire.errors import ModelError
from brushfire.networks.exchange.state import (
    DILATIONS,
    Tensors,
    build,
    check_exportable,
    mixed_scale_of,
    normalisation,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brushfire.networks.model import SegmentationModel

_SCALE = "0."
_BLOCK = "1.0.msd_block."
_HEAD = "1.0.final_layer.linear."
_REGRESSION = "1.msd_block.bias"


def from_msd_pytorch(
    state: Mapping[str, Tensor],
    *,
    dilations: Sequence[int] = DILATIONS,
    classes: Sequence[int] | None = None,
    slices: int = 1,
) -> SegmentationModel:
    """Return the model that computes what a network of msd_pytorch computes.

    Parameters
    ----------
    state : mapping of str to Tensor
        The ``state_dict`` of `MSDSegmentationModel.net`, version 0.7.1 or later.
    dilations : sequence of int
        Those that the network was made with, pixels; it cycles through them.
    classes : sequence of int, optional
        Class values in the order of the outputs; 1, 2 and so on by default.
    slices : int
        Neighbouring slices of each channel that it was trained on as inputs, side by side.

    Returns
    -------
    SegmentationModel
        With border "symmetric".

    Raises
    ------
    ModelError
        If the state is another network's or damaged, or the network is none that segments.
    """
    tensors = Tensors(state, "A segmentation network of msd_pytorch")
    if _REGRESSION in tensors:
        raise tensors.refusal("a network for regression", "Choose one that segments.")
    depth = tensors.count(_BLOCK + "weight{}")
    width, inputs, *_ = tensors.shape(_BLOCK + "weight0", 4)
    outputs, *_ = tensors.shape(_HEAD + "bias", 1)
    mean, std = _scale(tensors, inputs)
    maps = inputs + depth * width
    weights = [
        tensors.take(f"{_BLOCK}weight{layer}", (width, inputs + layer * width, 3, 3))
        for layer in range(depth)
    ]
    biases = tensors.take(_BLOCK + "bias", (depth * width,))
    head_weight = tensors.take(_HEAD + "weight", (outputs, maps, 1))[:, :, 0]
    head_bias = tensors.take(_HEAD + "bias", (outputs,))
    tensors.end()
    return build(
        width=width, dilations=dilations, border="symmetric", slices=slices, classes=classes,
        mean=mean, std=std, weights=weights, biases=biases,
        head_weight=head_weight, head_bias=head_bias,
    )  # fmt: skip


def to_msd_pytorch(model: SegmentationModel) -> dict[str, Tensor]:
    """Return the state dict of the network of msd_pytorch that computes what a model does.

    Parameters
    ----------
    model : SegmentationModel
        Without features, with border "symmetric".

    Returns
    -------
    dict of str to Tensor
        For `MSDSegmentationModel.net`, made with the model's inputs, outputs, depth, width and
        dilations. The scales are of double precision, so that the way back is exact.

    Raises
    ------
    ModelError
        If the model has features or another border.
    """
    check_exportable(model, "msd_pytorch", ("symmetric",))
    mean, std = normalisation(model)
    state = {
        _SCALE + "weight": torch.diag(1 / std)[:, :, None, None],
        _SCALE + "bias": -mean / std,
        _BLOCK + "bias": mixed_scale_of(model).biases,
    }
    for layer, weight in enumerate(mixed_scale_of(model).weights):
        state[f"{_BLOCK}weight{layer}"] = weight
    state[_HEAD + "weight"] = model.head_weight[:, :, None]
    state[_HEAD + "bias"] = model.head_bias + model.prior_shift
    return {name: value.detach().cpu().clone() for name, value in state.items()}


def _scale(tensors: Tensors, inputs: int) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each input."""
    weight = tensors.take(_SCALE + "weight", (inputs, inputs, 1, 1))[:, :, 0, 0]
    bias = tensors.take(_SCALE + "bias", (inputs,))
    scale = weight.diag()
    # Versions before 0.9 fill the whole matrix, so that several inputs are added up.
    if bool((weight != torch.diag(scale)).any()) or not bool(scale.all()):
        raise ModelError(
            "Each input of a network is scaled by itself, and not with zero.",
            got=f"a {inputs} x {inputs} matrix that mixes inputs or leaves one out",
            do="Train it again with msd_pytorch 0.9 or later, which scales each by itself.",
        )
    return -bias / scale, 1 / scale
