"""How good a convex fit is, on strokes that each fit has not seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brushfire.learning.crossvalidation import cross_validate
from brushfire.learning.gate import dice, mean_dice


def strokes(counts: dict[int, int], voxels: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Return the class and the region of each voxel of so many regions of each class."""
    of_region = np.repeat(list(counts), list(counts.values())).astype(np.uint8)
    return np.repeat(of_region, voxels), np.repeat(np.arange(len(of_region)) + 100, voxels)


def test_classes_that_are_apart_score_about_one() -> None:
    classes, regions = strokes({1: 4, 2: 4, 7: 4})
    rng = np.random.default_rng(0)
    means = np.array([[2.0, 0, 0], [0, 2.0, 0], [0, 0, 2.0]])[np.searchsorted([1, 2, 7], classes)]
    values = torch.from_numpy(means + 0.3 * rng.standard_normal(means.shape)).float()
    found = cross_validate(values, classes, regions, (1, 2, 7))
    assert found is not None
    assert found.classes == (1, 2, 7)
    assert found.counts == {1: 4, 2: 4, 7: 4}
    assert found.voxels == len(classes)
    assert float(mean_dice(found)) > 0.97


def test_labels_without_a_reason_score_as_chance_does() -> None:
    classes, regions = strokes({1: 20, 2: 20, 3: 20})
    values = torch.from_numpy(np.random.default_rng(0).standard_normal((len(classes), 8))).float()
    found = cross_validate(values, classes, regions, (1, 2, 3))
    assert found is not None
    assert 0.2 < float(mean_dice(found)) < 0.47


def test_no_fit_sees_the_region_that_it_answers() -> None:
    """Voxels of a region are alike here and say nothing of their class: a leak would score 1."""
    classes, regions = strokes({1: 12, 2: 12})
    rng = np.random.default_rng(1)
    of_region = rng.standard_normal((24, 40))
    values = torch.from_numpy(of_region[regions - 100]).float()
    found = cross_validate(values, classes, regions, (1, 2))
    assert found is not None
    assert float(mean_dice(found)) < 0.75


def test_a_class_with_one_region_teaches_and_is_not_asked_for() -> None:
    classes, regions = strokes({1: 2, 2: 3, 5: 1})
    values = torch.from_numpy(np.eye(6)[classes]).float()
    found = cross_validate(values, classes, regions, (1, 2, 5))
    assert found is not None
    assert found.counts == {1: 2, 2: 3}
    assert dice(found)[:2] == pytest.approx([1, 1])
    assert np.isnan(dice(found)[2])


def test_without_two_regions_of_a_class_nothing_can_be_told() -> None:
    classes, regions = strokes({1: 1, 2: 1})
    assert cross_validate(torch.zeros(len(classes), 3), classes, regions, (1, 2)) is None


def test_large_strokes_are_thinned_and_none_is_left_out() -> None:
    classes, regions = strokes({1: 3, 2: 3}, voxels=5000)
    classes, regions = np.append(classes, np.uint8(1)), np.append(regions, 999)
    values = torch.from_numpy(np.eye(3)[classes]).float()
    found = cross_validate(values, classes, regions, (1, 2))
    assert found is not None
    assert found.voxels < 1500
    assert found.counts == {1: 4, 2: 3}
    again = cross_validate(values, classes, regions, (1, 2))
    assert again is not None
    assert found.same(again)
