"""Networks as MONAI defines them, a name and plain arguments, to settings.

Nothing is looked up by a name of a file but in the tables here: no import, no evaluation.
"""

from __future__ import annotations

import inspect
import json
import math
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from brushfire.errors import BrushfireError, ModelError
from brushfire.networks.architectures import (
    NORMS,
    UNETR,
    WINDOW,
    architecture_of,
    check_installed,
)
from brushfire.networks.settings import MAX_SLICES, MAX_WINDOW, NetworkSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brushfire.networks.architectures import Architecture, Norm, Span

LIBRARY = "monai.networks.nets"

NAMES: Mapping[str, str] = {
    "basic_unet": "BasicUNet",
    "dynunet": "DynUNet",
    "segresnet": "SegResNet",
    "attention_unet": "AttentionUnet",
    UNETR: "UNETR",
    "swin_unetr": "SwinUNETR",
}
"""MONAI's name of each architecture."""

_ALIASES = {
    "BasicUnet": "BasicUNet", "DynUnet": "DynUNet", "AttentionUNet": "AttentionUnet",
}  # fmt: skip
_WIDTH_OF = {
    "basic_unet": "features", "dynunet": "filters", "segresnet": "init_filters",
    "attention_unet": "channels", UNETR: "feature_size", "swin_unetr": "feature_size",
}  # fmt: skip
_DEPTH_OF = {"dynunet": "strides", "segresnet": "blocks_down", "attention_unet": "channels"}

# What changes nothing of what a trained network computes.
_WITHOUT_EFFECT = frozenset(
    {"deep_supervision", "deep_supr_num", "save_attn", "use_checkpoint", "use_flash_attention"}
)
_COUNTS = frozenset({"blocks_down", "blocks_up", "depths"})
_MOST_BLOCKS = 64
_MOST = 1 << 14  # of any number
_LONGEST = 64  # lists and texts
_DEEPEST = 4
_SLICES = 15  # of a slab, where nothing says how many
_SWIN_SLICES = 31  # one resolution of it are 32
_WINDOW_STEP = 32
_CHOOSE = f"Choose a network of one of these kinds: {', '.join(NAMES.values())}."


@dataclass(frozen=True)
class Definition:
    """A network that can be built.

    Parameters
    ----------
    settings : NetworkSettings
        With all of MONAI's arguments, so that nothing depends on its defaults.
    channels : int
        Channels of the volumes that it takes.
    outputs : int
        As MONAI counts them.
    notes : tuple of str
        Sentences on what was not taken as it is.
    """

    settings: NetworkSettings
    channels: int
    outputs: int
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What MONAI calls it."""
        return NAMES[self.settings.architecture]


def is_known(target: str) -> bool:
    """Whether a name, with or without MONAI's modules before it, is that of a known network."""
    path, _, name = target.rpartition(".")
    in_library = path in ("", LIBRARY) or path.startswith(f"{LIBRARY}.")
    return in_library and _ALIASES.get(name, name) in NAMES.values()


