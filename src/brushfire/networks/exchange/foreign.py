"""Models from MONAI's networks with their weights, and the way back.

A model here has the last layer of a network, which is linear, as its own head. Both compute the
same on the same intensities.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from brushfire.errors import ModelError, SettingsError
from brushfire.networks.backbones.monai_networks import MonaiNetwork
from brushfire.networks.exchange.definitions import NAMES, class_of
from brushfire.networks.exchange.state import Tensors, checked_classes, normalisation
from brushfire.networks.model import SegmentationModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from brushfire.networks.exchange.definitions import Definition

_SHOWN = 3  # names in a sentence

# Tensors that a file may have or lack, since nothing that is computed depends on them: a DynUNet
# has its blocks under two names, and transformers have layers that they do not use.
_WITHOUT_EFFECT = re.compile(
    r"(^|\.)skip_layers\.|(^|\.)deep_supervision_heads\.|\.norm_cross_attn\.|\.cross_attn\."
)
_FIXED = "relative_position_index"


def model_of(
    definition: Definition,
    state: Mapping[str, Tensor],
    *,
    classes: Sequence[int] | None = None,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
) -> tuple[SegmentationModel, tuple[str, ...]]:
    """Return the model that computes what a network of MONAI computes.

    Parameters
    ----------
    definition : Definition
        The network.
    state : mapping of str to Tensor
        The whole network's state dict.
    classes : sequence of int, optional
        Class values in the order of the outputs; 1, 2 and so on by default.
    mean, std : sequence of float
        Of each channel's intensities; 0 and 1 by default.

    Returns
    -------
    SegmentationModel
        A network with one output becomes a model of two classes: what it is below zero for, and
        what it is above zero for.
    tuple of str
        Sentences on what is to know.

    Raises
    ------
    ModelError
        If the state is another network's or damaged, or the network cannot be built.
    """
    tensors = Tensors(state, definition.name)
    values = checked_classes(classes, max(definition.outputs, 2))
    model = new_model(definition, values, mean=mean, std=std)
    network = monai_part(model)
    own = network.net.state_dict()
    maps, axes = network.maps, definition.settings.axes
    head = {
        f"{network.head}.weight": torch.empty(definition.outputs, maps, *(1,) * axes),
        f"{network.head}.bias": torch.empty(definition.outputs),
    }
    tensors.drop([name for name in tensors.names if is_without_effect(name) and name not in own])
    _check_names({*own, *head}, tensors)
    taken = {name: take(tensors, name, value) for name, value in own.items() if name in tensors}
    weight, bias = (tensors.take_like(name, value) for name, value in head.items())
    network.net.load_state_dict({**own, **taken})
    notes = [*definition.notes]
    weight = weight.flatten(1)
    if definition.outputs == 1:
        weight = torch.cat((torch.zeros_like(weight), weight))
        bias = torch.cat((torch.zeros_like(bias), bias))
        notes.append(
            "Its one output, above zero for what it was taught to find, became two classes:"
            " the rest, and that."
        )
    with torch.no_grad():
        model.head_weight.copy_(weight)
        model.head_bias.copy_(bias)
    return model.eval(), tuple(notes)


def new_model(
    definition: Definition,
    classes: Sequence[int],
    *,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
) -> SegmentationModel:
    """Return a model of random weights, whose head is zero.

    Raises
    ------
    ModelError
        If the network cannot be built.
    """
    try:
        return SegmentationModel(
            definition.settings, definition.channels, classes, mean=mean, std=std
        ).eval()
    except SettingsError as error:
        raise ModelError(error.rule, got=error.got, do=error.do) from error


def monai_part(model: SegmentationModel) -> MonaiNetwork:
    """Return MONAI's network in a model.

    Raises
    ------
    ModelError
        If there is none.
    """
    if not isinstance(model.layers, MonaiNetwork):
        raise ModelError(
            f"MONAI has these networks: {', '.join(NAMES.values())}.",
            got=f"a model with the network {model.settings.architecture}",
            do="Export it for the BioImage Model Zoo, or keep it as a model file.",
        )
    return model.layers


def monai_definition(model: SegmentationModel) -> tuple[str, dict[str, Any]]:
    """Return MONAI's name of a model's network, and what its class is called with.

    Raises
    ------
    ModelError
        If it is none of MONAI's, or the model has features.
    """
    network = monai_part(model)
    seen = (
        "a model with features of several scales as further inputs" if model.settings.features
        else "a model with a layer that makes other channels of the volume's"
    )  # fmt: skip
    if model.settings.features or model.settings.adapter:
        raise ModelError(
            "MONAI has networks that see intensities as they are and nothing else.",
            got=seen,
            do="Export it for the BioImage Model Zoo, or train one without.",
        )
    arguments = {**network.definition, "out_channels": len(model.classes)}
    return NAMES[model.settings.architecture], {
        name: _plain(value) for name, value in arguments.items()
    }


def monai_network(model: SegmentationModel) -> nn.Module:
    """Return the network of MONAI that computes a model's logits of normalised intensities.

    Raises
    ------
    ModelError
        If it is none of MONAI's, has features, or normalises otherwise than MONAI's.
    """
    _, arguments = monai_definition(model)
    network = monai_part(model)
    whole: nn.Module = class_of(model.settings.architecture)(**arguments)
    weight = model.head_weight[(..., *(None,) * model.settings.axes)]
    state = {
        **network.net.state_dict(),
        f"{network.head}.weight": weight,
        f"{network.head}.bias": model.head_bias + model.prior_shift,
    }
    kept = whole.state_dict()
    surplus = [name for name in state if name not in kept]
    if surplus:
        name = NAMES[model.settings.architecture]
        raise ModelError(
            f"{name} of MONAI normalises some layers by what is in sight, whatever it is asked"
            " for.",
            got=f"a model that does so by what was seen while learning ({some(surplus)})",
            do="Export it for the BioImage Model Zoo, or learn with the norm instance.",
        )
    # Blocks with a second name are the same tensors, so that these fill them too.
    whole.load_state_dict({name: value.detach().cpu() for name, value in state.items()}, False)
    return whole.eval()


def scale_of(model: SegmentationModel) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each of a network's inputs.

    In three dimensions of each channel.
    """
    mean, std = normalisation(model)
    step = model.settings.slices if model.settings.axes == 3 else 1
    return [float(value) for value in mean[::step]], [float(value) for value in std[::step]]


