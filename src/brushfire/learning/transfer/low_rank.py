"""Changes of a matrix that are kept to a few directions (LoRA, Hu 2022)."""

from __future__ import annotations

import torch
from torch import Tensor


class LowRankUpdate:
    """A matrix as it was, plus the product of two thin ones, which alone are learned.

    The network keeps its plain matrix, so that copies and files of it know nothing of this: the
    gradient of the matrix gives those of the thin ones by the chain rule.

    Parameters
    ----------
    weight : Tensor
        The matrix, (outputs, inputs); changed in place by `apply`.
    rank : int
        Columns of the one, rows of the other.
    generator : Generator
        Draws where the directions begin.
    """

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator) -> None:
        self._weight = weight
        self._before = weight.detach().clone()
        outputs, inputs = weight.shape
        spread = inputs**-0.5
        self.down = (spread * torch.randn(rank, inputs, generator=generator)).to(weight.device)
        self.up = torch.zeros(outputs, rank, device=weight.device)

    def take_gradient(self) -> None:
        """Turn the gradient of the matrix into those of the thin ones."""
        slope = self._weight.grad
        if slope is None:
            self.down.grad = self.up.grad = None
            return
        self.down.grad = self.up.t() @ slope
        self.up.grad = slope @ self.down.t()

    def apply(self) -> None:
        """Write what was learned into the matrix."""
        with torch.no_grad():
            self._weight.copy_(self._before + self.up @ self.down)
