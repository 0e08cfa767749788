"""The demo runs the whole job by itself and writes down what it measured."""

from __future__ import annotations

import gc
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from brushfire.errors import VolumeError
from brushfire.ui.demo import run_demo
from brushfire.volumes import open_volume

from .conftest import SHAPE, foam, truth

if TYPE_CHECKING:
    from pathlib import Path

FIELDS = {
    "first_pixel_s", "first_tile_s", "steps", "annotated_fraction", "miou_unseen", "dice",
    "peak_rss_mb", "longest_stall_ms", "stalls_ms", "exports", "screenshots",
}  # fmt: skip


@pytest.fixture
def files(tmp_path: Path, qapp) -> tuple[Path, Path]:
    volume, answers = tmp_path / "volume.tif", tmp_path / "truth.tif"
    tifffile.imwrite(volume, foam(), photometric="minisblack")
    # The classes are the sorted values, and 0 is one of them.
    tifffile.imwrite(
        answers, np.where(truth() == 1, 0, 255).astype(np.uint8), photometric="minisblack"
    )
    yield volume, answers
    qapp.processEvents()
    gc.collect()


def test_the_demo_measures_every_field(files, tmp_path: Path) -> None:
    volume, answers = files
    out = tmp_path / "out"
    summary = run_demo(volume, answers, slices=2, seconds=2, out=out, headless=True)

    assert set(summary) >= FIELDS
    assert json.loads((out / "summary.json").read_text()) == summary
    assert list(summary["stalls_ms"]) == [
        "opening", "confirming", "painting", "learning", "scoring", "exporting",
    ]  # fmt: skip
    assert summary["longest_stall_ms"] == max(list(summary["stalls_ms"].values())[1:])
    assert 0 < summary["annotated_fraction"] <= 0.02
    assert summary["annotated_slices"] == [1, 4]
    assert summary["scored_slices"] == [0, 2, 3, 5]
    assert summary["miou_unseen"] > 0.6
    assert set(summary["dice"]) == {"class 0", "class 255"}
    assert [shot.rsplit("-", 1)[1] for shot in summary["screenshots"]] == [
        "start.png", "training.png", "end.png",
    ]  # fmt: skip
    assert [made["state"] for made in summary["exports"]] == ["finished", "finished"]
    for made in summary["exports"]:
        assert open_volume(made["path"]).shape == (1, *SHAPE[1:])


def test_a_truth_of_another_shape_is_refused(files, tmp_path: Path) -> None:
    volume, answers = files
    tifffile.imwrite(answers, truth()[:, :80], photometric="minisblack")
    with pytest.raises(VolumeError, match="shape of the volume"):
        run_demo(volume, answers, seconds=1, out=tmp_path / "out", headless=True)
