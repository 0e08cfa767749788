"""Grow a model's trees on labelled voxels: extremely randomised ones (Geurts et al. 2006)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from brushfire.networks.trees import LEAVES, NODES, TREES

if TYPE_CHECKING:
    from brushfire.networks.trees import Trees

_SEED = 0  # the same strokes grow the same trees


def grow_trees(trees: Trees, standard: Tensor, target: Tensor) -> None:
    """Replace trees by ones that were grown on voxels.

    Parameters
    ----------
    trees : Trees
        Changed in place.
    standard : Tensor
        (voxels, inputs), features of unit spread.
    target : Tensor
        (voxels,), the index of the class.
    """
    # Not at the top: scikit-learn takes most of a second to import.
    from sklearn.ensemble import ExtraTreesClassifier

    grown = ExtraTreesClassifier(TREES, max_leaf_nodes=LEAVES, random_state=_SEED)
    grown.fit(standard.cpu().numpy(), target.cpu().numpy())
    table: dict[str, np.ndarray[Any, Any]] = {
        name: np.zeros_like(value.cpu().numpy()) for name, value in trees.state_dict().items()
    }
    classes = np.asarray(grown.classes_)
    first = 0
    for number, one in enumerate(grown.estimators_):
        table["roots"][number] = first
        first = _write(one.tree_, table, classes, first)
    assert first <= NODES
    trees.load_state_dict({name: torch.from_numpy(value) for name, value in table.items()})


def _write(
    tree: Any, table: dict[str, np.ndarray[Any, Any]], classes: np.ndarray[Any, Any], first: int
) -> int:
    """Write the nodes of a tree into the table, level by level, and return where the next goes."""
    order = [0]
    for place, node in enumerate(order):  # which grows as it goes
        if tree.children_left[node] < 0:
            votes = tree.value[node, 0]
            table["votes"][first + place, classes] = votes / votes.sum() / TREES
        else:
            table["feature"][first + place] = tree.feature[node]
            table["threshold"][first + place] = tree.threshold[node]
            table["child"][first + place] = first + len(order)
            order += [tree.children_left[node], tree.children_right[node]]
    return first + len(order)
