"""How a student learns; importable without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from brushfire.errors import SettingsError


@dataclass(frozen=True)
class DistillationSettings:
    """How a student learns.

    Parameters
    ----------
    steps : int
        Gradient steps, from 1.
    seconds : float
        When to end even if there were fewer steps, above 0.
    temperature : float
        What logits of both are divided by, 0.5 to 20: above 1 small probabilities count more.
    mix : float
        Weight of the strokes' loss, 0 to 1, where there are strokes; the teacher has the rest.
    patch : int
        Side of the squares of a step in pixels, 32 to 1024.
    learning_rate : float
        Step size of AdamW in the beginning, above 0 and at most 1; it falls to 0.
    weight_decay : float
        Decay of AdamW, 0 to 1.
    seed : int
        Of weights, places and patches.
    cache_bytes : int
        For the teacher's answers, and as much again for what is read of the volume.

    Raises
    ------
    SettingsError
        If a value is outside its range.
    """

    steps: int = 2000
    seconds: float = math.inf
    temperature: float = 1.0
    mix: float = 0.3
    patch: int = 192
    learning_rate: float = 1e-2
    weight_decay: float = 1e-4
    seed: int = 0
    cache_bytes: int = 128 * 2**20

    def __post_init__(self) -> None:
        _check("The number of steps", self.steps, 1, 10**7)
        _check("The time to learn in seconds", self.seconds, 1e-3, math.inf)
        _check("The temperature", self.temperature, 0.5, 20)
        _check("The share of the strokes", self.mix, 0, 1)
        _check("The patch side", self.patch, 32, 1024)
        _check("The learning rate", self.learning_rate, 1e-8, 1)
        _check("The weight decay", self.weight_decay, 0, 1)
        _check("The cache in bytes", self.cache_bytes, 2**20, 2**40)


def _check(what: str, value: float, lowest: float, highest: float) -> None:
    # Written so that NaN fails too.
    if not lowest <= value <= highest:
        raise SettingsError(
            f"{what} is from {lowest:g} to {highest:g}.", got=value, do="Choose one in that range."
        )
