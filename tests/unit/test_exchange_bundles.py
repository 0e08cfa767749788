"""Bundles of MONAI are read as data; what is written is one."""

from __future__ import annotations

import io
import json
import os
import pickle
import warnings
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save as save_tensors

from brushfire.errors import BrushfireError, ModelError, StorageError
from brushfire.networks import NetworkSettings, SegmentationModel
from brushfire.networks.exchange.bundle_export import write_bundle
from brushfire.networks.exchange.bundles import read_bundle
from brushfire.networks.exchange.package import Package
from support.monai_files import NETWORKS, Writes, network_of, saved, unpacked

if TYPE_CHECKING:
    from pathlib import Path

    from brushfire.networks.exchange.imported import Imported

METADATA = {
    "name": "Two organs",
    "description": "Made for a test.",
    "authors": "A. Nobody",
    "references": ["Nobody 2020", "Somebody 2021"],
    "license": "CC-BY-4.0",
    "network_data_format": {
        "inputs": {"image": {"num_channels": 2}},
        "outputs": {"pred": {"channel_def": {"0": "background", "1": "liver", "2": "spleen"}}},
    },
}
CONFIG, WEIGHTS = "configs/inference.json", "models/model.pt"


def files_of(kind: str = "BasicUNet", **config: Any) -> dict[str, bytes]:
    """Return the files of a bundle as MONAI's own are written, with references."""
    name, arguments = NETWORKS[kind]
    written = {
        "imports": ["$import glob"],
        "classes": arguments["out_channels"],
        "network_def": {"_target_": name, **arguments, "out_channels": "@classes"},
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "NormalizeIntensityd", "keys": "image", "channel_wise": True},
            ],
        },
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [96, 96, 100]},
        **config,
    }
    return {
        CONFIG: json.dumps(written).encode(),
        "configs/metadata.json": json.dumps(METADATA).encode(),
        WEIGHTS: saved(network_of(kind).state_dict()),
    }


def zipped(path: Path, files: dict[str, bytes], top: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(top + name, data)
    return path


def read(folder: Path, files: dict[str, bytes]) -> Imported:
    return read_bundle(Package(unpacked(folder, files)))


# -- in --------------------------------------------------------------------------------------


def test_a_folder(tmp_path: Path) -> None:
    found = read(tmp_path, files_of())
    x = torch.randn(1, 2, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            found.model.logits(x), network_of("BasicUNet")(x), atol=1e-4, rtol=1e-4
        )
    assert found.classes == {1: "background", 2: "liver", 3: "spleen"}
    assert found.about["name"] == "Two organs"
    assert found.about["cite"] == "Nobody 2020\nSomebody 2021"
    assert found.about["licence"] == "CC-BY-4.0"
    assert found.model.layers.window == 96
    assert not found.own_intensities
    assert "image by image" in " ".join(found.report)


@pytest.mark.parametrize("top", ["", "two_organs/"])
def test_a_zip(tmp_path: Path, top: str) -> None:
    path = zipped(tmp_path / "bundle.zip", files_of(), top)
    before = sorted(tmp_path.iterdir())
    assert read_bundle(Package(path)).model.channels == 2
    assert sorted(tmp_path.iterdir()) == before  # nothing is extracted


def test_yaml_safetensors_and_a_network_by_its_whole_name(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    files = files_of("DynUNet 3D")
    config = json.loads(files.pop(CONFIG))
    config["network"] = config.pop("network_def")
    config["network"]["_target_"] = "monai.networks.nets.DynUNet"
    spacing = {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.5, 2]}
    config["preprocessing"]["transforms"].append(spacing)
    files["configs/inference.yaml"] = yaml.safe_dump(config).encode()
    del files[WEIGHTS]
    # Safetensors holds each tensor once, as DynUNet's blocks have two names.
    state = network_of("DynUNet 3D").state_dict()
    files["models/model.safetensors"] = save_tensors(
        {name: value for name, value in state.items() if not name.startswith("skip_layers.")}
    )
    found = read(tmp_path, files)
    assert found.model.settings.axes == 3
    assert "z, y and x" in " ".join(found.report)
    assert "x, y and z" in " ".join(found.report)
    assert "1.5 x 1.5 x 2 mm" in " ".join(found.report)


def test_how_intensities_are_scaled(tmp_path: Path) -> None:
    step = {
        "_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -100, "a_max": "@high",
        "b_min": 0.0, "b_max": 1.0, "clip": True,
    }  # fmt: skip
    preprocessing = {"_target_": "Compose", "transforms": [step]}
    found = read(tmp_path, files_of(preprocessing=preprocessing, high=300))
    x = torch.tensor([-100.0, 100.0, 300.0]).expand(1, 2, 1, 3)
    torch.testing.assert_close(
        found.model.normalise(x)[0, 0, 0], torch.tensor([0.0, 0.5, 1.0]), atol=1e-6, rtol=0
    )
    assert found.own_intensities
    assert "cuts off" in " ".join(found.report)


def test_what_is_to_know_is_said(tmp_path: Path) -> None:
    post = {
        "_target_": "Compose",
        "transforms": [{"_target_": "Activationsd", "keys": "pred", "sigmoid": True}],
    }
    files = files_of(postprocessing=post)
    metadata = json.loads(files["configs/metadata.json"])
    metadata["network_data_format"]["inputs"]["image"]["num_channels"] = 4
    files["configs/metadata.json"] = json.dumps(metadata).encode()
    report = " ".join(read(tmp_path, files).report)
    assert "overlap" in report
    assert "4 channels" in report


def test_metadata_may_be_missing_or_odd(tmp_path: Path) -> None:
    files = files_of(inferer="$no such", preprocessing=[1], postprocessing={"_target_": 3})
    del files["configs/metadata.json"]
    found = read(tmp_path / "a", files)
    assert found.classes == {1: "Class 1", 2: "Class 2", 3: "Class 3"}
    files["configs/metadata.json"] = b'{"network_data_format": [], "brushfire": {"classes": ["x"]}}'
    assert read(tmp_path / "b", files).about["name"] == "b"


def network(**arguments: Any) -> dict[str, Any]:
    return {"_target_": "BasicUNet", **NETWORKS["BasicUNet"][1], **arguments}


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"network_def": network(_target_="os.system")}, "networks that Brushfire knows"),
        ({"network_def": network(_target_="monai.networks.nets.UNet")}, "BasicUNet, DynUNet"),
        ({"network_def": network(in_channels="$__import__('os').system('x')")}, "not evaluated"),
        ({"network_def": network(in_channels="%other.json")}, "not evaluated"),
        ({"network_def": network(in_channels="@nowhere")}, "not there"),
        ({"network_def": network(in_channels="@a"), "a": "@b", "b": "@a"}, "do not end"),
        ({"network_def": network(in_channels="@a"), "a": "$1 + 1"}, "not evaluated"),
        ({"network_def": network(act={"_target_": "os.system"})}, "an object of its own"),
        ({"network_def": network(_requires_="$print(1)")}, "not evaluated"),
        ({"network_def": network(_mode_="callable")}, "has these arguments"),
        ({"network_def": "$BasicUNet()"}, "without such a definition"),
        ({"network_def": network(in_channels=3)}, "of shape"),
        (
            {"network_def": {"_target_": "SwinUNETR", "in_channels": 1, "out_channels": 2}},
            "without",
        ),
    ],
)
def test_networks_that_are_refused(tmp_path: Path, config: dict[str, Any], word: str) -> None:
    with pytest.raises(ModelError, match=word):
        read(tmp_path, files_of(**config))


