"""Fits that do not know some strokes, and which of them may be asked where."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brushfire.learning import fitting
from brushfire.learning.crossfits import CrossFits
from brushfire.networks import NetworkSettings, SegmentationModel

VOXELS = 20


@pytest.fixture
def model() -> SegmentationModel:
    return SegmentationModel(NetworkSettings(depth=2, dilations=(1,)), 1, (1, 2, 5))


def strokes(model: SegmentationModel, counts: dict[int, int]) -> tuple[torch.Tensor, ...]:
    """Return features, classes and regions of so many regions of each class."""
    of_region = np.repeat(list(counts), list(counts.values())).astype(np.uint8)
    classes = np.repeat(of_region, VOXELS)
    regions = np.repeat(7 * np.arange(len(of_region)) + 100, VOXELS)
    raw = torch.randn(len(classes), model.inputs, generator=torch.Generator().manual_seed(0))
    raw[:, 0] += 2 * torch.from_numpy(classes.astype(np.float32))
    return raw, classes, regions


def fits_of(model: SegmentationModel, raw, classes, regions, **options) -> CrossFits:
    places = np.stack([np.zeros_like(regions), regions, np.arange(len(regions))], 1)
    return CrossFits(model, raw, classes, regions, places, **options)


def test_each_part_is_told_by_a_fit_that_does_not_know_it(
    model: SegmentationModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, classes, regions = strokes(model, {1: 4, 2: 3, 5: 1})
    fits = fits_of(model, raw, classes, regions)
    known: list[torch.Tensor] = []
    fit = fitting.fit_pixels

    def told(model: SegmentationModel, raw: torch.Tensor, classes: np.ndarray, *, trees) -> None:
        known.append(raw)
        fit(model, raw, classes, trees=trees)

    monkeypatch.setattr("brushfire.learning.crossfits.fit_pixels", told)
    parts = fits.parts(regions)
    assert set(parts) == {-1, 0, 1, 2}
    assert set(parts[classes == 5]) == {-1}, "its only region is in every fit"
    for part in range(3):
        head = fits.without(part)
        assert fits.without(part) is head, "fitted once"
        mine = raw[torch.from_numpy(parts == part)]
        assert not (mine[:, None] == known[-1][None]).all(-1).any()
        assert len(known[-1]) == len(raw) - len(mine)
        right = head(mine.t()[None])[0].argmax(0).numpy() == np.searchsorted(
            [1, 2, 5], classes[parts == part]
        )
        assert right.mean() > 0.5
    assert len(known) == 3


def test_a_region_has_one_part_and_unknown_ones_none(model: SegmentationModel) -> None:
    raw, classes, regions = strokes(model, {1: 5, 2: 5})
    fits = fits_of(model, raw, classes, regions)
    parts = fits.parts(regions).reshape(-1, VOXELS)
    assert (parts == parts[:, :1]).all()
    assert (fits.parts(np.array([[-1, 0], [103, 10**6]])) == -1).all()
    assert fits.parts(regions[None]).shape == (1, len(regions))


def test_the_model_is_not_changed_and_strokes_are_bounded(model: SegmentationModel) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    raw, classes, regions = strokes(model, {1: 600, 2: 600})
    fits = fits_of(model, raw, classes, regions)
    fits.without(0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert len(fits.taught[1]) <= fitting._VOXELS + 2
    assert len(fits.taught[0]) == len(fits.taught[1])


def test_answers_are_of_fits_that_do_not_know_the_voxels(model: SegmentationModel) -> None:
    raw, classes, regions = strokes(model, {1: 4, 2: 3, 5: 1})
    fits = fits_of(model, raw, classes, regions)
    assert not fits.complete
    told = fits.answers()
    assert fits.complete
    assert set(told.classes) == {1, 2}, "nobody can tell a class of one region"
    rows = told.places[:, 2]
    assert np.array_equal(told.regions, regions[rows])
    assert np.array_equal(told.classes, classes[rows])
    np.testing.assert_allclose(told.chances.sum(1), 1, rtol=1e-4)
    parts = fits.parts(told.regions)
    for part in range(3):
        mine = parts == part
        expected = fits.without(part)(raw[torch.from_numpy(rows[mine])].t()[None])[0].softmax(0)
        np.testing.assert_allclose(told.chances[mine], expected.t(), rtol=1e-4, atol=1e-5)


def test_what_is_held_out_is_told_by_the_model_itself(model: SegmentationModel) -> None:
    raw, classes, regions = strokes(model, {1: 2, 2: 2})
    fitting.fit_pixels(model, raw, classes)
    fits = fits_of(model, raw[:1], classes[:1], regions[:1])
    assert len(fits.answers().classes) == 0
    places = np.ones((len(raw), 3), np.int64)
    fits.ask_too(raw, classes, regions + 1000, places)
    assert model.pixels is not None
    expected = model.pixels(raw.t()[None])[0].softmax(0).t()
    np.testing.assert_allclose(fits.answers().chances, expected, rtol=1e-4, atol=1e-5)


def test_fits_without_trees_have_none(model: SegmentationModel) -> None:
    raw, classes, regions = strokes(model, {1: 4, 2: 4})
    assert fits_of(model, raw, classes, regions).without(0).trees.grown
    assert not fits_of(model, raw, classes, regions, trees=False).without(0).trees.grown
