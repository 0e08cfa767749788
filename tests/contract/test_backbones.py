"""What every network inside a model promises, whichever it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from brushfire.errors import SettingsError
from brushfire.geometry import Box
from brushfire.networks import ModelSnapshot, NetworkSettings, SegmentationModel, measure_halo
from brushfire.networks.architectures import (
    ARCHITECTURES,
    ENCODERS,
    USUAL_ENCODER,
    architecture_of,
    check_installed,
    read_arguments,
)
from brushfire.networks.backbones import make_backbone
from brushfire.networks.backbones.protocol import Backbone
from brushfire.prediction.tile import predict_box
from brushfire.volumes import open_volume
from support.encoders import has_timm, skip_without_timm

if TYPE_CHECKING:
    from brushfire.volumes import Volume

SMALL = {
    "msd": NetworkSettings(depth=6, features=False),
    "basic_unet": NetworkSettings(5, 4, features=False, architecture="basic_unet"),
    "dynunet": NetworkSettings(4, 4, features=False, architecture="dynunet"),
    "segresnet": NetworkSettings(3, 4, features=False, architecture="segresnet"),
    "attention_unet": NetworkSettings(3, 4, features=False, architecture="attention_unet"),
    "unetr": NetworkSettings(4, 4, features=False, architecture="unetr", window=64),
    "swin_unetr": NetworkSettings(
        5, 12, features=False, architecture="swin_unetr", window=64,
        arguments='{"depths": [1, 1, 1, 1], "window_size": 4}',
    ),
    "encoder_unet": NetworkSettings(6, 8, features=False, architecture="encoder_unet", window=64),
}  # fmt: skip
DEEP = {
    name: replace(settings, axes=3, slices=3)
    for name, settings in SMALL.items()
    if 3 in ARCHITECTURES[name].axes
}
ENCODED = [
    replace(SMALL["encoder_unet"], arguments=json.dumps({"encoder": name}))
    for name in ENCODERS
    if name != USUAL_ENCODER
]
EACH = [*SMALL.values(), *DEEP.values(), *ENCODED]
BY_SIGHT = replace(SMALL["dynunet"], norm="instance", window=64)
WITH_FEATURES = [replace(SMALL[name], features=True) for name in ("segresnet", "encoder_unet")]
SHAPE = (2, 70, 81)


def named(settings: NetworkSettings) -> str:
    name = read_arguments(architecture_of(settings.architecture), settings.arguments).get("encoder")
    return f"{name or settings.architecture}-{settings.axes}d-{settings.norm}"


def make(settings: NetworkSettings) -> SegmentationModel:
    """Return a model whose layers are normalised by something, and whose head is random."""
    if settings.encoder is not None:
        skip_without_timm()
    torch.manual_seed(0)
    model = SegmentationModel(settings, 1, (1, 2, 5), mean=[10.0], std=[2.0])
    torch.nn.init.normal_(model.head_weight, std=0.3)
    with torch.no_grad():
        for _ in range(3):
            model.layers.features_of(torch.randn(1, model.layers.channels, 64, 64))
    return model.eval()


def noise(shape: tuple[int, ...]) -> np.ndarray:
    return (10 + 2 * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)


@pytest.fixture(scope="module")
def volume() -> Volume:
    return open_volume(noise((1, *SHAPE)), axes="czyx")


def test_each_network_is_tested_here() -> None:
    assert set(SMALL) == set(ARCHITECTURES)


@pytest.mark.parametrize("settings", [*EACH, BY_SIGHT], ids=named)
def test_tiles_equal_the_whole(settings: NetworkSettings, volume: Volume) -> None:
    model = make(settings)
    side = 2 * 144 + 64
    if settings.axes == 2:
        model.halo = measure_halo(model, [noise((1, settings.slices, side, side))])
        assert model.halo <= model.safe_halo
    else:
        model.halo = 64  # measuring takes seconds: as much as these have ever needed
    whole = predict_box(model, volume, Box((1, 0, 0), SHAPE), budget_bytes=2**31)
    np.testing.assert_allclose(whole.sum(0), 1, atol=1e-5)
    assert whole.std() > 1e-3, "a network that answers the same everywhere proves nothing"
    for core in (Box((1, 0, 0), (2, 40, 40)), Box((1, 33, 47), SHAPE)):
        tile = predict_box(model, volume, core, budget_bytes=2**30)
        there = whole[(slice(None), slice(0, 1), *core.slices[1:])]
        assert np.abs(tile - there).max() < 1e-3


@pytest.mark.parametrize("settings", EACH, ids=named)
def test_a_step_moves_every_stage_and_each_parameter_is_in_one(settings: NetworkSettings) -> None:
    model = make(settings).train()
    layers = model.layers
    assert isinstance(layers, Backbone)
    loss = model(torch.from_numpy(noise((1, settings.slices, 50, 64)))).logsumexp(1).mean()
    torch.autograd.backward(loss)
    parameters = dict(layers.named_parameters())
    seen = {name: torch.zeros(len(value), dtype=torch.int64) for name, value in parameters.items()}
    for stage in layers.stages():
        assert any(
            bool(parameters[name].grad[rows].any())
            for name, rows in stage
            if parameters[name].grad is not None
        )
        for name, rows in stage:
            seen[name][rows] += 1
    assert all(bool((count == 1).all()) for count in seen.values())


@pytest.mark.parametrize("settings", EACH, ids=named)
def test_a_file_gives_back_the_same_network(settings: NetworkSettings) -> None:
    model = make(settings)
    snapshot = ModelSnapshot.from_bytes(model.snapshot(3, {}).weights)
    assert snapshot.settings == settings
    again = SegmentationModel.from_snapshot(snapshot)
    block = noise((1, settings.slices, 40, 48))
    assert np.array_equal(again.probabilities(block), model.probabilities(block))


@pytest.mark.parametrize("settings", WITH_FEATURES, ids=named)
def test_features_are_corrected_by_any_network(settings: NetworkSettings, volume: Volume) -> None:
    model = make(settings)
    torch.nn.init.normal_(model.pixels.machine.weight, std=0.2)
    assert not model.by_pixel
    whole = predict_box(model, volume, Box((1, 0, 0), SHAPE), budget_bytes=2**31)
    core = Box((1, 10, 20), (2, 50, 70))
    tile = predict_box(model, volume, core, budget_bytes=2**30)
    assert np.abs(tile - whole[(slice(None), slice(0, 1), *core.slices[1:])]).max() < 1e-3


MEASURE = """
import json, sys
import brushfire, torch
from brushfire.networks import NetworkSettings
from brushfire.networks.backbones import make_backbone
from brushfire.networks.kernels import forget_buffer

