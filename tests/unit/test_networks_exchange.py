"""Weights of other programs give what those programs compute, or are refused in a sentence."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from brushfire.errors import BrushfireError, ModelError
from brushfire.networks import ModelSnapshot, NetworkSettings, SegmentationModel
from brushfire.networks.exchange import (
    LAYOUTS,
    dlsia_dilations,
    export_weights,
    from_dlsia,
    from_msd_pytorch,
    import_weights,
    to_dlsia,
    to_msd_pytorch,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from brushfire.networks.exchange import Layout
    from brushfire.networks.settings import Border

State = dict[str, Tensor]
BORDER_OF: dict[Layout, Border] = {"msd_pytorch": "symmetric", "dlsia": "zero"}
TEN = tuple(range(1, 11))


# -- what the others compute, written down once more -----------------------------------------


def msd_pytorch_logits(state: Mapping[str, Tensor], dilations: Sequence[int], x: Tensor) -> Tensor:
    """Compute what MSDSegmentationModel.net does before its LogSoftmax, one pixel shift a tap."""
    x = nn.functional.conv2d(x, state["0.weight"].to(x), state["0.bias"].to(x))
    bias = state["1.0.msd_block.bias"].to(x)
    layer = 0
    while f"1.0.msd_block.weight{layer}" in state:
        weight = state[f"1.0.msd_block.weight{layer}"].to(x)
        width, step = len(weight), dilations[layer % len(dilations)]
        maps = bias[layer * width : (layer + 1) * width, None, None].expand(-1, *x.shape[2:])[None]
        rows, columns = (
            [[mirror(at + by * step, count) for at in range(count)] for by in (-1, 0, 1)]
            for count in x.shape[2:]
        )
        for p in range(3):
            for q in range(3):
                seen = x[:, :, rows[p]][:, :, :, columns[q]]
                maps = maps + torch.einsum("ok,bkyx->boyx", weight[:, :, p, q], seen)
        x = torch.cat((x, maps.clamp(min=0)), 1)
        layer += 1
    head = state["1.0.final_layer.linear.weight"].to(x)
    flat = nn.functional.conv1d(x.flatten(2), head, state["1.0.final_layer.linear.bias"].to(x))
    return flat.unflatten(2, x.shape[2:])


def mirror(at: int, count: int) -> int:
    """Return where a pixel beyond the edge comes from: the outermost one is seen twice."""
    if at < 0:
        return -at - 1
    return 2 * count - at - 1 if at >= count else at


def dlsia_logits(
    state: Mapping[str, Tensor], dilations: Sequence[int], x: Tensor, padding_mode: str = "zeros"
) -> Tensor:
    """Compute what a MixedScaleDenseNetwork with ReLU and no normalisation does."""
    layer = number = 0
    x = torch.relu(x)  # the activation is registered first, and so comes first
    while f"layer_{layer}.conv_0.weight" in state:
        made, row = [x], 0
        while f"layer_{layer}.conv_{row}.weight" in state:
            step = dilations[number % len(dilations)]
            convolution = nn.Conv2d(
                x.shape[1], 1, 3, dilation=step, padding=step, padding_mode=padding_mode
            ).to(x)
            convolution.load_state_dict(
                {key: state[f"layer_{layer}.conv_{row}.{key}"] for key in ("weight", "bias")}
            )
            made.append(convolution(x))
            number, row = number + 1, row + 1
        x = torch.relu(torch.cat(made, 1))
        layer += 1
    weight, bias = (state[f"final_convolution.{key}"].to(x) for key in ("weight", "bias"))
    return nn.functional.conv2d(x, weight, bias)


# -- their networks, with any weights --------------------------------------------------------


def random(*shape: int) -> Tensor:
    return torch.randn(shape) * 0.4


def msd_pytorch_state(inputs: int, outputs: int, depth: int, width: int) -> State:
    state = {
        "0.weight": torch.diag(0.5 + torch.rand(inputs))[:, :, None, None],
        "0.bias": random(inputs),
        "1.0.msd_block.bias": random(depth * width),
    }
    for layer in range(depth):
        state[f"1.0.msd_block.weight{layer}"] = random(width, inputs + layer * width, 3, 3)
    maps = inputs + depth * width
    state["1.0.final_layer.linear.weight"] = random(outputs, maps, 1)
    state["1.0.final_layer.linear.bias"] = random(outputs)
    return state


def dlsia_state(inputs: int, outputs: int, depth: int, width: int) -> State:
    state = {}
    for layer in range(depth):
        for row in range(width):
            state[f"layer_{layer}.conv_{row}.weight"] = random(1, inputs + layer * width, 3, 3)
            state[f"layer_{layer}.conv_{row}.bias"] = random(1)
    state["final_convolution.weight"] = random(outputs, inputs + depth * width, 1, 1)
    state["final_convolution.bias"] = random(outputs)
    return state


STATES: dict[Layout, Callable[..., State]] = {
    "msd_pytorch": msd_pytorch_state,
    "dlsia": dlsia_state,
}


def model_of(
    border: Border, channels: int = 1, depth: int = 5, width: int = 1, **shape: Any
) -> SegmentationModel:
    """Return a model of ours with any weights and intensities far from zero."""
    shape = {"dilations": (1, 3, 4), **shape}
    model = SegmentationModel(
        NetworkSettings(depth, width, features=False, border=border, **shape),
        channels,
        (1, 2, 5),
        mean=[1000.1 + 7 * channel for channel in range(channels)],
        std=[12.3 + channel for channel in range(channels)],
    )
    for value in model.parameters():
        nn.init.normal_(value, std=0.4)
    return model


def flat_dilations(model: SegmentationModel) -> list[int]:
    """Return dlsia's dilations, map by map."""
    return np.array(dlsia_dilations(model)).T.ravel().tolist()


