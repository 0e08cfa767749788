"""Descriptions of networks as data: what is written there is looked up, and never evaluated."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from brushfire.errors import ModelError

TARGET = "_target_"

_DEEPEST = 8
_SPECIAL = ("$", "@", "%")
_HARMLESS = ("_desc_", "_meta_")
_NEXT = "Write plain values in their place, or choose another bundle."


def parse_config(data: bytes, name: str) -> dict[str, Any]:
    """Return the values of a file.

    Parameters
    ----------
    data : bytes
        JSON or YAML.
    name : str
        Of the file, by whose end it is told which.

    Raises
    ------
    ModelError
        If it is neither, or no mapping of names.
    """
    try:
        found = json.loads(data) if name.endswith(".json") else _yaml(data)
    except (ValueError, RecursionError) as error:
        raise ModelError(
            "A configuration is a file of JSON or YAML.",
            got=f"{name}: {str(error)[:200]}",
            do="Choose another bundle, or correct it.",
        ) from error
    if not isinstance(found, dict):
        raise ModelError(
            "A configuration gives values by names.", got=name, do="Choose another bundle."
        )
    return found


def _yaml(data: bytes) -> object:
    try:
        import yaml
    except ImportError as error:
        raise ModelError(
            "Descriptions in YAML are read with the package pyyaml.",
            got="an installation without it",
            do='Run: pip install "napari-brushfire[bioimageio]".',
        ) from error

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """Without references, by which a short file could stand for an endless one."""

        def compose_node(self, parent: object, index: object) -> object:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("a reference to another place of it (*)")
            return super().compose_node(parent, index)

    try:
        return yaml.load(data, Loader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def plain(value: Any, config: Mapping[str, Any], where: str, deep: int = 0) -> Any:
    """Return a value with references to plain values elsewhere in the file looked up.

    Parameters
    ----------
    value : object
        As the file has it.
    config : mapping
        The whole file.
    where : str
        Name of what is looked for, for sentences.

    Raises
    ------
    ModelError
        If there are expressions, other files, or references that lead to no plain value.
    """
    if deep > _DEEPEST:
        raise _refusal(where, "references that do not end")
    if isinstance(value, str) and value.startswith(_SPECIAL):
        if value[0] != "@":
            raise _refusal(where, value)
        return plain(_find(value, config, where), config, where, deep + 1)
    if isinstance(value, list):
        return [plain(one, config, where, deep + 1) for one in value]
    if isinstance(value, dict):
        if TARGET in value:
            raise _refusal(where, f"an object of its own, {value[TARGET]}")
        return {str(name): plain(one, config, where, deep + 1) for name, one in value.items()}
    return value


def component(value: object, config: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Return the target of a component and its arguments as they are written, if it is one."""
    value = look_up(value, config)
    if not isinstance(value, Mapping) or not isinstance(value.get(TARGET), str):
        return None
    arguments = {str(k): one for k, one in value.items() if k != TARGET and k not in _HARMLESS}
    return str(value[TARGET]), arguments


def look_up(value: object, config: Mapping[str, Any]) -> object:
    """Return what a reference leads to, as it is written; None where it leads nowhere."""
    for _ in range(_DEEPEST):
        if not (isinstance(value, str) and value.startswith("@")):
            return value
        try:
            value = _find(value, config, "a component")
        except ModelError:
            return None
    return None


def number(value: object) -> float | None:
    """Return a finite number, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def each(value: object, channels: int) -> list[float]:
    """Return a number for each channel of one, or of one for each input; [] for anything else."""
    found = [number(one) for one in (value if isinstance(value, list) else [value])]
    numbers = [one for one in found if one is not None]
    if len(numbers) != len(found):
        return []
    if len(numbers) == 1:
        return numbers * channels
    step, rest = divmod(len(numbers), channels)
    return [] if rest else numbers[::step]


def mapping(value: object) -> Mapping[str, Any]:
    """Return a mapping, an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def whole(value: object) -> int | None:
    """Return a whole number above zero, None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def wholes(value: object) -> list[int] | None:
    """Return a list of such numbers, None for anything else."""
    return value if isinstance(value, list) and all(map(whole, value)) else None


def _find(reference: str, config: Mapping[str, Any], where: str) -> Any:
    found: Any = config
    for part in reference[1:].replace("::", "#").split("#"):
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            raise _refusal(where, f"{reference}, which is not there")
    return found


def _refusal(where: str, got: object) -> ModelError:
    return ModelError(
        "A configuration is read as data: its expressions are not evaluated, and references lead"
        " to plain values of the same file.",
        got=f"{where}: {str(got)[:100]}",
        do=_NEXT,
    )
