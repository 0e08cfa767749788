"""Trees on features of single pixels: soft splits, one table, two ways to walk."""

from __future__ import annotations

import pytest
import torch
from sklearn.ensemble import ExtraTreesClassifier
from torch import Tensor

from brushfire.errors import ModelError
from brushfire.learning.growing import grow_trees
from brushfire.networks import trees as module
from brushfire.networks.trees import LEAVES, NODES, TREES, Trees

INPUTS = 6


def sample(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return features (voxels, inputs) and classes that hang together in no simple way."""
    values = torch.randn(count, INPUTS, generator=torch.Generator().manual_seed(seed))
    return values, ((values[:, 0] * values[:, 1] > 0).long() + (values[:, 2] > 1))


def grown(count: int = 500, classes: int = 3) -> Trees:
    trees = Trees(classes)
    grow_trees(trees, *sample(count))
    return trees


@pytest.mark.parametrize("pixels", [1, 100, 9000])
@pytest.mark.parametrize("threads", [1, 3])
def test_both_walks_find_the_same(
    monkeypatch: pytest.MonkeyPatch, pixels: int, threads: int
) -> None:
    pytest.importorskip("numba", reason="the compiled walk needs numba")
    trees, standard = grown(), sample(pixels, 1)[0].t()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        monkeypatch.setenv("BRUSHFIRE_KERNEL", "compiled")
        fast = trees(standard)
    finally:
        torch.set_num_threads(before)
    monkeypatch.setenv("BRUSHFIRE_KERNEL", "plain")
    torch.testing.assert_close(trees(standard), fast, rtol=0, atol=1e-5)


def test_with_hard_splits_votes_are_those_of_the_forest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WIDTH", 1e-6)
    trees, (values, target) = grown(), sample(500)
    forest = ExtraTreesClassifier(TREES, max_leaf_nodes=LEAVES, random_state=0)
    forest.fit(values.numpy(), target.numpy())
    others = sample(2000, 1)[0]
    expected = torch.from_numpy(forest.predict_proba(others.numpy())).float()
    torch.testing.assert_close(trees(others.t()).t(), expected, rtol=0, atol=1e-4)


def test_votes_are_probabilities() -> None:
    found = grown()(10 * sample(3000, 2)[0].t())
    assert found.min() >= 0
    torch.testing.assert_close(found.sum(0), torch.ones(3000), rtol=0, atol=1e-5)


def test_votes_change_steadily() -> None:
    """Rounding, which moves features by millionths, must not show between tiles."""
    trees, standard = grown(), sample(4000, 3)[0].t()
    moved = standard + 1e-5 * torch.randn(standard.shape)
    assert (trees(moved) - trees(standard)).abs().max() < 1e-3


def test_a_class_that_no_voxel_has_gets_no_vote() -> None:
    trees = Trees(4)
    values, target = sample(200)
    grow_trees(trees, values, torch.tensor([0, 1, 3])[target])
    found = trees(sample(100, 1)[0].t())
    assert not found[2].any()
    assert found[3].any()


def test_one_class_is_sure() -> None:
    trees = Trees(2)
    grow_trees(trees, torch.zeros(5, INPUTS), torch.ones(5, dtype=torch.int64))
    assert torch.equal(trees(torch.randn(INPUTS, 3)), torch.tensor([[0.0] * 3, [1.0] * 3]))


def test_the_same_voxels_grow_the_same_trees() -> None:
    one, other = grown(), grown()
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


def test_before_they_are_grown_they_say_so() -> None:
    assert not Trees(2).grown
    assert grown().grown


def broken(name: str, node: int, value: int) -> Trees:
    trees = grown()
    trees.state_dict()[name][node] = value
    return trees


def inner(number: int) -> int:
    return int(torch.nonzero(grown().child)[number])


@pytest.mark.parametrize(
    ("name", "node", "value"),
    [
        ("child", inner(3), inner(3)),  # to itself
        ("child", inner(3), 1),  # back
        ("child", inner(3), NODES - 1),  # the second child beyond the table
        ("child", inner(3), 2**31 - 1),
        ("child", inner(3), -5),
        ("child", inner(3), int(grown().child[inner(5)])),  # a node with two parents
        ("child", inner(3), int(grown().child[inner(5)]) + 1),
        ("feature", 0, INPUTS),
        ("feature", 0, -1),
        ("roots", 1, NODES),
        ("roots", 1, -1),
    ],
)
def test_a_table_that_leads_elsewhere_is_refused(name: str, node: int, value: int) -> None:
    grown().check(INPUTS)
    with pytest.raises(ModelError, match="roots to leaves"):
        broken(name, node, value).check(INPUTS)


def test_an_empty_table_is_fine() -> None:
    Trees(2).check(INPUTS)


def test_numba_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_walk", lambda: None)
    assert grown()(sample(10)[0].t()).shape == (3, 10)
