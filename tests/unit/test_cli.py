"""The command line: what it shows, what it refuses, and how it ends."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import torch
import zarr
from safetensors.torch import load_file
from tests.support.models import of_version_one
from torch.nn import functional

from brushfire import __version__
from brushfire.annotations import open_annotations
from brushfire.cli import doctor, main
from brushfire.cli.parsing import parse_region, parse_scale, parse_shape
from brushfire.errors import SettingsError
from brushfire.geometry import Box
from brushfire.learning import LearningSettings
from brushfire.library import Library
from brushfire.networks import NetworkSettings, SegmentationModel
from brushfire.project import open_project
from brushfire.samples import make_foam
from brushfire.session import Session
from brushfire.volumes import open_volume

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from brushfire.samples import FoamPaths

COMMANDS = (
    "open",
    "info",
    "pyramid",
    "sample",
    "splits",
    "train",
    "worth",
    "start",
    "export",
    "models",
    "convert",
    "doctor",
    "demo",
    "distill",
    "calibrate",
)
SHAPE = (12, 96, 96)


@pytest.fixture(scope="module")
def foam(tmp_path_factory: pytest.TempPathFactory) -> FoamPaths:
    return make_foam(tmp_path_factory.mktemp("foam") / "foam.ome.zarr", shape=SHAPE)


def painted_project(foam: FoamPaths, folder: Path, classes: tuple[int, ...] = (1, 2)) -> Path:
    """Make a project with strokes of some classes on two slices."""
    session = Session(folder, device="cpu")
    session.open_volume(foam.volume)
    session.confirm_volume()
    truth = open_volume(foam.truth)
    for z in (3, 9):
        box = Box((z, 8, 8), (z + 1, 88, 88))
        block = truth.read(box)[0].astype(np.uint8)
        block[:, :, np.arange(block.shape[2]) % 8 > 1] = 0
        block[~np.isin(block, classes)] = 0
        session.paint(box, block)
    truth.close()
    session.close()
    return folder


def train(place: Path, *reading: str) -> None:
    """Learn on the command line until there is a new model, for a second where that is enough."""
    project = open_project(place.with_suffix(".brushfire"))
    before, seconds = project.models(), 1
    while project.models() == before:
        assert seconds < 100
        words = ["train", str(place), "--seconds", str(seconds), "--device", "cpu"]
        assert main([*words, *reading]) == 0
        seconds *= 2


@pytest.fixture(scope="module")
def learned(foam: FoamPaths, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a model that has learned."""
    project = painted_project(foam, tmp_path_factory.mktemp("project") / "foam.brushfire")
    train(project)
    return project


@pytest.fixture
def trained(learned: Path, tmp_path: Path) -> Path:
    """A copy of it, whose changes no other test sees."""
    (tmp_path / "in").mkdir()
    return Path(shutil.copytree(learned, tmp_path / "in" / learned.name))


