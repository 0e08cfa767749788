"""Writing OME-Zarr: levels, labels, going on with a store, and disks that refuse."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaozarrs

from brushfire.errors import Cancelled, StorageError, VolumeError
from brushfire.geometry import Box, Grid
from brushfire.volumes import create_multiscale, open_volume
from brushfire.volumes.stores import storage_errors, write_json
from support.volumes import never, quiet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

SHAPE = (9, 600, 1100)
BLOBS = np.random.default_rng(0).choice([0, 0, 0, 2, 7], SHAPE).astype(np.uint8)
LABELS = [(2, "left", "#112233"), (7, "right", "#445566")]
LAYOUTS = [("0.4", None), ("0.5", None), ("0.5", (8, 256, 512))]


def create(path: Path, **options: Any) -> Any:
    options = {"shape": SHAPE, "dtype": "u1", "voxel_size": (1, 1, 1), "name": "n", **options}
    return create_multiscale(path, **{"chunk": (4, 128, 128), **options})


@pytest.mark.parametrize(("version", "shard"), LAYOUTS)
@pytest.mark.parametrize("labels", [None, LABELS])
def test_blocks_and_levels_are_written(
    tmp_path: Path, version: str, shard: Any, labels: Any
) -> None:
    path = tmp_path / "a.ome.zarr"
    seen: list[tuple[int, int]] = []
    with create(path, version=version, shard=shard, labels=labels) as writer:
        for box in Grid(SHAPE, writer.block).boxes():
            writer.write(box, BLOBS[box.slices])
        writer.build_levels(
            budget_bytes=1 << 20, progress=lambda *p: seen.append(p), cancelled=never
        )
        np.testing.assert_array_equal(writer.read(Box.of_shape(SHAPE)), BLOBS)
    assert seen == [(i, len(seen) - 1) for i in range(len(seen))]
    volume = open_volume(path)
    assert [level.shape for level in volume.levels] == [SHAPE, (5, 300, 550), (3, 150, 275)]
    np.testing.assert_array_equal(volume.view()[8], BLOBS[8])
    coarse = np.asarray(volume.view(2))
    if labels:
        assert set(np.unique(coarse)) <= {0, 2, 7}
        np.testing.assert_array_equal(coarse, BLOBS[::4, ::4, ::4])
    else:
        inner = BLOBS[:8].reshape(2, 4, 150, 4, 275, 4).mean(axis=(1, 3, 5))
        assert np.abs(coarse[:2] - inner).max() <= 1.0
    yaozarrs.validate_zarr_store(path)
    transforms = json.loads((path / ("zarr.json" if version == "0.5" else ".zattrs")).read_text())
    assert "translation" not in str(transforms) if labels else "translation" in str(transforms)


def test_shards_hold_many_chunks_in_few_files(tmp_path: Path) -> None:
    with create(tmp_path / "a", shard=(12, 640, 1152)) as writer:
        writer.write(Box.of_shape(SHAPE), BLOBS)
    assert len([p for p in (tmp_path / "a/0/c").rglob("*") if p.is_file()]) == 1


def test_channels_come_first(tmp_path: Path) -> None:
    data = np.stack([BLOBS, 255 - BLOBS])
    with create(tmp_path / "a", channels=["raw", "denoised"]) as writer:
        writer.write(Box.of_shape(SHAPE), data)
        writer.build_levels(budget_bytes=1 << 20, progress=quiet, cancelled=never)
    volume = open_volume(tmp_path / "a")
    assert volume.channels == ("raw", "denoised")
    np.testing.assert_array_equal(volume.view(channel=1)[3], data[1, 3])


def test_nothing_takes_space_before_it_is_written(tmp_path: Path) -> None:
    with create(tmp_path / "a", shape=(2000, 20000, 20000)) as writer:
        assert not writer.read(Box((1999, 0, 0), (2000, 5, 5))).any()
        writer.write(Box((0, 0, 0), (4, 128, 128)), np.zeros((4, 128, 128), np.uint8))
    assert not [path for path in (tmp_path / "a").glob("*/c/**/*") if path.is_file()]
    assert len(open_volume(tmp_path / "a").levels) == 7


def test_a_store_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "a"
    first, second = Box((0, 0, 0), (4, 600, 1100)), Box((4, 0, 0), SHAPE)
    with create(path, resume=True) as writer:
        writer.write(first, BLOBS[:4])
    with create(path, resume=True) as writer:
        writer.write(second, BLOBS[4:])
    np.testing.assert_array_equal(np.asarray(open_volume(path).view()), BLOBS)
    for other in ({"dtype": "u2"}, {"shape": (9, 600, 1101)}, {"version": "0.4"}):
        with pytest.raises(VolumeError, match="continued with the same shape"):
            create(path, resume=True, **other)


def test_only_stores_are_ever_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a"
    create(path).close()
    with pytest.raises(VolumeError, match="path that is free"):
        create(path)
    create(path, shape=(1, 2, 3), overwrite=True).close()
    assert open_volume(path).shape == (1, 2, 3)
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "thesis.tex").write_text("...")
    for target in (precious, precious / "thesis.tex"):
        with pytest.raises(VolumeError, match="path that is free"):
            create(target, overwrite=True, resume=True)
    assert (precious / "thesis.tex").read_text() == "..."


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"version": "0.3"}, "0.4 or 0.5"),
        ({"shape": (0, 5, 5)}, "at least one voxel"),
        ({"dtype": "c8"}, "real numbers"),
        ({"dtype": "f4", "labels": LABELS}, "whole numbers"),
        ({"labels": [(1, "a", "red")]}, "six hexadecimal digits"),
        ({"shard": (5, 128, 128)}, "whole chunks"),
        ({"shard": (8, 128, 128), "version": "0.4"}, "whole chunks"),
        ({"voxel_size": (1, 0, 1)}, "three positive lengths"),
    ],
)
def test_what_cannot_be_written_gets_a_sentence(
    tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(VolumeError, match=words):
        create(tmp_path / "a", **options)
    assert not (tmp_path / "a").exists()


def test_blocks_that_do_not_fit_get_a_sentence(tmp_path: Path) -> None:
    writer = create(tmp_path / "a")
    block = np.zeros((1, 2, 3), np.uint8)
    with pytest.raises(VolumeError, match="shape of its box"):
        writer.write(Box((0, 0, 0), (1, 2, 4)), block)
    with pytest.raises(VolumeError, match="type of the store"):
        writer.write(Box((0, 0, 0), (1, 2, 3)), block.astype(float))
    with pytest.raises(VolumeError, match="inside the store"):
        writer.write(Box((9, 0, 0), (10, 2, 3)), block)
    with pytest.raises(VolumeError, match="level exists"):
        writer.read(Box((0, 0, 0), (1, 1, 1)), level=5)
    writer.write(Box((0, 0, 0), (1, 2, 3)), block[None])
    writer.close()
    writer.close()
    with pytest.raises(VolumeError, match="open while it is written"):
        writer.write(Box((0, 0, 0), (1, 2, 3)), block)


def test_building_levels_can_be_cancelled_and_begun_again(tmp_path: Path) -> None:
    with create(tmp_path / "a") as writer:
        writer.write(Box.of_shape(SHAPE), BLOBS)
        with pytest.raises(Cancelled):
            writer.build_levels(budget_bytes=1, progress=quiet, cancelled=lambda: True)
        writer.build_levels(budget_bytes=1, progress=quiet, cancelled=never)
        assert writer.read(Box((0, 0, 0), (1, 50, 50)), level=2).any()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "has room"),
        (errno.EDQUOT, "has room"),
        (errno.EROFS, "not read-only"),
        (errno.EACCES, "not read-only"),
        (errno.EIO, "can be written to.*Input/output error"),
    ],
)
def test_what_the_system_says_becomes_a_sentence(code: int, words: str) -> None:
    with pytest.raises(StorageError, match=words), storage_errors("/data/a"):
        raise OSError(code, os.strerror(code))
    with pytest.raises(StorageError, match=words), storage_errors("/data/a"):
        raise ValueError(f"UNKNOWN: Failed to write [os_error_code='{code}']")


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(ValueError, match="a mistake of ours"), storage_errors("/data/a"):
        raise ValueError("a mistake of ours")


def test_a_file_in_the_way_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Not a directory"):
        create(tmp_path / "file" / "a.ome.zarr")
    with pytest.raises(StorageError, match="can be written to"):
        write_json(tmp_path / "file" / "a.json", {})


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("channels", [None, ["a", "b"]])
def test_damaged_blocks_are_replaced_unread(
    tmp_path: Path, version: str, channels: list[str] | None
) -> None:
    shape = (5, 33, 40)
    data = np.random.default_rng(0).integers(1, 99, shape, dtype=np.uint8)
    data = data if channels is None else np.stack([data, data + 1])
    shard = None if version == "0.4" else (4, 32, 32)
    options = {"shape": shape, "dtype": "u1", "chunk": (4, 16, 16), "shard": shard}
    options |= {"version": version, "channels": channels}
    box = Box.of_shape(shape)
    create(tmp_path / "a", **options).write(box, data)
    for file in (tmp_path / "a" / "0").rglob("*"):
        if file.is_file() and file.name.isdigit():
            file.write_bytes(b"damaged")
    writer = create(tmp_path / "a", **options, resume=True)
    writer.discard(box)
    assert not writer.read(box).any()
    for cell in Grid(shape, writer.block).boxes():
        writer.write(cell, data[(..., *cell.slices)])
    np.testing.assert_array_equal(writer.read(box), data)


FULL = """
import signal, sys, resource
import numpy as np
from brushfire.errors import StorageError
from brushfire.geometry import Box
from brushfire.volumes import create_multiscale
shape = (8, 256, 256)
writer = create_multiscale(sys.argv[1], shape=shape, dtype="u1", voxel_size=None, name="full")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    writer.write(Box.of_shape(shape), np.random.default_rng(0).integers(0, 255, shape, "u1"))
except StorageError as error:
    sys.exit(0 if "has room" in str(error) else str(error))
sys.exit("it was written")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Limits of this kind are POSIX's.")
def test_a_store_that_cannot_grow_gets_a_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path / "a"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a disk of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    try:
        made = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        made = False
    if not made:
        pytest.skip("A disk of one megabyte can be mounted by root on Linux only.")
    yield disk
    # Lazily: a pool of readers may let go of a file a little later.
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_gets_a_sentence(small_disk: Path) -> None:
    shape = (8, 512, 512)
    noise = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    writer = create(small_disk / "a", shape=shape)
    with pytest.raises(StorageError, match="no space left"):
        writer.write(Box.of_shape(shape), noise)


def test_a_read_only_disk_gets_a_sentence(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StorageError, match="not read-only"):
        create(small_disk / "a")
