"""Networks of MONAI compute the same as models, and other files are refused in a sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from brushfire.errors import ModelError
from brushfire.networks import NetworkSettings, SegmentationModel
from brushfire.networks.exchange.definitions import NAMES, Definition, is_known, read_definition
from brushfire.networks.exchange.foreign import model_of, monai_definition, monai_network, scale_of
from support.monai_files import NETWORKS, network_of

TWO = [name for name in NETWORKS if not name.endswith("3D")]


def definition_of(kind: str, window: int | None = None, **more: Any) -> Definition:
    name, arguments = NETWORKS[kind]
    return read_definition(name, {**arguments, **more}, window=window)


def logits_of(model: SegmentationModel, x: torch.Tensor) -> torch.Tensor:
    """Return logits of (1, channels, y, x), or of (1, channels, z, y, x) in its middle slice."""
    with torch.no_grad():
        return model.logits(x.flatten(1, 2) if x.ndim == 5 else x)


# -- the same numbers ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_model_computes_what_the_network_of_monai_does(kind: str) -> None:
    definition = definition_of(kind)
    network = network_of(kind)
    model, _ = model_of(definition, network.state_dict())
    axes = definition.settings.axes
    depth = (definition.settings.slices,) if axes == 3 else ()
    x = torch.randn(1, definition.channels, *depth, 64, 64)
    whole = x
    if axes == 3:  # the slab that the network computes on goes on with its outermost slice
        size = model.layers.computed_size((*depth, 64, 64))  # type: ignore[union-attr]
        more = size[0] - depth[0]
        whole = torch.cat((x, x[:, :, -1:].expand(-1, -1, more, -1, -1)), 2)
    with torch.no_grad():
        theirs = network(whole)
    if axes == 3:
        theirs = theirs[:, :, depth[0] // 2]
    torch.testing.assert_close(logits_of(model, x), theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_way_back_gives_the_same_network(kind: str) -> None:
    network = network_of(kind)
    model, _ = model_of(definition_of(kind), network.state_dict())
    back = monai_network(model)
    theirs, ours = network.state_dict(), back.state_dict()
    assert set(theirs) == set(ours)
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)
    name, arguments = monai_definition(model)
    assert (name, json.loads(json.dumps(arguments))) == (NETWORKS[kind][0], arguments)
    again = read_definition(name, arguments, slices=model.settings.slices)
    assert again.settings == model.settings


@pytest.mark.parametrize("architecture", NAMES)
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_networks_made_here_go_out_and_back(architecture: str, norm: Any) -> None:
    width = {"swin_unetr": 12, "unetr": 4}.get(architecture, 4)
    depth = {"basic_unet": 5, "swin_unetr": 5, "unetr": 4}.get(architecture, 3)
    settings = NetworkSettings(
        depth, width, slices=3, features=False, architecture=architecture, norm=norm, window=64
    )
    model = SegmentationModel(settings, 2, (3, 7), mean=[2.0, 3.0], std=[4.0, 5.0]).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.normal_(0, 0.1)
        model.prior_shift[:] = torch.tensor([0.5, -0.5])
    if architecture == "attention_unet" and norm == "batch":
        with pytest.raises(ModelError, match="by what is in sight"):
            monai_network(model)
        return
    network = monai_network(model)
    mean, std = scale_of(model)
    x = torch.randn(1, 6, 64, 64) * 3
    scaled = (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(network(scaled), model(x), atol=1e-4, rtol=1e-4)
    name, arguments = monai_definition(model)
    back, _ = model_of(
        read_definition(name, arguments, slices=3, window=64), network.state_dict(), classes=(3, 7)
    )
    with torch.no_grad():
        torch.testing.assert_close(back(scaled), model(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["SegResNet", "DynUNet 3D"])
def test_it_is_a_model_like_any_other(kind: str) -> None:
    definition = definition_of(kind, window=64)
    model, _ = model_of(definition, network_of(kind).state_dict())
    again = SegmentationModel.from_snapshot(model.snapshot(1, {}))
    block = torch.randn(definition.channels, definition.settings.slices + 1, 70, 50).numpy()
    first, second = (one.probabilities(block) for one in (model, again))
    assert first.shape == (definition.outputs, 2, 70, 50)
    assert (first == second).all()
    assert abs(first.sum(0) - 1).max() < 1e-5


def test_one_output_becomes_two_classes() -> None:
    name, arguments = NETWORKS["BasicUNet"]
    arguments = {**arguments, "out_channels": 1}
    network = network_of("BasicUNet", out_channels=1)
    model, report = model_of(read_definition(name, arguments), network.state_dict())
    assert model.classes == (1, 2)
    assert "two classes" in " ".join(report)
    x = torch.randn(1, 2, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            model.logits(x).softmax(1)[:, 1:], network(x).sigmoid(), atol=1e-5, rtol=1e-4
        )


def test_networks_that_see_what_is_in_sight_get_windows() -> None:
    assert model_of(definition_of("BasicUNet"), network_of("BasicUNet").state_dict())[
        0
    ].layers.window
    batch = network_of("BasicUNet", norm="batch")
    definition = definition_of("BasicUNet", norm="batch")
    assert model_of(definition, batch.state_dict())[0].layers.window is None


def test_heads_for_training_are_left_out() -> None:
    network = network_of("DynUNet", deep_supervision=True)
    model, report = model_of(definition_of("DynUNet", deep_supervision=True), network.state_dict())
    assert "left out" in " ".join(report)
    x = torch.randn(1, 2, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.logits(x), network.eval()(x), atol=1e-4, rtol=1e-4)


def test_names_of_arguments_from_before_are_known() -> None:
    name, arguments = NETWORKS["SwinUNETR"]
    settings = read_definition(name, {**arguments, "img_size": [96, 96]}).settings
    assert settings == read_definition(name, arguments).settings
    name, arguments = NETWORKS["SegResNet"]
    old = {**arguments, "norm_name": "group", "num_groups": 2}
    del old["norm"]
    assert read_definition(name, old).settings == read_definition(name, arguments).settings


@pytest.mark.parametrize(
    ("target", "known"),
    [
        ("SwinUNETR", True),
        ("monai.networks.nets.SwinUNETR", True),
        ("monai.networks.nets.swin_unetr.SwinUNETR", True),
        ("BasicUnet", True),
        ("monai.networks.nets.UNet", False),
        ("os.system", False),
        ("evil.SwinUNETR", False),
        ("monai.networks.netsx.SwinUNETR", False),
    ],
)
def test_six_networks_are_known(target: str, known: bool) -> None:
    assert is_known(target) == known


# -- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"in_channels": 0}, "in_channels"),
        ({"in_channels": "$2"}, "in_channels"),
        ({"spatial_dims": 1}, "2 or 3 dimensions"),
        ({"out_channels": None}, "out_channels"),
        ({"norm": "layer"}, "batch, instance, group"),
        ({"act": "no such"}, "can be built"),
        ({"features": [4, 4, 8, 16, 10**9, 4]}, "numbers up to"),
        ({"features": [16000] * 6}, "at most 200,000,000 weights"),
        ({"features": [float("nan")] * 6}, "numbers up to"),
        ({"act": object()}, "short texts"),
        ({"act": "x" * 100}, "short texts"),
        ({"layers": 3}, "has these arguments"),
    ],
)
def test_definitions_that_cannot_be(more: dict[str, Any], word: str) -> None:
    state = network_of("BasicUNet").state_dict()
    with pytest.raises(ModelError, match=word):
        model_of(definition_of("BasicUNet", **more), state)


def test_a_definition_lacks_what_has_no_default() -> None:
    with pytest.raises(ModelError, match="strides"):
        read_definition("DynUNet", {"spatial_dims": 2, "in_channels": 1, "out_channels": 2})


def test_a_transformer_of_any_size_is_refused_before_it_takes_memory() -> None:
    name, arguments = NETWORKS["UNETR"]
    huge = {**arguments, "hidden_size": 16380, "mlp_dim": 16380, "num_heads": 2}
    with pytest.raises(ModelError, match="at most 200,000,000 weights"):
        model_of(read_definition(name, huge), network_of("UNETR").state_dict())


def test_windows_that_patches_do_not_divide() -> None:
    name, arguments = NETWORKS["UNETR"]
    with pytest.raises(ModelError, match="multiples of 16"):
        model_of(read_definition(name, {**arguments, "img_size": [40, 40]}), {"a": torch.ones(1)})


@pytest.mark.parametrize("kind", TWO)
def test_weights_of_another_network(kind: str) -> None:
    other = TWO[TWO.index(kind) - 1]
    with pytest.raises(ModelError, match=r"without .* and with "):
        model_of(definition_of(kind), network_of(other).state_dict())


def test_weights_that_do_not_fit() -> None:
    definition, whole = definition_of("BasicUNet"), network_of("BasicUNet").state_dict()
    weight = "conv_0.conv_0.conv.weight"
    damaged: list[tuple[dict[str, Any], str]] = [
        ({name: v for name, v in whole.items() if name != weight}, f"without {weight}"),
        ({**whole, "more": torch.ones(1)}, "with more"),
        ({**whole, weight: whole[weight][:, :1]}, "of shape"),
        ({**whole, weight: torch.full_like(whole[weight], torch.nan)}, "NaN or infinity"),
        ({**whole, weight: whole[weight].double() * 1e300}, "NaN or infinity"),
        ({**whole, weight: whole[weight].int()}, "of type"),
        ({**whole, weight: torch.ones(1, 1, 1, 1).expand_as(whole[weight])}, "not stored"),
        ({**whole, weight: "text"}, "str under the name"),
        ({**whole, "final_conv.bias": torch.full((3,), torch.nan)}, "NaN or infinity"),
    ]
    for state, word in damaged:
        with pytest.raises(ModelError, match=word):
            model_of(definition, state)


def test_windows_of_another_size_are_noticed() -> None:
    state = network_of("SwinUNETR").state_dict()
    name = "swinViT.layers1.0.blocks.0.attn.relative_position_index"
    with pytest.raises(ModelError, match="windows of this size"):
        model_of(definition_of("SwinUNETR"), {**state, name: state[name] * 0 + 10**6})


def test_ms_d_is_none_of_monai() -> None:
    with pytest.raises(ModelError, match="BioImage Model Zoo"):
        monai_network(SegmentationModel(NetworkSettings(2, 1, features=False), 1, (1, 2)))


def test_what_is_more_than_a_network_is_refused() -> None:
    for settings, word in (
        (NetworkSettings(3, 4, architecture="dynunet"), "features of several scales"),
        (
            NetworkSettings(3, 4, features=False, architecture="dynunet", adapter=2),
            "other channels",
        ),
    ):
        with pytest.raises(ModelError, match=word):
            monai_network(SegmentationModel(settings, 1, (1, 2)))