def test_weights_with_code_are_refused_and_do_nothing(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    state = network_of("BasicUNet").state_dict()
    for number, data in enumerate(
        (saved({**state, "more": Writes(trap)}), pickle.dumps(Writes(trap), 2))
    ):
        with pytest.raises(ModelError, match="runs no code"):
            read(tmp_path / str(number), {**files_of(), WEIGHTS: data})
    assert not trap.exists()
    pickle.loads(pickle.dumps(Writes(trap))).close()  # it would have
    assert trap.exists()


def test_programs_are_refused(tmp_path: Path) -> None:
    program = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # people still have such files
        torch.jit.save(torch.jit.script(torch.nn.ReLU()), program)
    files = files_of()
    with pytest.raises(ModelError, match="TorchScript"):
        read(tmp_path / "a", {**files, WEIGHTS: program.getvalue()})
    del files[WEIGHTS]
    with pytest.raises(ModelError, match="which is a program"):
        read(tmp_path / "b", {**files, "models/model.ts": program.getvalue()})
    with pytest.raises(ModelError, match="without them"):
        read(tmp_path / "c", files)


def test_weights_that_swell_are_refused(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(saved({"a": torch.zeros(100_000)}))) as stored,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in stored.namelist():
            archive.writestr(name, stored.read(name))
    with pytest.raises(ModelError, match="compressed ones"):
        read(tmp_path, {**files_of(), WEIGHTS: packed.getvalue()})


def test_files_that_are_damaged(tmp_path: Path) -> None:
    files = files_of()
    for number, (name, data) in enumerate(
        [
            (CONFIG, b"{"),
            (CONFIG, b"[" * 100_000),
            (CONFIG, b"[]"),
            (CONFIG, b" " * (5 << 20)),
            (WEIGHTS, files[WEIGHTS][:1000]),
            (WEIGHTS, b""),
        ]
    ):
        with pytest.raises(ModelError):
            read(tmp_path / str(number), {**files, name: data})
    yaml = tmp_path / "yaml"
    del files[CONFIG]
    with pytest.raises(ModelError, match="JSON or YAML"):
        read(yaml, {**files, "configs/inference.yaml": b"a: !!python/object/apply:os.system [x]"})


# -- zips and folders ------------------------------------------------------------------------


def entry(name: str, mode: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    info.filename = info.orig_filename = name
    info.external_attr = mode << 16
    return info


@pytest.mark.parametrize(
    "info",
    [
        entry("../out.txt"),
        entry("a/../../out.txt"),
        entry("/etc/out.txt"),
        entry("C:\\out.txt"),
        entry("models/link", 0o120777),
        entry("models/pipe", 0o010777),
    ],
    ids=lambda info: str(info.filename),
)
def test_zips_that_lead_elsewhere(tmp_path: Path, info: zipfile.ZipInfo) -> None:
    path = zipped(tmp_path / "bundle.zip", files_of())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(info, b"/etc/passwd")
    with pytest.raises(ModelError, match=r"files inside it|plain files"):
        Package(path)


def test_zips_that_are_none_or_too_large(tmp_path: Path) -> None:
    path = tmp_path / "bundle.zip"
    path.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ModelError, match="whole zip"):
        Package(path)
    zipped(path, {**files_of(), CONFIG: b" " * (5 << 20)})
    with pytest.raises(ModelError, match="at most"):
        read_bundle(Package(path))
    zipped(path, {str(number): b"" for number in range(1001)})
    with pytest.raises(ModelError, match="at most 1000 files"):
        Package(path)
    with pytest.raises(StorageError, match="nowhere"):
        Package(tmp_path / "nowhere.zip")


@pytest.mark.skipif(os.name != "posix", reason="Links need rights on other systems.")
def test_folders_with_links(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(files_of()[WEIGHTS])
    unpacked(tmp_path / "bundle", files_of())
    (tmp_path / "bundle" / WEIGHTS).unlink()
    (tmp_path / "bundle" / WEIGHTS).symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError, match="which is a link"):
        read_bundle(Package(tmp_path / "bundle"))


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="without one"):
        read_bundle(Package(tmp_path))


