"""OME-Zarr: the official test stores, units, labels, and stores that break the rules."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaozarrs
import zarr

from brushfire.errors import VolumeError
from brushfire.geometry import Box
from brushfire.volumes import create_multiscale, open_volume, register_label
from brushfire.volumes.units import micrometres
from support.volumes import DATA, SHAPE, unpack, write_zarr

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

CLASSES = [(1, "matrix", "#0072b2"), (3, "pore", "#E69F00")]


def change(path: Path, edit: Any) -> None:
    """Edit the metadata of a 0.5 store."""
    file = path / "zarr.json"
    content = json.loads(file.read_text())
    edit(content["attributes"])
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("nanometer", 1e-3), ("micrometer", 1), ("millimeter", 1e3), ("angstrom", 1e-4),
        ("meter", 1e6), ("centimeter", 1e4), ("nm", 1e-3), ("µm", 1), ("micron", 1),
        ("inch", 25400), ("second", None), ("pixel", None), ("", None), (None, None),
    ],
)  # fmt: skip
def test_units_become_micrometres(unit: str | None, expected: float | None) -> None:
    found = micrometres(unit)
    assert found is None if expected is None else found == pytest.approx(expected)


def test_units_of_the_metadata_are_converted(tmp_path: Path) -> None:
    path = write_zarr(tmp_path)

    def edit(attributes: dict[str, Any]) -> None:
        for axis, unit in zip(
            attributes["ome"]["multiscales"][0]["axes"],
            ("millimeter", "nanometer", "angstrom"),
            strict=True,
        ):
            axis["unit"] = unit

    change(path, edit)
    assert open_volume(path).voxel_size == pytest.approx((1000.0, 0.0005, 0.00005))


def test_without_a_unit_the_voxel_size_is_unknown(tmp_path: Path) -> None:
    path = write_zarr(tmp_path, voxel_size=None)
    assert not open_volume(path).voxel_size_known
    assert open_volume(path, voxel_size=(2, 1, 1)).voxel_size == (2.0, 1.0, 1.0)


@pytest.mark.parametrize("metadata_file", ["zarr.json", pytest.param(".zattrs", id="version 0.4")])
def test_a_file_of_the_store_opens_the_store(tmp_path: Path, metadata_file: str) -> None:
    path = write_zarr(tmp_path, version="0.5" if metadata_file == "zarr.json" else "0.4")
    assert open_volume(path / metadata_file).shape == SHAPE


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_labels_keep_names_and_colours(tmp_path: Path, version: str) -> None:
    image = write_zarr(tmp_path, version=version)
    path = register_label(image, "truth")
    labels = (DATA % 4).astype(np.uint8)
    with create_multiscale(
        path,
        shape=SHAPE,
        dtype="uint8",
        voxel_size=(1, 1, 1),
        name="truth",
        labels=CLASSES,
        version=version,
    ) as writer:
        writer.write(Box.of_shape(SHAPE), labels)
    # The folder of labels leads to its only image.
    for source in (path, image / "labels"):
        volume = open_volume(source)
        np.testing.assert_array_equal(volume.view()[2], labels[2])
        assert volume.label_classes == ((1, "matrix", "#0072b2"), (3, "pore", "#e69f00"))
    yaozarrs.validate_zarr_store(image)
    register_label(image, "truth")
    second = register_label(image, "other")
    with create_multiscale(
        second, shape=SHAPE, dtype="u1", voxel_size=None, name="b", labels=CLASSES, version=version
    ):
        pass
    with pytest.raises(VolumeError, match=r"One image is opened at a time.*2 images"):
        open_volume(image / "labels")


def test_other_libraries_read_what_is_written(tmp_path: Path) -> None:
    for version in ("0.4", "0.5"):
        (tmp_path / version).mkdir()
        path = write_zarr(tmp_path / version, version=version)
        np.testing.assert_array_equal(zarr.open_array(path / "0", mode="r")[:], DATA)
        yaozarrs.validate_zarr_store(path)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_plain_zarr_gets_a_sentence(tmp_path: Path, zarr_format: int) -> None:
    array = zarr.create_array(tmp_path / "a.zarr", shape=SHAPE, dtype="u2", zarr_format=zarr_format)
    with pytest.raises(VolumeError, match=r"plain zarr array.*zarr\.open"):
        open_volume(tmp_path / "a.zarr")
    assert open_volume(array).shape == SHAPE
    zarr.create_group(tmp_path / "g.zarr", zarr_format=zarr_format)
    with pytest.raises(VolumeError, match="a zarr group without"):
        open_volume(tmp_path / "g.zarr")


def test_one_level_of_a_store_names_the_store(tmp_path: Path) -> None:
    path = write_zarr(tmp_path)
    with pytest.raises(VolumeError, match=r"Open the group above it, .*volume\.ome\.zarr"):
        open_volume(path / "0")


def test_missing_levels_and_bad_json_get_a_sentence(tmp_path: Path) -> None:
    path = write_zarr(tmp_path)
    (path / "0" / "zarr.json").rename(path / "0" / "gone")
    with pytest.raises(VolumeError, match="Every level that the metadata name"):
        open_volume(path)
    (path / "zarr.json").write_text('{"zarr_format": 3, ')
    with pytest.raises(VolumeError, match="metadata of a store are JSON"):
        open_volume(path)
    (path / "zarr.json").write_text("[]")
    with pytest.raises(VolumeError, match="JSON object"):
        open_volume(path)


def test_unknown_codecs_get_a_sentence(tmp_path: Path) -> None:
    path = write_zarr(tmp_path)
    file = path / "0" / "zarr.json"
    file.write_text(file.read_text().replace("blosc", "magic"))
    with pytest.raises(VolumeError, match="known type and compression"):
        open_volume(path)


def test_damaged_chunks_get_a_sentence(tmp_path: Path) -> None:
    path = write_zarr(tmp_path)
    (path / "0" / "c" / "0" / "0" / "0").write_bytes(b"rubbish")
    volume = open_volume(path)
    with pytest.raises(VolumeError, match="can be read and decoded"):
        volume.view()[0]


@pytest.mark.parametrize("version", ["0.1", "0.6rc0", None])
def test_other_versions_get_a_sentence(tmp_path: Path, version: str | None) -> None:
    path = write_zarr(tmp_path)

    def edit(attributes: dict[str, Any]) -> None:
        attributes["ome"]["version"] = version
        attributes["ome"]["multiscales"][0]["datasets"][0].pop("coordinateTransformations")

    change(path, edit)
    with pytest.raises(VolumeError, match=f"OME-Zarr 0.4 or 0.5.*version {version}"):
        open_volume(path)


def test_five_axes_of_a_store(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    group = zarr.create_group(path, zarr_format=3)
    data = np.stack([np.stack([DATA, DATA // 2]), np.stack([DATA // 3, DATA // 4])])
    group.create_array("0", data=data, chunks=(1, 1, 4, 16, 16))
    names = [("t", "time"), ("c", "channel"), ("z", "space"), ("y", "space"), ("x", "space")]
    scale = {"type": "scale", "scale": [1.0] * 5}
    multiscale = {
        "axes": [{"name": name, "type": kind} for name, kind in names],
        "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
    }
    group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale]}
    with pytest.raises(VolumeError, match=r"One time point.*2 time points"):
        open_volume(path)
    volume = open_volume(path, time=1)
    np.testing.assert_array_equal(volume.view(channel=1)[4], DATA[4] // 4)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the official test stores."""
    parts = ("formats/ome-zarr-examples", "formats/ngff-spec-0.4", "formats/ngff-spec-0.5",
             "formats/ngio", "formats/neuroglancer/testdata/datasource/zarr/ome_zarr")  # fmt: skip
    return unpack(parts, tmp_path_factory.mktemp("formats"))


