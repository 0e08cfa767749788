"""What every segmentation model promises, whatever its settings."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from safetensors.torch import load, save
from tests.support.models import about_of, of_version_one, with_about

from brushfire.errors import ModelError
from brushfire.geometry import Grid
from brushfire.learning.growing import grow_trees
from brushfire.networks import ModelSnapshot, NetworkSettings, SegmentationModel, measure_halo
from brushfire.networks.settings import BORDERS
from brushfire.prediction.tile import predict_box
from brushfire.volumes import open_volume

if TYPE_CHECKING:
    from brushfire.networks.settings import Border

SETTINGS = [
    NetworkSettings(depth=6, dilations=(1, 2, 3)),
    NetworkSettings(depth=3, width=2, dilations=(1, 4), slices=3),
    NetworkSettings(depth=5, dilations=(2,), features=False),
    NetworkSettings(depth=2, slices=7, features=False),
    NetworkSettings(depth=4, dilations=(1, 3), features=False, border="reflect"),
    NetworkSettings(depth=4, dilations=(2, 5), slices=3, border="symmetric"),
]


def make(settings: NetworkSettings, channels: int = 2, seed: int = 0) -> SegmentationModel:
    torch.manual_seed(seed)
    model = SegmentationModel(
        settings, channels, (1, 2, 5), mean=[10.0] * channels, std=[2.0] * channels
    )
    values = [*model.parameters(), model.input_mean, model.prior_shift]
    if model.pixels is not None:
        values += [model.pixels.mean, model.pixels.machine.weight, model.pixels.machine.bias]
    for value in values:
        torch.nn.init.normal_(value, std=0.2)
    if model.pixels is not None:
        voxels = torch.randn(300, model.inputs)
        classes = (voxels[:, 0] > -1).long() + (voxels[:, 0] > 1)
        grow_trees(model.pixels.trees, voxels, classes)
    return model


def block_for(model: SegmentationModel, count: int, height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    shape = (model.channels, count + 2 * model.context, height, width)
    return (10 + 2 * rng.standard_normal(shape)).astype(np.float32)


@pytest.fixture(params=SETTINGS, ids=str)
def model(request: pytest.FixtureRequest) -> SegmentationModel:
    return make(request.param)


def test_probabilities_have_the_promised_shape_and_sum(model: SegmentationModel) -> None:
    found = model.probabilities(block_for(model, 3, 21, 34))
    assert found.shape == (3, 3, 21, 34)
    assert found.dtype == np.float32
    assert found.sum(0) == pytest.approx(np.ones((3, 21, 34)), abs=1e-5)


def test_probabilities_are_those_of_forward(model: SegmentationModel) -> None:
    block = block_for(model, 2, 40, 40)
    slab = block[:, 1 : 1 + model.settings.slices].reshape(1, -1, 40, 40)
    with torch.no_grad():
        expected = model(torch.from_numpy(slab)).softmax(1)[0].numpy()
    # Not to the last bit: between the two a faster kernel may have proved itself.
    np.testing.assert_allclose(model.probabilities(block)[:, 1], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("layers", [True, False])
def test_logits_of_some_pixels_are_those_of_all(model: SegmentationModel, layers: bool) -> None:
    if not layers:
        torch.nn.init.zeros_(model.head_weight)
    x = torch.randn(1, model.channels * model.settings.slices, 12, 9)
    rows, columns = torch.tensor([0, 3, 11, 3]), torch.tensor([8, 0, 4, 0])
    found = model.logits_at(x, rows, columns)
    expected = model.logits(x)[0][:, rows, columns].t()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_logits_are_what_tells_pixels_and_what_corrects_it(model: SegmentationModel) -> None:
    if model.pixels is None:
        return
    x = torch.randn(2, model.channels * model.settings.slices, 12, 9)
    raw = model.raw_inputs(x)
    fitted = model.pixels(raw)
    correction = model.correction(raw, fitted)
    assert correction.abs().max() > 0.01
    torch.testing.assert_close(model.logits(x), fitted + correction)
    torch.nn.init.zeros_(model.head_weight)
    assert model.by_pixel
    torch.testing.assert_close(model.logits(x), fitted)


def test_a_batch_is_its_images(model: SegmentationModel) -> None:
    x = 10 + torch.randn(3, model.channels * model.settings.slices, 17, 30)
    singly = torch.cat([model(x[index : index + 1]) for index in range(3)])
    torch.testing.assert_close(model(x), singly, rtol=1e-4, atol=1e-4)


def test_a_snapshot_brings_the_model_back(model: SegmentationModel) -> None:
    model.halo = 24
    snapshot = model.snapshot(7, {"mean_dice": 0.5, "dice": {"1": None}})
    again = pickle.loads(pickle.dumps(snapshot))
    assert again == snapshot == ModelSnapshot.from_bytes(snapshot.weights)
    assert (again.revision, again.halo, again.classes) == (7, 24, (1, 2, 5))
    block = block_for(model, 1, 20, 20)
    loaded = SegmentationModel.from_snapshot(again, "cpu")
    assert loaded.halo == 24
    assert np.array_equal(loaded.probabilities(block), model.probabilities(block))


def test_new_classes_leave_the_known_ones_alone(model: SegmentationModel) -> None:
    grown = model.with_classes((1, 3, 5))
    x = torch.randn(1, model.channels * model.settings.slices, 10, 10)
    if model.pixels is None:
        before, after = model.logits(x), grown.logits(x)
    else:
        # The layers are the same for all classes, and see one beside all the others.
        assert grown.pixels is not None
        before, after = (
            one(model.raw_inputs(x), trees=False) for one in (model.pixels, grown.pixels)
        )
        votes, kept = model.pixels.trees.votes, grown.pixels.trees.votes
        assert torch.equal(kept[:, [0, 2]], votes[:, [0, 2]])
        assert not kept[:, 1].any()
        for name, value in model.named_parameters():
            assert torch.equal(value, grown.get_parameter(name))
    torch.testing.assert_close(after[:, [0, 2]], before[:, [0, 2]])
    assert not after[:, 1].any()


def test_a_block_of_another_kind_is_refused(model: SegmentationModel) -> None:
    with pytest.raises(ModelError, match="channel"):
        model.probabilities(np.zeros((3, 9, 8, 8), np.float32))
    with pytest.raises(ModelError, match="slice"):
        model.probabilities(np.zeros((2, 2 * model.context, 8, 8), np.float32))


@given(
    megabytes=st.integers(98, 130),
    top=st.integers(0, 90),
    right=st.integers(61, 370),
    border=st.sampled_from(BORDERS),
)
@examples(max_examples=4, deadline=None)
def test_parts_under_a_budget_do_not_show(
    megabytes: int, top: int, right: int, border: Border
) -> None:
    model = make(replace(SETTINGS[0], border=border), channels=1)
    block = block_for(model, 1, 370, 390)
    whole = model.probabilities(block)
    assert np.abs(model.probabilities(block, budget_bytes=megabytes * 2**20) - whole).max() < 1e-5
    wanted = slice(top, 340), slice(33, right)
    part = model.probabilities(block, wanted=wanted, budget_bytes=megabytes * 2**20)
    assert np.abs(part - whole[:, :, *wanted]).max() < 1e-5


def test_what_is_wanted_may_be_open_or_nothing(model: SegmentationModel) -> None:
    block = block_for(model, 2, 30, 41)
    whole = model.probabilities(block)
    rest = model.probabilities(block, wanted=(slice(None), slice(-9, None)))
    assert np.abs(rest - whole[..., -9:]).max() < 1e-5
    nothing = model.probabilities(block, wanted=(slice(4, 4), slice(None)))
    assert nothing.shape == (3, 2, 0, 41)


def test_a_budget_that_no_part_fits_in_is_refused() -> None:
    model = make(SETTINGS[0], channels=1)
    with pytest.raises(ModelError, match="fit into the memory"):
        model.probabilities(block_for(model, 1, 250, 270), budget_bytes=2**20)


@pytest.mark.parametrize("border", BORDERS)
def test_tiles_equal_the_whole_at_the_edges_of_a_volume_too(border: Border) -> None:
    shape = NetworkSettings(depth=6, dilations=(1, 4, 7), features=False, border=border)
    model = make(shape, channels=1)
    block = block_for(model, 2, 70, 61)
    volume = open_volume(block, axes="czyx")
    whole = model.probabilities(block)
    for core in Grid((2, 70, 61), (1, 24, 24)).boxes():
        tile = predict_box(model, volume, core, budget_bytes=96 * 2**20)
        assert np.abs(tile - whole[(slice(None), *core.slices)]).max() < 1e-5


def test_each_border_gives_other_maps_at_the_edge_and_the_same_inside() -> None:
    shape = NetworkSettings(depth=3, dilations=(3,), features=False)
    models = [make(replace(shape, border=border)) for border in BORDERS]
    block = block_for(models[0], 1, 40, 40)
    zero, reflect, symmetric = (model.probabilities(block) for model in models)
    inside = (..., slice(9, -9), slice(9, -9))
    for one, other in [(zero, reflect), (zero, symmetric), (reflect, symmetric)]:
        assert np.abs(one - other).max() > 1e-3
        assert np.abs(one[inside] - other[inside]).max() < 1e-5


def test_a_model_file_without_a_border_has_zeros_there() -> None:
    assert '"border": "zero"' in about_of(WEIGHTS.weights)
    old = with_about(WEIGHTS.weights, ', "border": "zero"', "")
    again = ModelSnapshot.from_bytes(old)
    assert again.settings == WEIGHTS.settings
    SegmentationModel.from_snapshot(again)


@pytest.mark.parametrize("written", ['"border": "wrap"', '"boarder": "zero"', '"border": ["zero"]'])
def test_a_model_file_with_unknown_settings_is_refused(written: str) -> None:
    with pytest.raises(ModelError, match="describes its network"):
        ModelSnapshot.from_bytes(with_about(WEIGHTS.weights, '"border": "zero"', written))


def test_measured_halo_keeps_the_promise_and_is_within_the_safe_one() -> None:
    model = make(NetworkSettings(depth=20), channels=1)
    block = block_for(model, 1, 330, 330)
    model.halo = measure_halo(model, [block])
    assert 0 < model.halo < model.safe_halo
    with torch.no_grad():
        whole = model(torch.from_numpy(block[:, 0][None])).softmax(1)[0].numpy()
    low, high = 120, 184
    part = model.probabilities(
        block[..., low - model.halo : high + model.halo, low - model.halo : high + model.halo]
    )[:, 0, model.halo : model.halo + 64, model.halo : model.halo + 64]
    assert np.abs(part - whole[:, low:high, low:high]).max() < 1e-3


def test_blocks_too_small_to_tell_leave_the_safe_halo() -> None:
    model = make(SETTINGS[0], channels=1)
    assert measure_halo(model, []) == model.safe_halo
    assert measure_halo(model, [block_for(model, 1, 30, 50)]) == model.safe_halo


WEIGHTS = make(SETTINGS[0], channels=1).snapshot(1, {})


def test_models_with_features_of_the_first_version_are_refused() -> None:
    with pytest.raises(ModelError, match="from format version 3 on") as caught:
        ModelSnapshot.from_bytes(of_version_one(WEIGHTS.weights))
    assert caught.value.got == "1"
    assert "Learn again" in caught.value.do
    assert "strokes are kept" in caught.value.do


def test_models_without_features_of_the_first_version_are_read() -> None:
    model = make(SETTINGS[2], channels=1)
    first = of_version_one(model.snapshot(1, {}).weights)
    # They held an empty tensor that is gone.
    first = save({**load(first), "knots": torch.zeros(0)}, metadata={"brushfire": about_of(first)})
    again = SegmentationModel.from_snapshot(ModelSnapshot.from_bytes(first))
    block = block_for(model, 1, 20, 20)
    assert np.array_equal(again.probabilities(block), model.probabilities(block))


@pytest.mark.parametrize(
    "damaged",
    [
        b"", b"short", b"\xff" * 64, WEIGHTS.weights[: len(WEIGHTS.weights) // 2],
        WEIGHTS.weights[8:], b"PK\x03\x04" + b"\0" * 100, save({"x": torch.zeros(3)}),
        save({"x": torch.zeros(3)}, metadata={"brushfire": "{"}),
        save({"x": torch.zeros(3)}, metadata={"brushfire": '{"format": "other", "version": 1}'}),
        save(
            {"x": torch.zeros(3)},
            metadata={"brushfire": '{"format": "brushfire-model", "version": 1}'},
        ),
        save(
            {"x": torch.zeros(3)},
            metadata={"brushfire": '{"format": "brushfire-model", "version": 99}'},
        ),
    ],
)  # fmt: skip
def test_foreign_or_damaged_bytes_are_refused(damaged: bytes) -> None:
    with pytest.raises(ModelError) as caught:
        SegmentationModel.from_snapshot(ModelSnapshot.from_bytes(damaged))
    assert caught.value.do


def test_weights_that_do_not_fit_the_settings_are_refused() -> None:
    other = replace(WEIGHTS, settings=NetworkSettings(depth=7))
    with pytest.raises(ModelError, match="fits its settings"):
        SegmentationModel.from_snapshot(other)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "name", ["head_weight", "layers.weights.2", "intensity_mean", "pixels.machine.weight"]
)
def test_weights_that_are_no_numbers_are_refused(name: str, value: float) -> None:
    model = make(SETTINGS[0], channels=1)
    model.state_dict()[name].view(-1)[-1] = value
    with pytest.raises(ModelError, match="finite") as caught:
        SegmentationModel.from_snapshot(model.snapshot(1, {}))
    assert name in caught.value.got
    assert caught.value.do


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.999])
def test_a_truncated_model_is_refused(kept: float) -> None:
    cut = WEIGHTS.weights[: int(len(WEIGHTS.weights) * kept)]
    with pytest.raises(ModelError, match="whole safetensors file"):
        SegmentationModel.from_snapshot(replace(WEIGHTS, weights=cut))


@pytest.mark.parametrize(
    "other", [{"channels": 2}, {"classes": (1, 2)}, {"settings": replace(SETTINGS[0], width=2)}]
)
def test_another_architecture_is_refused(other: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="fits its settings"):
        SegmentationModel.from_snapshot(replace(WEIGHTS, **other))


@pytest.mark.parametrize("name", ["child", "feature", "roots", "votes"])
def test_trees_that_lead_elsewhere_are_refused(name: str) -> None:
    model = make(SETTINGS[0])
    model.state_dict()[f"pixels.trees.{name}"][0] = -3
    with pytest.raises(ModelError, match="trees"):
        SegmentationModel.from_snapshot(model.snapshot(1, {}))


@pytest.mark.parametrize("name", ["intensity_std", "input_std", "pixels.std"])
def test_a_standard_deviation_of_zero_is_refused(name: str) -> None:
    model = make(SETTINGS[0])
    model.get_buffer(name)[0] = 0
    with pytest.raises(ModelError, match="above zero"):
        SegmentationModel.from_snapshot(model.snapshot(1, {}))
