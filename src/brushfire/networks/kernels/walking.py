"""A walk through decision trees, pixel by pixel: needs numba."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from brushfire.networks.kernels.caching import compiled
from brushfire.networks.kernels.threads import MOST_THREADS, run_together

if TYPE_CHECKING:
    from brushfire.networks.trees import Trees

Array = np.ndarray[Any, Any]

_FEWEST = 512  # pixels for which another thread is worth it


def walk(trees: Trees, standard: Tensor, width: float) -> Tensor:
    """Return probabilities (classes, pixels) of standardised features (inputs, pixels).

    Parameters
    ----------
    trees : Trees
        Checked, where it comes from a file: nothing looks at indices here.
    standard : Tensor
        float32, on the processor.
    width : float
        Of a split.
    """
    pixels = standard.shape[1]
    values = standard.t().contiguous().numpy()
    votes = np.zeros((pixels, trees.votes.shape[1]), np.float32)
    table = [one.numpy() for one in (trees.roots, trees.feature, trees.threshold, trees.child)]
    count = max(1, min(torch.get_num_threads(), pixels // _FEWEST, MOST_THREADS))
    ends = np.linspace(0, pixels, count + 1).astype(int)
    run_together(
        [
            (_walk, (values[a:b], *table, trees.votes.numpy(), np.float32(1 / width), votes[a:b]))
            for a, b in itertools.pairwise(ends)
        ]
    )
    return torch.from_numpy(votes).t()


@compiled
def _walk(
    values: Array, roots: Array, feature: Array, threshold: Array, child: Array, leaves: Array,
    steepness: float, votes: Array,
) -> None:  # fmt: skip
    """Add the votes of all leaves that each pixel reaches, by the share of it that does."""
    half, one = np.float32(0.5), np.float32(1)
    # Nodes that are still to be walked to: of a path, one for each split, at most.
    waiting = np.empty(len(child), np.int32)
    shares = np.empty(len(child), np.float32)
    for pixel in range(len(values)):
        for root in roots:
            waits, node, share = 0, root, one
            while True:
                below = child[node]
                if below > 0:
                    above = (values[pixel, feature[node]] - threshold[node]) * steepness + half
                    if above <= 0:
                        node = below
                    elif above >= 1:
                        node = below + 1
                    else:
                        waiting[waits] = below
                        shares[waits] = share * (one - above)
                        waits += 1
                        node = below + 1
                        share *= above
                    continue
                for index in range(leaves.shape[1]):
                    votes[pixel, index] += share * leaves[node, index]
                if waits == 0:
                    break
                waits -= 1
                node = waiting[waits]
                share = shares[waits]
