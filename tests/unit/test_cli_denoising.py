"""`brushfire denoise`: what it says of bad input, and one volume from a terminal to a file."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from brushfire.cli import main
from brushfire.cli.denoising import Lessons
from brushfire.errors import SettingsError
from brushfire.geometry import Box
from brushfire.project import open_project
from brushfire.session import Session
from brushfire.volumes import open_volume

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (4, 72, 80)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a clean volume and a noisy one."""
    rng = np.random.default_rng(0)
    columns = np.sin(np.arange(SHAPE[2]) / 6).astype(np.float32)
    clean = np.broadcast_to(columns, SHAPE)
    noisy = clean + rng.normal(0, 0.5, SHAPE).astype(np.float32)
    for name, values in (("clean", clean), ("noisy", noisy)):
        tifffile.imwrite(tmp_path / f"{name}.tif", values, photometric="minisblack")
    return tmp_path


def run(*words: object) -> int:
    return main([str(word) for word in ("denoise", *words)])


def test_a_volume_is_restored_from_a_terminal(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noisy, clean, out = folder / "noisy.tif", folder / "clean.tif", folder / "out.ome.zarr"
    assert run(noisy, "--clean", clean, "--out", out, "--seconds", 3, "--device", "cpu") == 0
    said = capsys.readouterr().out
    assert "From pairs" in said
    assert "dB" in said
    made = open_volume(out).read(Box.of_shape(SHAPE))[0]
    truth, given = tifffile.imread(clean), tifffile.imread(noisy)
    assert made.dtype == np.float32
    assert np.abs(made - truth).mean() < 0.7 * np.abs(given - truth).mean()

    # What was learned is there the next time, and goes into another type.
    again = folder / "again.tif"
    words = ("--seconds", 0, "--dtype", "uint8", "--rescale", "-1.5,1.5", "--device", "cpu")
    assert run(noisy, "--out", again, *words) == 0
    values = tifffile.imread(again)
    assert values.dtype == np.uint8
    assert np.abs(values / 255 * 3 - 1.5 - made).max() < 0.02

    # And is applied to other scans.
    other = folder / "other.tif"
    tifffile.imwrite(other, given[:2] + 0.25, photometric="minisblack")
    results = folder / "results"
    assert main(["predict", str(noisy), str(noisy), str(other), "--out", str(results)]) == 0
    same = open_volume(results / "noisy-restored.ome.zarr").read(Box.of_shape(SHAPE))[0]
    np.testing.assert_allclose(same, made, atol=1e-3)
    assert open_volume(results / "other-restored.ome.zarr").shape == (2, *SHAPE[1:])
    capsys.readouterr()
    assert main(["predict", str(noisy), str(other), "--out", str(results)]) == 2
    assert "does not replace" in capsys.readouterr().err


def test_the_ends_of_a_series_teach_what_is_applied_between(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean, given = (tifffile.imread(folder / f"{name}.tif") for name in ("clean", "noisy"))
    for name, values in (
        ("last", given[::-1, :, :64] + 2),
        ("clean_last", clean[:, :, :64] + 2),
        ("between", given[::-1] + 1),
    ):
        tifffile.imwrite(folder / f"{name}.tif", values, photometric="minisblack")
    noisy, also = folder / "noisy.tif", ("--also", folder / "last.tif")
    words = ("--clean", folder / "clean.tif", *also, "--also-clean", folder / "clean_last.tif")
    out = folder / "out.tif"
    assert run(noisy, *words, "--out", out, "--seconds", 3, "--device", "cpu") == 0
    assert "2, in equal parts" in capsys.readouterr().out
    results = folder / "results"
    words = ("predict", noisy, folder / "between.tif", "--out", results)
    assert main([str(word) for word in words]) == 0
    made = open_volume(results / "between-restored.ome.zarr").read(Box.of_shape(SHAPE))[0]
    assert np.abs(made - 1 - clean).mean() < 0.7 * np.abs(given - clean).mean()


def test_what_was_denoised_is_segmented(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noisy, clean = folder / "noisy.tif", folder / "clean.tif"
    place = folder / "noisy.brushfire"
    with closing(Session(place, device="cpu", suggest=False)) as session:
        session.open_volume(noisy)
        session.confirm_volume()
        classes = np.where(tifffile.imread(clean)[:1] > 0, 2, 1).astype(np.uint8)
        classes[:, np.arange(SHAPE[1]) % 8 > 1] = 0
        session.paint(Box((0, 0, 0), (1, *SHAPE[1:])), classes)
    learn = ("train", str(place), "--seconds", "2", "--device", "cpu", "--on")
    assert main([*learn, "denoised"]) == 2
    assert "Choose Denoise" in capsys.readouterr().err
    out = folder / "out.tif"
    assert run(noisy, "--clean", clean, "--out", out, "--seconds", 2, "--device", "cpu") == 0
    assert open_project(place).state.task == "restore"
    assert main([*learn, "denoised"]) == 0
    state = open_project(place).state
    assert (state.task, state.denoised.model) == ("segment", state.restoration.shown_model)
    masks = folder / "masks.tif"
    assert main(["export", str(place), "--out", str(masks), "--device", "cpu"]) == 0
    found = tifffile.imread(masks)
    assert (found == np.where(tifffile.imread(clean) > 0, 2, 1)).mean() > 0.9
    assert main([*learn, "given"]) == 0
    assert open_project(place).state.denoised is None


def test_other_volumes_are_restored_by_what_was_learned(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder / "noisy.tif", "--out", folder / "out.tif") == 2
    capsys.readouterr()
    words = ["predict", folder / "noisy.tif", folder / "clean.tif", "--out", folder]
    assert main([str(word) for word in words]) == 2
    assert "learned to restore nothing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing was chosen"),
        (("--blind", "--neighbours"), "--blind and --neighbours"),
        (("--blind", "--one-to-many"), "without any"),
        (("--blind", "--dtype", "uint8"), "Choose 'clip'"),
        (("--blind", "--rescale", "1"), "A range is two numbers"),
        (("--clean", "clean.tif", "--offset", "1,2"), "An offset is three numbers"),
        (("--part", "clean.tif"), "two reconstructions"),
        (("--clean", "gone.tif"), "gone.tif"),
        (("--also", "clean.tif"), "--also without a way"),
        (("--clean", "clean.tif", "--also", "noisy.tif"), "1 of --also and 0 of --also-clean"),
        (("--blind", "--also", "clean.tif", "--also-clean", "clean.tif"), "without, none"),
        (("--blind", "--also", "gone.tif"), "gone.tif"),
        (("--blind", "--also", "noisy.tif"), "learned from once"),
        (("--clean", "clean.tif", "--offset", "0,0,0", "--also", "noisy.tif"), "a zoomed scan"),
    ],
)
def test_bad_input_ends_with_a_sentence(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(folder)
    assert run("noisy.tif", "--out", "out.tif", "--seconds", 1, *words) == 2
    assert said in capsys.readouterr().err
    assert not (folder / "out.tif").exists()


def test_ways_are_told_from_what_is_given() -> None:
    assert Lessons().way is None
    assert Lessons(channels=True).way == "splits"
    assert Lessons(neighbours=True).way == "neighbours"
    with pytest.raises(SettingsError):
        Lessons(blind=True, channels=True)
