"""One network in training: its newest weights, the averaged ones that are shown, its optimiser."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch

from brushfire.learning.adamw import AdamW
from brushfire.learning.continuing import follow
from brushfire.learning.restoring.losses import restoration_loss
from brushfire.learning.workload import counted
from brushfire.networks.architectures import MSD

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from brushfire.learning.restoring.lessons import Lesson
    from brushfire.learning.restoring.settings import RestorationSettings
    from brushfire.networks.restoration import RestorationModel

_WARM_UP = 20  # steps until the full learning rate, so that the fit is not shaken
_FALL = 500  # steps until it falls noticeably
_CLIP = 1.0  # norm of a gradient
_PENALTY = 1e-4  # of weights of a fit, in squares of a map's spread


class RestorationTrainer:
    """Trains a model, step by step.

    Parameters
    ----------
    model : RestorationModel
        Where training starts; taken over.
    settings : RestorationSettings
        How it learns.
    steps : int
        Gradient steps that it has behind it.

    Attributes
    ----------
    average : RestorationModel
        The moving average of the weights.
    steps : int
        Gradient steps so far.
    lost : int
        How many in a row came to nothing since then, for want of finite numbers.
    """

    def __init__(
        self, model: RestorationModel, settings: RestorationSettings, *, steps: int = 0
    ) -> None:
        self.steps, self.lost = steps, 0
        self._since = 0
        self._settings = settings
        self.average = copy.deepcopy(model).requires_grad_(False).eval()
        self._model = model.train()
        self._optimiser = AdamW(model.parameters(), weight_decay=settings.weight_decay)

    def fit(self, lessons: Iterable[Lesson]) -> None:
        """Fit the last layer to lessons by least squares: an answer before the first step.

        Parameters
        ----------
        lessons : iterable of Lesson
            Looked at one by one.
        """
        with torch.no_grad():
            weight, bias = _least_squares(self.average, lessons)
            for model in (self.average, self._model):
                model.head_weight.copy_(weight)
                model.head_bias.copy_(bias)

    def step(self, lesson: Lesson) -> tuple[float, float]:
        """Make one gradient step and return its loss and learning rate.

        A loss or gradients that are not finite change nothing but `lost`.
        """
        rate = self._rate()
        loss = self._loss(lesson)
        self._optimiser.forget_gradients()
        torch.autograd.backward(loss)
        value = float(loss.detach())
        norm = float(torch.nn.utils.clip_grad_norm_(self._model.parameters(), _CLIP))
        if not (math.isfinite(value) and math.isfinite(norm)):
            self.lost += 1
            return value, rate
        self.lost = 0
        self._optimiser.step(rate)
        self.steps += 1
        self._since += 1
        follow(self.average, self._model, self._settings.average)
        return value, rate

    def cost(self, lesson: Lesson) -> int:
        """Return the bytes that a step on a lesson takes; nothing is learned from it."""
        with counted(self._model.device, whole=self._model.settings.architecture != MSD) as count:
            torch.autograd.backward(self._loss(lesson))
        self._optimiser.forget_gradients()
        return count.bytes

    def _loss(self, lesson: Lesson) -> Tensor:
        found = self._model.restored_of(lesson.inputs)
        return restoration_loss(found, lesson.target, lesson.weight, self._settings.loss)

    def _rate(self) -> float:
        falling = 1 / math.sqrt(1 + self.steps / _FALL)
        usual = self._settings.learning_rate * self._model.layers.rate
        return usual * min(falling, (self._since + 1) / _WARM_UP)


def _least_squares(model: RestorationModel, lessons: Iterable[Lesson]) -> tuple[Tensor, Tensor]:
    """Return weights (outputs, maps) and biases of a head, by ridge regression on the maps."""
    inputs, outputs = model.head_weight.shape[1], model.outputs
    squares = torch.zeros(outputs, inputs + 1, inputs + 1, dtype=torch.float64)
    products = torch.zeros(outputs, inputs + 1, dtype=torch.float64)
    for lesson in lessons:
        maps = model.maps_of(lesson.inputs).transpose(0, 1).flatten(1)
        for output in range(outputs):
            counts = lesson.weight[:, output].flatten() > 0
            x = maps[:, counts].cpu().double()
            x = torch.cat([x, x.new_ones(1, x.shape[1])])
            y = lesson.target[:, output].flatten()[counts].cpu().double()
            squares[output] += x @ x.t()
            products[output] += x @ y
    found = torch.stack([_ridge(a, b) for a, b in zip(squares, products, strict=True)])
    found = found.to(model.head_weight)
    return found[:, :-1], found[:, -1]


def _ridge(squares: Tensor, products: Tensor) -> Tensor:
    """Return the solution of normal equations whose last row is of the constant."""
    count = squares[-1, -1]
    if count == 0:
        return torch.zeros_like(products)
    # In spreads of the maps, so that the penalty does not care for their scale.
    mean = squares[-1, :-1] / count
    spread = (squares.diagonal()[:-1] / count - mean.square()).clamp(min=1e-12).sqrt()
    scaled = (squares[:-1, :-1] / count - torch.outer(mean, mean)) / torch.outer(spread, spread)
    target = products[-1] / count
    along = (products[:-1] / count - mean * target) / spread
    penalty = _PENALTY * torch.eye(len(mean), dtype=torch.float64)
    weight = torch.linalg.solve(scaled + penalty, along) / spread
    return torch.cat([weight, (target - weight @ mean)[None]])
