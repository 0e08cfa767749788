"""Weights of a part of a network are taken where they fit, and each kind of file is told."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file

from brushfire.errors import ModelError, StorageError
from brushfire.networks import NetworkSettings, SegmentationModel
from brushfire.networks.exchange import (
    FOREIGN_KINDS,
    read_foreign,
    take_matching,
    write_foreign,
)
from brushfire.networks.exchange.definitions import read_definition
from support.monai_files import ABOUT, NETWORKS, Writes, made_here, network_of, saved

if TYPE_CHECKING:
    from pathlib import Path


def self_supervised(**more: Any) -> dict[str, Any]:
    """Return what MONAI's model_swinvit.pt holds, by the names of its time."""
    state = network_of("SwinUNETR", **more).state_dict()
    encoder = {
        "module."
        + name.removeprefix("swinViT.").replace("linear1", "fc1").replace("linear2", "fc2"): v
        for name, v in state.items()
        if name.startswith("swinViT.")
    }
    heads = {"module.rotation_head.weight": torch.ones(4, 8), "module.norm.bias": torch.ones(8)}
    return {"epoch": 3, "state_dict": {**encoder, **heads}}


def swin(channels: int = 2) -> SegmentationModel:
    arguments = NETWORKS["SwinUNETR"][1]
    taken = {one: arguments[one] for one in ("depths", "num_heads", "window_size")}
    settings = NetworkSettings(
        5, 12, features=False, architecture="swin_unetr", norm="instance",
        arguments=json.dumps(taken),
    )  # fmt: skip
    return SegmentationModel(settings, channels, (1, 2, 3))


# -- parts -----------------------------------------------------------------------------------


def test_an_encoder_that_learned_without_labels() -> None:
    model, theirs = swin(), network_of("SwinUNETR").state_dict()
    before = {name: value.clone() for name, value in model.layers.net.state_dict().items()}
    match = take_matching(model, self_supervised()["state_dict"])
    after = model.layers.net.state_dict()
    for name, value in after.items():
        taken = name.startswith("swinViT.")
        assert (name in match.taken) == taken
        torch.testing.assert_close(value, theirs[name] if taken else before[name])
    assert set(match.unused) == {"rotation_head.weight", "norm.bias"}
    assert match.unfit == ()
    assert "out.conv.conv.weight" in match.untouched
    said = " ".join(match.sentences)
    assert f"{len(match.taken)} of " in said
    assert "rotation_head" in said


def test_a_first_layer_for_other_channels_is_left() -> None:
    model = swin(channels=1)
    before = model.layers.net.state_dict()["swinViT.patch_embed.proj.weight"].clone()
    match = take_matching(model, self_supervised()["state_dict"])
    assert match.unfit == (
        "swinViT.patch_embed.proj.weight (12 x 2 x 2 x 2 in place of 12 x 1 x 2 x 2)",
    )
    after = model.layers.net.state_dict()["swinViT.patch_embed.proj.weight"]
    assert torch.equal(after, before)


@pytest.mark.parametrize("kind", ["BasicUNet", "DynUNet", "SegResNet", "AttentionUnet", "UNETR"])
def test_whole_networks_and_their_encoders(kind: str) -> None:
    name, arguments = NETWORKS[kind]
    definition = read_definition(name, arguments)
    theirs = network_of(kind)
    model = SegmentationModel(definition.settings, 2, (1, 2, 3)).eval()
    match = take_matching(model, {f"network.{n}": v for n, v in theirs.state_dict().items()})
    assert match.untouched == match.unfit == match.unused == ()
    x = torch.randn(1, 2, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model.logits(x), theirs(x), atol=1e-4, rtol=1e-4)
    half = list(theirs.state_dict().items())[:9]
    fresh = SegmentationModel(definition.settings, 2, (1, 2)).eval()
    match = take_matching(fresh, dict(half))
    assert len(match.taken) == 9
    assert not fresh.head_weight.any()


def test_what_does_not_fit_leaves_the_model_as_it_was() -> None:
    model = swin()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = self_supervised()["state_dict"]
    broken = {**state, "module.layers4.0.blocks.0.norm1.bias": torch.full((96,), torch.nan)}
    for wrong, word in (
        (network_of("BasicUNet").state_dict(), "nothing fits"),
        (broken, "NaN or infinity"),
        ({"module.patch_embed.proj.weight": torch.ones(1, 1)}, "nothing fits, such as"),
        ({"a": 3}, "int under the name"),
    ):
        with pytest.raises(ModelError, match=word):
            take_matching(model, wrong)
        assert all(torch.equal(v, before[name]) for name, v in model.state_dict().items())
    msd = SegmentationModel(NetworkSettings(2, 1, features=False), 1, (1, 2))
    with pytest.raises(ModelError, match="MONAI has these networks"):
        take_matching(msd, state)


