"""A project's model becomes a small one, or one in true proportions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from tests.support.memory import stripes

from brushfire.cli.app import main
from brushfire.geometry import Box
from brushfire.networks import ModelSnapshot, NetworkSettings, SegmentationModel
from brushfire.project import open_project
from brushfire.session import Session

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (3, 96, 80)
QUICK = ("--depth", "3", "--steps", "12", "--device", "cpu")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with two strokes and no model."""
    truth, volume, folder = stripes(SHAPE), tmp_path / "stripes.npy", tmp_path / "p.brushfire"
    np.save(volume, truth.astype(np.float32))
    session = Session(folder, device="cpu")
    session.open_volume(volume, axes="zyx")
    session.confirm_volume()
    for y in (4, 20):
        place = Box((1, y, 10), (2, y + 4, 40))
        session.paint(place, truth[place.slices])
    session.close()
    return folder


@pytest.fixture
def taught(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The project with a model that tells bright from dark."""
    teacher = SegmentationModel(NetworkSettings(depth=8, features=False), 1, (1, 2), mean=[1.5])
    with torch.no_grad():
        teacher.head_weight[1, 0] = 6.0
    file = tmp_path / "teacher.safetensors"
    file.write_bytes(teacher.snapshot(1, {}).weights)
    assert main(["models", "add", str(project), str(file)]) == 0
    capsys.readouterr()
    return project


def test_the_project_keeps_the_student_and_shows_it(
    taught: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = open_project(taught).state
    assert main(["distill", str(taught), *QUICK]) == 0
    said = capsys.readouterr().out
    assert "Agreement (Dice)" in said
    assert "model 2, shown from now on" in " ".join(said.split())
    opened = open_project(taught)
    assert opened.state.shown_model == 2
    assert opened.models() == (1, 2)
    student = opened.load_model(2)
    assert student.settings == opened.state.settings.network
    assert (student.settings.depth, student.settings.features) == (3, False)
    assert student.metrics["distilled_from"] == 1
    assert student.metrics["distillation"]["steps"] == 12
    assert opened.state.classes == before.classes


def test_a_file_is_written_and_the_project_stays(
    taught: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "student.safetensors"
    assert main(["distill", str(taught), *QUICK, "--out", str(out)]) == 0
    student = SegmentationModel.from_snapshot(ModelSnapshot.from_bytes(out.read_bytes()))
    assert student.settings.depth == 3
    opened = open_project(taught)
    assert (opened.state.shown_model, opened.models()) == (1, (1,))
    assert main(["distill", str(taught), *QUICK, "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_a_project_that_shows_no_model(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["distill", str(project), *QUICK]) == 2
    assert "brushfire train" in capsys.readouterr().err


def test_a_student_like_its_teacher(taught: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["distill", str(taught), "--depth", "8", "--device", "cpu"]) == 2
    assert "another network than its teacher" in capsys.readouterr().err


def test_a_volume_that_changed(
    taught: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "stripes.npy", stripes(SHAPE, 8).astype(np.float32))
    assert main(["distill", str(taught), *QUICK]) == 2
    assert "another volume than" in capsys.readouterr().err
    assert open_project(taught).state.shown_model == 1


def test_the_model_is_calibrated_and_shown(
    taught: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = open_project(taught).state.classes
    share = f"{classes[1].name.upper()}=0.1"
    assert main(["calibrate", str(taught), "--share", share, "--device", "cpu"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Before After" in said
    assert f"{classes[1].name} 50 %" in said
    assert "Model 2 is shown from now on. Calibrated to the shares you gave." in said
    opened = open_project(taught)
    assert opened.state.shown_model == 2
    first, second = opened.load_model(2).metrics["shares"].values()
    assert (first, second) == pytest.approx((0.9, 0.1))
    assert main(["calibrate", str(taught), "--second-stage", "--device", "cpu"]) == 0
    assert "its own estimate" in capsys.readouterr().out
    assert main(["calibrate", str(taught), "--as-learned", "--device", "cpu"]) == 0
    assert "As learned" in capsys.readouterr().out
    assert "known" not in open_project(taught).load_model(4).metrics


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--share", "bone=0.1"], "Choose one of:"),
        (["--share", "0.1"], "pore=0.02"),
        (["--share", "Class 1=x"], "pore=0.02"),
        (["--share", "Class 1=0.1", "--share", "Class 1=0.2"], "once for each"),
        (["--share", "Class 1=-0.1"], "-10 %"),
        (["--share", "Class 1=0.1", "--share", "Class 2=0.2"], "sum to 100 %"),
    ],
)
def test_shares_that_cannot_be(
    taught: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert main(["calibrate", str(taught), *options, "--device", "cpu"]) == 2
    assert said in capsys.readouterr().err
    assert open_project(taught).models() == (1,)


def test_a_second_stage_without_strokes_or_model(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", str(project), "--device", "cpu"]) == 2
    assert "brushfire train" in capsys.readouterr().err
    model = SegmentationModel(NetworkSettings(depth=3), 1, (1, 2), mean=[1.5])
    file = tmp_path / "features.safetensors"
    file.write_bytes(model.snapshot(1, {}).weights)
    assert main(["models", "add", str(project), str(file)]) == 0
    assert main(["calibrate", str(project), "--second-stage", "--device", "cpu"]) == 2
    assert "multi-scale input" in capsys.readouterr().err
    assert open_project(project).state.shown_model == 1
