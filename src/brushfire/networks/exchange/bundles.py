"""Bundles of MONAI (https://docs.monai.io/en/stable/mb_specification.html) to models.

Of a bundle the network's definition, its weights, what lies on its outputs and how intensities are
scaled are read, all as data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brushfire.errors import ModelError
from brushfire.networks.exchange.configs import (
    component,
    each,
    look_up,
    mapping,
    number,
    parse_config,
    plain,
    whole,
    wholes,
)
from brushfire.networks.exchange.definitions import read_definition
from brushfire.networks.exchange.foreign import model_of
from brushfire.networks.exchange.imported import Imported, told
from brushfire.networks.exchange.package import MOST_WEIGHTS, Package
from brushfire.networks.exchange.saved import NOTE, read_saved

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from brushfire.networks.exchange.definitions import Definition
    from brushfire.networks.model import SegmentationModel

CONFIGS = ("configs/inference.json", "configs/inference.yaml", "configs/inference.yml")
METADATA = "configs/metadata.json"
WEIGHTS = ("models/model.pt", "models/model.safetensors")

_PROGRAM = "models/model.ts"
_NETWORKS = ("network_def", "network")


def is_bundle(package: Package) -> bool:
    """Whether a package has the files of a bundle."""
    return package.first(*CONFIGS) is not None


def read_bundle(package: Package) -> Imported:
    """Return the model of a bundle.

    Raises
    ------
    ModelError
        If its network is none that is known, its definition cannot be read as data, or its weights
        are damaged or another network's.
    StorageError
        If a file cannot be read.
    """
    name = package.first(*CONFIGS)
    if name is None:
        raise ModelError(
            f"A bundle of MONAI holds {' or '.join(CONFIGS)}.",
            got=f"{package.path} without one",
            do="Choose another folder or zip.",
        )
    config = parse_config(package.read(name), name)
    metadata: dict[str, Any] = {}
    if METADATA in package:
        metadata = parse_config(package.read(METADATA), METADATA)
    note = mapping(metadata.get(NOTE))
    target, arguments = _network(config, name)
    definition = read_definition(
        target,
        {one: plain(value, config, one) for one, value in arguments.items()},
        slices=whole(note.get("slices")),
        window=_roi(config),
    )
    mean, std, scaling = _scaling(config, definition.channels)
    state, _ = read_saved(package.read(_weights(package), MOST_WEIGHTS))
    classes = wholes(note.get("classes"))
    model, report = model_of(
        definition,
        state,
        classes=classes,
        mean=mean,
        std=std,
    )
    said = _described(metadata, "inputs").get("num_channels")
    if number(said) is not None and said != definition.channels * _per_channel(model):
        report = (*report, f"metadata.json speaks of {said} channels, its network of others.")
    return Imported(
        model,
        _class_names(metadata, model, definition.outputs),
        _about(metadata, package),
        (
            *report,
            *_made_for(config, definition),
            scaling,
            *_activation(config, definition.outputs),
        ),
        own_intensities=bool(mean),
    )


def _network(config: Mapping[str, Any], name: str) -> tuple[str, dict[str, Any]]:
    for key in _NETWORKS:
        found = component(config.get(key), config)
        if found is not None:
            return found
    raise ModelError(
        f"The configuration of a bundle defines its network as {' or '.join(_NETWORKS)}, with a"
        " _target_ and plain arguments.",
        got=f"{name} without such a definition",
        do="Choose another bundle.",
    )


def _weights(package: Package) -> str:
    found = package.first(*WEIGHTS)
    if found is None:
        program = _PROGRAM in package
        raise ModelError(
            f"A bundle of MONAI holds its weights as {' or '.join(WEIGHTS)}.",
            got=f"{package.path} with {_PROGRAM} alone, which is a program" if program
            else f"{package.path} without them",
            do="Ask whoever made it for the weights; some have to be downloaded beside the bundle.",
        )  # fmt: skip
    return found


def _components(config: Mapping[str, Any], key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the transforms of a part of a configuration."""
    found = component(config.get(key), config)
    steps = [] if found is None else look_up(found[1].get("transforms"), config)
    for step in steps if isinstance(steps, list) else []:
        one = component(step, config)
        if one is not None:
            yield one[0].rpartition(".")[2].removesuffix("d").removesuffix("Dict"), one[1]


def _plain_or_none(value: object, config: Mapping[str, Any]) -> Any:
    """Return a value as `plain` does, None where that is refused."""
    try:
        return plain(value, config, "a value")
    except ModelError:
        return None


