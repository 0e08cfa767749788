"""What every model that restores promises, whichever network is inside it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from brushfire.errors import ModelError
from brushfire.geometry import Box, Grid
from brushfire.networks import ModelSnapshot, NetworkSettings, SegmentationModel, measure_halo
from brushfire.networks.architectures import architecture_of, check_installed
from brushfire.networks.rebuilding import model_of
from brushfire.networks.restoration import RestorationModel
from brushfire.networks.snapshot import read_header
from brushfire.prediction.tile import predict_tile
from brushfire.volumes import open_volume

if TYPE_CHECKING:
    from brushfire.networks.settings import Splits

SHAPE = (5, 150, 170)


def settings(
    architecture: str = "msd", *, slices: int = 1, restored: int = 1, splits: Splits = ""
) -> NetworkSettings:
    depth, width = {"msd": (8, 1), "basic_unet": (5, 4)}[architecture]
    return NetworkSettings(
        depth, width, slices=slices, features=False, architecture=architecture, restored=restored,
        splits=splits,
    )  # fmt: skip


CASES = [
    (settings(), 1),
    (settings(slices=3, restored=2), 2),
    (settings(splits="x:1"), 4),
    (settings(splits="1:x", slices=3), 2),
    (settings("basic_unet"), 1),
]


def make(network: NetworkSettings, channels: int) -> RestorationModel:
    check_installed(architecture_of(network.architecture))
    torch.manual_seed(0)
    many = range(channels)
    model = RestorationModel(
        network,
        channels,
        mean=[10.0 + each for each in many],
        std=[2.0] * channels,
        target_mean=[-1000.0] * network.restored,
        target_std=[50.0] * network.restored,
    )
    torch.nn.init.normal_(model.head_weight, std=0.1)
    with torch.no_grad():
        for _ in range(3):  # what layers are normalised by
            model.layers.features_of(torch.randn(1, model.layers.channels, 64, 64))
    return model.eval()


def block(channels: int) -> np.ndarray:
    noise = np.random.default_rng(0).normal(10, 2, (channels, *SHAPE))
    return noise.astype(np.float32)


@pytest.mark.parametrize(("network", "channels"), CASES)
def test_tiles_equal_the_whole(network: NetworkSettings, channels: int) -> None:
    model, values = make(network, channels), block(channels)
    count = SHAPE[0] - 2 * model.context
    whole = model.restore(values)
    assert whole.shape == (network.restored, count, *SHAPE[1:])
    model.halo = measure_halo(model, [values[:, : network.slices]])
    wanted = slice(48, 112), slice(30, 101)
    around = model.surroundings(_core(wanted, count)).clip((count, *SHAPE[1:]))
    rows, columns = around.slices[1:]
    room = (140, 140) if model.halo < 40 else SHAPE[1:]  # in parts, where parts can be so small
    tile = model.restore(
        values[..., rows, columns],
        wanted=tuple(slice(w.start - o.start, w.stop - o.start)
                     for w, o in zip(wanted, (rows, columns), strict=True)),
        origin=(rows.start, columns.start),
        budget_bytes=model.bytes_of(*room),
    )  # fmt: skip
    apart = np.abs(tile - whole[..., wanted[0], wanted[1]]).max() / 50
    assert apart < 1e-3


def _core(wanted: tuple[slice, slice], count: int) -> Box:
    rows, columns = wanted
    return Box((0, rows.start, columns.start), (count, rows.stop, columns.stop))


@pytest.mark.parametrize(("network", "channels"), CASES)
def test_bytes_bring_the_same_model_back(network: NetworkSettings, channels: int) -> None:
    model = make(network, channels)
    snapshot = model.snapshot(7, {"psnr": 20.0})
    read = ModelSnapshot.from_bytes(snapshot.weights)
    assert (read.settings, read.channels, read.classes) == (network, channels, ())
    again = model_of(read)
    assert isinstance(again, RestorationModel)
    np.testing.assert_array_equal(again.restore(block(channels)), model.restore(block(channels)))


def test_parts_of_a_scan_are_left_out_in_turn() -> None:
    model = make(settings(splits="x:1"), 4)
    values = torch.from_numpy(block(4)[:, 0])[None]
    with torch.no_grad():
        normalised = model.normalise(values)
        seen = model.seen(normalised)
        assert seen.shape[:2] == (4, 1)
        for each in range(4):
            others = [other for other in range(4) if other != each]
            torch.testing.assert_close(seen[each, 0], normalised[0, others].mean(0))
        each = model.restored_of(seen).mean(0, keepdim=True)
        torch.testing.assert_close(model.normalised_output(normalised), each)


def test_each_part_of_a_scan_is_seen_alone() -> None:
    model = make(settings(splits="1:x"), 3)
    normalised = torch.randn(2, 3, 20, 20)
    torch.testing.assert_close(model.seen(normalised), normalised.reshape(6, 1, 20, 20))


def test_the_average_over_parts_is_the_same_with_gradients_and_without() -> None:
    model = make(settings(splits="1:x"), 3)
    normalised = torch.randn(2, 3, 20, 20)
    with torch.no_grad():
        alone = model.normalised_output(normalised)
    torch.testing.assert_close(model.normalised_output(normalised), alone)


def test_parts_of_a_scan_are_two_or_more() -> None:
    with pytest.raises(ModelError, match="two reconstructions"):
        RestorationModel(settings(splits="x:1"), 1)


def test_each_kind_refuses_the_other() -> None:
    network = NetworkSettings(depth=4, features=False)
    segmenting = SegmentationModel(network, 1, (1, 2)).snapshot(1, {})
    restoring = make(settings(), 1).snapshot(1, {})
    with pytest.raises(ModelError, match="restore"):
        RestorationModel.from_snapshot(segmenting)
    with pytest.raises(ModelError, match="segments"):
        SegmentationModel.from_snapshot(restoring)
    assert isinstance(model_of(segmenting), SegmentationModel)


def test_versions_before_can_read_models_that_segment() -> None:
    network = NetworkSettings(depth=4, features=False)
    written = SegmentationModel(network, 1, (1, 2)).snapshot(1, {}).weights
    assert json.loads(read_header(written)["__metadata__"]["brushfire"])["version"] == 3
    written = make(settings(), 1).snapshot(1, {}).weights
    assert json.loads(read_header(written)["__metadata__"]["brushfire"])["version"] == 4


@pytest.mark.parametrize(("network", "channels"), CASES)
def test_tiles_of_a_volume_equal_the_whole_of_it(network: NetworkSettings, channels: int) -> None:
    model, values = make(network, channels), block(channels)[:, :2]
    volume = open_volume(values, axes="czyx")
    whole = predict_tile(
        model, volume, (0, 0, 0), Box((1, 0, 0), (2, *SHAPE[1:])), 3, budget_bytes=2**31
    )
    grid = Grid((2, *SHAPE[1:]), (1, 64, 64))
    for index in [(1, 0, 0), (1, 1, 1), (1, 2, 2)]:
        box = grid.box(index)
        tile = predict_tile(model, volume, index, box, 3, budget_bytes=2**31)
        assert (tile.index, tile.box, tile.revision) == (index, box, 3)
        assert tile.values.dtype == np.float32
        difference = tile.values - whole.values[(slice(None), *box.slices_in(whole.box))]
        assert np.abs(difference).max() < 0.05  # 1e-3 of the standard deviation
