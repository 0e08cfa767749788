"""Mixed-scale dense networks of dlsia (https://github.com/phzwart/dlsia), as of version 0.3.4.

Its `MixedScaleDenseNetwork` without normalisation computes, on (images, inputs, y, x):

- ReLU of **the inputs**: whatever is below zero is cut off. (It registers its activation before its
  first layer, so that it comes first. Intensities are not scaled.);
- layer by layer, one 3x3 convolution for each of the layer's maps, each with a dilation of its own,
  over inputs and all earlier maps, then ReLU. Beyond the edges of an image lie zeros
  (``padding_mode="zeros"``, border "zero" here) or the image mirrored at its outermost pixels
  (``"reflect"``, border "reflect");
- a 1x1 convolution over inputs and all maps.

**In.** Maps of one layer do not see each other, so that a layer of several maps is as many layers
of one map with zeros for weights on each other. Inputs without what is below zero are maps of
their own here: a 3x3 convolution that takes the middle only, then ReLU. Both are exact.

**Out.** There, a first layer makes two maps of each input ``x``, ``ReLU(z)`` and ``ReLU(-z)`` with
``z = (x - mean) / std``. Later layers see ``z`` as their difference. That is exact for intensities
of zero and above, at zeros beyond the edges too, where a mean that is taken off within a
convolution would not be. What is below zero cannot be brought past the first ReLU. A layer has as
many maps there as the model's, but two for each input at least; those too many are zero. On the
way back such pairs become mean and standard deviation again.

**Not taken: normalisation.** BatchNorm scales and shifts all maps after each layer, and ReLU cuts
off what then is below zero, once more after each layer: a map is another one in each later layer.
With zeros beyond the edges its shift would not even fold into the next convolution.

A state dict holds neither dilations, class values and the padding mode nor layers without weights:
it is taken for that of a network with ``activation=nn.ReLU()``, the default, and
``final_layer=None``, the default, too. (Any other final layer goes over the inputs first, as the
activation does.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from brushfire.errors import ModelError
from brushfire.networks.architectures import ARCHITECTURES, MSD
from brushfire.networks.exchange.state import (
    DILATIONS,
    Tensors,
    build,
    check_exportable,
    checked_dilations,
    mixed_scale_of,
    normalisation,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brushfire.networks.model import SegmentationModel
    from brushfire.networks.settings import Border

_HEAD = "final_convolution."
_NORMALISATION = "normalization_0.weight"


def from_dlsia(
    state: Mapping[str, Tensor],
    *,
    dilations: Sequence[int] = DILATIONS,
    border: Border = "zero",
    classes: Sequence[int] | None = None,
    slices: int = 1,
) -> SegmentationModel:
    """Return the model that computes what a network of dlsia computes.

    Parameters
    ----------
    state : mapping of str to Tensor
        The ``state_dict`` of a `MixedScaleDenseNetwork` for two dimensions, with convolutions of
        3x3, ``activation=nn.ReLU()``, ``normalization=None`` and ``final_layer=None``.
    dilations : sequence of int
        Of the maps, in their order; cycled through. 1 to ``max_dilation``, or the columns of
        ``custom_msdnet`` one after the other.
    border : str
        "zero" for ``padding_mode="zeros"``, "reflect" for ``"reflect"``.
    classes : sequence of int, optional
        Class values in the order of the outputs; 1, 2 and so on by default.
    slices : int
        Neighbouring slices of each channel that it was trained on as inputs, side by side.

    Returns
    -------
    SegmentationModel
        Without maps that cannot matter; the very model where `to_dlsia` made the state.

    Raises
    ------
    ModelError
        If the state is another network's or damaged, or the network has normalisation.
    """
    tensors = Tensors(state, "A mixed-scale dense network of dlsia for segmentation")
    if _NORMALISATION in tensors:
        raise ModelError(
            "A mixed-scale dense network has each map once.",
            got="a network of dlsia with normalisation, which changes all maps after each layer",
            do="Train it again with normalization=None.",
        )
    if border not in ("zero", "reflect"):
        raise ModelError(
            "Beyond the edges lie zeros (zero) or the slice mirrored at its outermost pixels"
            " (reflect).",
            got=border,
            do="Choose what fits the padding_mode; its other modes are not known here.",
        )
    maps = _read(tensors, dilations)
    mean, std = torch.zeros(maps.inputs), torch.ones(maps.inputs)
    found = _without_pairs(maps)
    if found is not None:
        maps, mean, std = found
    width, cycle, weights = _layers(maps)
    return build(
        width=width, dilations=cycle, border=border, slices=slices, classes=classes,
        mean=mean, std=std, weights=weights, biases=maps.biases,
        head_weight=maps.head_weight, head_bias=maps.head_bias,
    )  # fmt: skip


def to_dlsia(model: SegmentationModel) -> dict[str, Tensor]:
    """Return the state dict of the network of dlsia that computes what a model does.

    Parameters
    ----------
    model : SegmentationModel
        Without features, with border "zero" or "reflect".

    Returns
    -------
    dict of str to Tensor
        For a `MixedScaleDenseNetwork` made with the model's inputs and outputs,
        ``custom_msdnet=numpy.array(dlsia_dilations(model))``, ``normalization=None`` and the
        ``padding_mode`` of the model's border. The first layer is of double precision, so that
        the way back is exact. It computes the same for intensities of zero and above.

    Raises
    ------
    ModelError
        If the model has features or another border.
    """
    check_exportable(model, "dlsia", ("zero", "reflect"))
    inputs, own, width = model.inputs, mixed_scale_of(model).width, _width(model)
    state = _first_layer(model)
    biases = mixed_scale_of(model).biases.detach().view(-1, own)
    for layer, weight in enumerate(mixed_scale_of(model).weights, 1):
        kernels = weight.new_zeros(width, inputs + layer * width, 3, 3)
        kernels[:own] = _spread(weight.detach(), inputs, own, width)
        offsets = biases.new_zeros(width)
        offsets[:own] = biases[layer - 1]
        for row in range(width):
            state[_conv(layer, row) + "weight"] = kernels[row : row + 1]
            state[_conv(layer, row) + "bias"] = offsets[row : row + 1]
    head = model.head_weight.detach()[:, :, None, None]
    state[_HEAD + "weight"] = _spread(head, inputs, own, width)
    state[_HEAD + "bias"] = model.head_bias.detach() + model.prior_shift
    return {name: value.cpu().clone() for name, value in state.items()}


def dlsia_dilations(model: SegmentationModel) -> list[list[int]]:
    """Return the ``custom_msdnet`` of `to_dlsia`: rows are maps of a layer, columns are layers."""
    return [[1, *mixed_scale_of(model).dilations]] * _width(model)


@dataclass
class _Maps:
    """A network of one map a layer, in double precision; weights are on inputs, then on maps.

    Parameters
    ----------
    inputs : int
        How many there are.
    layers : list of int
        For each map, in which layer of the other program it is.
    dilations : list of int
        For each map.
    weights : list of Tensor
        For each map, (inputs + maps before it, 3, 3).
    biases : Tensor
        (maps,).
    head_weight, head_bias : Tensor
        (outputs, inputs + maps), (outputs,).
    """

    inputs: int
    layers: list[int]
    dilations: list[int]
    weights: list[Tensor]
    biases: Tensor
    head_weight: Tensor
    head_bias: Tensor

    def without(self, dropped: set[int]) -> _Maps:
        """Return a network without the maps of these numbers, counted from the first map."""
        kept = [n for n in range(len(self.layers)) if n not in dropped]
        rows = torch.tensor([*range(self.inputs), *(self.inputs + n for n in kept)])
        return _Maps(
            self.inputs,
            [self.layers[n] for n in kept],
            [self.dilations[n] for n in kept],
            [self.weights[n][rows[rows < self.inputs + n]] for n in kept],
            self.biases[kept],
            self.head_weight[:, rows],
            self.head_bias,
        )


def _read(tensors: Tensors, dilations: Sequence[int]) -> _Maps:
    """Return the network of a state dict, without maps that cannot matter."""
    cycle = checked_dilations(dilations)
    inputs = tensors.shape(_conv(0, 0) + "weight", 4)[1]
    outputs = tensors.shape(_HEAD + "bias", 1)[0]
    if inputs > ARCHITECTURES[MSD].depth.highest:
        raise tensors.refusal(
            f"{inputs} inputs", f"Choose one with {ARCHITECTURES[MSD].depth.highest} at most."
        )
    # First the inputs without what is below zero, which stand for them from then on.
    layers, dilated = [-1] * inputs, [1] * inputs
    weights = [_middle(inputs + n, n) for n in range(inputs)]
    biases = [torch.zeros(1, dtype=torch.float64)] * inputs
    for layer in range(tensors.count("layer_{}.conv_0.weight")):
        seen = len(layers)
        for row in range(tensors.count(f"layer_{layer}.conv_{{}}.weight")):
            given = tensors.take(_conv(layer, row) + "weight", (1, seen, 3, 3))[0]
            weight = given.new_zeros(inputs + len(layers), 3, 3)
            weight[inputs : inputs + seen] = given
            weights.append(weight)
            biases.append(tensors.take(_conv(layer, row) + "bias", (1,)))
            dilated.append(cycle[(len(layers) - inputs) % len(cycle)])
            layers.append(layer)
    given = tensors.take(_HEAD + "weight", (outputs, len(layers), 1, 1))[:, :, 0, 0]
    head = torch.cat((given.new_zeros(outputs, inputs), given), 1)
    head_bias = tensors.take(_HEAD + "bias", (outputs,))
    tensors.end()
    maps = _Maps(inputs, layers, dilated, weights, torch.cat(biases), head, head_bias)
    return _without_idle(maps)


def _without_idle(maps: _Maps) -> _Maps:
    """Leave out maps that are zero everywhere, then rectified inputs that nothing sees."""
    empty = {
        n
        for n, weight in enumerate(maps.weights)
        if not bool(weight.any()) and float(maps.biases[n]) <= 0
    }
    maps = maps.without(empty)
    unseen = {
        n for n, layer in enumerate(maps.layers) if layer < 0 and not _seen(maps, maps.inputs + n)
    }
    return maps.without(unseen)


def _seen(maps: _Maps, row: int) -> bool:
    """Whether anything sees an input or map."""
    later = (weight[row] for weight in maps.weights if row < len(weight))
    return bool(maps.head_weight[:, row].any()) or any(bool(weight.any()) for weight in later)


def _without_pairs(maps: _Maps) -> tuple[_Maps, Tensor, Tensor] | None:
    """Turn pairs of maps that `to_dlsia` made of inputs into a mean and a standard deviation.

    Returns
    -------
    tuple or None
        The network without them, mean and standard deviation of each input; None where there are
        no such pairs, or something has changed them.
    """
    count = maps.inputs  # the first maps are the rectified inputs, the next ones their pairs
    pairs, rest = maps.weights[count : 3 * count], maps.weights[3 * count :]
    if not rest or maps.layers[count - 1] >= 0:
        return None
    scale = torch.stack([pairs[2 * n][count + n, 1, 1] for n in range(count)])
    shift = maps.biases[count : 3 * count]
    plus, minus = slice(2 * count, 4 * count, 2), slice(2 * count + 1, 4 * count, 2)
    made = all(
        torch.equal(weight, _middle(len(weight), count + n // 2) * scale[n // 2] * (-1) ** n)
        for n, weight in enumerate(pairs)
    )
    seen = all(
        not bool(weight[: 2 * count].any()) and torch.equal(weight[plus], -weight[minus])
        for weight in (*rest, maps.head_weight.T)
    )
    if not (made and seen and bool(scale.all()) and torch.equal(shift[1::2], -shift[::2])):
        return None
    left = _Maps(
        count,
        maps.layers[3 * count :],
        maps.dilations[3 * count :],
        [torch.cat((weight[plus], weight[4 * count :])) for weight in rest],
        maps.biases[3 * count :],
        torch.cat((maps.head_weight[:, plus], maps.head_weight[:, 4 * count :]), 1),
        maps.head_bias,
    )
    return left, -shift[::2] / scale, 1 / scale


def _layers(maps: _Maps) -> tuple[int, list[int], list[Tensor]]:
    """Return width, dilations to cycle through, and weights of layers as wide as can be."""
    members: dict[int, list[int]] = {}
    for n, layer in enumerate(maps.layers):
        members.setdefault(layer, []).append(n)
    widths = {len(group) for group in members.values()}
    alike = all(len({maps.dilations[n] for n in group}) == 1 for group in members.values())
    groups = list(members.values())
    if len(widths) != 1 or not alike:
        groups = [[n] for n in range(len(maps.layers))]
    dilations = [maps.dilations[group[0]] for group in groups]
    # Maps of one layer do not see each other.
    weights = [
        torch.stack([maps.weights[n][: maps.inputs + group[0]] for n in group]) for group in groups
    ]
    return len(groups[0]), _shortest_cycle(dilations), weights


def _shortest_cycle(values: list[int]) -> list[int]:
    """Return the fewest values that give all of them when cycled through."""
    return next(
        values[:length]
        for length in range(1, len(values) + 1)
        if all(value == values[n % length] for n, value in enumerate(values))
    )


def _width(model: SegmentationModel) -> int:
    """Return how many maps a layer has there."""
    return max(mixed_scale_of(model).width, 2 * model.inputs)


def _first_layer(model: SegmentationModel) -> dict[str, Tensor]:
    """Return the layer that makes two maps of each normalised input, above and below zero."""
    mean, std = normalisation(model)
    state = {}
    for row in range(_width(model)):
        weight, bias = mean.new_zeros(1, model.inputs, 3, 3), mean.new_zeros(1)
        if row < 2 * model.inputs:
            n, sign = row // 2, (-1) ** row
            weight[0, n, 1, 1] = sign / std[n]
            bias[0] = -sign * mean[n] / std[n]
        state[_conv(0, row) + "weight"], state[_conv(0, row) + "bias"] = weight, bias
    return state


def _spread(weight: Tensor, inputs: int, own: int, width: int) -> Tensor:
    """Return weights on inputs and layers of ``own`` maps as those on pairs and wider layers."""
    layers = (weight.shape[1] - inputs) // own
    spread = weight.new_zeros(len(weight), inputs + (layers + 1) * width, *weight.shape[2:])
    spread[:, inputs : 3 * inputs : 2] = weight[:, :inputs]
    spread[:, inputs + 1 : 3 * inputs : 2] = -weight[:, :inputs]
    for layer in range(layers):
        there, here = inputs + (layer + 1) * width, inputs + layer * own
        spread[:, there : there + own] = weight[:, here : here + own]
    return spread


def _middle(rows: int, row: int) -> Tensor:
    """Return weights (rows, 3, 3) that take one row as it is."""
    weight = torch.zeros(rows, 3, 3, dtype=torch.float64)
    weight[row, 1, 1] = 1
    return weight


def _conv(layer: int, row: int) -> str:
    return f"layer_{layer}.conv_{row}."