def window_of(model: SegmentationModel) -> tuple[int, ...]:
    """Return the sides of the windows that a network of MONAI computes in, (z,) y and x."""
    network, s = monai_part(model), model.settings
    side = network.window or s.window
    return network.computed_size((s.slices, side, side) if s.axes == 3 else (side, side))


def take(tensors: Tensors, name: str, own: Tensor) -> Tensor:
    """Return a tensor of a file for one of the network's own.

    Raises
    ------
    ModelError
        If it does not fit.
    """
    found = tensors.take_like(name, own)
    if name.endswith(_FIXED) and not torch.equal(found, own):
        raise tensors.refusal(f"{name}, which is not that of windows of this size")
    return found


def some(names: Iterable[str]) -> str:
    """Return the first of some names, and how many more there are."""
    known = sorted(names)
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return ", ".join(known[:_SHOWN]) + more


def is_without_effect(name: str) -> bool:
    """Whether nothing that is computed depends on a tensor, so that files may have or lack it."""
    return _WITHOUT_EFFECT.search(name) is not None


def _check_names(wanted: set[str], tensors: Tensors) -> None:
    found = set(tensors.names)
    missing = {name for name in wanted - found if not is_without_effect(name)}
    surplus = found - wanted
    parts = [
        f"{what} {some(names)}"
        for what, names in (("without", missing), ("with", surplus))
        if names
    ]
    if parts:
        raise tensors.refusal(f"a file {', and '.join(parts)}")


def _plain(value: Any) -> Any:
    """Return a value as JSON holds it: lists in place of tuples, no kinds of texts."""
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return str(value) if isinstance(value, str) else value
