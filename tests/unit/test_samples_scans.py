"""Scans of a foam to restore: what spoils them, and what is beside them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from brushfire.errors import Cancelled, SettingsError, VolumeError
from brushfire.geometry import Box
from brushfire.samples import SCANS, ScanSettings, save_scan, save_zoom, scan_foam, zoom_foam
from brushfire.volumes import open_volume

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (3, 40, 48)
GOOD = ScanSettings(angles=96, degrees=180.0, photons=1e7)


def error_of(settings: ScanSettings) -> float:
    scan = scan_foam(settings, shape=SHAPE)
    return float(np.square(scan.noisy - scan.clean).mean())


def test_a_good_scan_shows_the_foam_and_each_kind_spoils_it() -> None:
    good = error_of(GOOD)
    assert good < 0.01
    spoiled = {"noise": replace(GOOD, photons=300), "angles": replace(GOOD, angles=16)}
    spoiled["wedge"] = replace(GOOD, degrees=120)
    assert all(error_of(one) > 2 * good for one in spoiled.values())
    assert set(SCANS) == set(spoiled)


def test_parts_are_the_same_foam_with_independent_noise() -> None:
    scan = scan_foam(replace(GOOD, photons=200), shape=SHAPE)
    again = scan_foam(replace(GOOD, photons=200), shape=SHAPE)
    np.testing.assert_array_equal(scan.splits, again.splits)
    assert scan.splits.shape == (4, *SHAPE)
    # Back-projection is linear: all projections are the mean of their parts.
    np.testing.assert_allclose(scan.splits.mean(0), scan.noisy, atol=1e-4)
    noise = (scan.splits - scan.clean).reshape(4, -1)
    apart = np.corrcoef(noise)[~np.eye(4, dtype=bool)]
    assert np.abs(apart).max() < 0.15


def test_a_zoomed_scan_has_large_voxels_of_the_same_foam() -> None:
    made = zoom_foam(replace(GOOD, angles=64), shape=(8, 64, 96), zoom=4)
    assert (made.low.shape, made.high.shape) == ((2, 16, 24), (8, 64, 96))
    binned = made.high.reshape(2, 4, 16, 4, 24, 4).mean((1, 3, 5))
    assert np.corrcoef(made.low.ravel(), binned.ravel())[0, 1] > 0.9


def test_scans_are_written_with_voxel_sizes_and_channels(tmp_path: Path) -> None:
    scan = scan_foam(replace(GOOD, angles=8), shape=SHAPE)
    paths = save_scan(tmp_path, scan)
    splits = open_volume(paths["splits"])
    assert len(splits.channels) == 4
    np.testing.assert_array_equal(splits.read(Box.of_shape(SHAPE)), scan.splits)
    noisy, clean = open_volume(paths["noisy"]), open_volume(paths["clean"])
    assert noisy.voxel_size == clean.voxel_size == splits.voxel_size
    with pytest.raises(VolumeError, match="exist"):
        save_scan(tmp_path, scan)
    zoomed = save_zoom(tmp_path, zoom_foam(replace(GOOD, angles=8), shape=(4, 16, 16)))
    low, high = open_volume(zoomed["low"]), open_volume(zoomed["high"])
    assert low.voxel_size == tuple(4 * size for size in high.voxel_size)


def test_cancelling_ends_a_scan() -> None:
    with pytest.raises(Cancelled):
        scan_foam(GOOD, shape=SHAPE, cancelled=lambda: True)


@pytest.mark.parametrize(
    ("angles", "degrees", "photons"), [(0, 180, 9), (9, 0, 9), (9, 181, 9), (9, 9, 0)]
)
def test_scans_out_of_range_get_a_sentence(angles: int, degrees: float, photons: float) -> None:
    with pytest.raises(SettingsError, match="A scan has"):
        ScanSettings(angles, degrees, photons)


def test_shapes_out_of_range_get_a_sentence() -> None:
    with pytest.raises(SettingsError, match="in memory"):
        scan_foam(GOOD, shape=(10, 8000, 8000))
    with pytest.raises(SettingsError, match="divide"):
        zoom_foam(shape=(9, 16, 16))
