"""What a volume keeps decoded is bounded, for all its levels together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from brushfire.geometry import Box
from brushfire.volumes import build_pyramid, open_volume
from brushfire.volumes.cache import SegmentCache
from support.volumes import DATA, SHAPE, never, quiet, write_zarr

if TYPE_CHECKING:
    from pathlib import Path


def segment(size: int) -> tuple[np.ndarray, tuple[int, ...]]:
    return np.zeros(size, np.uint8), (0, 0, 0, 0, 0)


def test_segments_that_were_not_used_for_longest_go_first() -> None:
    cache = SegmentCache(100)
    for name in "abc":
        cache.put(name, segment(30))
    assert cache.get("a") is not None
    cache.put("d", segment(30))
    assert cache.nbytes == 90
    assert [name for name in "abcd" if cache.get(name) is None] == ["b"]


def test_a_segment_beyond_the_limit_is_not_kept() -> None:
    cache = SegmentCache(10)
    cache.put("a", segment(11))
    assert (len(cache), cache.nbytes) == (0, 0)


@pytest.mark.parametrize("limit", [0, 2000, 1 << 20])
def test_a_tiff_keeps_to_its_limit(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path) as tif:
        tif.write(DATA, subifds=1, tile=(16, 16), compression="zlib", metadata={"axes": "ZYX"})
        tif.write(DATA[:, ::2, ::2], subfiletype=1, tile=(16, 16), compression="zlib")
    volume = open_volume(path, cache_bytes=limit)
    np.testing.assert_array_equal(volume.read(Box.of_shape(SHAPE))[0], DATA)
    np.testing.assert_array_equal(np.asarray(volume.view(1)), DATA[:, ::2, ::2])
    assert volume.cache is not None
    assert volume.cache.segments.nbytes <= limit // 4


@pytest.mark.parametrize("limit", [0, 1 << 20, None])
def test_voxels_do_not_depend_on_what_is_kept(tmp_path: Path, limit: int | None) -> None:
    volume = open_volume(write_zarr(tmp_path), cache_bytes=limit)
    for _ in range(2):
        np.testing.assert_array_equal(volume.read(Box.of_shape(SHAPE))[0], DATA)


def test_levels_that_are_built_share_the_cache_of_their_volume(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 99, (2, 600, 700), dtype=np.uint8)
    np.save(tmp_path / "a.npy", data)
    volume = open_volume(tmp_path / "a.npy", cache_bytes=1 << 20)
    built = build_pyramid(
        volume, tmp_path / "levels", budget_bytes=1 << 20, progress=quiet, cancelled=never
    )
    assert len(built.levels) > 1
    assert built.cache is volume.cache
