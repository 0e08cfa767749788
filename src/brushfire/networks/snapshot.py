"""An immutable copy of a network's weights; importable without torch, and picklable."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from brushfire.errors import ModelError, SettingsError
from brushfire.networks.settings import NetworkSettings

FORMAT = "brushfire-model"
VERSION = 4
_WITHOUT_RESTORATION = 3  # of models that versions before it read as well
_FEATURES_SINCE = 3  # before it, models with features told pixels by other parts
_KEY = "brushfire"
_LENGTH_BYTES = 8
_NEXT = "Choose a model file that Brushfire wrote, or an older revision."


@dataclass(frozen=True)
class ModelSnapshot:
    """A model as plain values.

    Parameters
    ----------
    revision : int
        Grows with each model that is shown.
    weights : bytes
        A safetensors file with everything that is needed to rebuild the model; the other fields
        are in its metadata as JSON.
    settings : NetworkSettings
        Shape of the network.
    channels : int
        Channels of the volume.
    classes : tuple of int
        Class values, in the order of the model's outputs; none where it restores.
    halo : int
        Pixels in y and x that a tile needs around its core.
    metrics : dict
        What was measured of it: values that JSON can hold.
    """

    revision: int
    weights: bytes = field(repr=False)
    settings: NetworkSettings
    channels: int
    classes: tuple[int, ...]
    halo: int
    metrics: dict[str, Any] = field(default_factory=dict)

    def renamed(self, classes: tuple[int, ...]) -> ModelSnapshot:
        """Return the same model with other class values for its outputs, in the same order."""
        header = read_header(self.weights)
        about = json.loads(header["__metadata__"][_KEY])
        header["__metadata__"][_KEY] = json.dumps({**about, "classes": classes})
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % _LENGTH_BYTES)  # tensors begin at a multiple of 8 bytes
        length = int.from_bytes(self.weights[:_LENGTH_BYTES], "little")
        tensors = self.weights[_LENGTH_BYTES + length :]
        weights = len(text).to_bytes(_LENGTH_BYTES, "little") + text + tensors
        return replace(self, weights=weights, classes=classes)

    @classmethod
    def from_bytes(cls, weights: bytes) -> ModelSnapshot:
        """Return the snapshot that a safetensors file describes; the weights are not looked at.

        Raises
        ------
        ModelError
            If the bytes are no safetensors file, are cut short, or hold a foreign model.
        """
        about = _read_about(weights)
        try:
            settings = dict(about["settings"])
            return cls(
                revision=int(about["revision"]),
                weights=weights,
                settings=NetworkSettings(**settings),
                channels=int(about["channels"]),
                classes=tuple(int(value) for value in about["classes"]),
                halo=int(about["halo"]),
                metrics=dict(about["metrics"]),
            )
        except (KeyError, TypeError, ValueError, SettingsError) as error:
            raise ModelError(
                "A model file describes its network, channels, classes and halo.",
                got=f"{type(error).__name__}: {error}",
                do=_NEXT,
            ) from error


def answers(model: ModelSnapshot) -> bool:
    """Whether a model tells classes apart; a start may have left nothing that does."""
    return bool(model.metrics.get("answers", True))


def describe(
    *,
    revision: int,
    settings: NetworkSettings,
    channels: int,
    classes: tuple[int, ...],
    halo: int,
    metrics: dict[str, Any],
) -> dict[str, str]:
    """Return the safetensors metadata that `ModelSnapshot.from_bytes` reads."""
    about = {
        "format": FORMAT,
        "version": VERSION if settings.restored else _WITHOUT_RESTORATION,
        "revision": revision,
        "settings": asdict(settings),
        "channels": channels,
        "classes": classes,
        "halo": halo,
        "metrics": metrics,
    }
    return {_KEY: json.dumps(about)}


def _read_about(weights: bytes) -> dict[str, Any]:
    header = read_header(weights)
    try:
        about = json.loads(header["__metadata__"][_KEY])
        known = about["format"] == FORMAT
        version = int(about["version"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelError(
            "A model file carries Brushfire's description of it.", got="none", do=_NEXT
        ) from error
    if not known:
        raise ModelError(f"A model file is of the format {FORMAT}.", got=about["format"], do=_NEXT)
    if version > VERSION:
        raise ModelError(
            f"This version reads models up to format version {VERSION}.",
            got=version,
            do="Update Brushfire.",
        )
    if version < _FEATURES_SINCE and about.get("settings", {}).get("features", True):
        raise ModelError(
            f"Models with features are read from format version {_FEATURES_SINCE} on.",
            got=version,
            do="Learn again: the strokes are kept, and the first answer takes seconds.",
        )
    return dict(about)


def read_header(weights: bytes) -> dict[str, Any]:
    """Return the JSON header of a safetensors file.

    Raises
    ------
    ModelError
        If the bytes are no safetensors file, or cut short within its header.
    """
    length = int.from_bytes(weights[:_LENGTH_BYTES], "little")
    if len(weights) < _LENGTH_BYTES or length > len(weights) - _LENGTH_BYTES:
        raise ModelError(
            "A model file is a whole safetensors file.", got=f"{len(weights)} bytes", do=_NEXT
        )
    try:
        header = json.loads(weights[_LENGTH_BYTES : _LENGTH_BYTES + length])
    except (ValueError, RecursionError) as error:
        raise ModelError(
            "A model file is a safetensors file.", got="no readable header", do=_NEXT
        ) from error
    if not isinstance(header, dict):
        raise ModelError(
            "A model file is a safetensors file.", got="a header of another kind", do=_NEXT
        )
    return header
