"""Packages of the BioImage Model Zoo are read as data, or refused in a sentence."""

from __future__ import annotations

import copy
import hashlib
from typing import TYPE_CHECKING, Any

import pytest
import torch

from brushfire.errors import ModelError
from brushfire.networks.exchange.package import Package
from brushfire.networks.exchange.zoo import read_package
from brushfire.networks.exchange.zoo_export import write_zoo_package
from support.monai_files import ABOUT, NETWORKS, made_here, network_of, saved, unpacked

if TYPE_CHECKING:
    from pathlib import Path

    from brushfire.networks.exchange.imported import Imported

yaml = pytest.importorskip("yaml")


def description(kind: str = "BasicUNet", weights: bytes = b"") -> dict[str, Any]:
    """Return what a package of somebody else says in the format 0.5."""
    name, arguments = NETWORKS[kind]
    return {
        "format_version": "0.5.4",
        "type": "model",
        "name": "Nuclei",
        "description": "Made for a test.",
        "authors": [{"name": "A. Nobody"}],
        "cite": [{"text": "Nobody 2020", "doi": "10.1000/xyz123"}],
        "license": "MIT",
        "inputs": [
            {
                "id": "raw",
                "axes": [
                    {"type": "batch"},
                    {"type": "channel", "channel_names": ["a", "b"]},
                    {"type": "space", "id": "y", "size": {"min": 64, "step": 16}},
                    {"type": "space", "id": "x", "size": {"min": 64, "step": 16}},
                ],
                "preprocessing": [
                    {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}},
                    {
                        "id": "fixed_zero_mean_unit_variance",
                        "kwargs": {"mean": [1.0, 2.0], "std": [3.0, 4.0], "axis": "channel"},
                    },
                ],
            }
        ],
        "outputs": [
            {
                "id": "out",
                "axes": [
                    {"type": "batch"},
                    {"type": "channel", "channel_names": ["rest", "nucleus", "edge"]},
                    {"type": "space", "id": "y", "size": {"tensor_id": "raw", "axis_id": "y"}},
                    {"type": "space", "id": "x", "size": {"tensor_id": "raw", "axis_id": "x"}},
                ],
                "postprocessing": [{"id": "softmax", "kwargs": {"axis": "channel"}}],
            }
        ],
        "weights": {
            "pytorch_state_dict": {
                "source": "weights.pt",
                "sha256": hashlib.sha256(weights).hexdigest(),
                "pytorch_version": "2.6.0",
                "architecture": {
                    "import_from": "monai.networks.nets",
                    "callable": name,
                    "kwargs": arguments,
                },
            }
        },
    }


def read(folder: Path, said: dict[str, Any] | bytes, weights: bytes) -> Imported:
    text = said if isinstance(said, bytes) else yaml.safe_dump(said).encode()
    return read_package(Package(unpacked(folder, {"rdf.yaml": text, "weights.pt": weights})))


@pytest.fixture(scope="module")
def weights() -> bytes:
    return saved(network_of("BasicUNet").state_dict())


