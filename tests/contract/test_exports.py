"""What every format of an export keeps: the labels, their meaning, and what was begun."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from brushfire.errors import Cancelled, ExportError
from brushfire.export import Conversion
from brushfire.geometry import Box
from brushfire.volumes import open_volume
from support.exporting import (
    BUDGETS,
    CLASSES,
    NAMES,
    VOXEL_SIZE,
    ArraySource,
    export,
    export_floats,
    some_intensities,
    some_labels,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.parametrize("format", ["ome-zarr", "tiff"])


def read_back(path: Path) -> NDArray[np.uint8]:
    volume = open_volume(path)
    try:
        return np.array(volume.read(Box.of_shape(volume.shape))[0])
    finally:
        volume.close()


def data_files(path: Path) -> list[Path]:
    """Return the files that hold voxels of level 0, in order."""
    if path.is_file():
        return [path]
    return sorted(p for p in (path / "0" / "c").rglob("*") if p.is_file())


def damage(path: Path, share: float = 1 / 3) -> None:
    """Flip a bit amid the voxels, so that size and time of the file tell nothing."""
    victim = data_files(path)[-1]
    before = victim.stat()
    place = int(before.st_size * share)
    with victim.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))


def when(reached: float, action: Callable[[], object]) -> Callable[[int, int], None]:
    """Return a progress callback that acts once, at a share of the way."""
    waiting = [action]

    def progress(done: int, total: int) -> None:
        if waiting and done >= reached * total:
            waiting.pop()()

    return progress


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (1, 300, 257), (20, 300, 520), (3, 5, 2000), (40, 16, 16), (2, 1100, 3)]
)
def test_labels_come_back(tmp_path: Path, format: str, shape: tuple[int, int, int]) -> None:
    labels = some_labels(shape)
    report = export(labels, tmp_path, format)
    assert report.path == tmp_path / NAMES[format]
    assert (report.format, report.shape) == (format, shape)
    np.testing.assert_array_equal(read_back(report.path), labels)
    files = [report.path] if report.path.is_file() else report.path.rglob("*")
    assert report.bytes == sum(p.stat().st_size for p in files if p.is_file())


def test_metadata_come_back(tmp_path: Path, format: str) -> None:
    volume = open_volume(export(some_labels(), tmp_path, format).path)
    assert volume.voxel_size_known
    assert volume.voxel_size == pytest.approx(VOXEL_SIZE)
    assert volume.dtype == np.uint8
    volume.close()


def test_nothing_is_left_beside_the_target(tmp_path: Path, format: str) -> None:
    export(some_labels(), tmp_path, format)
    assert [p.name for p in tmp_path.iterdir()] == [NAMES[format]]


def test_progress_grows_to_its_total(tmp_path: Path, format: str) -> None:
    told: list[tuple[int, int]] = []
    export(some_labels(), tmp_path, format, progress=lambda *now: told.append(now))
    assert len({total for _, total in told}) == 1
    assert all(a <= b for (a, _), (b, _) in itertools.pairwise(told))
    assert told[-1][0] == told[-1][1]


def test_blocks_stay_below_the_budget(tmp_path: Path, format: str) -> None:
    source = ArraySource(some_labels())
    export(source, tmp_path, format)
    assert len(source.boxes) > 3
    assert max(box.size for box in source.boxes) * 4 <= BUDGETS[format]


@pytest.mark.parametrize("reached", [0.0, 0.2, 0.4, 0.9])
def test_cancelling_keeps_what_was_done(tmp_path: Path, format: str, reached: float) -> None:
    labels = some_labels()
    stop: list[bool] = []
    with pytest.raises(Cancelled):
        export(
            labels,
            tmp_path,
            format,
            progress=when(reached, lambda: stop.append(True)),
            cancelled=lambda: bool(stop),
        )
    assert not (tmp_path / NAMES[format]).exists()
    whole = export(labels, tmp_path / "..", format, path=tmp_path / f"whole-{NAMES[format]}")
    again = export(labels, tmp_path, format)
    assert again.checksum == whole.checksum
    np.testing.assert_array_equal(read_back(again.path), labels)
    assert not list(tmp_path.glob("partial-*"))


KILLED = """
import sys
from pathlib import Path
from support.exporting import ArraySource, export, some_labels

class Slow(ArraySource):
    def read(self, box):
        if len(self.boxes) == 3:
            print("three blocks", flush=True)
            sys.stdin.read()
        return super().read(box)

export(Slow(some_labels()), Path(sys.argv[1]), sys.argv[2])
"""


@pytest.fixture(scope="module")
def left_by_a_kill(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return what gives, for a format, the folder that a killed process left; never to change."""
    return cache(lambda format: kill(tmp_path_factory.mktemp("killed"), format))


