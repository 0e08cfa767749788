"""Packages of the BioImage Model Zoo (https://bioimage.io) to models.

A package describes itself in YAML, and is read as data: nothing is downloaded, and its networks
are known by name. Those with source code of their own, or with programs as weights, are refused.
"""

from __future__ import annotations

import hashlib
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from safetensors.torch import save as save_tensors

from brushfire.errors import BrushfireError, ModelError
from brushfire.networks.exchange.configs import each, mapping, number, parse_config, whole, wholes
from brushfire.networks.exchange.definitions import is_known, read_definition
from brushfire.networks.exchange.foreign import model_of
from brushfire.networks.exchange.imported import Imported, told
from brushfire.networks.exchange.package import MOST_WEIGHTS, Package
from brushfire.networks.exchange.saved import NOTE, read_saved
from brushfire.networks.exchange.state import Tensors, checked_classes
from brushfire.networks.model import SegmentationModel
from brushfire.networks.settings import NetworkSettings
from brushfire.networks.snapshot import ModelSnapshot, describe

if TYPE_CHECKING:
    from collections.abc import Mapping

DESCRIPTIONS = ("rdf.yaml", "bioimageio.yaml", "model.yaml")
OWN_MODULE = "brushfire.networks.exchange.zoo_network"
OWN_CLASS = "SegmentationNetwork"

_STATE = "pytorch_state_dict"
_VERSIONS = ("0.4.", "0.5.")
_LETTERS = {"b": "batch", "c": "channel"}
_ORDERS = (("batch", "channel", "y", "x"), ("batch", "channel", "z", "y", "x"))
_SAME = ("ensure_dtype",)  # steps that change no number
_NEXT = "Choose another package."
_VOLUME = "Intensities are normalised by those of the open volume."


def is_package(package: Package) -> bool:
    """Whether it has the description of a package."""
    return package.first(*DESCRIPTIONS) is not None


def read_package(package: Package) -> Imported:
    """Return the model of a package.

    Raises
    ------
    ModelError
        If it describes no model, its network is none that is known, it has no weights as tensors,
        or they are damaged, kept elsewhere or another network's.
    StorageError
        If a file cannot be read.
    """
    name = package.first(*DESCRIPTIONS)
    if name is None:
        raise _refusal(f"{DESCRIPTIONS[0]}, which describes it", f"{package.path} without one")
    content = parse_config(package.read(name), name)
    version = str(content.get("format_version"))
    if content.get("type", "model") != "model" or not version.startswith(_VERSIONS):
        raise _refusal(
            "a model, described in the format 0.4 or 0.5",
            f"{content.get('type')} in the format {version}"[:100],
        )
    tensors = {what: _only(content, what) for what in ("inputs", "outputs")}
    axes = _axes(tensors["inputs"])
    weights = _weights(content)
    target, arguments = _architecture(weights)
    data = _file(package, weights)
    state, _ = read_saved(data)
    about = _about(content, package)
    note = mapping(mapping(content.get("config")).get(NOTE))
    if target == f"{OWN_MODULE}.{OWN_CLASS}":
        model = _own(arguments, state)
        names = _class_names(tensors["outputs"], model, len(model.classes))
        whole_model = "The whole model of Brushfire is in it, with its normalisation."
        return Imported(model, names, about, (whole_model,), own_intensities=True)
    definition = read_definition(
        target, arguments, slices=whole(note.get("slices")), window=_fixed_side(tensors["inputs"])
    )
    if definition.settings.axes != len(axes) - 2:
        raise _refusal(
            "a network of the dimensions that its input has",
            f"a network in {definition.settings.axes} dimensions, axes {', '.join(axes)}",
        )
    mean, std, scaling = _scaling(tensors["inputs"], definition.channels)
    classes = wholes(note.get("classes"))
    model, notes = model_of(
        definition,
        state,
        classes=classes,
        mean=mean,
        std=std,
    )
    names = _class_names(tensors["outputs"], model, definition.outputs)
    report = (*notes, scaling, *_after(tensors["outputs"], definition.outputs))
    return Imported(model, names, about, report, own_intensities=bool(mean))