def agree(found: Tensor, expected: Tensor) -> None:
    """Compare logits, which softmax knows up to what all have in common."""
    torch.testing.assert_close(
        found.log_softmax(1), expected.log_softmax(1), rtol=1e-4, atol=1e-5, check_dtype=False
    )


SHAPES = {
    "inputs": st.integers(1, 3),
    "outputs": st.integers(2, 4),
    "depth": st.integers(1, 6),
    "width": st.integers(1, 3),
    "dilations": st.lists(st.integers(1, 6), min_size=1, max_size=4),
    "size": st.tuples(st.integers(7, 20), st.integers(7, 20)),
    "seed": st.integers(0, 1000),
}


@given(**SHAPES)
@settings(max_examples=40, deadline=None)
def test_a_network_of_msd_pytorch_computes_the_same_here(
    inputs: int, outputs: int, depth: int, width: int,
    dilations: list[int], size: tuple[int, int], seed: int,
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    state = msd_pytorch_state(inputs, outputs, depth, width)
    x = torch.randn(2, inputs, *size, dtype=torch.float64)
    model = from_msd_pytorch(state, dilations=dilations).double()
    assert (model.settings.depth, model.settings.width) == (depth, width)
    assert model.classes == tuple(range(1, outputs + 1))
    agree(model(x), msd_pytorch_logits(state, dilations, x))


@given(padding_mode=st.sampled_from(["zeros", "reflect"]), **SHAPES)
@settings(max_examples=60, deadline=None)
def test_a_network_of_dlsia_computes_the_same_here(
    inputs: int, outputs: int, depth: int, width: int,
    dilations: list[int], size: tuple[int, int], seed: int, padding_mode: str,
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    state = dlsia_state(inputs, outputs, depth, width)
    x = torch.randn(2, inputs, *size, dtype=torch.float64)  # half of it is below zero
    border: Border = "zero" if padding_mode == "zeros" else "reflect"
    model = from_dlsia(state, dilations=dilations, border=border).double()
    agree(model(x), dlsia_logits(state, dilations, x, padding_mode))


@pytest.mark.parametrize(("width", "slices", "channels"), [(1, 1, 1), (2, 1, 2), (1, 3, 1)])
def test_a_model_of_ours_computes_the_same_in_msd_pytorch(
    width: int, slices: int, channels: int
) -> None:
    model = model_of("symmetric", channels, width=width, slices=slices).double()
    nn.init.normal_(model.prior_shift)
    nn.init.normal_(model.input_mean, std=0.1)
    x = 1000 + 20 * torch.randn(1, model.inputs, 23, 18, dtype=torch.float64)
    agree(msd_pytorch_logits(to_msd_pytorch(model), model.settings.dilations, x), model(x))


@pytest.mark.parametrize("border", ["zero", "reflect"])
@pytest.mark.parametrize(("width", "slices", "channels"), [(1, 1, 1), (3, 1, 1), (1, 1, 2)])
def test_a_model_of_ours_computes_the_same_in_dlsia_at_the_edges_too(
    border: Border, width: int, slices: int, channels: int
) -> None:
    model = model_of(border, channels, width=width, slices=slices).double()
    nn.init.normal_(model.prior_shift)
    x = 1000 + 20 * torch.randn(1, model.inputs, 23, 18, dtype=torch.float64)
    padding = "zeros" if border == "zero" else border
    agree(dlsia_logits(to_dlsia(model), flat_dilations(model), x, padding), model(x))


@given(
    channels=st.integers(1, 2), slices=st.sampled_from([1, 3]), depth=st.integers(1, 5),
    width=st.integers(1, 3), seed=st.integers(0, 1000),
    mean=st.floats(-60000, 60000, width=32, allow_subnormal=False),
    std=st.floats(2**-10, 10000, width=32),
    layout=st.sampled_from(LAYOUTS),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_the_way_there_and_back_is_exact(
    channels: int, slices: int, depth: int, width: int, seed: int,
    mean: float, std: float, layout: Layout,
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    model = model_of(BORDER_OF[layout], channels, depth, width, slices=slices, dilations=(1, 2))
    model.intensity_mean.fill_(mean)
    model.intensity_std.fill_(std)
    snapshot = model.snapshot(1, {})
    for safetensors in (False, True):
        data = export_weights(snapshot, layout, safetensors=safetensors)
        again = SegmentationModel.from_snapshot(import_weights(data, layout))
        assert again.layers.dilations == model.layers.dilations
        assert replace(again.settings, dilations=(1, 2)) == model.settings
        assert again.classes == model.classes
        for name, value in model.state_dict().items():
            assert torch.equal(again.state_dict()[name], value), name


def test_dlsia_cuts_off_intensities_below_zero() -> None:
    model = model_of("zero").double()
    model.intensity_mean.fill_(3)
    x = 20 * torch.randn(1, 1, 20, 20, dtype=torch.float64)
    there = dlsia_logits(to_dlsia(model), flat_dilations(model), x)
    agree(there, model(x.clamp(min=0)))
    assert (there - model(x)).abs().max() > 0.1


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("layer_3.conv_0.weight", (0, 2, 0, 0)),  # one of a pair is seen otherwise than its other
        ("layer_1.conv_0.weight", (0, 0, 1, 0)),  # an input is seen beside its pair
        ("layer_0.conv_1.weight", (0, 0, 1, 1)),
        ("layer_0.conv_0.weight", (0, 0, 2, 2)),
        ("layer_0.conv_0.bias", (0,)),
        ("final_convolution.weight", (0, 0, 0, 0)),
    ],
)
def test_weights_that_were_trained_on_are_taken_as_they_are(
    name: str, place: tuple[int, ...]
) -> None:
    model = model_of("zero")
    state = to_dlsia(model)
    state[name][place] += 0.01
    x = 1000 + 20 * torch.randn(1, 1, 20, 20, dtype=torch.float64)
    again = from_dlsia(state, dilations=flat_dilations(model)).double()
    assert again.settings.depth > model.settings.depth
    agree(again(x), dlsia_logits(state, flat_dilations(model), x))


@pytest.mark.parametrize("bias", [0.7, 0.0, -0.7])
def test_a_map_that_is_the_same_everywhere_still_has_edges(bias: float) -> None:
    state = dlsia_state(inputs=1, outputs=2, depth=4, width=1)
    state["layer_1.conv_0.weight"].zero_()
    state["layer_1.conv_0.bias"].fill_(bias)
    x = torch.randn(1, 1, 20, 20, dtype=torch.float64)
    model = from_dlsia(state).double()
    assert model.settings.depth == (5 if bias > 0 else 4)  # an input is a layer, too
    agree(model(x), dlsia_logits(state, TEN, x))


def test_maps_of_one_layer_stay_one_layer_where_their_dilations_allow() -> None:
    state = dlsia_state(inputs=2, outputs=2, depth=3, width=2)
    assert from_dlsia(state, dilations=(1, 1, 4, 4)).settings.width == 2
    assert from_dlsia(state, dilations=(1, 2, 3)).settings.width == 1


# -- files -----------------------------------------------------------------------------------


def saved(state: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(state, file, **options)
    return file.getvalue()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_kind_of_file_gives_the_same_model(layout: Layout) -> None:
    state = STATES[layout](1, 3, 4, 1)
    optimizer = torch.optim.Adam([nn.Parameter(torch.ones(1))]).state_dict()
    files = [
        saved(state),
        saved(state, _use_new_zipfile_serialization=False),
        saved({"state_dict": state, "epoch": 3, "optimizer": optimizer}),
        saved({f"module.{name}": value for name, value in state.items()}),
        save_safetensors(state),
    ]
    models = [import_weights(data, layout) for data in files]
    assert all(model.weights == models[0].weights for model in models)
    assert models[0].classes == (1, 2, 3)
    assert models[0].metrics == {"imported_from": layout}
    assert models[0].halo == SegmentationModel.from_snapshot(models[0]).safe_halo
    assert ModelSnapshot.from_bytes(models[0].weights) == models[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_asked_for_goes_before_what_a_file_says(layout: Layout) -> None:
    data = export_weights(model_of(BORDER_OF[layout]).snapshot(1, {}), layout)
    assert import_weights(data, layout).classes == (1, 2, 5)
    assert import_weights(data, layout, classes=(3, 1, 2)).classes == (3, 1, 2)
    other = SegmentationModel.from_snapshot(import_weights(data, layout, dilations=(2,)))
    assert set(other.layers.dilations) == {2}


def test_a_file_for_msd_pytorch_has_what_its_load_asks_for() -> None:
    model = model_of("symmetric")
    data = export_weights(model.snapshot(1, {}), "msd_pytorch")
    found = torch.load(io.BytesIO(data), weights_only=True)
    trained = [nn.Parameter(value) for name, value in found["state_dict"].items() if name > "1"]
    optimizer = torch.optim.Adam(trained)
    optimizer.load_state_dict(found["optimizer"])
    sum(value.sum() for value in trained).backward()
    optimizer.step()
    assert found["epoch"] == 0


def test_a_safetensors_file_has_the_same_names() -> None:
    model = model_of("zero")
    data = export_weights(model.snapshot(1, {}), "dlsia", safetensors=True)
    assert load_safetensors(data).keys() == to_dlsia(model).keys()


# -- what is refused -------------------------------------------------------------------------


def refused(data: bytes, layout: Layout = "msd_pytorch", **options: Any) -> BrushfireError:
    with pytest.raises(ModelError) as caught:
        import_weights(data, layout, **options)
    assert caught.value.rule.endswith(".")
    assert caught.value.do.endswith(".")
    return caught.value


class Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_reading_a_file_never_runs_code_from_it(tmp_path: Path) -> None:
    state: dict[str, Any] = {**msd_pytorch_state(1, 2, 2, 1), "more": Harmful(tmp_path / "ran")}
    for data in (saved(state), saved(state, _use_new_zipfile_serialization=False)):
        assert "tensors alone" in refused(data).do
    assert not (tmp_path / "ran").exists()
    torch.load(io.BytesIO(saved(state)), weights_only=False)
    assert (tmp_path / "ran").exists()  # it would have


@pytest.mark.parametrize("more", [nn.ReLU(), nn.Conv2d, np.arange(3)], ids=repr)
def test_files_with_objects_are_refused(more: object) -> None:
    data = saved({"state_dict": dlsia_state(1, 2, 2, 1), "topo_dict": {"x": more}})
    assert "network.state_dict()" in refused(data, "dlsia").do


def test_torch_whose_reading_is_not_safe_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    state = msd_pytorch_state(1, 2, 2, 1)
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    assert "2.5.1" in refused(saved(state)).got
    import_weights(save_safetensors(state), "msd_pytorch")


WHOLE = {
    "torch": saved(msd_pytorch_state(1, 2, 2, 1)),
    "legacy": saved(msd_pytorch_state(1, 2, 2, 1), _use_new_zipfile_serialization=False),
    "safetensors": save_safetensors(msd_pytorch_state(1, 2, 2, 1)),
}


@given(kind=st.sampled_from(sorted(WHOLE)), kept=st.floats(0, 0.999))
@settings(max_examples=60, deadline=None)
def test_files_cut_short_are_refused(kind: str, kept: float) -> None:
    refused(WHOLE[kind][: int(kept * len(WHOLE[kind]))])


@pytest.mark.parametrize("data", [b"", b"\x89HDF\r\n", b"PK\x03\x04" + b"\0" * 99, b"text" * 50])
def test_files_of_another_kind_are_refused(data: bytes) -> None:
    refused(data)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(layout: Layout, value: float) -> None:
    for name in STATES[layout](1, 2, 2, 1):
        state = STATES[layout](1, 2, 2, 1)
        state[name].view(-1)[0] = value
        error = refused(saved(state), layout)
        assert "finite" in error.rule
        assert name in error.got


@pytest.mark.parametrize("layout", LAYOUTS)
def test_another_architecture_is_refused(layout: Layout) -> None:
    whole = STATES[layout](2, 3, 3, 2)
    import_weights(saved(whole), layout)
    for name, value in whole.items():
        without = {other: kept for other, kept in whole.items() if other != name}
        for changed in (
            without,
            {**without, name: value[..., None]},
            {**without, name: torch.cat((value, value))},
            {**without, name: torch.zeros(value.shape, dtype=torch.int32)},
            {**without, name: value.new_ones(()).expand_as(value)}
            if value.numel() > 1
            else without,
            {**whole, "more": torch.zeros(1)},
            {**whole, "more": 3},
            {**whole, 3: value},
        ):
            with pytest.raises(ModelError, match="certain names and shapes"):
                import_weights(saved(changed), layout)
    first, second = (STATES[layout](*shape) for shape in ((2, 3, 3, 2), (1, 3, 3, 2)))
    for name in first:
        if first[name].shape != second[name].shape:
            refused(saved({**first, name: second[name]}), layout)
    other: Layout = "dlsia" if layout == "msd_pytorch" else "msd_pytorch"
    refused(saved(whole), other)
    refused(saved({}), layout)
    refused(saved([1, 2]), layout)
    refused(saved({"state_dict": 3}), layout)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"normalization_0.weight": torch.ones(2)}, "normalization=None"),
        ({"activation_0.weight": torch.ones(1)}, "activation_0.weight"),
        ({"layer_0.conv_0.weight": torch.zeros(1, 1, 5, 5)}, "5, 5"),
        ({"layer_0.conv_0.weight": torch.zeros(1, 1, 3, 3, 3)}, "axes"),
    ],
)
def test_what_dlsia_computes_otherwise_is_refused(change: State, says: str) -> None:
    assert says in str(refused(saved({**dlsia_state(1, 2, 2, 1), **change}), "dlsia"))