def test_the_example_stores_open_or_say_why_not(stores: Path) -> None:
    examples = stores / "ome-zarr-examples" / "data"
    for path in sorted([*examples.glob("valid/image-*.zarr"), *examples.glob("warning/*.zarr")]):
        volume = open_volume(path)
        expected = zarr.open_array(path / "0", mode="r")[:]
        np.testing.assert_array_equal(
            volume.read(Box.of_shape(volume.shape)).squeeze(), expected.squeeze()
        )
    for path in (examples / "invalid").glob("image-0[123].zarr"):
        with pytest.raises(VolumeError):
            open_volume(path)
    with pytest.raises(VolumeError, match=r"holds 4 images.*Open one of them"):
        open_volume(examples / "valid" / "plate-01.zarr")


@pytest.mark.parametrize(
    "order", ["yx", "cyx", "zyx", "czyx", "c1yx", "tyx", "tcyx", "tzyx", "tczyx"]
)
def test_every_order_of_axes_opens(stores: Path, order: str) -> None:
    path = stores / "ngio/tests/data/v04/images" / f"test_image_{order}.zarr"
    volume = open_volume(path, time=2 if "t" in order else None)
    raw = zarr.open_array(path / "0", mode="r")[:]
    raw = raw[2] if "t" in order else raw
    found = volume.read(Box.of_shape(volume.shape))
    np.testing.assert_array_equal(found.squeeze(), raw.squeeze())
    assert volume.voxel_size[1:] == (0.5, 0.5)
    assert volume.levels[1].factors == (1.0, 2.0, 2.0)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_both_versions_of_one_image_are_equal(stores: Path, version: str) -> None:
    folder = stores / "neuroglancer/testdata/datasource/zarr/ome_zarr"
    volume = open_volume(folder / f"simple_{version}")
    first = open_volume(folder / "simple_0.4")
    assert volume.voxel_size == pytest.approx((0.004, 0.004, 0.03))
    assert volume.fingerprint == first.fingerprint
    assert [level.shape for level in volume.levels] == [(1, 10, 10), (1, 5, 5), (1, 2, 2)]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_official_metadata_cases(stores: Path, tmp_path: Path, version: str) -> None:
    suite = json.loads((stores / f"ngff-spec-{version}/tests/image_suite.json").read_text())
    zarr_format = 2 if version == "0.4" else 3
    wrong = []
    for number, case in enumerate(suite["tests"]):
        path = tmp_path / str(number)
        group = zarr.create_group(path, zarr_format=zarr_format)
        group.attrs.update(case["data"])
        data = case["data"].get("ome", case["data"])
        for dataset in _datasets(data):
            count = len(data["multiscales"][0].get("axes", "yx"))
            group.create_array(dataset, shape=(1,) * (count - 2) + (4, 4), dtype="u1")
        if _opens(path) != case["valid"]:
            wrong.append(case["formerly"])
    assert len(suite["tests"]) > 20
    # The first has scales for two of three axes, which its schema does not see; the second has a
    # wrong display window, which we do not read.
    assert set(wrong) <= {"valid/mismatch_axes_units.json", "invalid/invalid_channels_window.json"}


def _opens(path: Path) -> bool:
    try:
        return open_volume(path).shape[1:] == (4, 4)
    except VolumeError:
        return False


def _datasets(data: dict[str, Any]) -> list[str]:
    """Return the paths that a case names, where it names any."""
    try:
        return [str(dataset["path"]) for dataset in data["multiscales"][0]["datasets"]]
    except (KeyError, IndexError, TypeError):
        return []
