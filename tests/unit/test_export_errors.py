"""What cannot be exported is told in a sentence, and nothing of somebody else's is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from brushfire.errors import ExportError, StorageError
from brushfire.volumes import open_volume
from support.exporting import NAMES, ArraySource, export, some_labels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from brushfire.geometry import Box

FORMATS = ["ome-zarr", "tiff"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 2 MiB."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("Only root on Linux can make a small disk for this test.")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk]).returncode:
        pytest.skip("This machine does not let root mount a small disk.")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.fixture
def read_only_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that this process cannot write, even as root."""
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o555)
    if os.access(folder, os.W_OK):
        folder = Path("/sys")
        if not folder.is_dir():
            pytest.skip("Root can write everywhere on this machine.")
    yield folder
    (tmp_path / "closed").chmod(0o755)


@pytest.mark.parametrize("format", FORMATS)
def test_a_full_disk(small_disk: Path, format: str) -> None:
    labels = some_labels((10, 300, 520))
    hog = small_disk / "hog"

    def progress(done: int, total: int) -> None:
        # The room that a look beforehand found is taken by somebody else.
        if done == 1 and not hog.exists():
            free = shutil.disk_usage(small_disk).free
            hog.write_bytes(bytes(max(0, free - 2**16)))

    with pytest.raises(StorageError) as caught:
        export(labels, small_disk, format, progress=progress)
    assert "Free some space" in str(caught.value)
    hog.unlink()
    report = export(labels, small_disk, format)
    volume = open_volume(report.path)
    assert volume.shape == labels.shape
    volume.close()


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(small_disk: Path) -> None:
    with pytest.raises(StorageError, match=r"needs 6\.0 MiB"):
        export(some_labels((40, 300, 520)), small_disk, "tiff")
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("format", FORMATS)
def test_a_read_only_folder(read_only_folder: Path, format: str) -> None:
    with pytest.raises(StorageError, match=r"can be written.*Choose another folder"):
        export(some_labels(), read_only_folder, format)


@pytest.mark.parametrize("format", FORMATS)
def test_a_target_that_is_something_else(tmp_path: Path, format: str) -> None:
    target = tmp_path / NAMES[format]
    target.mkdir()
    (target / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(ExportError, match="does not replace what is there"):
            export(some_labels(), tmp_path, format, overwrite=overwrite)
    assert (target / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("name", ["partial-{}", "checking-{}", "partial-{}.blocks"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_foreign_file_with_the_name_of_a_partial_target(
    tmp_path: Path, format: str, name: str
) -> None:
    foreign = tmp_path / name.format(NAMES[format])
    foreign.write_text("mine")
    with pytest.raises(ExportError, match=r"something else.*Move it away"):
        export(some_labels(), tmp_path, format)
    assert foreign.read_text() == "mine"


def test_a_partial_tiff_that_is_no_tiff_any_more(tmp_path: Path) -> None:
    class Breaking(ArraySource):
        def read(self, box: Box) -> NDArray[np.uint8]:
            if len(self.boxes) == 2:
                raise OSError(5, "Input/output error")
            return super().read(box)

    with pytest.raises(StorageError, match="Input/output error"):
        export(Breaking(some_labels()), tmp_path, "tiff")
    (tmp_path / "partial-masks.tif").write_bytes(b"nothing")
    with pytest.raises(ExportError, match=r"no TIFF any more.*Remove this file"):
        export(some_labels(), tmp_path, "tiff")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("shape", [(0, 4, 4), (4, 0, 4), (4, 4, 0)])
def test_an_empty_region(tmp_path: Path, format: str, shape: tuple[int, int, int]) -> None:
    with pytest.raises(ExportError, match="at least one voxel"):
        export(np.zeros(shape, np.uint8), tmp_path, format)


def test_a_format_that_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"'ome-zarr' or 'tiff'\. Got: jpeg"):
        export(some_labels(), tmp_path, "jpeg")


@pytest.mark.parametrize(("format", "name"), [("tiff", "masks.ome.zarr"), ("ome-zarr", "a.tif")])
def test_a_name_that_says_another_format(tmp_path: Path, format: str, name: str) -> None:
    with pytest.raises(ExportError, match="A TIFF is a file that ends in"):
        export(some_labels(), tmp_path, format, path=tmp_path / name)


@pytest.mark.parametrize("format", FORMATS)
def test_a_folder_that_does_not_exist(tmp_path: Path, format: str) -> None:
    with pytest.raises(ExportError, match="folder of the target exists"):
        export(some_labels(), tmp_path / "nowhere", format)
    assert list(tmp_path.iterdir()) == []