def test_what_batch_normalisation_computes_is_no_such_network() -> None:
    """Show that a shift before a convolution with zeros beyond the edges does not fold into it."""
    x, weight, shift = torch.randn(1, 1, 9, 9), torch.randn(1, 1, 3, 3), 0.5
    shifted = nn.functional.conv2d(x + shift, weight, padding=1)
    folded = nn.functional.conv2d(x, weight, bias=shift * weight.sum((1, 2, 3)), padding=1)
    inside = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(shifted[inside], folded[inside])
    assert (shifted - folded).abs().max() > 0.01


def test_what_msd_pytorch_computes_otherwise_is_refused() -> None:
    state = msd_pytorch_state(2, 2, 2, 1)
    regression = {name.replace("1.0.", "1."): value for name, value in state.items()}
    assert "regression" in refused(saved(regression)).got
    for scale in (torch.ones(2, 2), torch.diag(torch.tensor([1.0, 0.0]))):
        mixed = {**state, "0.weight": scale[:, :, None, None]}
        assert "scaled by itself" in refused(saved(mixed)).rule
    tiny = {**state, "0.weight": (1e-300 * torch.eye(2).double())[:, :, None, None]}
    assert "single precision" in refused(saved(tiny)).rule
    huge = {**state, "0.weight": (1e300 * torch.eye(2).double())[:, :, None, None]}
    assert "single precision" in refused(saved(huge)).rule


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "options",
    [
        {"classes": (1,)}, {"classes": (1, 1)}, {"classes": (0, 1)}, {"classes": (1, 128)},
        {"dilations": ()}, {"dilations": (0,)}, {"dilations": (65,)},
        {"slices": 3}, {"slices": 2}, {"slices": 0}, {"border": "replicate"},
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_refused(layout: Layout, options: dict[str, Any]) -> None:
    refused(saved(STATES[layout](2, 2, 2, 1)), layout, **options)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_networks_that_are_none_here_are_refused(layout: Layout) -> None:
    assert "at least two classes" in refused(saved(STATES[layout](1, 1, 2, 1)), layout).rule
    assert "Depth" in refused(saved(STATES[layout](1, 2, 401, 1)), layout).rule
    if layout == "dlsia":
        assert "401 inputs" in refused(saved(STATES[layout](401, 2, 1, 1)), layout).got


def test_slices_of_a_channel_share_a_scale() -> None:
    state = msd_pytorch_state(3, 2, 2, 1)
    assert "alike" in refused(saved(state), slices=3).rule
    state["0.weight"], state["0.bias"] = 2 * torch.eye(3)[:, :, None, None], torch.ones(3)
    model = import_weights(saved(state), "msd_pytorch", slices=3)
    assert (model.channels, model.settings.slices) == (1, 3)


@pytest.mark.parametrize("note", ["{", "[]", "{}", '{"dilations": 3}'])
def test_a_damaged_note_is_refused(note: str) -> None:
    state = msd_pytorch_state(1, 2, 2, 1)
    assert "notes" in refused(save_safetensors(state, metadata={"brushfire": note})).rule
    assert "notes" in refused(saved({"state_dict": state, "brushfire": note})).rule


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_model_that_the_other_cannot_compute_is_refused(layout: Layout) -> None:
    borders: list[Border] = ["zero", "reflect", "symmetric"]
    allowed = {"msd_pytorch": {"symmetric"}, "dlsia": {"zero", "reflect"}}[layout]
    for border in borders:
        snapshot = model_of(border).snapshot(1, {})
        if border in allowed:
            export_weights(snapshot, layout)
        else:
            with pytest.raises(ModelError, match="beyond its edges"):
                export_weights(snapshot, layout)
    plain = model_of(BORDER_OF[layout]).settings
    featured = SegmentationModel(replace(plain, features=True), 1, (1, 2)).snapshot(1, {})
    with pytest.raises(ModelError, match="intensities and nothing else"):
        export_weights(featured, layout)
    adapted = SegmentationModel(replace(plain, adapter=2), 1, (1, 2)).snapshot(1, {})
    with pytest.raises(ModelError, match="channels of a volume as they are"):
        export_weights(adapted, layout)


def test_the_peers_borders_differ_from_each_other_and_from_ours_where_they_should() -> None:
    model = model_of("symmetric").double()
    state = to_msd_pytorch(model)
    x = 1000 + 20 * torch.randn(1, 1, 24, 24, dtype=torch.float64)
    theirs = msd_pytorch_logits(state, (1, 3, 4), x)
    others = [from_msd_pytorch(state, dilations=(1, 3, 4)).double()]
    for border in ("zero", "reflect"):
        other = model_of(border).double()
        other.load_state_dict(model.state_dict())
        others.append(other)
    errors = [float((theirs - other(x)).abs().max().detach()) for other in others]
    assert errors[0] < 1e-3
    assert all(error > 0.05 for error in errors[1:])
    assert all(first != second for first, second in pairwise(errors))
