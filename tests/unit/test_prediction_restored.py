"""A volume that is restored where it is read, as what a network segments."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brushfire.geometry import Box
from brushfire.networks import NetworkSettings, SegmentationModel
from brushfire.networks.restoration import RestorationModel
from brushfire.prediction import restored as module
from brushfire.prediction.restored import RestoredSource, restored_volume
from brushfire.prediction.tile import predict_box, predict_tile
from brushfire.volumes import Volume, open_volume

SHAPE = (5, 70, 90)
CHANNELS = 2
BUDGET = 2**28


def model() -> RestorationModel:
    network = NetworkSettings(
        depth=5, dilations=(1, 2, 3), slices=3, features=False, restored=CHANNELS
    )
    torch.manual_seed(0)
    made = RestorationModel(
        network, CHANNELS, mean=[100.0] * CHANNELS, std=[20.0] * CHANNELS,
        target_mean=[5.0] * CHANNELS, target_std=[2.0] * CHANNELS,
    )  # fmt: skip
    torch.nn.init.normal_(made.head_weight, std=0.1)
    return made.eval()


MODEL = model()
NOISY = open_volume(
    np.random.default_rng(0).normal(100, 20, (CHANNELS, *SHAPE)).astype(np.float32),
    axes="czyx",
    voxel_size=(1.0, 0.5, 0.5),
)
WHOLE = predict_box(MODEL, NOISY, Box.of_shape(SHAPE), budget_bytes=BUDGET)


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TILE", 32)


def restored(cache_bytes: int = 2**20) -> Volume:
    return restored_volume(NOISY, MODEL, cache_bytes=cache_bytes, budget_bytes=BUDGET)


def test_it_is_described_as_what_it_is_made_of() -> None:
    volume = restored()
    assert volume.shape == SHAPE
    assert volume.dtype == np.float32
    assert volume.voxel_size == NOISY.voxel_size
    assert len(volume.channels) == CHANNELS
    assert volume.chunk == (1, 32, 32)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_box_reads_as_it_does_in_the_whole(data: st.DataObject) -> None:
    volume = restored()
    start = [data.draw(st.integers(0, n - 1)) for n in SHAPE]
    stop = [data.draw(st.integers(a + 1, n)) for a, n in zip(start, SHAPE, strict=True)]
    box = Box(tuple(start), tuple(stop))  # type: ignore[arg-type]
    found = volume.read(box)
    assert np.abs(found - WHOLE[(slice(None), *box.slices)]).max() < 1e-3
    np.testing.assert_array_equal(volume.view(channel=1)[box.slices], found[1])


def test_what_was_restored_last_is_kept_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Box] = []
    real = module.predict_box

    def counting(model: object, volume: object, core: Box, *, budget_bytes: int) -> np.ndarray:
        made.append(core)
        return real(model, volume, core, budget_bytes=budget_bytes)

    monkeypatch.setattr(module, "predict_box", counting)
    tile = CHANNELS * 32 * 32 * 4
    source = RestoredSource(NOISY, MODEL, cache_bytes=2 * tile, budget_bytes=BUDGET)
    left, below = Box((0, 0, 0), (1, 20, 20)), Box((0, 32, 0), (1, 50, 20))
    for box in (left, below, left, below):
        source.read(slice(0, 1), box)
    assert len(made) == 2
    source.read(slice(0, 2), Box.of_shape(SHAPE))
    assert source._kept.nbytes <= 2 * tile


def test_it_is_segmented_in_one_pass_a_tile() -> None:
    torch.manual_seed(1)
    network = NetworkSettings(depth=3, dilations=(1, 2), features=False)
    segments = SegmentationModel(network, CHANNELS, (1, 2), mean=[5.0] * 2, std=[2.0] * 2).eval()
    torch.nn.init.normal_(segments.head_weight)
    whole = open_volume(WHOLE, axes="czyx")
    core = Box((2, 30, 30), (3, 62, 62))
    both = [
        predict_tile(segments, volume, (2, 1, 1), core, 1, budget_bytes=BUDGET)
        for volume in (restored(), whole)
    ]
    np.testing.assert_array_equal(both[0].labels, both[1].labels)
    assert both[0].labels.min() < both[0].labels.max()


def test_threads_may_read_at_once() -> None:
    volume, found = restored(), {}

    def read(z: int) -> None:
        found[z] = volume.read(Box((z, 0, 0), (z + 1, *SHAPE[1:])))

    threads = [threading.Thread(target=read, args=(z,)) for z in range(SHAPE[0])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for z, values in found.items():
        assert np.abs(values[:, 0] - WHOLE[:, z]).max() < 1e-3


def test_it_has_the_statistics_and_the_fingerprint_of_what_is_restored() -> None:
    one, other = restored(), restored()
    assert one.fingerprint == other.fingerprint != NOISY.fingerprint
    assert one.statistics().mean == pytest.approx(WHOLE.mean((1, 2, 3)), abs=0.5)
