"""How each weight of a model moves in a step: its optimiser, and its share of the rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from brushfire.learning.adamw import AdamW
from brushfire.learning.transfer.low_rank import LowRankUpdate

if TYPE_CHECKING:
    from brushfire.learning.settings import LearningSettings
    from brushfire.networks.model import SegmentationModel


class Pace:
    """Moves the weights of a model as a schedule says.

    Parameters
    ----------
    model : SegmentationModel
        Whose weights; the last layer always learns.
    settings : LearningSettings
        `schedule` and what belongs to it.
    seed : int
        Decides where low-rank updates begin.
    """

    def __init__(self, model: SegmentationModel, settings: LearningSettings, *, seed: int) -> None:
        self._model = model
        self._settings = settings
        self._seed = seed
        if settings.schedule == "head":  # their gradients would cost, and move nothing
            for parameter in model.layers.parameters():
                parameter.requires_grad_(False)
        self._shares = self._graded() if settings.schedule == "graded" else {}
        self._updates = self._low_rank() if settings.schedule == "low-rank" else []
        thin = [factor for update in self._updates for factor in (update.down, update.up)]
        self._optimiser = AdamW([*model.parameters(), *thin], weight_decay=settings.weight_decay)

    def adopt(self, other: Pace) -> None:
        """Go on with what another one remembers of the same weights, of a model like this."""
        memory = other._optimiser.state
        for mine, theirs in zip(self._model.parameters(), other._model.parameters(), strict=True):
            if mine.shape == theirs.shape and theirs in memory:
                self._optimiser.state[mine] = memory[theirs]

    def forget_gradients(self) -> None:
        """Drop the gradients of the step before."""
        self._optimiser.forget_gradients()

    def prepare(self, step: int) -> None:
        """Make the model ready for a step: what does not move notes nothing either."""
        self._model.layers.train(not self._still(step))

    def move(self, rate: float, step: int) -> None:
        """Move the weights by their gradients.

        Parameters
        ----------
        rate : float
            Learning rate.
        step : int
            Steps since training began.
        """
        if self._still(step) or self._updates:
            for update in self._updates:
                update.take_gradient()
            for parameter in self._model.layers.parameters():
                parameter.grad = None
        self._optimiser.step(rate, self._shares)
        for update in self._updates:
            update.apply()

    def _still(self, step: int) -> bool:
        """Whether the layers stay as they are."""
        schedule = self._settings.schedule
        return schedule == "head" or (schedule == "frozen" and step < self._settings.frozen_steps)

    def _graded(self) -> dict[Tensor, Tensor]:
        """Return the share of the rate of each weight, less towards the input."""
        layers = self._model.layers
        parameters = dict(layers.named_parameters())
        stages = layers.stages()
        shares: dict[Tensor, Tensor] = {}
        for index, stage in enumerate(stages):
            share = self._settings.grading ** (len(stages) - index)
            for name, rows in stage:
                parameter = parameters[name]
                shares.setdefault(parameter, torch.ones_like(parameter))[rows] = share
        return shares

    def _low_rank(self) -> list[LowRankUpdate]:
        generator = torch.Generator().manual_seed(self._seed)
        return [
            LowRankUpdate(module.weight, min(self._settings.rank, *module.weight.shape), generator)
            for module in self._model.layers.modules()
            if isinstance(module, nn.Linear)
        ]