# -- files -----------------------------------------------------------------------------------


def test_a_file_of_an_encoder(tmp_path: Path) -> None:
    path = tmp_path / "model_swinvit.pt"
    path.write_bytes(saved(self_supervised()))
    found = read_foreign(path)
    assert found.model.settings.architecture == "swin_unetr"
    assert found.model.channels == 2
    assert found.classes == {1: "Class 1", 2: "Class 2"}
    assert found.about["name"] == "model_swinvit"
    assert "Still to be learned" in " ".join(found.report)
    theirs = network_of("SwinUNETR").state_dict()
    ours = found.model.layers.net.state_dict()
    name = "swinViT.layers2.0.blocks.0.attn.qkv.weight"
    assert torch.equal(ours[name], theirs[name])


def test_a_file_of_a_whole_network(tmp_path: Path) -> None:
    network = network_of("SwinUNETR", use_v2=True)
    save_file(network.state_dict(), tmp_path / "swin.safetensors")
    unet = network_of("BasicUNet")
    torch.save({"model": unet.state_dict()}, tmp_path / "unet.pth")
    x = torch.randn(1, 2, 64, 64)
    for theirs, found in (
        (network, read_foreign(tmp_path / "swin.safetensors")),
        (unet, read_foreign(tmp_path / "unet.pth", network=NETWORKS["BasicUNet"])),
    ):
        with torch.no_grad():
            torch.testing.assert_close(found.model.logits(x), theirs(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ({"layer.weight": torch.ones(2, 2)}, "does not say whose"),
        ({"patch_embed.proj.weight": torch.ones(12)}, "of shape"),
        ({"{}patch_embed.proj.weight": torch.ones(12, 1, 2, 2)}, "of shape"),
        ({"patch_embed.proj.weight": torch.ones(12, 1, 2, 2)}, "no tensor layers1"),
    ],
)
def test_files_of_weights_that_are_refused(tmp_path: Path, state: Any, word: str) -> None:
    (tmp_path / "a.pt").write_bytes(saved(state))
    with pytest.raises(ModelError, match=word):
        read_foreign(tmp_path / "a.pt")


def test_damaged_files_of_a_whole_network(tmp_path: Path) -> None:
    state = network_of("BasicUNet").state_dict()
    weight = "conv_0.conv_0.conv.weight"
    for more, word in (
        ({weight: torch.full_like(state[weight], torch.nan)}, "NaN or infinity"),
        (None, f"without {weight}"),
    ):
        wrong = {**state, **(more or {})}
        if more is None:
            del wrong[weight]
        (tmp_path / "a.pt").write_bytes(saved(wrong))
        with pytest.raises(ModelError, match=word):
            read_foreign(tmp_path / "a.pt", network=NETWORKS["BasicUNet"])


def test_weights_with_code_do_nothing(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    state = {**self_supervised()["state_dict"], "more": Writes(trap)}
    (tmp_path / "a.pt").write_bytes(saved({"state_dict": state}))
    with pytest.raises(ModelError, match="runs no code"):
        read_foreign(tmp_path / "a.pt")
    assert not trap.exists()


@pytest.mark.parametrize("where", ["https://bioimage.io/model.zip", "affable-shark", "no/file.zip"])
def test_a_hub_is_not_asked(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("something was to be downloaded")

    monkeypatch.setattr("socket.socket.connect", refuse)
    with pytest.raises(ModelError, match="downloads nothing"):
        read_foreign(where)


def test_each_kind_is_told_by_its_files(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    model, classes = made_here("dynunet"), {4: "cell", 2: "rest"}
    for kind in FOREIGN_KINDS:
        for name in (kind, f"{kind}.zip"):
            write_foreign(model, tmp_path / name, kind, classes=classes, about=ABOUT)
            found = read_foreign(tmp_path / name)
            assert found.classes == classes
            assert found.model.settings.slices == 3
            assert found.about["licence"] == ABOUT["licence"]
    assert read_foreign(tmp_path / "bioimageio/rdf.yaml").classes == classes
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="without such files"):
        read_foreign(tmp_path / "empty")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(ModelError, match="without such files"):
        read_foreign(tmp_path / "other.zip")
    (tmp_path / "text.txt").write_text("nothing")
    with pytest.raises(ModelError, match="whole zip"):
        read_foreign(tmp_path / "text.txt")
    with pytest.raises(ModelError, match="bioimageio, monai"):
        write_foreign(model, tmp_path / "a", "onnx", classes=classes)  # type: ignore[arg-type]
    with pytest.raises(StorageError):
        write_foreign(model, tmp_path / "no/such/a", "monai", classes=classes)