def said(key):
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])

def measured(run):
    forget_buffer()
    open("/proc/self/clear_refs", "w").write("5")
    before = said("VmRSS")
    run()
    return said("VmHWM") - before

def predict():
    with torch.no_grad():
        layers.weighed(x, *head)

def learn():
    layers.features_of(x).square().mean().backward()

torch.set_num_threads(1)
for case in sys.argv[1:]:
    words = (int(one) if one.isdigit() else one for one in case.split())
    name, depth, width, slices, side, arguments = (*words, "{}")[:6]
    layers = make_backbone(
        NetworkSettings(depth, width, slices=slices, features=False, architecture=name,
                        axes=2 if slices == 1 else 3, window=side, arguments=arguments), slices, 3
    )
    head = torch.zeros(3, layers.maps), torch.zeros(3)
    x = torch.randn(1, slices, 32, 32)
    layers.eval(), predict(), layers.train(), learn()
    layers.zero_grad()
    x = torch.randn(1, slices, side, side)
    foretold = layers.eval().bytes_of(side, side), layers.step_bytes(1, side)
    print(case, foretold[0] / measured(predict), end=" ")
    layers.train()
    print(foretold[1] / measured(learn))
"""

SHAPES = ("basic_unet 5 16", "dynunet 5 16", "segresnet 4 16", "attention_unet 4 16", "unetr 4 16",
        "swin_unetr 5 12")  # fmt: skip


FORETOLD = {
    "2d": [*(f"{name} 1 192" for name in SHAPES), "msd 60 1 1 384"],
    # In three dimensions small maps are computed in another way than larger ones.
    "3d": [
        *(f"{name} 7 64" for name in SHAPES[:-1]), f"{SHAPES[2]} 3 96",
        SHAPES[-1] + ' 3 64 {"depths":[2,1,1,1]}',
    ],
    "encoders": [f'encoder_unet 6 16 1 256 {{"encoder":"{name}"}}' for name in ENCODERS],
}  # fmt: skip


@pytest.fixture(scope="module")
def foretold() -> list[str]:
    """What is foretold of each network as a share of what it takes, a line for each."""
    known = [kind for kind in FORETOLD if kind != "encoders" or has_timm()]
    # Small blocks go back to the system at once, so that each network finds none of the last.
    return subprocess.run(
        [sys.executable, "-c", MEASURE, *(case for kind in known for case in FORETOLD[kind])],
        env={**os.environ, "BRUSHFIRE_KERNEL": "grouped", "MALLOC_MMAP_THRESHOLD_": "65536",
             "OMP_WAIT_POLICY": "PASSIVE"},
        capture_output=True, text=True, check=True, timeout=250,
    ).stdout.splitlines()  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are told by Linux's /proc")
@pytest.mark.parametrize("kind", FORETOLD)
def test_the_memory_that_a_network_takes_is_foretold(kind: str, foretold: list[str]) -> None:
    if kind == "encoders":
        skip_without_timm()
    cases = FORETOLD[kind]
    told = [line for line in foretold if line.startswith(tuple(f"{case} " for case in cases))]
    ratios = [float(ratio) for line in told for ratio in line.split()[-2:]]
    assert len(ratios) == 2 * len(cases)
    assert all(0.75 < ratio < 1.25 for ratio in ratios), told


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architecture": "vgg"}, "one of those that Brushfire knows"),
        ({"architecture": "dynunet", "depth": 2}, "Depth of nnU-Net's shape is from 3 to 7"),
        ({"architecture": "swin_unetr", "depth": 5, "width": 16}, "a multiple of 12"),
        ({"axes": 3}, "MS-D computes in 2 dimensions"),
        ({"architecture": "dynunet", "depth": 4, "width": 8, "axes": 3}, "three slices or more"),
        ({"architecture": "unetr", "depth": 4, "width": 4, "window": 100}, "multiple of 32"),
        ({"norm": "layer"}, "what is in sight"),
        ({"arguments": '{"dropout": 0.1}'}, "further arguments"),
        (
            {
                "architecture": "encoder_unet",
                "depth": 6,
                "width": 8,
                "arguments": '{"encoder": "vgg"}',
            },
            "encoder of ImageNet U-Net is one of these: resnet18, ",
        ),
        (
            {
                "architecture": "encoder_unet",
                "depth": 6,
                "width": 8,
                "arguments": '{"encoder": []}',
            },
            "is one of these",
        ),
        (
            {"architecture": "encoder_unet", "depth": 6, "width": 8, "norm": "group"},
            "while learning",
        ),
        ({"arguments": "__import__('os')"}, "JSON object"),
    ],
)
def test_what_a_network_cannot_be_is_told(changes: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        NetworkSettings(**changes)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("unetr", '{"img_size": 100}', "multiples of 16"),
        ("unetr", '{"num_heads": 7}', "hidden_size"),
        ("basic_unet", '{"norm": "no such norm"}', "can be built"),
        ("dynunet", '{"filters": [20000, 20000, 20000, 20000]}', "at most 200,000,000 weights"),
    ],
)
def test_arguments_that_do_not_fit_are_told(name: str, arguments: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        make_backbone(replace(SMALL[name], arguments=arguments), 1, 2)


def test_a_missing_package_is_told() -> None:
    absent = replace(architecture_of("dynunet"), packages=("no_such_package",))
    with pytest.raises(SettingsError, match=r"napari-brushfire\[networks\]"):
        check_installed(absent)