def kill(folder: Path, format: str) -> Path:
    tests = os.path.dirname(os.path.dirname(__file__))
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder), format],
        env={**os.environ, "PYTHONPATH": tests},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"three blocks\n"
        process.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    assert not (folder / NAMES[format]).exists()
    return folder


@pytest.fixture
def killed(tmp_path: Path, format: str, left_by_a_kill: Callable[[str], Path]) -> Path:
    """Return a folder in which a process was killed after three blocks of an export."""
    shutil.copytree(left_by_a_kill(format), tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_an_export_goes_on_after_a_kill(killed: Path, format: str) -> None:
    labels = some_labels()
    np.testing.assert_array_equal(read_back(export(labels, killed, format).path), labels)
    assert [p.name for p in killed.iterdir()] == [NAMES[format]]


def test_finished_blocks_are_not_written_again(killed: Path, format: str) -> None:
    # Damage to a finished block survives the second attempt, which therefore did not write it;
    # and the check finds it, which a third attempt repairs.
    damage(killed / f"partial-{NAMES[format]}", share=1 / 16)
    with pytest.raises(ExportError, match="differ"):
        export(some_labels(), killed, format)
    report = export(some_labels(), killed, format)
    np.testing.assert_array_equal(read_back(report.path), some_labels())


def test_labels_that_changed_meanwhile_are_written_again(killed: Path, format: str) -> None:
    others = some_labels(seed=1)
    np.testing.assert_array_equal(read_back(export(others, killed, format).path), others)


def test_another_export_starts_anew(killed: Path, format: str) -> None:
    smaller = some_labels((9, 100, 300))
    report = export(smaller, killed, format)
    np.testing.assert_array_equal(read_back(report.path), smaller)


def test_a_lost_partial_target_starts_anew(killed: Path, format: str) -> None:
    partial = killed / f"partial-{NAMES[format]}"
    partial.rename(killed / f"elsewhere-{NAMES[format]}")
    report = export(some_labels(), killed, format)
    np.testing.assert_array_equal(read_back(report.path), some_labels())


def test_damage_between_writing_and_checking_is_found(tmp_path: Path, format: str) -> None:
    labels = some_labels()
    checking = tmp_path / f"checking-{NAMES[format]}"
    # Comparing begins after two stages, of four for OME-Zarr and of three for TIFF.
    reached = {"ome-zarr": 0.51, "tiff": 0.67}[format]
    with pytest.raises(ExportError, match=r"1 of .* blocks .* differ") as caught:
        export(labels, tmp_path, format, progress=when(reached, lambda: damage(checking)))
    assert "export again" in str(caught.value)
    assert not (tmp_path / NAMES[format]).exists()
    np.testing.assert_array_equal(read_back(export(labels, tmp_path, format).path), labels)


def test_damage_to_a_reduced_level_is_found(tmp_path: Path, format: str) -> None:
    if format == "tiff":
        pytest.skip("A TIFF has no reduced levels.")
    labels = some_labels((5, 1100, 1300))

    def damage_level(level: str) -> None:
        stored = tmp_path / f"checking-{NAMES[format]}" / level
        victim = max(p for p in (stored / "c").rglob("*") if p.is_file())
        content = bytearray(victim.read_bytes())
        content[len(content) // 3] ^= 1
        victim.write_bytes(content)

    for level in ("1", "2"):
        then = when(0.51, partial(damage_level, level))
        with pytest.raises(ExportError, match=f"another level {level}") as caught:
            export(labels, tmp_path, format, progress=then)
        assert "export again" in str(caught.value)
        assert not (tmp_path / NAMES[format]).exists()
    report = export(labels, tmp_path, format)
    volume = open_volume(report.path)
    for number, described in enumerate(volume.levels):
        step = 2**number
        found = volume.read(Box.of_shape(described.shape), level=number)[0]
        depth = round(described.factors[0])
        np.testing.assert_array_equal(found, labels[::depth, ::step, ::step])
    volume.close()


def test_a_kill_while_checking_is_repaired(tmp_path: Path, format: str) -> None:
    labels = some_labels()
    stop: list[bool] = []
    with pytest.raises(Cancelled):
        export(
            labels,
            tmp_path,
            format,
            progress=when(0.9, lambda: stop.append(True)),
            cancelled=lambda: bool(stop),
        )
    # Where a process that was killed then would have left it.
    (tmp_path / f"partial-{NAMES[format]}").rename(tmp_path / f"checking-{NAMES[format]}")
    np.testing.assert_array_equal(read_back(export(labels, tmp_path, format).path), labels)
    assert [p.name for p in tmp_path.iterdir()] == [NAMES[format]]


def test_a_finished_target_is_replaced_only_on_request(tmp_path: Path, format: str) -> None:
    export(some_labels(), tmp_path, format)
    others = some_labels(seed=1)
    with pytest.raises(ExportError, match="does not replace"):
        export(others, tmp_path, format)
    np.testing.assert_array_equal(read_back(tmp_path / NAMES[format]), some_labels())
    export(others, tmp_path, format, overwrite=True)
    np.testing.assert_array_equal(read_back(tmp_path / NAMES[format]), others)
    assert [p.name for p in tmp_path.iterdir()] == [NAMES[format]]


def test_names_and_colours_are_in_the_metadata(tmp_path: Path, format: str) -> None:
    path = export(some_labels(), tmp_path, format).path
    wanted = [(c.value, c.name, c.color) for c in CLASSES]
    if format == "ome-zarr":
        volume = open_volume(path)
        assert list(volume.label_classes) == wanted
        assert len(volume.levels) > 1
        volume.close()
        metadata = json.loads((path / "zarr.json").read_text())
        assert metadata["attributes"]["brushfire"]["origin_zyx"] == [3, 5, 7]
        return
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_bigtiff
        colormap = tiff.pages[0].colormap
        assert "späte Klasse" in str(tifffile.xml2dict(tiff.ome_metadata))
    for value, _, color in wanted:
        assert "#" + "".join(f"{v >> 8:02x}" for v in colormap[:, value]) == color


CONVERSIONS = [
    Conversion(),
    Conversion("uint16", "clip"),
    Conversion("int32", "clip"),
    Conversion("uint8", "rescale", -500.0, 1000.0),
]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("conversion", CONVERSIONS, ids=lambda one: f"{one.dtype} {one.how}")
def test_intensities_come_back_as_converted(
    tmp_path: Path, format: str, conversion: Conversion, channels: int
) -> None:
    values = some_intensities((20, 300, 257), channels)
    report = export_floats(values, tmp_path, format, conversion=conversion)
    volume = open_volume(report.path)
    found = volume.read(Box.of_shape(volume.shape))
    assert volume.voxel_size == pytest.approx(VOXEL_SIZE)
    assert len(volume.channels) == channels
    assert not volume.label_classes
    volume.close()
    assert found.dtype == conversion.dtype
    np.testing.assert_array_equal(found, conversion.apply(values))
    assert [p.name for p in tmp_path.iterdir()] == [NAMES[format]]


def test_what_was_done_to_intensities_is_in_the_metadata(tmp_path: Path, format: str) -> None:
    conversion = Conversion("uint16", "rescale", -3.5, 250.0)
    path = export_floats(some_intensities((2, 40, 50)), tmp_path, format, conversion=conversion)
    wanted = {
        "type": "uint16", "how": "rescale", "low": -3.5, "high": 250.0, "stored_as": [0, 65535],
    }  # fmt: skip
    if format == "ome-zarr":
        about = json.loads((path.path / "zarr.json").read_text())["attributes"]["brushfire"]
    else:
        with tifffile.TiffFile(path.path) as tiff:
            ome = tifffile.xml2dict(tiff.ome_metadata)
        about = json.loads(ome["OME"]["Image"]["Description"])
    assert about["conversion"] == wanted
    assert about["origin_zyx"] == [3, 5, 7]


def test_levels_of_intensities_are_means_and_are_checked(tmp_path: Path, format: str) -> None:
    if format == "tiff":
        pytest.skip("A TIFF has no reduced levels.")
    values = some_intensities((4, 600, 700), 2)
    volume = open_volume(export_floats(values, tmp_path, format).path)
    assert len(volume.levels) > 1
    depth, height, width = (round(factor) for factor in volume.levels[1].factors)
    mean = volume.read(Box((1, 7, 9), (2, 8, 10)), level=1)[:, 0, 0, 0]
    part = values[:, depth : 2 * depth, 7 * height : 8 * height, 9 * width : 10 * width]
    np.testing.assert_allclose(mean, part.mean((1, 2, 3)), rtol=1e-5)
    volume.close()


def test_intensities_go_on_after_cancelling_but_never_with_another_conversion(
    tmp_path: Path, format: str
) -> None:
    values = some_intensities((20, 300, 257), 2)
    stop: list[bool] = []
    with pytest.raises(Cancelled):
        export_floats(
            values,
            tmp_path,
            format,
            progress=when(0.2, lambda: stop.append(True)),
            cancelled=lambda: bool(stop),
        )
    conversion = Conversion("int16", "clip")
    report = export_floats(values, tmp_path, format, conversion=conversion)
    volume = open_volume(report.path)
    found = volume.read(Box.of_shape(volume.shape))
    volume.close()
    np.testing.assert_array_equal(found, conversion.apply(values))


def test_damage_to_intensities_is_found(tmp_path: Path, format: str) -> None:
    values = some_intensities((20, 300, 257), 2)
    checking = tmp_path / f"checking-{NAMES[format]}"
    reached = {"ome-zarr": 0.51, "tiff": 0.67}[format]
    with pytest.raises(ExportError, match="differ"):
        export_floats(values, tmp_path, format, progress=when(reached, lambda: damage(checking)))
    export_floats(values, tmp_path, format)
