"""Reconstruction of small scans, and in parts that share no projection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from skimage.transform import radon

from brushfire.errors import Cancelled, SettingsError, VolumeError
from brushfire.geometry import Box
from brushfire.tomography import reconstruct, reconstruct_splits, save_splits
from brushfire.volumes import open_volume

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 32
THETA = np.linspace(0, 180, 60, endpoint=False)


@pytest.fixture(scope="module")
def plane() -> np.ndarray:
    """Return a disc off the middle."""
    y, x = np.mgrid[:SIDE, :SIDE]
    return (np.hypot(y - 12, x - 18) < 7).astype(np.float32)


@pytest.fixture(scope="module")
def sinogram(plane: np.ndarray) -> np.ndarray:
    rays = radon(plane, THETA, circle=True).T
    return np.stack([rays, 2 * rays, 0 * rays]).astype(np.float32)


def test_a_disc_comes_back_in_its_place_and_strength(
    plane: np.ndarray, sinogram: np.ndarray
) -> None:
    found = reconstruct(sinogram, THETA)
    assert (found.shape, found.dtype) == ((3, SIDE, SIDE), np.float32)
    assert found[0][plane > 0].mean() == pytest.approx(1, abs=0.1)
    assert np.corrcoef(found[0].ravel(), plane.ravel())[0, 1] > 0.95
    np.testing.assert_allclose(found[1], 2 * found[0], atol=1e-5)
    assert not found[2].any()
    assert reconstruct(sinogram, THETA, size=20).shape == (3, 20, 20)


def test_the_order_of_projections_does_not_matter(sinogram: np.ndarray) -> None:
    order = np.random.default_rng(0).permutation(len(THETA))
    np.testing.assert_allclose(
        reconstruct_splits(sinogram[:, order], THETA[order]),
        reconstruct_splits(sinogram, THETA),
        atol=1e-5,
    )


def test_parts_have_every_few_angles_each(sinogram: np.ndarray) -> None:
    found = reconstruct_splits(sinogram, THETA, parts=3)
    assert found.shape == (3, 3, SIDE, SIDE)
    np.testing.assert_allclose(found[1], reconstruct(sinogram[:, 1::3], THETA[1::3]), atol=1e-5)
    np.testing.assert_allclose(found.mean(0), reconstruct(sinogram, THETA), atol=1e-5)


def test_parts_are_written_as_channels(tmp_path: Path, sinogram: np.ndarray) -> None:
    seen: list[tuple[int, int]] = []
    path = save_splits(
        tmp_path / "splits.ome.zarr",
        sinogram,
        THETA,
        voxel_size=(2.0, 1.0, 1.0),
        progress=lambda *p: seen.append(p),
    )
    volume = open_volume(path)
    assert volume.voxel_size == (2.0, 1.0, 1.0)
    np.testing.assert_array_equal(
        volume.read(Box.of_shape(volume.shape)), reconstruct_splits(sinogram, THETA)
    )
    assert seen == [(z, 3) for z in range(4)]


def test_what_is_not_finished_is_removed(tmp_path: Path, sinogram: np.ndarray) -> None:
    with pytest.raises(Cancelled):
        reconstruct(sinogram, THETA, cancelled=lambda: True)
    with pytest.raises(Cancelled):
        save_splits(tmp_path / "splits", sinogram, THETA, cancelled=lambda: True)
    damaged = sinogram.copy()
    damaged[1, 5, 6] = np.nan
    with pytest.raises(SettingsError, match=r"1 that are not, in slice 1"):
        save_splits(tmp_path / "splits", damaged, THETA)
    assert not (tmp_path / "splits").exists()


def test_a_store_that_is_there_stays(tmp_path: Path, sinogram: np.ndarray) -> None:
    path = save_splits(tmp_path / "splits", sinogram[:1], THETA, parts=2)
    with pytest.raises(VolumeError, match="exist"):
        save_splits(path, sinogram[:1], THETA)
    assert len(open_volume(path).channels) == 2


@pytest.mark.parametrize(
    ("shape", "angles", "parts", "rule"),
    [
        ((4, 5), 5, 2, "three axes"),
        ((2, 5, 8), 4, 2, "one angle"),
        ((2, 5, 8), 5, 6, "projection of its own"),
        ((2, 5, 8), 5, 1, "at least 2 parts"),
    ],
)
def test_bad_input_gets_a_sentence(
    shape: tuple[int, ...], angles: int, parts: int, rule: str
) -> None:
    with pytest.raises(SettingsError, match=rule):
        reconstruct_splits(np.ones(shape), np.arange(angles) * 20.0, parts=parts)


def test_radians_are_told_from_degrees(sinogram: np.ndarray) -> None:
    with pytest.raises(SettingsError, match="in degrees"):
        reconstruct(sinogram, np.deg2rad(THETA))
