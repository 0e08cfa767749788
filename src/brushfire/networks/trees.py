"""Randomised decision trees on the features of single pixels, with soft splits.

Their votes change steadily with the features: a hard split would answer differently in two tiles
where rounding moves a feature across it.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from brushfire.errors import ModelError
from brushfire.networks.kernels.named import pinned_name

if TYPE_CHECKING:
    from collections.abc import Callable

TREES = 16
LEAVES = 64  # of a tree, at most
NODES = TREES * (2 * LEAVES - 1)
WIDTH = 0.1  # of a split, in standard deviations: between its ends both sides have a say
_STRIP = 2048  # pixels for which all nodes are in memory together
_STRIP_ON_CARDS = 8192


class Trees(nn.Module):
    """Class probabilities of pixels, the mean vote of trees.

    Nodes of all trees lie in one table, a parent before its children, and those next to each
    other. No pixel reaches what is left of the table.

    Parameters
    ----------
    classes : int
        Outputs.

    Attributes
    ----------
    feature, threshold : Tensor
        (nodes,), which standardised feature a node asks for, and what divides it.
    child : Tensor
        (nodes,), the child below the threshold; the one above it is next. 0 for a leaf.
    roots : Tensor
        (trees,), where each begins.
    votes : Tensor
        (nodes, classes), what a leaf adds; all leaves that a pixel reaches add up to 1.
    """

    feature: Tensor
    threshold: Tensor
    child: Tensor
    votes: Tensor
    roots: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("feature", torch.zeros(NODES, dtype=torch.int32))
        self.register_buffer("threshold", torch.zeros(NODES))
        self.register_buffer("child", torch.zeros(NODES, dtype=torch.int32))
        self.register_buffer("votes", torch.zeros(NODES, classes))
        self.register_buffer("roots", torch.zeros(TREES, dtype=torch.int32))

    @property
    def grown(self) -> bool:
        """Whether there is any tree."""
        return bool(self.votes.any())

    @torch.no_grad()
    def forward(self, standard: Tensor) -> Tensor:
        """Return probabilities (classes, pixels) of standardised features (inputs, pixels)."""
        walk = _compiled() if standard.device.type == "cpu" else None
        if walk is not None and standard.dtype == torch.float32:
            return walk(self, standard, WIDTH)
        strip = _STRIP if standard.device.type == "cpu" else _STRIP_ON_CARDS
        parts = [self._votes(part) for part in torch.split(standard, strip, 1)]
        return torch.cat(parts, 1)

    def _votes(self, standard: Tensor) -> Tensor:
        """Return what `forward` returns, by what share of each pixel reaches each node."""
        reached = standard.new_zeros(NODES, standard.shape[1])
        level = self.roots.long()
        reached[level] = 1
        while True:
            level = level[self.child[level] > 0]
            if not len(level):
                return self.votes.t() @ reached.mul_((self.child == 0)[:, None])
            value = standard[self.feature[level].long()] - self.threshold[level, None]
            above = value.div_(WIDTH).add_(0.5).clamp_(0, 1)
            share, below = reached[level], self.child[level].long()
            reached[below] = share * (1 - above)
            reached[below + 1] = share * above
            level = torch.cat([below, below + 1])

    def check(self, inputs: int) -> None:
        """Raise unless every walk from a root asks for features there are, and ends in a leaf.

        Nodes that lead into each other would be walked for ever or, where two lead to the same
        one again and again, almost so.

        Parameters
        ----------
        inputs : int
            Features of a pixel.

        Raises
        ------
        ModelError
            If the table was not made by Brushfire, or is damaged.
        """
        numbers = torch.arange(NODES)
        inner = self.child != 0
        below, order = self.child[inner].long().sort()  # in int32 the largest plus one is negative
        right = (
            (below > numbers[inner][order]).all()
            & (below + 1 < NODES).all()
            & (below.diff() >= 2).all()
            & ((self.feature >= 0) & (self.feature < inputs)).all()
            & ((self.roots >= 0) & (self.roots < NODES)).all()
            & (self.votes >= 0).all()
        )
        if not bool(right):
            raise ModelError(
                "A model's trees lead from their roots to leaves.",
                got="a node that leads elsewhere, or votes against a class",
                do="Choose an older revision, or reset learning.",
            )


def _compiled() -> Callable[[Trees, Tensor, float], Tensor] | None:
    """Return what walks the trees pixel by pixel, several times as fast; it needs numba."""
    return None if pinned_name() in ("plain", "grouped") else _walk()


@cache
def _walk() -> Callable[[Trees, Tensor, float], Tensor] | None:
    try:
        from brushfire.networks.kernels.walking import walk
    except ImportError:
        return None
    return walk
