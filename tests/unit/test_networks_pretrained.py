"""The weights that are shipped: small, sound, of the shape of the network that is suggested."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
import torch
from safetensors.torch import load

import brushfire.networks as package
from brushfire.networks import NetworkSettings, SegmentationModel, suggest_settings
from brushfire.networks.pretrained import FILE, take_over_pretrained
from brushfire.networks.refining import INPUTS
from brushfire.networks.snapshot import read_header

WEIGHTS = files(package).joinpath(FILE).read_bytes()

OTHERS = [
    NetworkSettings(depth=6),
    NetworkSettings(width=2),
    NetworkSettings(dilations=(1, 2, 3)),
]


def started(settings: NetworkSettings, classes: tuple[int, ...] = (1, 2)) -> SegmentationModel:
    torch.manual_seed(0)
    model = SegmentationModel(settings, 1, classes)
    model.start()
    return model


def test_the_file_is_small_and_its_numbers_are_finite() -> None:
    assert len(WEIGHTS) < 10**6
    shipped = load(WEIGHTS)
    assert shipped["input_mean"].shape == shipped["input_std"].shape == (INPUTS,)
    assert all(bool(value.isfinite().all()) for value in shipped.values())
    assert bool((shipped["input_std"] > 0).all())


def test_nothing_is_run_to_read_it() -> None:
    header = read_header(WEIGHTS)
    tensors = {name: about for name, about in header.items() if name != "__metadata__"}
    assert {about["dtype"] for about in tensors.values()} <= {"F16", "F32", "I64", "I32"}
    start = 8 + int.from_bytes(WEIGHTS[:8], "little")
    ends = [about["data_offsets"][1] for about in tensors.values()]
    assert start + max(ends) == len(WEIGHTS), "a header of JSON, then numbers, and no more"
    assert json.dumps(header)


@pytest.mark.parametrize(
    "settings", [NetworkSettings(), suggest_settings((30, 512, 512), 1.0)], ids=str
)
@pytest.mark.parametrize("classes", [(1, 2), (1, 4, 9)])
def test_a_network_of_the_usual_shape_takes_it_over(
    settings: NetworkSettings, classes: tuple[int, ...]
) -> None:
    model, shipped = started(settings, classes), load(WEIGHTS)
    assert not model.by_pixel
    for name, value in model.named_parameters():
        if not name.startswith("head"):
            torch.testing.assert_close(value.detach(), shipped[name].to(value))
    torch.testing.assert_close(model.input_mean, shipped["input_mean"])
    ratio = model.head_weight.detach() / shipped["head_weight"].to(model.head_weight)
    assert 0 < float(ratio.nanmean()) <= 1, "what made-up images taught is not believed too much"
    assert take_over_pretrained(model)


@pytest.mark.parametrize("settings", OTHERS, ids=str)
def test_a_network_of_another_shape_starts_with_no_correction(settings: NetworkSettings) -> None:
    model = started(settings)
    assert not take_over_pretrained(model)
    assert model.by_pixel
    torch.testing.assert_close(model.input_std, load(WEIGHTS)["input_std"])
    raw = model.raw_inputs(torch.randn(1, settings.slices, 20, 20))
    assert not model.correction(raw, torch.randn(1, 2, 20, 20)).any()
    assert any(bool(weight.any()) for weight in model.layers.weights), "and can still learn"


def test_a_network_without_features_has_nothing_to_take_over() -> None:
    settings = NetworkSettings(features=False)
    model = started(settings)
    torch.manual_seed(0)
    plain = SegmentationModel(settings, 1, (1, 2))
    for (name, value), other in zip(
        model.state_dict().items(), plain.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other), name