def painted(project: Path) -> np.ndarray:
    """Return every stroke of a project."""
    labels = open_annotations(project, SHAPE)
    try:
        return np.asarray(labels[:, :, :])
    finally:
        labels.close()


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what was said on stderr, which names rule, value and next move and no traceback."""
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    assert re.search(r"\. Got: .+\. \w", said.err)
    return said.err


# -- what it shows ---------------------------------------------------------------------------


def test_alone_it_prints_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(re.search(rf"^  {name} ", shown, re.MULTILINE) for name in COMMANDS)


def test_it_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"brushfire {command}" in capsys.readouterr().out


def test_info_shows_the_summary(foam: FoamPaths, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(foam.volume)]) == 0
    shown = capsys.readouterr().out
    for words in ("12 x 96 x 96", "0.65", "uint16", "OME-Zarr 0.5"):
        assert words in shown


def test_info_takes_a_voxel_size(foam: FoamPaths, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(foam.volume), "--voxel-size", "3,0.5,0.25"]) == 0
    assert "3 x 0.5 x 0.25" in capsys.readouterr().out


def test_doctor_names_what_a_report_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    for words in (
        "Python", "torch", "Device", "OMP_WAIT_POLICY", "napari", "Qt binding", "Engine", "kernel",
        "monai", "timm",
    ):  # fmt: skip
        assert words in shown
    difference = re.search(r"differs from plain convolutions by (\S+)", shown)
    assert difference is not None
    assert float(difference[1]) < 1e-9


@pytest.mark.skipif(torch.cuda.is_available(), reason="There is a card.")
def test_doctor_tells_of_the_kernel_of_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._on_the_card() == []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    rows = doctor._on_the_card()
    assert [name for name, _ in rows] == [
        "Kernel on the card, float32",
        "Kernel on the card, bfloat16",
    ]
    assert all(reason.startswith("grouped: ") for _, reason in rows)  # the card is not there


def test_doctor_loads_neither_napari_nor_qt() -> None:
    code = (
        "import sys; from brushfire.cli.doctor import facts; facts();"
        "print([m for m in sys.modules if m.split('.')[0] in ('napari', 'qtpy', 'PySide6')])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_waiting_threads_are_passive_before_torch_loads() -> None:
    code = (
        "import os, sys; from brushfire.cli import main; main(['--version']);"
        "print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert told.stdout.splitlines()[-1] == "PASSIVE False"


# -- volumes ---------------------------------------------------------------------------------


def test_sample_and_pyramid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", str(tmp_path), "--shape", "4,64,64", "--angles", "12"]) == 0
    volume, truth = capsys.readouterr().out.split()
    assert open_volume(volume).shape == open_volume(truth).shape == (4, 64, 64)
    wide = tmp_path / "wide.npy"
    np.save(wide, np.random.default_rng(0).integers(0, 99, (2, 700, 600), dtype=np.uint8))
    assert main(["pyramid", str(wide), "--out", str(tmp_path / "levels")]) == 0
    assert "2 x 700 x 600, 1 x 350 x 300" in capsys.readouterr().out
    assert list((tmp_path / "levels").iterdir())
    assert main(["pyramid", str(wide)]) == 0
    assert "wide.brushfire" in capsys.readouterr().out
    session = Session(device="cpu")
    session.open_volume(wide)
    assert session.volume is not None
    assert len(session.volume.levels) == 2
    session.close()
    assert main(["pyramid", volume]) == 0
    assert "None is missing" in capsys.readouterr().out


# -- learning and exporting ------------------------------------------------------------------


def test_models_are_listed(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", str(trained)]) == 0
    shown = capsys.readouterr().out
    assert "shown" in shown
    assert "Class 1 0." in shown or "Class 1 1." in shown


def test_models_of_the_first_version_are_told_with_the_next_move(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (trained / "models").glob("*.safetensors"):
        file.write_bytes(of_version_one(file.read_bytes()))
        file.with_suffix(".json").unlink()
    assert main(["models", "list", str(trained)]) == 0
    assert "Learn again" in " ".join(capsys.readouterr().out.split())
    assert main(["export", str(trained), "--out", str(tmp_path / "x.tif"), "--device", "cpu"]) == 2
    assert "Learn again" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("name", ["masks.ome.zarr", "masks.tif"])
def test_the_whole_volume_is_exported(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["export", str(trained), "--out", str(tmp_path / name), "--device", "cpu"]) == 0
    assert f"Done and checked: {tmp_path / name}" in capsys.readouterr().out
    masks = open_volume(tmp_path / name)
    assert masks.shape == SHAPE
    assert set(np.unique(masks.read(Box.of_shape(SHAPE)))) == {1, 2}
    masks.close()


def test_a_region_is_exported(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "part.tif"
    assert main(["export", str(trained), "--out", str(out), "--region", "2:5,:,10:40"]) == 0
    part = open_volume(out)
    assert part.shape == (3, 96, 30)
    part.close()


def test_an_existing_target_is_refused_before_predicting(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "masks.tif"
    out.write_text("mine")
    assert main(["export", str(trained), "--out", str(out)]) == 2
    assert "does not replace what is there" in sentence(capsys)
    assert out.read_text() == "mine"


@pytest.mark.parametrize("name", ["masks.ome.zarr", "masks.tif"])
def test_a_finished_export_is_replaced_on_request(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    export = ["export", str(trained), "--out", str(tmp_path / name), "--region"]
    assert main([*export, "2:5,:,:"]) == 0
    capsys.readouterr()
    assert main([*export, "3:5,:,:"]) == 2
    assert "or overwrite it" in sentence(capsys)
    assert main([*export, "3:5,:,:", "--overwrite"]) == 0
    with_two_slices = open_volume(tmp_path / name)
    assert with_two_slices.shape == (2, 96, 96)
    with_two_slices.close()


def test_overwriting_spares_what_is_no_export(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "masks.ome.zarr"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    assert main(["export", str(trained), "--out", str(out), "--overwrite"]) == 2
    sentence(capsys)
    assert (out / "thesis.txt").read_text() == "mine"


def test_an_export_never_replaces_its_own_volume(
    foam: FoamPaths, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["export", str(trained), "--out", str(foam.volume), "--overwrite"]
    assert main(arguments) == 2
    assert "its own volume" in sentence(capsys)
    assert open_volume(foam.volume).shape == SHAPE


def test_a_volume_stands_for_its_project(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    series = tmp_path / "series.npy"
    data = np.random.default_rng(0).integers(0, 999, (2, 3, 48, 48), dtype=np.uint16)
    np.save(series, data)
    reading = ["--axes", "tzyx", "--time", "1"]
    assert main(["train", str(series), *reading]) == 2
    assert "Paint on it first" in sentence(capsys)
    session = Session(device="cpu")
    session.open_volume(series, axes="tzyx", time=1)
    strokes = np.zeros((1, 48, 48), np.uint8)
    strokes[:, 5:15, 5:40], strokes[:, 30:40, 5:40] = 1, 2
    session.paint(Box((1, 0, 0), (2, 48, 48)), strokes)
    session.close()
    project = tmp_path / "series.brushfire"
    train(series, *reading)
    out = tmp_path / "masks.tif"
    assert main(["export", str(series), "--out", str(out), *reading]) == 0
    assert main(["export", str(project), "--out", str(out), *reading, "--overwrite"]) == 0
    capsys.readouterr()
    # Another time point is another volume: strokes of this one say nothing about it.
    assert main(["train", str(project), "--axes", "tzyx", "--time", "0"]) == 2
    assert "belongs to one volume" in sentence(capsys)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--axes tzyx"),
        (["--axes", "tzyx"], "--time 0"),
        (["--axes", "tzyx", "--time", "20"], "time=20"),
        (["--axes", "czyx", "--time", "1"], "time axis"),
        (["--axes", "zyx"], "axes 'zyx'"),
    ],
)
@pytest.mark.parametrize("command", ["info", "open", "train"])
def test_what_a_source_does_not_say_is_asked_for(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    options: list[str],
    words: str,
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    np.save(tmp_path / "series.npy", np.zeros((20, 6, 20, 24), np.uint8))
    assert main([command, str(tmp_path / "series.npy"), *options]) == 2
    assert words in sentence(capsys)


def test_info_takes_axes_and_a_time_point(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = np.random.default_rng(0).integers(0, 99, (2, 30, 20, 24), dtype=np.uint8)
    np.save(tmp_path / "series.npy", data)
    assert main(["info", str(tmp_path / "series.npy"), "--axes", "tzyx", "--time", "1"]) == 0
    shown = capsys.readouterr().out
    assert "30 x 20 x 24" in shown
    assert "time point 1" in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["--out", "masks.tif", "--format", "ome-zarr"],
        ["--out", "masks.png"],
        ["--out", "nowhere/masks.tif"],
        ["--out", "masks.tif", "--region", "5:5,:,:"],
        ["--out", "masks.tif", "--region", "5:500,:,:"],
        ["--out", "masks.tif", "--memory", "0.01"],
        ["--out", "masks.tif", "--memory", "nan"],
        ["--out", "masks.tif", "--memory", "-4"],
        ["--out", "masks.tif", "--device", "abacus"],
    ],
)
def test_an_export_that_cannot_be(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    assert main(["export", str(trained), *arguments]) == 2
    sentence(capsys)
    assert list((tmp_path / "out").iterdir()) == []
    # Nothing is lost by the attempt.
    assert main(["export", str(trained), "--out", "masks.tif"]) == 0


def test_a_project_without_a_model(
    foam: FoamPaths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = painted_project(foam, tmp_path / "new.brushfire")
    assert main(["models", "list", str(project)]) == 0
    assert "No model yet" in capsys.readouterr().out
    assert main(["export", str(project), "--out", str(tmp_path / "masks.tif")]) == 2
    assert "brushfire train" in sentence(capsys)


@pytest.mark.parametrize("classes", [(), (1,)])
def test_learning_from_too_little(
    foam: FoamPaths,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    classes: tuple[int, ...],
) -> None:
    project = painted_project(foam, tmp_path / "new.brushfire", classes)
    assert main(["train", str(project), "--seconds", "300"]) == 2
    assert "at least two classes" in capsys.readouterr().err


def test_learning_from_one_voxel_of_each_class(foam: FoamPaths, tmp_path: Path) -> None:
    folder = tmp_path / "new.brushfire"
    session = Session(folder, device="cpu")
    session.open_volume(foam.volume)
    for value in (1, 2):
        at = (6, 10 * value, 40)
        box = Box(at, (7, at[1] + 1, 41))
        session.paint(box, np.full(box.shape, value, np.uint8))
    session.close()
    train(folder)
    assert main(["export", str(folder), "--out", str(tmp_path / "masks.tif")]) == 0
    assert np.count_nonzero(painted(folder)) == 2


def test_a_volume_of_one_slice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slice_ = np.random.default_rng(0).integers(0, 999, (60, 80), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "slice.tif", slice_)
    session = Session(device="cpu")
    session.open_volume(tmp_path / "slice.tif")
    strokes = np.zeros((1, 60, 80), np.uint8)
    strokes[:, 5:15, 5:70], strokes[:, 30:40, 5:70] = 1, 2
    session.paint(Box((0, 0, 0), (1, 60, 80)), strokes)
    session.close()
    assert main(["info", str(tmp_path / "slice.tif")]) == 0
    assert "1 x 60 x 80" in capsys.readouterr().out
    train(tmp_path / "slice.tif")
    out = tmp_path / "masks.ome.zarr"
    assert main(["export", str(tmp_path / "slice.tif"), "--out", str(out)]) == 0
    assert open_volume(out).shape == (1, 60, 80)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let every file end where a full disk would end it."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(sys.platform == "win32", reason="Limits of this kind are POSIX's.")
@pytest.mark.parametrize(
    ("name", "limit"), [("masks.tif", 50_000), ("masks.ome.zarr", 600), ("masks.ome.zarr", 1_500)]
)
def test_a_disk_that_gets_full_while_exporting(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, limit: int
) -> None:
    before = painted(trained)
    assert before.any()
    out = tmp_path / name
    export = ["export", str(trained), "--out", str(out)]
    with files_of_at_most(limit):
        assert main(export) == 2
    sentence(capsys)
    assert not out.exists()
    np.testing.assert_array_equal(painted(trained), before)
    assert main(export) == 0
    assert open_volume(out).shape == SHAPE


@pytest.fixture
def closed_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that this process cannot write, even as root."""
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o555)
    if os.access(folder, os.W_OK):
        folder = Path("/sys/kernel")
        if not folder.is_dir():
            pytest.skip("Root can write everywhere on this machine.")
    yield folder
    (tmp_path / "closed").chmod(0o755)


