"""TIFF: voxel sizes, colours, pyramids, folders, and files that are not what they promise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from brushfire.errors import VolumeError
from brushfire.geometry import Box
from brushfire.volumes import open_volume
from brushfire.volumes.pages import PagedArray
from brushfire.volumes.sources import MappedArray
from brushfire.volumes.tiff import natural_key
from support.volumes import DATA, write_apart, write_slices

if TYPE_CHECKING:
    from pathlib import Path

RGB = np.random.default_rng(2).integers(0, 255, (4, 30, 40, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("unit", "spacing", "expected"),
    [
        ("um", 2.0, (2.0, 0.5, 0.25)),
        ("micron", 2.0, (2.0, 0.5, 0.25)),
        ("\\u00B5m", 2.0, (2.0, 0.5, 0.25)),
        ("nm", 40.0, (0.04, 0.0005, 0.00025)),
        ("mm", 0.002, (2.0, 500.0, 250.0)),
        ("um", None, (0.5, 0.5, 0.25)),
    ],
)
def test_imagej_says_its_voxel_size(
    tmp_path: Path, unit: str, spacing: float | None, expected: tuple[float, ...]
) -> None:
    metadata = {"axes": "ZYX", "unit": unit, **({"spacing": spacing} if spacing else {})}
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, DATA, imagej=True, resolution=(4, 2), metadata=metadata)
    volume = open_volume(path)
    assert volume.voxel_size == pytest.approx(expected)
    assert volume.voxel_size_known
    assert volume.format == "ImageJ TIFF"


@pytest.mark.parametrize("metadata", [{}, {"unit": "pixel"}])
def test_imagej_without_a_length_is_unknown(tmp_path: Path, metadata: dict[str, str]) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, DATA, imagej=True, metadata={"axes": "ZYX", **metadata})
    assert not open_volume(path).voxel_size_known


def test_ome_tiff_says_voxel_size_and_channels(tmp_path: Path) -> None:
    data = np.stack([DATA, DATA[::-1]], axis=1)
    path = tmp_path / "cells.ome.tif"
    metadata = {
        "axes": "ZCYX",
        "PhysicalSizeX": 4.0,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 5.0,
        "PhysicalSizeYUnit": "nm",
        "PhysicalSizeZ": 500.0,
        "PhysicalSizeZUnit": "Å",
        "Channel": {"Name": ["DAPI", "actin"]},
    }
    tifffile.imwrite(path, data, metadata=metadata, compression="zlib")
    volume = open_volume(path)
    assert volume.voxel_size == pytest.approx((0.05, 0.005, 0.004))
    assert volume.channels == ("DAPI", "actin")
    assert (volume.name, volume.format) == ("cells", "OME-TIFF")
    np.testing.assert_array_equal(volume.view(channel=1)[2], DATA[::-1][2])


@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}])
def test_colours_are_channels(tmp_path: Path, planarconfig: str, options: dict) -> None:
    path = tmp_path / "a.tif"
    data = RGB if planarconfig == "contig" else np.moveaxis(RGB, -1, 1)
    tifffile.imwrite(path, data, photometric="rgb", planarconfig=planarconfig, **options)
    volume = open_volume(path)
    assert volume.channels == ("red", "green", "blue")
    block = volume.read(Box((1, 5, 9), (3, 25, 33)))
    np.testing.assert_array_equal(block, np.moveaxis(RGB, -1, 0)[:, 1:3, 5:25, 9:33])
    np.testing.assert_array_equal(volume.view(channel=2)[0], RGB[0, ..., 2])


def test_levels_inside_a_tiff_are_found(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    data = DATA[:, :32, :44]
    with tifffile.TiffWriter(path) as tif:
        tif.write(data, subifds=1, metadata={"axes": "ZYX"}, tile=(16, 16))
        tif.write(data[:, ::2, ::2], subfiletype=1, tile=(16, 16))
    volume = open_volume(path)
    assert [level.factors for level in volume.levels] == [(1.0, 1.0, 1.0), (1.0, 2.0, 2.0)]
    np.testing.assert_array_equal(volume.view(1)[3], data[3, ::2, ::2])


def test_plain_stacks_are_mapped_and_others_are_read_by_page(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "plain.tif", DATA)
    tifffile.imwrite(tmp_path / "packed.tif", DATA, compression="zlib")
    kinds = [
        type(open_volume(tmp_path / name).sources[0]._array) for name in ("plain.tif", "packed.tif")
    ]
    assert kinds == [MappedArray, PagedArray]


def test_a_box_decodes_only_its_tiles(tmp_path: Path) -> None:
    data = np.random.default_rng(3).integers(0, 255, (5, 256, 256), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", data, tile=(64, 64), compression="zlib")
    volume = open_volume(tmp_path / "a.tif")
    cache = volume.cache.segments
    np.testing.assert_array_equal(
        volume.read(Box((2, 60, 70), (3, 70, 90)))[0], data[2:3, 60:70, 70:90]
    )
    assert len(cache) == 2
    assert cache.nbytes == 2 * 64 * 64
    volume.read(Box((2, 60, 70), (3, 70, 90)))
    assert len(cache) == 2


def test_no_file_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, DATA, compression="zlib")
    volume = open_volume(path)
    path.rename(tmp_path / "b.tif")
    with pytest.raises(VolumeError, match=r"can be read and decoded.*No such file"):
        volume.view()[0]
    (tmp_path / "b.tif").rename(path)
    np.testing.assert_array_equal(volume.view()[0], DATA[0])


def test_damaged_pages_get_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, DATA, compression="zlib")
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[3]
        offset, count = page.dataoffsets[0], page.databytecounts[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + count] = bytes(count)
    path.write_bytes(content)
    volume = open_volume(path)
    np.testing.assert_array_equal(volume.view()[2], DATA[2])
    with pytest.raises(VolumeError, match="can be read and decoded"):
        volume.view()[3]


@pytest.mark.parametrize("kept", [0, 4, 100, 5000, 12000])
@pytest.mark.parametrize("kind", ["plain", "apart", "packed"])
def test_truncated_files_get_a_sentence(tmp_path: Path, kept: int, kind: str) -> None:
    if kind == "apart":
        path = write_apart(tmp_path)
    else:
        path = tmp_path / "volume.tif"
        tifffile.imwrite(path, DATA, compression="zlib" if kind == "packed" else None)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(VolumeError, match=r"complete and readable|all the data"):
        open_volume(path)


def test_text_is_no_tiff(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_text("this is no image")
    with pytest.raises(VolumeError, match="complete and readable"):
        open_volume(tmp_path / "a.tif")


def test_pages_are_alike(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(DATA[0], contiguous=False)
        tif.write(DATA[1, :20], contiguous=False)
    with pytest.raises(VolumeError, match="same shape and type"):
        open_volume(tmp_path / "a.tif")


def test_frames_of_time_may_be_slices(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, DATA, imagej=True, metadata={"axes": "TYX"})
    with pytest.raises(VolumeError, match="axis named t is in fact depth"):
        open_volume(path)
    assert open_volume(path, axes="zyx").shape == DATA.shape
    np.testing.assert_array_equal(open_volume(path, time=3).view()[0], DATA[3])


def test_slices_are_in_natural_order() -> None:
    names = ["s10.tif", "s9.tif", "S1.tif", "a2b10.tif", "a2b9.tif"]
    expected = ["a2b9.tif", "a2b10.tif", "S1.tif", "s9.tif", "s10.tif"]
    assert sorted(names, key=natural_key) == expected


def test_a_folder_ignores_what_is_no_tiff(tmp_path: Path) -> None:
    folder = write_slices(tmp_path)
    (folder / "notes.txt").write_text("scan 7")
    (folder / ".hidden.tif").write_text("not mine")
    volume = open_volume(folder)
    assert volume.shape == DATA.shape
    assert volume.format == "Folder of 7 TIFF slices"


@pytest.mark.parametrize("odd", [DATA[0, :20], DATA[0].astype(np.uint8)])
def test_slices_of_a_folder_are_alike(tmp_path: Path, odd: np.ndarray) -> None:
    folder = write_slices(tmp_path)
    tifffile.imwrite(folder / "slice_6.tif", odd)
    with pytest.raises(VolumeError, match=r"same shape and type.*slice_6\.tif"):
        open_volume(folder)


def test_a_stack_among_slices_is_an_error(tmp_path: Path) -> None:
    folder = write_slices(tmp_path)
    tifffile.imwrite(folder / "stack.tif", DATA)
    with pytest.raises(VolumeError, match="one slice"):
        open_volume(folder)


def test_a_folder_of_colour_slices(tmp_path: Path) -> None:
    for z, plane in enumerate(RGB):
        tifffile.imwrite(tmp_path / f"{z}.tif", plane, photometric="rgb", compression="lzw")
    volume = open_volume(tmp_path)
    assert volume.channels == ("red", "green", "blue")
    np.testing.assert_array_equal(volume.view(channel=1)[2], RGB[2, ..., 1])


def test_a_folder_with_one_tiff_is_that_tiff(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", DATA)
    assert open_volume(tmp_path).shape == DATA.shape


def test_paths_that_lead_nowhere_get_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="path that exists"):
        open_volume(tmp_path / "missing.tif")
    with pytest.raises(VolumeError, match="OME-Zarr store or holds TIFF"):
        open_volume(tmp_path)
    (tmp_path / "a.xyz").write_text("?")
    with pytest.raises(VolumeError, match="one of the formats"):
        open_volume(str(tmp_path / "a.xyz"))


def test_npy_files_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, DATA)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(VolumeError, match="all the data"):
        open_volume(path)
    path.write_bytes(b"no array")
    with pytest.raises(VolumeError, match="NumPy's header"):
        open_volume(path)
    np.save(path, np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(VolumeError, match="real numbers"):
        open_volume(path)
