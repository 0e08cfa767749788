"""AdamW, written out: what is in torch.optim loads torch's compiler when it is first used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

_MEAN, _SQUARE, _TINY = 0.9, 0.999, 1e-8


@dataclass
class Moments:
    """What is remembered of a parameter's gradients."""

    mean: Tensor
    square: Tensor
    steps: int = 0


class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019).

    Parameters
    ----------
    parameters : iterable of Tensor
        What is optimised.
    weight_decay : float
        Share of a weight that goes with each step, times the learning rate.
    """

    def __init__(self, parameters: Iterable[Tensor], *, weight_decay: float) -> None:
        self._parameters = list(parameters)
        self._decay = weight_decay
        self.state: dict[Tensor, Moments] = {}

    def forget_gradients(self) -> None:
        """Drop the gradients of the step before."""
        for parameter in self._parameters:
            parameter.grad = None

    def step(self, rate: float, shares: Mapping[Tensor, Tensor] | None = None) -> None:
        """Move every parameter that has a gradient, at learning rate ``rate``.

        Parameters
        ----------
        rate : float
            Learning rate.
        shares : mapping, optional
            Of the rate, for each element of some parameters; 1 for all others.
        """
        with torch.no_grad():
            for parameter in self._parameters:
                if parameter.grad is not None:
                    share = shares.get(parameter) if shares else None
                    self._move(parameter, parameter.grad, rate, share)

    def _move(self, parameter: Tensor, slope: Tensor, rate: float, share: Tensor | None) -> None:
        seen = self.state.get(parameter)
        if seen is None:
            seen = self.state[parameter] = Moments(
                torch.zeros_like(parameter), torch.zeros_like(parameter)
            )
        seen.steps += 1
        seen.mean.lerp_(slope, 1 - _MEAN)
        seen.square.mul_(_SQUARE).addcmul_(slope, slope, value=1 - _SQUARE)
        root = (1 - _SQUARE**seen.steps) ** 0.5
        decay: float | Tensor = rate * self._decay
        towards = seen.mean
        if share is not None:
            decay, towards = decay * share, towards * share
        parameter.mul_(1 - decay)
        parameter.addcdiv_(
            towards,
            (seen.square.sqrt() / root).add_(_TINY),
            value=-rate / (1 - _MEAN**seen.steps),
        )
