"""Statistics are robust, bounded, and say when there is nothing to measure."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from brushfire.errors import VolumeError
from brushfire.geometry import Box
from brushfire.volumes import open_volume

RNG = np.random.default_rng(1)


def test_outliers_and_holes_do_not_count() -> None:
    data = RNG.normal(10.0, 2.0, (6, 80, 90)).astype(np.float32)
    data[0, 0, :5] = (1e30, -1e30, np.inf, -np.inf, np.nan)
    found = open_volume(data).statistics()
    assert found.mean[0] == pytest.approx(10.0, abs=0.1)
    assert found.std[0] == pytest.approx(2.0, rel=0.05)
    assert found.low[0] == pytest.approx(10.0 - 2.576 * 2.0, abs=0.3)


def test_each_channel_has_its_own() -> None:
    data = np.stack([RNG.normal(m, 1.0, (4, 30, 30)) for m in (0.0, 50.0)])
    found = open_volume(data).statistics()
    assert found.mean == pytest.approx((0.0, 50.0), abs=0.1)


def test_padding_fills_holes_with_the_mean() -> None:
    data = RNG.normal(10.0, 2.0, (4, 30, 30))
    data[1, 2, 3], data[1, 2, 4] = np.nan, 1e300
    volume = open_volume(data)
    block = volume.read_padded(Box((1, 2, 3), (2, 3, 6)))
    mean = np.float32(volume.statistics().mean[0])
    np.testing.assert_allclose(block[0, 0, 0], [mean, mean, data[1, 2, 5]], rtol=1e-6)


def test_one_slice_is_repeated() -> None:
    data = RNG.integers(0, 9, (1, 4, 5))
    block = open_volume(data).read_padded(Box((-3, 0, 0), (4, 4, 5)))
    np.testing.assert_array_equal(block[0], np.repeat(data, 7, axis=0))


@pytest.mark.parametrize("value", [0, 7])
def test_a_constant_volume_gets_a_sentence(value: int) -> None:
    with pytest.raises(VolumeError, match=f"differ from each other.*constant {value}"):
        open_volume(np.full((4, 30, 40), value, np.uint8)).statistics()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_volume_without_numbers_gets_a_sentence(value: float) -> None:
    with pytest.raises(VolumeError, match="finite values"):
        open_volume(np.full((4, 30, 40), value)).statistics()


def test_sparse_data_are_found_at_the_coarsest_level() -> None:
    sparse = np.zeros((64, 900, 900), np.uint16)
    sparse[:, 300:340, 300:340] = 500
    sparse[20:30, 320:330] = 900
    coarse = sparse[::4, ::4, ::4]
    found = open_volume([sparse, coarse]).statistics()
    assert found.std[0] > 0
    assert found.high[0] > found.low[0]


def test_a_bounded_part_of_a_large_volume_is_read() -> None:
    class Huge:
        shape, dtype, read = (5000, 30000, 30000), np.dtype("uint16"), 0

        def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
            z, y, x = (np.arange(k.start, k.stop) for k in key)
            block = ((z[:, None, None] * 7 + y[:, None] * 3 + x) % 1000).astype(np.uint16)
            self.read += block.nbytes
            return block

    huge = Huge()
    volume = open_volume(huge)
    assert volume.statistics().mean[0] == pytest.approx(500, rel=0.05)
    assert volume.needs_pyramid
    assert len(volume.fingerprint) == 32
    assert huge.read < 64 << 20


@pytest.mark.parametrize(("thinned", "least", "most"), [(1, 1.0, 2.0), (6, 4.0, 9.0)])
def test_how_far_slices_are_apart_is_seen_in_the_image(thinned, least, most) -> None:
    image = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((96, 64, 64)), 4.0)
    volume = open_volume(image[::thinned].astype(np.float32))
    assert least <= volume.spacing() <= most
    assert volume.with_voxel_size((3.0, 1.0, 2.0)).spacing() == 3.0


@pytest.mark.parametrize("shape", [(1, 30, 30), (5, 1, 1), (5, 2, 30), (2, 3, 3)])
def test_a_spacing_is_found_for_every_shape(shape) -> None:
    image = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    assert 1.0 <= open_volume(image).spacing() <= 16.0
    half = image.astype(np.float32)
    half[: shape[0] // 2] = np.nan
    assert 1.0 <= open_volume(half).spacing() <= 16.0