def _only(content: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    found = content.get(what)
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], dict):
        count = len(found) if isinstance(found, list) else 0
        raise _refusal("a model with one input and one output", f"{count} {what}")
    return found[0]


def _axes(tensor: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of a tensor's axes: letters in 0.4, descriptions of each in 0.5."""
    found = tensor.get("axes")
    if isinstance(found, str):
        names = tuple(_LETTERS.get(letter, letter) for letter in found)
    else:
        described = [mapping(axis) for axis in found] if isinstance(found, list) else []
        names = tuple(
            str(axis.get("id") if axis.get("type") == "space" else axis.get("type"))
            for axis in described
        )
    if names not in _ORDERS:
        raise _refusal(
            "a network whose axes are batch, channel, (z,) y and x, in this order",
            f"axes {', '.join(names)}"[:100],
        )
    return names


def _weights(content: Mapping[str, Any]) -> Mapping[str, Any]:
    found = mapping(content.get("weights"))
    if _STATE not in found:
        raise ModelError(
            f"Brushfire takes weights as tensors ({_STATE}), so that it can go on learning and"
            " reading them runs no code.",
            got=f"a package with {', '.join(map(str, found)) or 'no weights'}, which are programs"
            " that only compute",
            do=f"Ask whoever made it for a package with {_STATE}.",
        )
    return mapping(found[_STATE])


def _architecture(weights: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name of a network with its module, and its arguments."""
    found = weights.get("architecture")
    if isinstance(found, str):  # 0.4: module.Class, or file.py:Class
        kwargs = weights.get("kwargs")
        target, is_code = found, ":" in found
    else:
        one = mapping(found)
        kwargs = one.get("kwargs")
        target, is_code = f"{one.get('import_from')}.{one.get('callable')}", "source" in one
    if is_code:
        raise ModelError(
            "Brushfire runs no code of a package: a network is one of a library that it knows.",
            got=f"an architecture in a source file, {str(found)[:100]}",
            do=_NEXT,
        )
    if "." not in target or not (is_known(target) or target == f"{OWN_MODULE}.{OWN_CLASS}"):
        raise ModelError(
            "A package names one of MONAI's networks that Brushfire knows, or a model of"
            " Brushfire.",
            got=repr(target[:100]),
            do=_NEXT,
        )
    return target, dict(mapping(kwargs))


def _file(package: Package, weights: Mapping[str, Any]) -> bytes:
    """Return the bytes of weights, which are those that the description speaks of."""
    source = str(weights.get("source"))
    if "://" in source:
        raise ModelError(
            "A package has its weights inside: Brushfire downloads nothing.",
            got=f"weights at {source[:200]}",
            do="Download the whole package at https://bioimage.io, as a zip, and choose that.",
        )
    data = package.read(source.removeprefix("./"), MOST_WEIGHTS)
    said = weights.get("sha256")
    if said is not None and hashlib.sha256(data).hexdigest() != said:
        raise _refusal("the weights that it describes", f"another {source}: its SHA-256 differs")
    return data


def _own(arguments: Mapping[str, Any], state: Mapping[str, Any]) -> SegmentationModel:
    """Return a model of Brushfire, checked as one from a model file."""
    tensors = Tensors(state, "A model of Brushfire")
    known = {one.name for one in fields(NetworkSettings)}
    given = {k: v for k, v in mapping(arguments.get("settings")).items() if k in known}
    try:
        settings = NetworkSettings(**given)
        channels, classes = whole(arguments.get("channels")), wholes(arguments.get("classes"))
        if channels is None or classes is None:
            raise _refusal("a model with channels and classes", f"{channels} and {classes}"[:100])
        values = checked_classes(classes, len(classes))
        model = SegmentationModel(settings, channels, values)
        own = model.state_dict()
        kept = {name: tensors.take_like(name, value).contiguous() for name, value in own.items()}
        tensors.end()
        about = describe(
            revision=1, settings=settings, channels=channels, classes=values,
            halo=model.safe_halo, metrics={},
        )  # fmt: skip
        weights = save_tensors(kept, metadata=about)
        snapshot = ModelSnapshot(1, weights, settings, channels, values, model.safe_halo)
        return SegmentationModel.from_snapshot(snapshot)
    except (TypeError, BrushfireError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            "A model of Brushfire has settings that this version knows.",
            got=str(error)[:200],
            do="Update Brushfire, or choose another package.",
        ) from error


def _steps(tensor: Mapping[str, Any], key: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the steps before or after a network that change numbers, and what they take."""
    found = tensor.get(key)
    steps = [mapping(step) for step in found] if isinstance(found, list) else []
    named = [(str(step.get("id", step.get("name"))), mapping(step.get("kwargs"))) for step in steps]
    return [step for step in named if step[0] not in _SAME]


def _scaling(tensor: Mapping[str, Any], channels: int) -> tuple[list[float], list[float], str]:
    """Return what intensities are normalised by, and a sentence on it."""
    steps = _steps(tensor, "preprocessing")
    if not steps:
        return [0.0] * channels, [1.0] * channels, "Intensities are taken as they are."
    names = ", ".join(name for name, _ in steps)
    if len(steps) == 1:
        name, kwargs = steps[0]
        mean, std = kwargs.get("mean"), kwargs.get("std")
        if name == "scale_linear":
            gain, offset = number(kwargs.get("gain", 1.0)), number(kwargs.get("offset", 0.0))
            if gain and gain > 0 and offset is not None:
                mean, std = -offset / gain, 1 / gain
        means, stds = each(mean, channels), each(std, channels)
        if means and stds and all(one > 0 for one in stds):
            return means, stds, f"Intensities are normalised as in the package ({names})."
        if name == "zero_mean_unit_variance":
            return [], [], f"{_VOLUME} The package does so image by image."
    return [], [], f"{_VOLUME} The package does it otherwise ({names})."


def _after(tensor: Mapping[str, Any], outputs: int) -> list[str]:
    notes = []
    for name, _ in _steps(tensor, "postprocessing"):
        if name == "sigmoid" and outputs > 1:
            notes.append(
                "Its outputs are made for classes that may overlap; here the likeliest one is"
                " taken everywhere, so add one for the rest by painting it."
            )
        elif name not in ("softmax", "sigmoid"):
            notes.append(f"Its step {name[:50]} after the network is left out.")
    return notes


def _class_names(
    tensor: Mapping[str, Any], model: SegmentationModel, outputs: int
) -> dict[int, str]:
    axes = tensor.get("axes")
    channel = next(
        (
            mapping(axis)
            for axis in (axes if isinstance(axes, list) else [])
            if mapping(axis).get("type") == "channel"
        ),
        {},
    )
    found = channel.get("channel_names")
    names = [str(one)[:100].strip() for one in found] if isinstance(found, list) else []
    if outputs == 1:
        names = ["background", *names]
    names += [""] * len(model.classes)
    return {
        value: name or f"Class {value}" for value, name in zip(model.classes, names, strict=False)
    }


def _fixed_side(tensor: Mapping[str, Any]) -> int | None:
    """Return the side of the only images that a network takes, None where it takes others."""
    axes = tensor.get("axes")
    if isinstance(axes, list):
        return whole(mapping(axes[-1]).get("size"))
    shape = tensor.get("shape")
    return whole(shape[-1]) if isinstance(shape, list) and shape else None


def _about(content: Mapping[str, Any], package: Package) -> dict[str, str]:
    authors = [mapping(one).get("name") for one in _list(content.get("authors"))]
    cited = []
    for one in map(mapping, _list(content.get("cite"))):
        where = one.get("doi") or one.get("url")
        cited.append(f"{one.get('text', '')} {where or ''}".strip())
    return told(
        name=content.get("name") or package.path.stem,
        description=content.get("description"),
        licence=content.get("license"),
        authors=", ".join(str(one) for one in authors if one),
        cite="\n".join(cited),
        source=f"BioImage Model Zoo {content.get('id') or package.path.name}",
    )


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _refusal(what: str, got: str) -> ModelError:
    return ModelError(f"A package of the BioImage Model Zoo holds {what}.", got=got, do=_NEXT)
