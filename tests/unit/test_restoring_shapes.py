"""How is learned to restore, and by which network, as users choose it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from tests.support.restoring import as_volume, blobs

from brushfire.cli import main
from brushfire.errors import SettingsError
from brushfire.geometry import Box
from brushfire.learning.restoring import RestorationSettings, reshaped, suggest_restoration_network
from brushfire.learning.restoring.learner import RestorationLearner
from brushfire.learning.restoring.settings import check_way
from brushfire.networks.facts import describe_network
from brushfire.networks.restoration import RestorationModel
from brushfire.prediction.tile import predict_box

if TYPE_CHECKING:
    from pathlib import Path

BUDGET = 1 << 29


def test_another_network_restores_the_same_with_its_usual_size() -> None:
    _, noisy = blobs(3)
    parts = as_volume(noisy)
    msd = suggest_restoration_network(parts, "splits")
    unet = reshaped(msd, "basic_unet")
    assert (unet.restored, unet.splits, unet.slices) == (1, "x:1", msd.slices)
    assert (unet.norm, msd.norm) == ("instance", "batch")
    assert unet.depth != msd.depth
    assert reshaped(unet, "msd") == msd
    assert reshaped(unet, "basic_unet", 3).slices == 7
    assert reshaped(reshaped(unet, axes=3), axes=2).slices == 1
    facts = describe_network(unet, channels=len(parts.channels))
    assert facts.parameters > describe_network(msd, channels=len(parts.channels)).parameters


def test_what_cannot_restore_is_refused() -> None:
    _, noisy = blobs()
    network = suggest_restoration_network(as_volume(noisy), "pairs")
    with pytest.raises(SettingsError, match="random weights"):
        check_way(RestorationSettings("pairs"), reshaped(network, "encoder_unet"), 1)
    with pytest.raises(SettingsError, match="sees that one alone"):
        check_way(RestorationSettings("neighbours"), replace(network, slices=3), 1)
    with pytest.raises(SettingsError):
        reshaped(network, "msd", 3)


def test_a_network_in_three_dimensions_learns_to_restore_and_its_tiles_fit() -> None:
    clean, noisy = blobs(shape=(9, 64, 64))
    volume, target = as_volume(noisy), as_volume(clean[None])
    network = replace(
        reshaped(suggest_restoration_network(volume, "pairs"), "segresnet", 3), depth=3, width=8
    )
    settings = RestorationSettings("pairs", patch=64)
    learner = RestorationLearner(volume, target, network, settings, device="cpu", seed=0)
    learner.fit()
    for _ in range(3):
        learner.step()
    learner.propose()
    assert learner.shown is not None
    model = RestorationModel.from_snapshot(learner.shown)
    whole = predict_box(model, volume, Box((4, 0, 0), (5, 64, 64)), budget_bytes=BUDGET)
    left, right = (
        predict_box(model, volume, Box((4, 0, x), (5, 64, x + 32)), budget_bytes=BUDGET)
        for x in (0, 32)
    )
    np.testing.assert_allclose(np.concatenate([left, right], -1), whole, atol=1e-3)
    assert np.abs(whole[0, 0] - clean[4]).mean() < np.abs(noisy[0, 4] - clean[4]).mean()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--loss", "l3"), "mse, l1, ssim"),
        (("--loss", "ssim"), "clean target"),
        (("--network", "unet9"), "unet9"),
        (("--slices", "4"), "slices"),
        (("--depth", "0"), "Depth"),
        (("--in-3d",), "MS-D"),
    ],
)
def test_a_terminal_says_why_it_cannot_be_learned_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    _, noisy = blobs(shape=(4, 64, 64))
    tifffile.imwrite(tmp_path / "noisy.tif", noisy[0], photometric="minisblack")
    command = ["denoise", str(tmp_path / "noisy.tif"), "--blind", "--out", str(tmp_path / "o.tif")]
    assert main([*command, "--seconds", "1", *words]) == 2
    assert said in capsys.readouterr().err