# -- out -------------------------------------------------------------------------------------


def model_of_ours(architecture: str = "dynunet", axes: int = 2) -> SegmentationModel:
    torch.manual_seed(0)
    settings = NetworkSettings(
        3, 4, slices=3, features=False, architecture=architecture, axes=axes, norm="batch"
    )
    model = SegmentationModel(settings, 2, (4, 2), mean=[10.0, 20.0], std=[2.0, 3.0]).eval()
    with torch.no_grad():
        model.head_weight.normal_()
        model.prior_shift[0] = 0.3
    return model


@pytest.mark.parametrize("place", ["bundle", "bundle.zip"])
@pytest.mark.parametrize("axes", [2, 3])
def test_out_and_back(tmp_path: Path, place: str, axes: int) -> None:
    model = model_of_ours(axes=axes)
    about = {"name": "Cells", "licence": "MIT", "cite": "Nobody 2020", "authors": "A, B"}
    write_bundle(model, tmp_path / place, {4: "cell", 2: "rest"}, about)
    back = read_bundle(Package(tmp_path / place))
    assert back.model.settings.slices == 3
    assert back.classes == {4: "cell", 2: "rest"}
    assert back.own_intensities
    assert {name: back.about[name] for name in about} == about
    x = torch.randn(1, 6, 32, 32) * 3 + 12
    with torch.no_grad():
        torch.testing.assert_close(back.model(x), model(x), atol=1e-4, rtol=1e-4)


def test_monai_reads_what_is_written(tmp_path: Path) -> None:
    from monai.bundle import ConfigParser

    model = model_of_ours()
    write_bundle(model, tmp_path / "bundle", {4: "cell", 2: "rest"}, {})
    parser = ConfigParser()
    parser.read_config(tmp_path / "bundle" / CONFIG)
    parser.read_meta(tmp_path / "bundle/configs/metadata.json")
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(torch.load(tmp_path / "bundle" / WEIGHTS, weights_only=True))
    image = torch.randn(6, 192, 192) * 3 + 12
    scaled = parser.get_parsed_content("preprocessing")({"image": image.clone()})["image"]
    with torch.no_grad():
        theirs = parser.get_parsed_content("inferer")(scaled[None].as_tensor(), network.eval())
        torch.testing.assert_close(theirs, model(image[None]), atol=1e-4, rtol=1e-4)


def test_nothing_is_replaced_and_nothing_left_half(tmp_path: Path) -> None:
    model = model_of_ours()
    (tmp_path / "there").mkdir()
    with pytest.raises(ModelError, match="which exists"):
        write_bundle(model, tmp_path / "there", {}, {})
    with pytest.raises(BrushfireError):
        write_bundle(model, tmp_path / "no" / "such.zip", {}, {})
    msd = SegmentationModel(NetworkSettings(2, 1, features=False), 1, (1, 2))
    with pytest.raises(ModelError, match="BioImage Model Zoo"):
        write_bundle(msd, tmp_path / "msd", {}, {})
    assert [one.name for one in tmp_path.iterdir()] == ["there"]
