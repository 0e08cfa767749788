"""Where another stroke would teach most."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.memory import empty_labels, paint_bars, stripes, volume_of

from brushfire.geometry import Box
from brushfire.learning import Learner, LearningSettings
from brushfire.learning.cells import CELL, WINDOW, WINDOWS, spread_windows
from brushfire.learning.places import PLACES, Place, PlaceSearch
from brushfire.networks import NetworkSettings, SegmentationModel
from brushfire.volumes import open_volume
from support.models import turn_round

if TYPE_CHECKING:
    from brushfire.annotations import LabelStore
    from brushfire.volumes import Volume

NETWORK = NetworkSettings(depth=4, dilations=(1, 2))
LEARNING = LearningSettings(patch=64)
SHAPE = (6, 300, 300)
ODD = Box((3, 150, 150), (5, 280, 280))
"""Where `with_a_stranger` looks like nothing that is painted."""


def model_of(
    volume: Volume, store: LabelStore, network: NetworkSettings = NETWORK
) -> SegmentationModel:
    learner = Learner(volume, network, LEARNING, device="cpu")
    learner.set_annotations(store.snapshot())
    learner.fit()
    snapshot = learner.propose().snapshot
    assert snapshot is not None
    return SegmentationModel.from_snapshot(snapshot)


def search_of(
    volume: Volume, models: list[SegmentationModel], store: LabelStore, seed: int = 0
) -> PlaceSearch:
    search = PlaceSearch(volume, models, store.snapshot(), seed=seed)
    for _ in range(300):
        if search.step():
            return search
    raise AssertionError("a search ends")


def with_a_stranger(seed: int = 0) -> np.ndarray:
    """Stripes with noise, and in `ODD` a texture that has nothing of either."""
    rng = np.random.default_rng(seed)
    values = 100.0 * stripes(SHAPE) + 20 * rng.standard_normal(SHAPE)
    values[ODD.slices] = 150 + 120 * rng.standard_normal(ODD.shape)
    return values.astype(np.float32)


def paint_a_corner(store: LabelStore, z: int = 1) -> None:
    truth = stripes(store.shape)
    for y in range(20, 120, 16):
        store[z, y : y + 3, 20:80] = truth[z, y : y + 3, 20:80]


@pytest.fixture(scope="module")
def taught() -> tuple[Volume, LabelStore, SegmentationModel]:
    volume = open_volume(with_a_stranger(), axes="zyx", voxel_size=(1, 1, 1))
    store = empty_labels(SHAPE)
    paint_a_corner(store)
    return volume, store, model_of(volume, store)


@pytest.fixture(scope="module")
def searched(taught) -> PlaceSearch:
    """Return a search that is done and only asked from then on."""
    volume, store, model = taught
    return search_of(volume, [model], store)


def inside(place: Place, box: Box) -> bool:
    return box.contains(Box((place.z, place.y, place.x), (place.z + 1, place.y + 1, place.x + 1)))


def test_what_looks_like_no_stroke_comes_first(searched) -> None:
    places = searched.places()
    assert inside(places[0], ODD)
    assert places[0].reason == "novelty"
    assert places[0].novelty > 2
    assert places[0].value in (1, 2)
    assert [p.score for p in places] == sorted((p.score for p in places), reverse=True)
    known = [p for p in places if not inside(p, ODD.grow((1, CELL, CELL)))]
    assert all(p.novelty < places[0].novelty for p in known)


def test_the_same_question_has_the_same_answer_and_another_seed_another(taught, searched) -> None:
    volume, store, model = taught
    first = searched.places()
    assert search_of(volume, [model], store).places() == first
    assert search_of(volume, [model], store, seed=1).places() != first
    assert pickle.loads(pickle.dumps(first)) == first


def test_nothing_painted_is_suggested_however_it_looks(taught) -> None:
    volume, _, model = taught
    painted = empty_labels(SHAPE)
    paint_a_corner(painted)
    painted[3:5, 200:230, 200:230] = 1
    places = search_of(volume, [model], painted).places()
    assert places
    assert not any(place.touched_by(painted.snapshot()) for place in places)


def test_what_is_painted_during_a_search_is_left_out(searched) -> None:
    best = searched.places()[0]
    newer = empty_labels(SHAPE)
    newer[best.z, best.y, best.x] = 1
    left = searched.places(newer.snapshot())
    assert best not in left
    assert left


def test_places_lie_apart_in_a_slice(searched) -> None:
    places = searched.places()
    assert 2 <= len(places) <= PLACES
    for one in places:
        for other in places:
            apart = max(abs(one.y - other.y), abs(one.x - other.x))
            assert one is other or one.z != other.z or apart >= 2 * CELL


def test_different_kinds_of_places_go_before_more_of_one_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shape = (30, 300, 300)
    rng = np.random.default_rng(3)
    values = 100.0 * stripes(shape) + 20 * rng.standard_normal(shape)
    # Most of the volume is one stranger, the last slices are another, less strange one.
    values[4:24] = 500 + 20 * rng.standard_normal((20, *shape[1:]))
    values[26:] = -150 + 60 * rng.standard_normal((4, *shape[1:]))
    volume = open_volume(values.astype(np.float32), axes="zyx", voxel_size=(1, 1, 1))
    store = empty_labels(shape)
    paint_a_corner(store)
    search = search_of(volume, [model_of(volume, store)], store)
    monkeypatch.setattr("brushfire.learning.places.PLACES", 2)
    one, other = sorted(place.z for place in search.places())
    assert 4 <= one < 24
    assert other >= 26


def test_models_that_differ_are_a_reason_of_their_own(taught, searched) -> None:
    volume, store, model = taught
    turned = copy.deepcopy(model)
    turn_round(turned)
    places = search_of(volume, [model, turned], store).places()
    assert all(place.disagreement == 0 for place in searched.places())
    assert max(place.disagreement for place in places) > 0.5
    assert "disagreement" in {place.reason for place in places}


@pytest.mark.parametrize("hole", [np.nan, 0.0, np.inf])
def test_what_is_constant_or_no_number_is_never_suggested(hole) -> None:
    values = with_a_stranger()
    values[ODD.slices] = hole
    values[4:, :, :140] = hole
    volume = open_volume(values, axes="zyx", voxel_size=(1, 1, 1))
    store = empty_labels(SHAPE)
    paint_a_corner(store)
    places = search_of(volume, [model_of(volume, store)], store).places()
    assert all(np.isfinite((p.score, p.novelty, p.uncertainty)).all() for p in places)
    for place in places:
        box = place.box.clip(SHAPE)
        inner = values[box.slices]
        assert (np.isfinite(inner) & (inner != hole)).mean() > 0.4


def test_a_model_that_only_says_nan_is_survived(taught) -> None:
    volume, store, model = taught
    broken = copy.deepcopy(model)
    assert broken.pixels is not None
    broken.pixels.machine.bias.fill_(float("nan"))
    places = search_of(volume, [broken], store).places()
    assert all(place.uncertainty == 0 for place in places)


def test_the_sides_of_a_slice_do_not_win_by_being_sides() -> None:
    shape = (8, 256, 256)
    rng = np.random.default_rng(0)
    volume = open_volume(
        (100 + 20 * rng.standard_normal(shape)).astype(np.float32), axes="zyx",
        voxel_size=(1, 1, 1),
    )  # fmt: skip
    store = empty_labels(shape)
    store[1, 100:110, 100:110] = 1
    store[1, 140:150, 140:150] = 2
    places = search_of(volume, [model_of(volume, store)], store).places()
    for place in places:
        assert CELL // 2 <= place.y <= shape[1] - CELL // 2
        assert CELL // 2 <= place.x <= shape[2] - CELL // 2


@pytest.mark.parametrize(
    ("shape", "channels", "network"),
    [
        ((1, 200, 200), 1, NETWORK),
        ((3, 40, 50), 1, NETWORK),
        ((2, 150, 5), 1, NETWORK),
        ((4, 9, 9), 1, NetworkSettings(depth=2, dilations=(1,), features=False)),
        ((5, 140, 140), 2, NetworkSettings(depth=3, dilations=(1,), slices=3)),
        ((1, 130, 140), 3, NetworkSettings(depth=3, dilations=(1,), slices=5)),
    ],
)
def test_any_volume_can_be_searched(shape, channels, network) -> None:
    volume = volume_of(stripes(shape, period=8), channels=channels)
    store = empty_labels(shape)
    store[0, :2, :2] = 1
    store[0, 5:7, 2:4] = 2
    for place in search_of(volume, [model_of(volume, store, network)], store).places():
        assert inside(place, Box.of_shape(shape))
        assert not place.touched_by(store.snapshot())


def test_a_search_of_a_painted_volume_finds_nothing() -> None:
    shape = (1, 150, 150)
    store = empty_labels(shape)
    paint_bars(store, stripes(shape), 0)
    volume = volume_of(stripes(shape))
    assert search_of(volume, [model_of(volume, store)], store).places() == ()


def test_one_window_is_read_at_a_time(taught, monkeypatch) -> None:
    volume, store, model = taught
    read: list[Box] = []
    real = type(volume).read_padded

    def noted(self, box: Box) -> np.ndarray:
        read.append(box)
        return real(self, box)

    monkeypatch.setattr(type(volume), "read_padded", noted)
    search = PlaceSearch(volume, [model, model], store.snapshot())
    done = False
    while not done:
        before = len(read)
        done = search.step()
        assert len(read) - before <= 1
    largest = max(box.shape[1] * box.shape[2] for box in read)
    assert largest <= (WINDOW + 96) ** 2
    assert search.done
    assert search.step(), "asking on does no harm"


@settings(max_examples=60, deadline=None)
@given(st.tuples(*(st.integers(1, n) for n in (2000, 6000, 6000))), st.integers(0, 9))
def test_windows_are_spread_over_any_volume(shape, seed) -> None:
    windows = spread_windows(shape, seed=seed)
    assert 1 <= len(windows) <= WINDOWS
    for box in windows:
        assert Box.of_shape(shape).contains(box)
        assert box.shape == (1, min(WINDOW, shape[1]), min(WINDOW, shape[2]))
    assert all(one.intersect(other) is None for one, other in pairwise(windows))
    corners = np.array([[w.start, w.stop] for w in windows])
    middles = corners.mean(1)
    for axis in range(3):
        if shape[axis] >= 8 * WINDOW:
            assert middles[:, axis].min() < shape[axis] / 2 < middles[:, axis].max()