def read_definition(
    target: str,
    arguments: Mapping[str, Any],
    *,
    slices: int | None = None,
    window: int | None = None,
) -> Definition:
    """Return the network of a definition.

    Parameters
    ----------
    target : str
        MONAI's name: ``SwinUNETR``, or ``monai.networks.nets.SwinUNETR``.
    arguments : mapping of str to object
        What its class is called with: plain values by name.
    slices : int, optional
        Neighbouring slices that it sees. In two dimensions 1 by default, else each channel has as
        many inputs; in three a slab of 15, or of what a transformer computes on at once.
    window : int, optional
        Side in pixels of the windows in which a network computes that needs such.

    Raises
    ------
    ModelError
        If the network or an argument is unknown, or no network can be as they say.
    """
    if not is_known(target):
        raise ModelError(
            "A network definition names one of MONAI's networks that Brushfire knows.",
            got=repr(target[:100]),
            do=_CHOOSE,
        )
    name = target.rpartition(".")[2]
    name = _ALIASES.get(name, name)
    kind = architecture_of(next(own for own, monai in NAMES.items() if monai == name))
    given, notes = _modern(kind, dict(arguments))
    for one, value in given.items():
        _check_plain(one, value)
    try:
        check_installed(kind)
        merged = {**_defaults(kind), **given}
        axes, inputs, outputs = (
            _count(merged.pop(one, None), one)
            for one in ("spatial_dims", "in_channels", "out_channels")
        )
        merged = _only_known(kind, merged)
        settings = NetworkSettings(
            depth=_nearest(kind.depth, _length(merged.get(_DEPTH_OF.get(kind.name, "")))),
            width=_width(kind, merged),
            slices=slices or _usual_slices(kind, axes, merged),
            features=False,
            architecture=kind.name,
            axes=axes,
            norm=_norm(kind, merged),
            window=_window(window),
            arguments=json.dumps(merged),
        )
    except BrushfireError as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(error.rule, got=error.got, do=error.do) from error
    per_channel = settings.slices if axes == 2 else 1
    if inputs % per_channel:
        raise ModelError(
            "A network sees the same number of slices of each channel.",
            got=f"{inputs} input(s) for {per_channel} slices",
            do="Give the number of slices that it was trained with.",
        )
    if axes == 3:
        notes.append(
            f"It convolves across slices: a slab of {settings.slices} slices is read around each,"
            " and its axes are taken to be z, y and x in this order."
        )
    return Definition(settings, inputs // per_channel, outputs, tuple(notes))


def class_of(architecture: str) -> Any:
    """Return MONAI's class of an architecture."""
    return getattr(import_module(LIBRARY), NAMES[architecture])


def is_monai(settings: NetworkSettings) -> bool:
    """Whether a network is one of MONAI's."""
    return settings.architecture in NAMES


def _modern(kind: Architecture, given: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return arguments by their names of today, and what is to be said of those left out."""
    notes = []
    if "dimensions" in given:
        given.setdefault("spatial_dims", given.pop("dimensions"))
    if kind.name == "swin_unetr":
        given.pop("img_size", None)  # which does not matter, since it adapts to any
    if kind.name == UNETR and "pos_embed" in given:
        given.setdefault("proj_type", given.pop("pos_embed"))
    if kind.name == "segresnet" and given.get("norm_name"):
        given["norm"] = [given.pop("norm_name"), {"num_groups": given.pop("num_groups", 8)}]
    if given.get("deep_supervision"):
        notes.append("Its outputs at lower resolutions, which only help training, are left out.")
    return {one: v for one, v in given.items() if one not in _WITHOUT_EFFECT}, notes


def _defaults(kind: Architecture) -> dict[str, Any]:
    known = kind.arguments | {"spatial_dims", "in_channels", "out_channels"}
    parameters = inspect.signature(class_of(kind.name)).parameters
    return {
        name: one.default
        for name, one in parameters.items()
        if name in known and one.default is not inspect.Parameter.empty
    }


def _only_known(kind: Architecture, merged: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that settings hold; others may be there if they are as by default."""
    parameters = inspect.signature(class_of(kind.name)).parameters
    wrong = [
        name
        for name, value in merged.items()
        if name not in kind.arguments
        and not (name in parameters and parameters[name].default == value)
    ]
    if wrong:
        raise ModelError(
            f"{NAMES[kind.name]} has these arguments here: {', '.join(sorted(kind.arguments))}.",
            got=", ".join(f"{name}={merged[name]!r}"[:80] for name in wrong[:5]),
            do="Choose a network without those.",
        )
    missing = [
        name
        for name, one in parameters.items()
        if one.default is inspect.Parameter.empty and name in kind.arguments and name not in merged
    ]
    if missing:
        raise ModelError(
            f"A definition of {NAMES[kind.name]} gives all that has no default.",
            got=f"none for {', '.join(missing)}",
            do="Add them to the definition.",
        )
    return {name: value for name, value in merged.items() if name in kind.arguments}


def _check_plain(name: str, value: object, deep: int = 0) -> None:
    """Refuse what is no plain value, or could keep a program busy for long."""
    if isinstance(value, (list, tuple)) and len(value) <= _LONGEST and deep < _DEEPEST:
        for one in value:
            _check_plain(name, one, deep + 1)
        return
    if isinstance(value, dict) and len(value) <= _LONGEST and deep < _DEEPEST:
        for key, one in value.items():
            _check_plain(name, key, deep + 1)
            _check_plain(name, one, deep + 1)
        return
    most = _MOST_BLOCKS if name in _COUNTS else _MOST
    good = (
        value is None
        or (isinstance(value, str) and len(value) <= _LONGEST)
        or (isinstance(value, (int, float)) and math.isfinite(value) and abs(value) <= most)
    )
    if not good:
        raise ModelError(
            f"Arguments of a network are short texts, numbers up to {most}, or lists of such.",
            got=f"{name}={str(value)[:80]}",
            do="Choose another network.",
        )


def _count(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError(
            "A network definition says how many inputs, outputs and dimensions there are.",
            got=f"{name}={value!r}",
            do="Add it to the definition.",
        )
    return value


def _norm(kind: Architecture, merged: Mapping[str, Any]) -> Norm:
    """Return how layers are normalised; where there is no choice, they are left as they are."""
    found = merged.get("norm", merged.get("norm_name", "instance"))
    name = found[0] if isinstance(found, (list, tuple)) and found else found
    for one in NORMS:
        if str(name).lower() == one:
            return one
    raise ModelError(
        f"Layers of {NAMES[kind.name]} are normalised by one of: {', '.join(NORMS)}.",
        got=repr(found)[:80],
        do="Choose another network.",
    )


def _width(kind: Architecture, merged: Mapping[str, Any]) -> int:
    found = merged.get(_WIDTH_OF[kind.name])
    first = found[0] if isinstance(found, (list, tuple)) and found else found
    return _nearest(kind.width, first)


def _nearest(span: Span, wanted: object) -> int:
    """Return what may be chosen next to a value: arguments say the rest."""
    if not isinstance(wanted, int):
        return span.usual
    value = min(max(wanted, span.lowest), span.highest)
    return value - (value - span.lowest) % span.step


def _length(value: object) -> int | None:
    return len(value) if isinstance(value, (list, tuple)) else None


def _usual_slices(kind: Architecture, axes: int, merged: Mapping[str, Any]) -> int:
    if axes == 2:
        return 1
    if kind.name == "swin_unetr":
        return _SWIN_SLICES
    if kind.name != UNETR:
        return _SLICES
    size = merged.get("img_size")
    first = size[0] if isinstance(size, (list, tuple)) and size else size
    deep = first if isinstance(first, int) else _SLICES
    return min(max(3, (deep - 1) | 1), MAX_SLICES[3])


def _window(wanted: int | None) -> int:
    if wanted is None or wanted < _WINDOW_STEP:
        return WINDOW
    return min(wanted - wanted % _WINDOW_STEP, MAX_WINDOW)
