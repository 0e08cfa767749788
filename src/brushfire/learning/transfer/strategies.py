"""Which weights a start takes over; importable without torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from brushfire.errors import SettingsError
from brushfire.networks.architectures import MSD, architecture_of, read_arguments

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brushfire.networks.settings import NetworkSettings

Weights = Literal["all", "lower", "statistics", "slim", "gabor", "none"]
WEIGHTS: tuple[Weights, ...] = get_args(Weights)
Channels = Literal["mean", "copy", "adapter"]
CHANNELS: tuple[Channels, ...] = get_args(Channels)

STRATEGIES: Mapping[Weights, tuple[str, str]] = {
    "all": ("All weights", "Everything that fits is taken over, also what tells classes apart."),
    "lower": (
        "Lower stages",
        "Stages next to the image are taken over, the rest begins at random"
        " (weight transfusion, Raghu 2019).",
    ),
    "statistics": (
        "Statistics only",
        "Random weights, layer by layer with the mean and spread of what was learned"
        " (Raghu 2019).",
    ),
    "slim": (
        "Slim hybrid",
        "The lowest stages are taken over, the rest begins at random at half the width"
        " (Raghu 2019).",
    ),
    "gabor": ("Gabor filters", "The first layer begins with edges and stripes."),
    "none": ("From scratch", "Random weights."),
}  # fmt: skip
"""A title and a sentence for each way to take over weights."""

_LEVELS = {"basic_unet": "features", "dynunet": "filters", "attention_unet": "channels"}


@dataclass(frozen=True)
class StartSettings:
    """How a network starts from another.

    Parameters
    ----------
    weights : str
        Which are taken over, see `STRATEGIES`.
    stages : int
        How many stages "lower" and "slim" take, counted from the image, 1 to 12.
    channels : str
        What becomes of weights for another number of channels: their "mean", "copy" for copies in
        turn, or "adapter" for a learned layer that makes as many of those that there are.

    Raises
    ------
    SettingsError
        If there is no such way.
    """

    weights: Weights = "all"
    stages: int = 2
    channels: Channels = "mean"

    def __post_init__(self) -> None:
        for what, value, known in (
            ("A way to start", self.weights, WEIGHTS),
            ("A way to match channels", self.channels, CHANNELS),
        ):
            if value not in known:
                raise SettingsError(
                    f"{what} is one of these: {', '.join(known)}.",
                    got=repr(value),
                    do="Choose one of them.",
                )
        if not 1 <= self.stages <= 12:
            raise SettingsError(
                "A start takes over 1 to 12 stages.", got=self.stages, do="Choose 2, say."
            )


def why_not(weights: Weights, network: NetworkSettings) -> str:
    """Return why a way to start cannot work for a network; empty where it can.

    Parameters
    ----------
    weights : str
        The way.
    network : NetworkSettings
        Of what is taken over.
    """
    kind = architecture_of(network.architecture)
    by_sight = network.norm != "batch" or kind.transformer
    if weights == "statistics" and network.architecture != MSD and by_sight:
        return "Layers that are normalised by what is in sight do the same at any scale."
    if weights == "slim" and network.architecture not in _LEVELS:
        return f"The stages of {kind.title} have one width together, which cannot be halved above."
    if weights == "gabor":
        if network.features:
            return "With multi-scale input the first layer sees no image."
        if network.axes == 3:
            return "Gabor filters are filters of planes, and this network convolves in space."
        if network.architecture == MSD:
            return "The first layer of MS-D has one filter."
        if kind.transformer:
            return "A transformer's first layer cuts the image into patches."
    return ""


def check_start(start: StartSettings, network: NetworkSettings) -> None:
    """Check that a way to start can work.

    Raises
    ------
    SettingsError
        With the reason why it cannot.
    """
    reason = why_not(start.weights, network)
    if not reason and start.channels == "adapter" and network.features:
        reason = "With multi-scale input the layers see the same, however many channels there are."
    if reason:
        raise SettingsError(
            reason, got=STRATEGIES[start.weights][0], do="Choose another way to start."
        )


def slimmed(network: NetworkSettings, stages: int) -> NetworkSettings:
    """Return a network with half the width beyond its first stages.

    Parameters
    ----------
    network : NetworkSettings
        One for which `why_not` has nothing against "slim".
    stages : int
        How many stages keep their width.
    """
    kind = architecture_of(network.architecture)
    given = read_arguments(kind, network.arguments)
    name, w = _LEVELS[network.architecture], network.width
    if network.architecture == "basic_unet":
        widths = given.get(name, [w, w, 2 * w, 4 * w, 8 * w, w])
    else:
        widths = given.get(name, [min(w * 2**level, 320) for level in range(network.depth)])
    last = len(widths) - 1 if network.architecture == "basic_unet" else len(widths)
    halved = [
        max(2, value // 4 * 2) if stages <= level < last else value
        for level, value in enumerate(widths)
    ]
    return replace(network, arguments=json.dumps({**given, name: halved}, sort_keys=True))