def _made_for(config: Mapping[str, Any], definition: Definition) -> list[str]:
    """Return what a user has to see to, since a network knows neither axes nor voxel sizes."""
    notes = []
    if definition.settings.axes == 3:
        notes.append(
            "MONAI's readers of medical images give axes x, y and z: a network that learned so is"
            " right where a volume is opened with its axes in that order."
        )
    for name, arguments in _components(config, "preprocessing"):
        size = _plain_or_none(arguments.get("pixdim"), config)
        if name == "Spacing" and isinstance(size, list) and all(map(number, size)):
            notes.append(f"It was made for voxels of {' x '.join(f'{one:g}' for one in size)} mm.")
    return notes


def _scaling(config: Mapping[str, Any], channels: int) -> tuple[list[float], list[float], str]:
    """Return what intensities are normalised by, and a sentence on it."""
    others = "Intensities are normalised by those of the open volume."
    steps = [
        (name, _plain_or_none(arguments, config))
        for name, arguments in _components(config, "preprocessing")
        if "Intensity" in name
    ]
    if len(steps) != 1 or not isinstance(steps[0][1], dict):
        named = ", ".join(name for name, _ in steps)
        more = f" The bundle does it otherwise ({named})." if steps else ""
        return [], [], others + more
    name, arguments = steps[0]
    if name == "NormalizeIntensity":
        mean = each(arguments.get("subtrahend"), channels)
        std = each(arguments.get("divisor"), channels)
        if mean and std and all(one > 0 for one in std):
            return mean, std, "Intensities are normalised as in the bundle."
        return [], [], f"{others} The bundle does so image by image."
    if name == "ScaleIntensityRange":
        a_min, a_max, b_min, b_max = (
            number(arguments.get(one)) for one in ("a_min", "a_max", "b_min", "b_max")
        )
        if None not in (a_min, a_max) and a_max > a_min:  # type: ignore[operator]
            low, high = (0.0, 1.0) if b_min is None or b_max is None else (b_min, b_max)
            if high > low:
                std = [(a_max - a_min) / (high - low)]  # type: ignore[operator]
                mean = [a_min - low * std[0]]  # type: ignore[operator]
                cut = " It cuts off what lies beyond; here that is not done."
                return (
                    mean * channels,
                    std * channels,
                    f"Intensities are scaled as in the bundle, from {a_min:g} to {a_max:g}."
                    + (cut if arguments.get("clip") else ""),
                )
    return [], [], f"{others} The bundle does it otherwise ({name})."


def _activation(config: Mapping[str, Any], outputs: int) -> list[str]:
    for name, arguments in _components(config, "postprocessing"):
        if name == "Activations" and arguments.get("sigmoid") is True and outputs > 1:
            return [
                "Its outputs are made for classes that may overlap; here the likeliest one is"
                " taken everywhere, so add one for the rest by painting it."
            ]
    return []


def _roi(config: Mapping[str, Any]) -> int | None:
    found = component(config.get("inferer"), config)
    size = None if found is None else _plain_or_none(found[1].get("roi_size"), config)
    sides = size if isinstance(size, list) else [size]
    return whole(min(sides[-2:], default=None)) if all(map(whole, sides)) else None


def _class_names(
    metadata: Mapping[str, Any], model: SegmentationModel, outputs: int
) -> dict[int, str]:
    """Return the names that metadata give to outputs, and others for those without."""
    defined = mapping(_described(metadata, "outputs").get("channel_def"))
    said = {str(index): str(name)[:100].strip() for index, name in defined.items()}
    if outputs == 1 and "1" not in said:
        said = {"0": "background", "1": said.get("0", "")}
    return {
        value: said.get(str(index)) or f"Class {value}" for index, value in enumerate(model.classes)
    }


def _described(metadata: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    """Return what metadata say of the first input or output."""
    tensors = mapping(mapping(metadata.get("network_data_format")).get(what))
    return mapping(next(iter(tensors.values()), None))


def _about(metadata: Mapping[str, Any], package: Package) -> dict[str, str]:
    references = metadata.get("references")
    return told(
        name=metadata.get("name") or package.path.stem,
        description=metadata.get("description"),
        licence=metadata.get("license") or metadata.get("licence"),
        authors=metadata.get("authors"),
        cite="\n".join(map(str, references)) if isinstance(references, list) else references,
        source=f"MONAI bundle {package.path.name}",
    )


def _per_channel(model: SegmentationModel) -> int:
    return model.settings.slices if model.settings.axes == 2 else 1
