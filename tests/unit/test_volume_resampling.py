"""Finer grids over a coarse volume, and where a zoomed scan lies on them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from brushfire.errors import VolumeError
from brushfire.geometry import Box
from brushfire.volumes import open_volume
from brushfire.volumes.aligning import align_region
from brushfire.volumes.resampling import FineGrid, grid_around, resampled

RNG = np.random.default_rng(0)
COARSE = RNG.random((6, 9, 11), np.float32)
SHAPE = (17, 30, 40)


def fine(shape: tuple[int, int, int] = SHAPE) -> FineGrid:
    return FineGrid(shape, (0.3, 0.25, 0.27), (0.1, 0.2, 0.0))


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_a_part_reads_as_it_does_in_the_whole(data: st.DataObject) -> None:
    volume = resampled(open_volume(COARSE, voxel_size=(1.0, 1.0, 1.0)), fine())
    whole = volume.read(Box.of_shape(SHAPE))
    start = [data.draw(st.integers(0, n - 1)) for n in SHAPE]
    stop = [data.draw(st.integers(a + 1, n)) for a, n in zip(start, SHAPE, strict=True)]
    box = Box(tuple(start), tuple(stop))  # type: ignore[arg-type]
    np.testing.assert_array_equal(volume.read(box)[0], whole[0][box.slices])


def test_planes_stay_planes_and_the_same_grid_is_the_same() -> None:
    z, y, x = np.indices((12, 14, 16), dtype=np.float32)
    plane = 3 + 2 * z - y + 0.5 * x
    volume = open_volume(plane, voxel_size=(2.0, 2.0, 2.0))
    grid = FineGrid((20, 24, 28), (1.0, 1.0, 1.0), (0.5, 0.25, 0.0))
    found = resampled(volume, grid).read(Box.of_shape(grid.shape))[0]
    centres = [
        (p + np.arange(n) + 0.5) / 2 - 0.5 for p, n in zip(grid.phase, grid.shape, strict=True)
    ]
    wanted = 3 + 2 * centres[0][:, None, None] - centres[1][:, None] + 0.5 * centres[2]
    inner = (slice(4, -4),) * 3
    np.testing.assert_allclose(found[inner], wanted[inner], atol=1e-4)
    same = resampled(volume, FineGrid(volume.shape, volume.voxel_size))
    np.testing.assert_allclose(same.read(Box.of_shape(volume.shape))[0], plane, atol=1e-5)


def test_a_region_lies_on_voxels_of_its_grid() -> None:
    coarse = open_volume(COARSE, voxel_size=(2.0, 2.0, 2.0))
    grid, origin = grid_around(coarse, (4, 8, 8), (0.5, 0.5, 0.5), (3.2, 5.0, 7.4))
    assert origin == (6, 10, 14)
    places = [p + n * f for p, n, f in zip(grid.phase, origin, grid.voxel_size, strict=True)]
    np.testing.assert_allclose(places, (3.2, 5.0, 7.4))
    assert grid.shape == (23, 36, 43)


@pytest.mark.parametrize(
    ("size", "offset"),
    [
        ((3.0, 0.5, 0.5), (0, 0, 0)),
        ((0.5, 0.5, 0.5), (-0.6, 0, 0)),
        ((0.5, 0.5, 0.5), (0, 15.0, 0)),
        ((1e-3, 0.5, 0.5), (0, 0, 0)),
    ],
)
def test_what_cannot_lie_inside_is_refused(
    size: tuple[float, ...], offset: tuple[float, ...]
) -> None:
    coarse = open_volume(COARSE, voxel_size=(2.0, 2.0, 2.0))
    with pytest.raises(VolumeError, match="zoomed scan"):
        grid_around(coarse, (4, 8, 8), size, offset)  # type: ignore[arg-type]


def scans() -> tuple[np.ndarray, np.ndarray]:
    """Return a whole at a quarter of the resolution, and all of it at the full one."""
    high = gaussian_filter(np.random.default_rng(1).normal(size=(48, 96, 96)), 2).astype(np.float32)
    low = high.reshape(12, 4, 24, 4, 24, 4).mean((1, 3, 5))
    return low + 0.1 * low.std() * RNG.normal(size=low.shape).astype(np.float32), high


def test_a_zoomed_scan_is_found_where_it_is() -> None:
    low, high = scans()
    coarse = open_volume(low, voxel_size=(4.0, 4.0, 4.0))
    region = open_volume(high[12:36, 30:70, 25:65], voxel_size=(1.0, 1.0, 1.0))
    found = align_region(coarse, region, (15.0, 26.0, 28.0))
    assert np.allclose(found.offset, (12, 30, 25), atol=1.01)
    assert found.correlation > 0.8
    assert found.remark == ""


def test_another_picture_is_called_doubtful() -> None:
    low, _ = scans()
    noise = np.random.default_rng(2).normal(size=(24, 40, 40)).astype(np.float32)
    found = align_region(
        open_volume(low, voxel_size=(4.0, 4.0, 4.0)),
        open_volume(noise, voxel_size=(1.0, 1.0, 1.0)),
        (12.0, 30.0, 25.0),
    )
    assert "correlation" in found.remark


def test_nothing_to_see_is_said() -> None:
    low, _ = scans()
    flat = open_volume(np.full((24, 40, 40), 5, np.uint8), voxel_size=(1.0, 1.0, 1.0))
    with pytest.raises(VolumeError, match="alike"):
        align_region(open_volume(low, voxel_size=(4.0, 4.0, 4.0)), flat, (12.0, 30.0, 25.0))
