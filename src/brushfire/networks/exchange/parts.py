"""Weights of a part of a network, such as an encoder that learned without labels, into a model.

Names of files differ by what was around the network when it was saved, so that they are matched
under the beginning that fits most; what then agrees in name and shape is taken over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from brushfire.errors import ModelError
from brushfire.networks.exchange.definitions import NAMES, Definition, read_definition
from brushfire.networks.exchange.foreign import (
    is_without_effect,
    model_of,
    monai_part,
    new_model,
    some,
    take,
)
from brushfire.networks.exchange.state import Tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brushfire.networks.model import SegmentationModel

# What may stand before the names of a network in a file, and what of it in ours.
_BEFORE = (
    "", "net.", "network.", "model.", "backbone.", "encoder.", "layers.net.", "swinViT.",
    "swin_vit.", "swinViT.module.", "vit.",
)  # fmt: skip
_WITHIN = ("", "swinViT.", "vit.")
_LAYERS_OF_OLD = (("mlp.fc1.", "mlp.linear1."), ("mlp.fc2.", "mlp.linear2."))
_TABLE = "layers{}.0.blocks.0.attn.relative_position_{}"
_SWIN = "patch_embed.proj.weight"
_CLASSES = 2  # of a model that has no head yet


@dataclass(frozen=True)
class Match:
    """Which weights of a file a model has now; names as the model's network has them.

    Parameters
    ----------
    taken : tuple of str
        Those that agree in name and shape.
    unfit : tuple of str
        Those that agree in name alone, each with both shapes; they were left.
    unused : tuple of str
        Those of the file that the network does not have, as they are called there.
    untouched : tuple of str
        Those of the network that are as they were.
    """

    taken: tuple[str, ...]
    unfit: tuple[str, ...]
    unused: tuple[str, ...]
    untouched: tuple[str, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """What to say about it."""
        whole = len(self.taken) + len(self.untouched)
        said = [f"{len(self.taken)} of {whole} tensors of the network come from the file."]
        if self.unfit:
            said.append(f"Left out, since of another shape: {some(self.unfit)}.")
        if self.unused:
            said.append(f"Of no use here: {some(self.unused)}.")
        if self.untouched:
            said.append(f"Still to be learned: {some(self.untouched)}.")
        return tuple(said)


def take_matching(model: SegmentationModel, state: Mapping[str, Tensor]) -> Match:
    """Give a model what fits it of a file's weights.

    Parameters
    ----------
    model : SegmentationModel
        With one of MONAI's networks; changed in place.
    state : mapping of str to Tensor
        Of the network or a part of it, such as ``model_swinvit.pt`` of MONAI holds.

    Returns
    -------
    Match
        What was taken and what not. A first layer for other channels is not taken.

    Raises
    ------
    ModelError
        If nothing fits, or what fits holds what are no finite numbers; the model is then as it
        was.
    """
    network = monai_part(model)
    axes = model.settings.axes
    own = {
        **network.net.state_dict(),
        f"{network.head}.weight": model.head_weight.detach()[(..., *(None,) * axes)],
        f"{network.head}.bias": model.head_bias.detach(),
    }
    tensors = Tensors(state, NAMES[model.settings.architecture])
    called = _names(tensors.names, own)
    tensors.rename(lambda name: called.get(name, name))
    tensors.drop([name for name in tensors.names if is_without_effect(name) and name not in own])
    found: dict[str, Tensor] = {}
    unfit = []
    for name in [one for one in tensors.names if one in own]:
        theirs, ours = tensors.size(name), tuple(own[name].shape)
        if theirs != ours:
            unfit.append(f"{name} ({_shape(theirs)} in place of {_shape(ours)})")
            tensors.drop([name])
        else:
            found[name] = take(tensors, name, own[name])
    weights = {name for name, _ in network.net.named_parameters()}
    if not weights & set(found):
        raise ModelError(
            f"Weights for {NAMES[model.settings.architecture]} have names and shapes of its own.",
            got="a file of which nothing fits"
            + (f", such as {some(unfit)}" if unfit else f", with {some(state)}"),
            do="Choose a file of that network, or settings as it was made with.",
        )
    with torch.no_grad():
        for name, value in found.items():
            own[name].copy_(value.view_as(own[name]))
    return Match(
        tuple(sorted(found)),
        tuple(unfit),
        tensors.names,
        tuple(sorted(name for name in own if name not in found)),
    )


def read_weights(
    state: Mapping[str, Tensor], network: tuple[str, Mapping[str, Any]] | None
) -> tuple[SegmentationModel, tuple[str, ...]]:
    """Return the model of a file that holds weights and says nothing of their network.

    Parameters
    ----------
    state : mapping of str to Tensor
        Of a whole network, or a part of it.
    network : (str, mapping) or None
        MONAI's name of it, and what its class is called with. Only Swin transformers are
        recognised without.

    Returns
    -------
    SegmentationModel
        Whose weights are random where the file has none.
    tuple of str
        Sentences on what was taken.

    Raises
    ------
    ModelError
        If the network is not known, or nothing fits.
    """
    definition = read_definition(*network) if network is not None else _swin_of(state)
    try:
        return model_of(definition, state)
    except ModelError as error:
        if definition.outputs == 1:
            raise
        model = new_model(definition, range(1, definition.outputs + 1))
        match = take_matching(model, state)
        if not match.unused and not match.unfit and not _encoder_only(match):
            raise error
    return model, (*definition.notes, *match.sentences)


def _encoder_only(match: Match) -> bool:
    """Whether whole modules are missing, rather than single tensors of a damaged file."""
    known = {name.partition(".")[0] for name in match.taken}
    return any(name.partition(".")[0] not in known for name in match.untouched)


def _names(names: tuple[str, ...], own: Mapping[str, Tensor]) -> dict[str, str]:
    """Return what those names of a file that are known here are called here."""

    def under(before: str, within: str) -> dict[str, str]:
        found = {}
        for name in names:
            if name.startswith(before):
                called = within + name.removeprefix(before).removeprefix("module.")
                for old, today in _LAYERS_OF_OLD:
                    called = called.replace(old, today)
                if called in own:
                    found[name] = called
        return found

    each = (under(before, within) for before in _BEFORE for within in _WITHIN)
    return max(each, key=len)


def _swin_of(state: Mapping[str, Tensor]) -> Definition:
    """Return the Swin UNETR that has the encoder of a file, by the shapes of its tensors."""
    tensors = Tensors(state, "A Swin transformer of MONAI")
    end = next((name for name in tensors.names if name.endswith(_SWIN)), None)
    if end is None:
        raise ModelError(
            "A file of weights alone does not say whose they are.",
            got=f"one with {some(tensors.names)}",
            do="Choose the bundle that it belongs to, or name its network and arguments. Files of"
            " msd_pytorch and dlsia go through 'brushfire convert'.",
        )
    before = end.removesuffix(_SWIN)
    sizes = tensors.size(end)
    if len(sizes) not in (4, 5) or "{" in before or "}" in before:
        raise tensors.refusal(f"{end[:100]} of shape {sizes}")
    width, channels, patch = sizes[:3]
    axes = len(sizes) - 2
    depths, heads = [], []
    for layer in range(1, 5):
        depths.append(tensors.count(f"{before}layers{layer}.0.blocks.{{}}.norm1.weight"))
        table = f"{before}{_TABLE.format(layer, 'bias_table')}"
        heads.append(tensors.shape(table, 2)[1])
    seen = tensors.shape(f"{before}{_TABLE.format(1, 'index')}", 2)[0]
    block = f"{before}layers1.0.blocks.0."
    first = "mlp.fc1.weight" if f"{block}mlp.fc1.weight" in tensors else "mlp.linear1.weight"
    hidden = tensors.shape(block + first, 2)[0]
    outputs = f"{before.removesuffix('swinViT.')}out.conv.conv.bias"
    return read_definition(
        "SwinUNETR",
        {
            "spatial_dims": axes,
            "in_channels": channels,
            "out_channels": tensors.size(outputs)[0] if outputs in tensors else _CLASSES,
            "patch_size": patch,
            "depths": depths,
            "num_heads": heads,
            "window_size": round(seen ** (1 / axes)),
            "qkv_bias": f"{block}attn.qkv.bias" in tensors,
            "mlp_ratio": hidden / max(width, 1),
            "feature_size": width,
            "use_v2": any(name.startswith(f"{before}layers1c.") for name in tensors.names),
        },
    )


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one number"