def test_a_package_of_somebody_else(
    tmp_path: Path, weights: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("something was to be downloaded")

    monkeypatch.setattr("socket.socket.connect", refuse)
    found = read(tmp_path, description(weights=weights), weights)
    assert found.classes == {1: "rest", 2: "nucleus", 3: "edge"}
    assert found.about == {
        "name": "Nuclei",
        "description": "Made for a test.",
        "licence": "MIT",
        "authors": "A. Nobody",
        "cite": "Nobody 2020 10.1000/xyz123",
        "source": f"BioImage Model Zoo {tmp_path.name}",
    }
    x = torch.randn(1, 2, 32, 32)
    scaled = (x - torch.tensor([1.0, 2.0])[:, None, None]) / torch.tensor([3.0, 4.0])[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(
            found.model(x), network_of("BasicUNet")(scaled), atol=1e-4, rtol=1e-4
        )


def test_the_format_before(tmp_path: Path, weights: bytes) -> None:
    said = description(weights=weights)
    said["format_version"] = "0.4.9"
    said["inputs"][0].update(
        axes="bcyx",
        shape=[1, 2, 96, 96],
        preprocessing=[
            {
                "name": "zero_mean_unit_variance",
                "kwargs": {"mode": "fixed", "axes": "yx", "mean": 5.0, "std": 2.0},
            }
        ],
    )
    said["outputs"][0].update(axes="bcyx", postprocessing=[{"name": "sigmoid"}])
    state = said["weights"]["pytorch_state_dict"]
    state["kwargs"] = state["architecture"]["kwargs"]
    state["architecture"] = "monai.networks.nets.BasicUNet"
    found = read(tmp_path, said, weights)
    assert found.model.intensity_mean.tolist() == [5.0, 5.0]
    assert found.model.layers.window == 96
    assert found.classes == {1: "Class 1", 2: "Class 2", 3: "Class 3"}
    assert "overlap" in " ".join(found.report)


@pytest.mark.parametrize(
    ("steps", "own", "word"),
    [
        ([], True, "as they are"),
        ([{"id": "scale_linear", "kwargs": {"gain": 0.5, "offset": -1.0}}], True, "scale_linear"),
        ([{"id": "zero_mean_unit_variance", "kwargs": {"axes": ["y"]}}], False, "image by image"),
        ([{"id": "scale_range", "kwargs": {"max_percentile": 99}}], False, "otherwise"),
        ([{"id": "clip"}, {"id": "scale_linear"}], False, "clip, scale_linear"),
        (
            [{"id": "fixed_zero_mean_unit_variance", "kwargs": {"mean": 1, "std": 0}}],
            False,
            "otherwise",
        ),
    ],
)
def test_how_intensities_are_normalised(
    tmp_path: Path, weights: bytes, steps: list[Any], own: bool, word: str
) -> None:
    said = description(weights=weights)
    said["inputs"][0]["preprocessing"] = steps
    said["outputs"][0]["postprocessing"].append({"id": "binarize"})
    found = read(tmp_path, said, weights)
    assert found.own_intensities == own
    assert word in " ".join(found.report)
    assert "binarize" in " ".join(found.report)
    if word == "scale_linear":
        assert found.model.intensity_mean.tolist() == [2.0, 2.0]
        assert found.model.intensity_std.tolist() == [2.0, 2.0]


def changed(weights: bytes, path: str, value: object) -> dict[str, Any]:
    said = copy.deepcopy(description(weights=weights))
    *way, last = path.split(".")
    at: Any = said
    for part in way:
        at = at[int(part)] if isinstance(at, list) else at[part]
    if isinstance(at, list):
        at[int(last)] = value
    else:
        at[last] = value
    return said


STATE = "weights.pytorch_state_dict"


@pytest.mark.parametrize(
    ("path", "value", "word"),
    [
        ("type", "dataset", "a model, described"),
        ("format_version", "0.9.0", "0.4 or 0.5"),
        ("format_version", "0.3.6", "0.4 or 0.5"),
        ("inputs", [], "one input"),
        ("outputs", [{}, {}], "one output"),
        ("inputs.0.axes", "bcxy", "in this order"),
        ("inputs.0.axes.3", {"type": "space", "id": "z"}, "in this order"),
        ("inputs.0.axes", "bczyx", "dimensions that its input has"),
        ("weights", {"torchscript": {"source": "weights.pt"}}, "programs"),
        ("weights", {"onnx": {"source": "a.onnx"}, "tensorflow_js": {}}, "onnx, tensorflow_js"),
        ("weights", None, "no weights"),
        (f"{STATE}.source", "https://example.com/weights.pt", "downloads nothing"),
        (f"{STATE}.source", "../weights.pt", "files inside it"),
        (f"{STATE}.source", "/etc/passwd", "files inside it"),
        (f"{STATE}.source", "missing.pt", "without it"),
        (f"{STATE}.sha256", "0" * 64, "SHA-256"),
        (f"{STATE}.architecture", "network.py:Net", "runs no code"),
        (f"{STATE}.architecture", {"source": "network.py", "callable": "Net"}, "runs no code"),
        (f"{STATE}.architecture", "os.system", "os.system"),
        (f"{STATE}.architecture.import_from", "os", "os.BasicUNet"),
        (f"{STATE}.architecture.callable", "UNet", "nets.UNet"),
        (f"{STATE}.architecture.kwargs", {"in_channels": 2}, "dimensions that its"),
        (f"{STATE}.architecture.kwargs.in_channels", 3, "of shape"),
        (f"{STATE}.architecture.import_from", "brushfire.networks.exchange", "networks that"),
    ],
)
def test_packages_that_are_refused(
    tmp_path: Path, weights: bytes, path: str, value: object, word: str
) -> None:
    with pytest.raises(ModelError, match=word):
        read(tmp_path, changed(weights, path, value), weights)


def test_descriptions_that_are_none(tmp_path: Path, weights: bytes) -> None:
    for number, text in enumerate(
        [b"[", b"a: !!python/object/apply:os.system [x]", b"a: &b [1]\nc: *b", b"\xff\xfe\x00"]
    ):
        with pytest.raises(ModelError, match="JSON or YAML"):
            read(tmp_path / str(number), text, weights)
    with pytest.raises(ModelError, match="without one"):
        read_package(Package(tmp_path))


def test_models_of_brushfire_are_checked(tmp_path: Path) -> None:
    model = made_here("msd")
    write_zoo_package(model, tmp_path / "good", {}, ABOUT)
    good = yaml.safe_load((tmp_path / "good/rdf.yaml").read_text())
    state = model.state_dict()
    arguments = good["weights"]["pytorch_state_dict"]["architecture"]["kwargs"]
    del good["weights"]["pytorch_state_dict"]["sha256"]
    wrong: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        ({}, {**state, "head_bias": torch.full((2,), torch.nan)}, "finite"),
        ({}, {**state, "intensity_std": torch.zeros(2)}, "above zero"),
        ({}, {**state, "more": torch.zeros(2)}, "does not have"),
        ({}, {name: v for name, v in state.items() if name != "head_bias"}, "no tensor head_bias"),
        ({"classes": [1, "a"]}, state, "channels and classes"),
        ({"classes": [1, 1]}, state, "of its own"),
        ({"channels": -1}, state, "channels and classes"),
        ({"settings": {**arguments["settings"], "depth": 10**9}}, state, "Depth"),
        ({"settings": {**arguments["settings"], "border": "none"}}, state, r"border|mirrored"),
    ]
    for number, (more, tensors, word) in enumerate(wrong):
        said = copy.deepcopy(good)
        said["weights"]["pytorch_state_dict"]["source"] = "weights.pt"
        said["weights"]["pytorch_state_dict"]["architecture"]["kwargs"].update(more)
        with pytest.raises(ModelError, match=word):
            read(tmp_path / str(number), said, saved(tensors))