@pytest.mark.parametrize("name", ["masks.ome.zarr", "masks.tif"])
def test_an_export_into_a_closed_folder(
    trained: Path, closed_folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    before = painted(trained)
    assert main(["export", str(trained), "--out", str(closed_folder / name)]) == 2
    assert "can be written" in sentence(capsys)
    np.testing.assert_array_equal(painted(trained), before)


@pytest.mark.parametrize(
    ("kind", "names"), [("wedge", ("noisy", "clean", "splits")), ("zoom", ("low", "high"))]
)
def test_samples_to_restore(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, names: tuple[str, ...]
) -> None:
    small = ["--shape", "4,32,32", "--angles", "8"]
    assert main(["sample", str(tmp_path), "--kind", kind, *small]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / f"{n}.ome.zarr") for n in names]
    assert main(["sample", str(tmp_path), "--kind", kind, *small]) == 2
    assert main(["sample", str(tmp_path / "x"), "--kind", kind, "--photons", "0"]) == 2
    assert "A scan has" in capsys.readouterr().err


def test_splits_of_a_sinogram(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan, theta, out = (str(tmp_path / name) for name in ("scan.npy", "theta.npy", "s.ome.zarr"))
    np.save(scan, np.random.default_rng(0).random((2, 9, 16), np.float32))
    np.save(theta, np.linspace(0, 180, 9, endpoint=False))
    assert main(["splits", scan, "--out", out, "--parts", "3", "--voxel-size", "2"]) == 0
    assert capsys.readouterr().out.strip() == out
    box = Box.of_shape((2, 16, 16))
    with closing(open_volume(out)) as volume:
        assert volume.voxel_size == (2.0, 2.0, 2.0)
        first = volume.read(box)
    assert len(first) == 3
    options = ["--parts", "3", "--overwrite"]
    assert main(["splits", scan, "--out", out, "--theta", theta, *options]) == 0
    with closing(open_volume(out)) as volume:
        np.testing.assert_array_equal(volume.read(box), first)


def test_splits_of_what_is_no_sinogram(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flat, text = tmp_path / "flat.npy", tmp_path / "text.npy"
    np.save(flat, np.ones((9, 16)))
    text.write_text("no array")
    for path, rule in ((flat, "three axes"), (text, ".npy files"), (tmp_path / "no", ".npy files")):
        assert main(["splits", str(path), "--out", str(tmp_path / "out")]) == 2
        assert rule in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["sample", "pyramid"])
def test_nothing_is_made_in_a_closed_folder(
    foam: FoamPaths, closed_folder: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    target = closed_folder / "new"
    wide = np.random.default_rng(0).integers(0, 99, (2, 700, 600), dtype=np.uint8)
    np.save(foam.volume.parent / "wide.npy", wide)
    wide_file = str(foam.volume.parent / "wide.npy")
    arguments = {
        "sample": ["sample", str(target), "--shape", "2,32,32", "--angles", "4"],
        "pyramid": ["pyramid", wide_file, "--out", str(target)],
    }
    assert main(arguments[command]) == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert re.search(r"\. Got: .+\. \w", told)


@pytest.mark.parametrize("command", ["train", "models list"])
def test_a_folder_that_is_no_project(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main([*command.split(), str(tmp_path)]) == 2
    assert "project.json" in sentence(capsys)
    assert main([*command.split(), str(tmp_path / "nothing.brushfire")]) == 2
    assert "does not exist" in sentence(capsys)


# -- how it ends -----------------------------------------------------------------------------


START = "import sys; from brushfire.cli import main; sys.exit(main())"


def interrupt(arguments: list[str], line: str) -> tuple[int, str]:
    """Start a command, press Ctrl-C once it has said ``line``; return exit code and the rest."""
    with subprocess.Popen(
        [sys.executable, "-c", START, *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().strip() == line
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    return process.returncode, rest


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent in another way on Windows.")
def test_control_c_ends_learning_and_keeps_the_project(foam: FoamPaths, tmp_path: Path) -> None:
    project = painted_project(foam, tmp_path / "new.brushfire")
    code, said = interrupt(["train", str(project), "--seconds", "600"], "Learning")
    assert code == 130
    assert "Traceback" not in said
    assert "Ended early" in said
    assert main(["models", "list", str(project)]) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent in another way on Windows.")
def test_control_c_ends_an_export_that_goes_on_later(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "masks.ome.zarr"
    code, said = interrupt(["export", str(trained), "--out", str(out)], f"Exporting {out.name}")
    assert code in (0, 130)  # a small volume may be done before the key is pressed
    assert "Traceback" not in said
    if code == 130:
        assert not out.exists()
        assert main(["export", str(trained), "--out", str(out)]) == 0
    assert open_volume(out).shape == SHAPE


# -- bad input -------------------------------------------------------------------------------


def empty_tiff(folder: Path) -> Path:
    (folder / "empty.tif").touch()
    return folder / "empty.tif"


def truncated_tiff(folder: Path) -> Path:
    path = folder / "cut.tif"
    tifffile.imwrite(path, np.random.default_rng(0).integers(0, 99, (8, 64, 64), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    return path


def store_without_metadata(folder: Path) -> Path:
    zarr.create_array(folder / "plain.zarr", shape=(4, 8, 8), dtype="u1", chunks=(4, 8, 8))
    return folder / "plain.zarr"


def array(values: np.ndarray) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        np.save(folder / "array.npy", values)
        return folder / "array.npy"

    return write


def broken_metadata(folder: Path) -> Path:
    (folder / "broken.zarr").mkdir()
    (folder / "broken.zarr" / "zarr.json").write_text('{"zarr_format": 3, "node_')
    return folder / "broken.zarr"


BAD = {
    "nothing there": lambda folder: folder / "nothing.tif",
    "an empty TIFF": empty_tiff,
    "a truncated TIFF": truncated_tiff,
    "a store without metadata": store_without_metadata,
    "a store with broken metadata": broken_metadata,
    "an empty folder": lambda folder: folder,
    "NaN": array(np.full((4, 32, 32), np.nan, np.float32)),
    "a constant": array(np.full((4, 32, 32), 7, np.uint8)),
    "five axes": array(np.random.default_rng(0).random((2, 2, 4, 16, 16))),
    "complex": array(np.ones((4, 16, 16), np.complex64)),
    "text": array(np.full((4, 4, 4), "a")),
}


@pytest.mark.parametrize("case", BAD)
def test_a_volume_that_cannot_be_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    assert main(["info", str(BAD[case](tmp_path))]) == 2
    sentence(capsys)


@pytest.mark.parametrize("case", sorted(set(BAD) - {"NaN", "a constant"}))
def test_a_volume_that_cannot_be_reduced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    out = tmp_path / "levels"
    assert main(["pyramid", str(BAD[case](tmp_path)), "--out", str(out)]) == 2
    sentence(capsys)
    assert not out.exists()


@pytest.mark.parametrize("case", BAD)
def test_a_window_does_not_open_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    assert main(["open", str(BAD[case](tmp_path))]) == 2
    sentence(capsys)


@pytest.mark.skipif(sys.platform != "linux", reason="Only there a screen can be missing.")
@pytest.mark.parametrize("command", ["open", "demo"])
def test_a_window_needs_a_screen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    assert main([command]) == 2
    assert "xvfb-run" in sentence(capsys)


@pytest.mark.parametrize(
    "options",
    [
        ["--shape", "0,1,1"],
        ["--shape", "99999,99999,99999"],
        ["--angles", "0"],
        ["--photons", "nan"],
        ["--photons", "1e30"],
    ],
)
def test_a_foam_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert main(["sample", str(tmp_path / "new"), *options]) == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert re.search(r"\. Got: .+\. \w", told)
    assert not (tmp_path / "new").exists()


def test_info_of_a_project_names_the_command_for_it(
    learned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", str(learned)]) == 2
    assert "brushfire models" in sentence(capsys)


LABELS = {
    "another shape": np.ones((4, 30, 32), np.uint8),
    "no whole numbers": np.ones((4, 32, 32), np.float32),
    "several channels": np.ones((2, 4, 32, 32), np.uint8),
}


@pytest.mark.parametrize("case", LABELS)
def test_labels_that_do_not_belong_to_a_volume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    np.save(tmp_path / "volume.npy", np.random.default_rng(0).random((4, 32, 32)))
    np.save(tmp_path / "labels.npy", LABELS[case])
    arguments = ["--volume", str(tmp_path / "volume.npy"), "--truth", str(tmp_path / "labels.npy")]
    assert main(["demo", *arguments]) == 2
    assert "shape of its volume" in sentence(capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["info"],
        ["export", "x.brushfire"],
        ["export", "x.brushfire", "--out", "y", "--format", "jpeg"],
        ["train", "x.brushfire", "--seconds", "soon"],
        ["train", "x.brushfire", "--seconds", "0"],
        ["demo", "--volume", "x"],
        ["sample", "x", "--seed", "-1"],
    ],
)
def test_words_that_make_no_command(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert "Usage: brushfire" in said.err
    assert "Error" in said.err


# -- parsing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "box"),
    [
        (":,:,:", Box((0, 0, 0), (10, 20, 30))),
        ("4,:,5:", Box((4, 0, 5), (5, 20, 30))),
        ("1:2, 3:4, :6", Box((1, 3, 0), (2, 4, 6))),
    ],
)
def test_regions(text: str, box: Box) -> None:
    assert parse_region(text, (10, 20, 30)) == box
    assert parse_region(None, (10, 20, 30)) is None


@pytest.mark.parametrize("text", ["", ":", "1:2,:", "a:b,:,:", "-1:2,:,:", "3:2,:,:", "10,:,:"])
def test_regions_that_are_none(text: str) -> None:
    with pytest.raises(SettingsError, match="three ranges"):
        parse_region(text, (10, 20, 30))


@pytest.mark.parametrize("text", ["", "1,2", "1,2,0", "1,2,nan", "a", "1,2,inf", "-1"])
def test_voxel_sizes_that_are_none(text: str) -> None:
    with pytest.raises(SettingsError, match="three numbers above zero"):
        parse_scale(text)


def test_voxel_sizes() -> None:
    assert parse_scale("2,0.5,0.25") == (2.0, 0.5, 0.25)
    assert parse_scale("0.5") == (0.5, 0.5, 0.5)
    assert parse_scale(None) is None


@pytest.mark.parametrize("text", ["", "1,2", "1,2,0", "1,2,3.5", "a,b,c"])
def test_shapes_that_are_none(text: str) -> None:
    with pytest.raises(SettingsError, match="three whole numbers"):
        parse_shape(text)


def test_the_demo_is_called_with_what_was_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo = pytest.importorskip("brushfire.ui.demo")
    asked: dict[str, object] = {}

    def run_demo(**arguments: object) -> dict[str, object]:
        asked.update(arguments)
        return {"steps": 3, "dice": {"1": 0.5}}

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(demo, "run_demo", run_demo)
    assert main(["demo", "--seconds", "5", "--out", str(tmp_path), "--headless"]) == 0
    assert asked["seconds"] == 5
    assert asked["headless"] is True
    assert asked["out"] == tmp_path
    assert "1 0.5" in capsys.readouterr().out


# -- models of other programs ----------------------------------------------------------------


def dlsia_file(folder: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """Write a network of one layer that looks for edges, as torch saves it."""
    torch.manual_seed(0)
    taps = torch.randn(1, 1, 3, 3)
    state = {
        "layer_0.conv_0.weight": (taps - taps.mean()) / 1000,
        "layer_0.conv_0.bias": torch.zeros(1),
        "final_convolution.weight": torch.tensor([[0.0, 0.0], [0.0, 1.0]])[:, :, None, None],
        "final_convolution.bias": torch.tensor([0.5, 0.0]),
    }
    torch.save(state, folder / "network.pt")
    return folder / "network.pt", state


def dlsia_classes(state: dict[str, torch.Tensor], slices: np.ndarray, dilation: int) -> np.ndarray:
    """Return which output is largest."""
    x = torch.from_numpy(slices.astype(np.float32))[:, None].relu()
    conv = {key: state[f"layer_0.conv_0.{key}"] for key in ("weight", "bias")}
    maps = functional.conv2d(x, **conv, padding=dilation, dilation=dilation).relu()
    head = {key: state[f"final_convolution.{key}"] for key in ("weight", "bias")}
    return functional.conv2d(torch.cat((x, maps), 1), **head).argmax(1).numpy()


def test_a_network_of_another_program_makes_the_masks_of_a_project(
    foam: FoamPaths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, state = dlsia_file(tmp_path)
    model = tmp_path / "model.safetensors"
    convert = ["convert", str(file), str(model), "--from", "dlsia"]
    assert main([*convert, "--dilations", "3", "--classes", "2,4"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"Classes +2, 4", shown)
    assert str(model) in shown
    session = Session(tmp_path / "foam.brushfire", device="cpu")
    session.open_volume(foam.volume)
    session.close()
    project, out = str(tmp_path / "foam.brushfire"), tmp_path / "masks.tif"
    assert main(["models", "add", project, str(model)]) == 0
    assert re.search(r"1 +shown +depth 2, width 1", capsys.readouterr().out)
    assert main(["export", project, "--out", str(out), "--region", "0:2,:,:"]) == 0
    volume, masks = open_volume(foam.volume), open_volume(out)
    box = Box((0, 0, 0), (2, 96, 96))
    expected = np.array([2, 4])[dlsia_classes(state, volume.read(box)[0], 3)]
    assert len(np.unique(expected)) == 2
    np.testing.assert_array_equal(masks.read(box)[0], expected)
    volume.close()
    masks.close()


def test_a_model_goes_to_another_program_and_comes_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["one.safetensors", "two.pt", "three.safetensors", "four.safetensors"]
    first, theirs, safe, again = (tmp_path / name for name in names)
    assert main(["convert", str(dlsia_file(tmp_path)[0]), str(first), "--from", "dlsia"]) == 0
    assert main(["convert", str(first), str(theirs), "--to", "dlsia"]) == 0
    assert main(["convert", str(theirs), str(again), "--from", "dlsia"]) == 0
    assert main(["convert", str(first), str(safe), "--to", "dlsia"]) == 0
    assert again.read_bytes() == first.read_bytes()
    assert torch.load(theirs, weights_only=True)["state_dict"].keys() == load_file(safe).keys()
    capsys.readouterr()
    assert main(["convert", str(first), str(tmp_path / "no.pt"), "--to", "msd_pytorch"]) == 2
    assert "beyond its edges" in sentence(capsys)
    assert not (tmp_path / "no.pt").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--from brushfire --to brushfire"),
        (["--from", "msd_pytorch"], "msd_block.weight0"),
        (["--from", "dlsia", "--dilations", "a"], "1,2,4"),
        (["--from", "dlsia", "--classes", "1"], "2 outputs"),
        (["--from", "dlsia", "--border", "symmetric"], "reflect"),
        (["--to", "dlsia"], "safetensors"),
        (["--to", "dlsia", "--classes", "1,2", "--slices", "1"], "--classes, --slices"),
    ],
)
def test_what_cannot_be_converted_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    out = tmp_path / "out.safetensors"
    assert main(["convert", str(dlsia_file(tmp_path)[0]), str(out), *options]) == 2
    assert words in sentence(capsys)
    assert not out.exists()


def test_converting_replaces_only_on_request_and_names_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, _ = dlsia_file(tmp_path)
    out = tmp_path / "out.safetensors"
    out.write_text("mine")
    convert = ["convert", str(file), str(out), "--from", "dlsia"]
    assert main(convert) == 2
    assert "--overwrite" in sentence(capsys)
    assert out.read_text() == "mine"
    assert main([*convert, "--overwrite"]) == 0
    assert out.read_bytes() != b"mine"
    capsys.readouterr()
    assert main(["convert", str(tmp_path / "none"), str(tmp_path / "x"), "--from", "dlsia"]) == 2
    assert str(tmp_path / "none") in sentence(capsys)
    assert main(["convert", str(file), str(tmp_path / "no" / "x"), "--from", "dlsia"]) == 2
    assert "folder" in sentence(capsys)


def another(foam: FoamPaths, folder: Path) -> tuple[Path, Path]:
    """Copy the foam with other intensities; return the copy and its project, not made yet."""
    volume = open_volume(foam.volume)
    block = volume.read(Box.of_shape(volume.shape))[0]
    volume.close()
    np.save(folder / "other.npy", (3 * block.astype(np.float32) + 100))
    return folder / "other.npy", folder / "other.brushfire"


def test_a_volume_starts_from_what_another_project_learned(
    foam: FoamPaths, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = open_project(trained)
    names = [replace(one, name=f"kind {one.value}") for one in theirs.state.classes]
    theirs.save(replace(theirs.state, classes=tuple(names)))
    volume, project = another(foam, tmp_path)
    assert main(["start", str(volume), "--axes", "zyx", "--from", str(trained)]) == 0
    shown = capsys.readouterr().out
    assert "kind 1, kind 2" in shown
    made = open_project(project)
    assert made.state.classes == theirs.state.classes
    assert made.state.shown_model == 1
    examples = made.load_examples()
    assert examples is not None
    assert set(examples.counts) == {1, 2}
    # Intensities differ by scale and offset only: without a stroke the masks are the same.
    for place, out in ((trained, "mine.tif"), (project, "theirs.tif")):
        found = ["export", str(place), "--out", str(tmp_path / out), "--region", "0:2,:,:"]
        assert main([*found, "--device", "cpu"]) == 0
    first, second = (open_volume(tmp_path / name) for name in ("mine.tif", "theirs.tif"))
    box = Box((0, 0, 0), (2, 96, 96))
    same = first.read(box)[0] == second.read(box)[0]
    assert same.mean() > 0.999
    first.close()
    second.close()
    capsys.readouterr()
    assert main(["train", str(project), "--seconds", "1", "--device", "cpu"]) == 2
    assert "Learning needs a stroke." in sentence(capsys)
    # And a stroke of one class is enough to go on learning both.
    session = Session(project, device="cpu")
    session.open_project(project)
    assert session.classes_from_start == {1, 2}
    session.paint(Box((3, 10, 10), (4, 14, 30)), np.ones((1, 4, 20), np.uint8))
    session.close_volume()
    assert session.classes_from_start == frozenset()
    session.close()
    train(project)
    after = open_project(project)
    assert after.load_model(max(after.models())).classes == (1, 2)


def test_a_start_matches_classes_by_name_and_adds_those_that_lack(
    foam: FoamPaths, trained: Path, tmp_path: Path
) -> None:
    theirs = open_project(trained)
    one, two = theirs.state.classes[:2]
    theirs.save(replace(theirs.state, classes=(replace(one, name="pore"), two)))
    volume, project = another(foam, tmp_path)
    session = Session(project, device="cpu")
    session.open_volume(volume, axes="zyx")
    session.rename_class(1, "solid")
    session.rename_class(2, "Pore")
    session.paint(Box((3, 10, 10), (4, 14, 30)), np.ones((1, 4, 20), np.uint8))
    session.close()
    assert main(["start", str(project), "--from", str(trained)]) == 0
    state = open_project(project).state
    assert len({c.color for c in state.classes}) == 3
    assert {c.value: c.name for c in state.classes} == {1: "solid", 2: "Pore", 3: "Class 3"}
    assert open_project(project).load_model(1).classes == (2, 3)
    examples = open_project(project).load_examples()
    assert examples is not None
    assert set(examples.counts) == {2, 3}
    assert painted(project).any()


def test_what_cannot_be_started_from_is_said_and_changes_nothing(
    foam: FoamPaths, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = (open_project(trained).state, open_project(trained).models())
    assert main(["start", str(trained), "--from", str(trained)]) == 2
    assert "another project" in sentence(capsys)
    bare = painted_project(foam, tmp_path / "bare.brushfire")
    assert main(["start", str(trained), "--from", str(bare)]) == 2
    assert "Reset learning first" in sentence(capsys)
    empty = painted_project(foam, tmp_path / "empty.brushfire")
    assert main(["start", str(empty), "--from", str(bare)]) == 2
    assert "Learn there first" in sentence(capsys)
    (tmp_path / "net.pt").write_bytes(b"\x80\x04N.")
    said = {"net.pt": "A file of weights", "none.bfmodel": "A model", "sent.zip": "A model"}
    for place, words in said.items():
        assert main(["start", str(empty), "--from", str(tmp_path / place)]) == 2
        assert words in sentence(capsys)
    volume, _ = another(foam, tmp_path)
    np.save(tmp_path / "two.npy", np.stack([np.load(volume)] * 2))
    start = ["start", str(tmp_path / "two.npy"), "--axes", "czyx", "--from", str(trained)]
    assert main([*start, "--channels", "adapter"]) == 2
    assert "however many channels" in sentence(capsys)
    assert main([*start, "--weights", "gabor"]) == 2
    assert "sees no image" in sentence(capsys)
    assert not open_project(tmp_path / "two.brushfire").models()
    assert open_project(tmp_path / "two.brushfire").load_weights() is None
    # Layers that correct do not care; what tells single pixels has to be learned anew.
    assert main(start) == 0
    assert "wait for strokes" in capsys.readouterr().out
    two = open_project(tmp_path / "two.brushfire")
    assert not two.models()
    assert two.load_examples() is None
    assert two.load_weights().metrics["start"] == "All weights"
    session = Session(trained, device="cpu")
    session.open_project(trained)
    assert main(["start", str(bare), "--from", str(trained)]) == 2
    assert "Only one Brushfire at a time" in sentence(capsys)
    session.close()
    assert (open_project(trained).state, open_project(trained).models()) == kept


def test_a_project_that_has_learned_starts_anew_on_request(
    foam: FoamPaths, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(trained, tmp_path / "again.brushfire"))
    bare = painted_project(foam, tmp_path / "bare.brushfire")
    before = open_project(other).state.shown_model
    assert main(["start", str(other), "--from", str(bare), "--replace"]) == 2
    assert open_project(other).state.shown_model == before
    assert main(["start", str(other), "--from", str(trained), "--replace"]) == 0
    project = open_project(other)
    assert project.load_model(project.state.shown_model).metrics["started_from"] == "foam"
    assert painted(other).any()
    capsys.readouterr()
    assert main(["worth", str(other), "--steps", "1", "--device", "cpu"]) == 0
    assert "held-out strokes after 1 gradient steps" in capsys.readouterr().out
    assert main(["worth", str(trained), "--device", "cpu"]) == 2
    assert "began from scratch" in sentence(capsys)


def test_what_was_painted_on_another_file_is_no_start(
    foam: FoamPaths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume, project = another(foam, tmp_path)
    painted_project(foam, tmp_path / "target.brushfire")
    session = Session(project, device="cpu")
    session.open_volume(volume, axes="zyx")
    session.paint(Box((3, 10, 10), (4, 14, 30)), np.ones((1, 4, 20), np.uint8))
    session.paint(Box((3, 40, 10), (4, 44, 30)), np.full((1, 4, 20), 2, np.uint8))
    session.close()
    train(project)
    np.save(volume, -np.load(volume))
    capsys.readouterr()
    assert main(["start", f"{tmp_path}/target.brushfire", "--from", str(project)]) == 2
    assert "has changed since" in sentence(capsys)
    assert open_project(tmp_path / "target.brushfire").load_examples() is None


def test_a_damaged_start_is_told_and_learning_goes_on_without_it(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (trained / "examples.safetensors").write_bytes(b"no examples")
    assert main(["train", str(trained), "--seconds", "1", "--device", "cpu"]) == 0
    assert "without what the project started from" in capsys.readouterr().err


def test_classes_of_an_added_model_are_named_by_their_values(trained: Path, tmp_path: Path) -> None:
    model = SegmentationModel(NetworkSettings(depth=1), 1, (4, 7, 9)).snapshot(1, {})
    (tmp_path / "net.safetensors").write_bytes(model.weights)
    assert main(["models", "add", str(trained), str(tmp_path / "net.safetensors")]) == 0
    names = {one.value: one.name for one in open_project(trained).state.classes}
    assert [names[value] for value in (4, 7, 9)] == ["Class 4", "Class 7", "Class 9"]


def test_an_added_model_that_patches_are_too_small_for_is_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = open_project(trained)
    settings = replace(project.state.settings, learning=LearningSettings(patch=48))
    project.save(replace(project.state, settings=settings))
    model = SegmentationModel(NetworkSettings(depth=1, dilations=(48,)), 1, (1, 2)).snapshot(1, {})
    (tmp_path / "net.safetensors").write_bytes(model.weights)
    assert main(["models", "add", str(trained), str(tmp_path / "net.safetensors")]) == 2
    assert "largest dilation" in sentence(capsys)


def test_an_added_model_gets_the_halo_that_it_needs_there(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "noise.npy", rng.standard_normal((3, 400, 400)).astype(np.float32))
    session = Session(tmp_path / "noise.brushfire", device="cpu")
    session.open_volume(tmp_path / "noise.npy", axes="zyx")
    session.close()
    torch.manual_seed(0)
    model = SegmentationModel(NetworkSettings(depth=20, features=False), 1, (1, 2))
    torch.nn.init.normal_(model.head_weight)
    (tmp_path / "net.safetensors").write_bytes(model.snapshot(1, {}).weights)
    assert (
        main(["models", "add", str(tmp_path / "noise.brushfire"), f"{tmp_path}/net.safetensors"])
        == 0
    )
    project = open_project(tmp_path / "noise.brushfire")
    added = project.load_model(max(project.models()))
    assert 0 < added.halo < model.safe_halo


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty library of its own."""
    monkeypatch.setenv("BRUSHFIRE_LIBRARY", str(tmp_path / "library"))
    return tmp_path / "library"


def test_a_model_goes_through_the_library_into_another_project(
    foam: FoamPaths, trained: Path, library: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    theirs = open_project(trained)
    names = [replace(one, name=f"kind {one.value}") for one in theirs.state.classes]
    theirs.save(replace(theirs.state, classes=tuple(names)))
    assert main(["models", "list"]) == 0
    assert f"No model yet in {library}" in capsys.readouterr().out
    saving = ["models", "save", str(trained), "foam"]
    assert main([*saving, "--licence", "CC0-1.0", "--modality", "micro-CT"]) == 0
    assert "Saved to the library as foam" in capsys.readouterr().out
    assert main(saving) == 2
    assert "is taken" in sentence(capsys)
    assert main([*saving, "--replace", "--description", "again [1]"]) == 0
    sent = tmp_path / "sent.bfmodel.zip"
    assert main(["models", "export", "foam", str(sent)]) == 0
    assert main(["models", "export", "foam", str(sent)]) == 2
    assert main(["models", "export", "foam", str(sent), "--overwrite"]) == 0
    assert main(["models", "remove", "foam"]) == 0
    assert main(["models", "import", str(sent), "--name", "foam 2"]) == 0
    (library / "bad.bfmodel").mkdir()
    capsys.readouterr()
    assert main(["models", "list"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"foam 2 +kind 1, kind 2 .+ 0\.\d+ +unknown", shown)
    assert re.search(r"bad +A model file holds", shown)
    for place in ("foam 2", str(sent)):
        assert main(["models", "show", place]) == 0
        shown = capsys.readouterr().out
        assert "again [1]" in shown
        assert re.search(r"Learned in +foam +\n", shown)
        assert re.search(r"Strokes +\d+, \d+ voxels", shown)
    volume, project = another(foam, tmp_path)
    start = ["start", str(volume), "--axes", "zyx", "--from"]
    assert main([*start, "foam 2"]) == 0
    assert "kind 1, kind 2" in capsys.readouterr().out
    assert open_project(project).load_examples() is not None
    assert main(["models", "save", str(project), "from it"]) == 0
    assert main(["models", "show", "from it"]) == 0
    assert re.search(r"Started from +foam 2", capsys.readouterr().out)
    assert main([*start, str(sent), "--replace"]) == 0
    assert main([*start, "nothing", "--replace"]) == 2
    assert "the library holds bad, foam 2, from it" in capsys.readouterr().err
    assert main(["models", "add", str(project), str(sent)]) == 0
    assert re.search(r"shown +depth", capsys.readouterr().out)
    assert main(["models", "remove", "foam"]) == 2
    assert "brushfire models list" in sentence(capsys)


def test_a_model_without_labelled_voxels_is_a_start_too(
    foam: FoamPaths, library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = SegmentationModel(NetworkSettings(depth=1, features=False), 1, (1, 2)).snapshot(1, {})
    (tmp_path / "net.safetensors").write_bytes(model.weights)
    project = painted_project(foam, tmp_path / "foam.brushfire")
    assert main(["models", "save", str(project), "nothing"]) == 2
    assert "Start learning first" in sentence(capsys)
    assert main(["start", str(project), "--from", str(tmp_path / "net.safetensors")]) == 0
    assert "paint each class" in capsys.readouterr().out
    assert open_project(project).load_examples() is None
    assert main(["models", "save", str(project), "bare"]) == 0
    assert not (library / "bare.bfmodel" / "examples.safetensors").exists()
    train(project)


def test_a_project_takes_only_models_that_fit_it(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, _ = dlsia_file(tmp_path)
    before = open_project(trained)
    kept = (before.state, before.models())
    assert main(["models", "add", str(trained), str(file)]) == 2
    assert "safetensors" in sentence(capsys)
    two = SegmentationModel(NetworkSettings(depth=1), 2, (1, 2)).snapshot(1, {})
    (tmp_path / "two.safetensors").write_bytes(two.weights)
    assert main(["models", "add", str(trained), str(tmp_path / "two.safetensors")]) == 2
    assert "1 channel" in sentence(capsys)
    one = SegmentationModel(NetworkSettings(depth=1), 1, (1, 2)).snapshot(1, {})
    (tmp_path / "one.safetensors").write_bytes(one.weights)
    session = Session(trained, device="cpu")
    session.open_project(trained)
    assert main(["models", "add", str(trained), str(tmp_path / "one.safetensors")]) == 2
    sentence(capsys)
    session.close()
    after = open_project(trained)
    assert (after.state, after.models()) == kept
    assert main(["models", "add", str(trained), str(tmp_path / "one.safetensors")]) == 0
    after = open_project(trained)
    added = after.state.shown_model
    assert added == max(after.models()) > max(kept[1])
    assert after.state.settings.network == NetworkSettings(depth=1)
    assert main(["train", str(trained), "--seconds", "1", "--device", "cpu"]) == 0
    assert open_project(trained).state.settings.network == NetworkSettings(depth=1)


@pytest.mark.parametrize("target", ["bioimageio", "monai"])
def test_models_go_to_other_programs_and_come_back(
    target: str, foam: FoamPaths, library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = NetworkSettings(3, 4, features=False, architecture="dynunet")
    torch.manual_seed(0)
    model = SegmentationModel(network, 1, (1, 2), mean=[100.0], std=[20.0])
    torch.nn.init.normal_(model.head_weight)
    (tmp_path / "net.safetensors").write_bytes(model.snapshot(1, {}).weights)
    assert main(["models", "import", str(tmp_path / "net.safetensors"), "--name", "net"]) == 0
    out = tmp_path / "sent.zip"
    assert main(["models", "export", "net", str(out), "--for", target]) == 0
    assert main(["models", "export", "net", str(out), "--for", target]) == 2
    capsys.readouterr()
    assert main(["models", "import", str(out), "--name", f"from {target}"]) == 0
    assert f"from {target}" in capsys.readouterr().out
    again = SegmentationModel.from_snapshot(Library(library).get(f"from {target}").model)
    x = torch.randn(1, 1, 32, 32)
    again.normalise_by([100.0], [20.0])
    torch.testing.assert_close(again.eval()(x), model.eval()(x), rtol=1e-4, atol=1e-4)
    # And a volume starts from it, without the library too.
    volume, project = another(foam, tmp_path)
    assert main(["start", str(volume), "--axes", "zyx", "--from", str(out)]) == 0
    assert open_project(project).load_model(1).settings.architecture == "dynunet"
    shutil.unpack_archive(out, tmp_path / "unpacked")
    start = ["start", str(volume), "--axes", "zyx", "--from", str(tmp_path / "unpacked")]
    assert main([*start, "--replace"]) == 0
    capsys.readouterr()
    assert main(["models", "import", str(tmp_path)]) == 2
    assert "card.json" in sentence(capsys)


def test_weights_of_an_encoder_wait_for_strokes(
    foam: FoamPaths, library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = NetworkSettings(3, 4, features=False, architecture="dynunet")
    model = SegmentationModel(network, 1, (1, 2))
    kept = ("input_block.", "downsamples.", "bottleneck.")
    state = {
        name.removeprefix("layers.net."): value
        for name, value in model.state_dict().items()
        if name.removeprefix("layers.net.").startswith(kept)
    }
    file = tmp_path / "encoder.pt"
    torch.save(state, file)
    assert main(["models", "import", str(file)]) == 2
    sentence(capsys)
    arguments = {
        "spatial_dims": 2, "in_channels": 1, "out_channels": 2, "filters": [4, 8, 16],
        "kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2],
        "norm_name": ["batch", {"affine": True}],
    }  # fmt: skip
    about = ["--network", "DynUNet", "--arguments", json.dumps(arguments)]
    assert main(["models", "import", str(file), *about]) == 0
    assert capsys.readouterr().err  # what was taken and what was not
    volume, project = another(foam, tmp_path)
    assert main(["start", str(volume), "--axes", "zyx", "--from", "encoder"]) == 0
    assert "wait for strokes" in capsys.readouterr().out
    weights = open_project(project).load_weights()
    assert weights is not None
    taken = SegmentationModel.from_snapshot(weights).state_dict()[
        "layers.net.bottleneck.conv1.conv.weight"
    ]
    assert torch.equal(taken, model.state_dict()["layers.net.bottleneck.conv1.conv.weight"])
