"""A lazy view reads what is looked at and nothing else, also under the real napari."""

from __future__ import annotations

import numpy as np
import pytest

from brushfire.errors import VolumeError
from brushfire.geometry import Box
from brushfire.volumes import LazyView, open_volume

SHAPE = (64, 512, 512)
VOXELS = np.arange(np.prod(SHAPE), dtype=np.uint32).reshape(SHAPE)


class CountingArray:
    """An array that notes the voxels of each read, as a store of chunks would be asked for them."""

    def __init__(self, data: np.ndarray) -> None:
        self.data, self.shape, self.dtype = data, data.shape, data.dtype
        self.reads: list[int] = []

    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
        block = self.data[key]
        self.reads.append(block.size)
        return block


@pytest.fixture
def source() -> CountingArray:
    return CountingArray(VOXELS)


def test_slices_read_nothing(source: CountingArray) -> None:
    view = open_volume(source).view()
    part = view[:, 10:20][..., 5:9][3:4]
    assert isinstance(part, LazyView)
    assert part.shape == (1, 10, 4)
    assert source.reads == []


def test_an_integer_reads_its_plane_only(source: CountingArray) -> None:
    view = open_volume(source).view()
    np.testing.assert_array_equal(view[:, 10:20, 5:9][33], VOXELS[33, 10:20, 5:9])
    np.testing.assert_array_equal(view[:, 7][:, 2:4], VOXELS[:, 7][:, 2:4])
    assert view[1, 2, 3] == VOXELS[1, 2, 3]
    assert source.reads == [40, 64 * 512, 1]


def test_steps_skip_whole_slices(source: CountingArray) -> None:
    view = open_volume(source).view()
    np.testing.assert_array_equal(np.asarray(view[::30, 4:8, ::-1]), VOXELS[::30, 4:8, ::-1])
    assert source.reads == [4 * 512] * 3


def test_it_behaves_like_an_array(source: CountingArray) -> None:
    view = open_volume(source).view()
    assert (view.ndim, view.size, view.nbytes) == (3, VOXELS.size, VOXELS.nbytes)
    assert len(view[5:9]) == 4
    assert np.asarray(view[2:2]).shape == (0, 512, 512)
    assert np.asarray(view[0, :2, :2], dtype=float).dtype == float
    assert [int(plane[0, 0]) for plane in view[:3, :1, :1]] == [0, 262144, 524288]
    np.testing.assert_array_equal(view[..., -1][-1], VOXELS[-1, :, -1])


@pytest.mark.parametrize("key", [[1, 2], np.array([True]), (slice(0, 2), [0]), None])
def test_other_indexing_is_an_error(source: CountingArray, key: object) -> None:
    with pytest.raises(VolumeError, match="integers and slices"):
        open_volume(source).view()[key]


@pytest.mark.parametrize("key", [64, (0, 512), (0, 0, 0, 0)])
def test_past_the_end_is_an_index_error(source: CountingArray, key: object) -> None:
    with pytest.raises(IndexError):
        open_volume(source).view()[key]


def test_napari_never_reads_a_column() -> None:
    components = pytest.importorskip("napari.components")
    levels = [CountingArray(VOXELS), CountingArray(VOXELS[::2, ::2, ::2])]
    volume = open_volume(levels)
    views = [volume.view(level) for level in range(2)]
    viewer = components.ViewerModel()
    layer = viewer.add_image(views, multiscale=True, contrast_limits=(0, VOXELS.max()))
    for level in levels:
        level.reads.clear()

    # Zoomed in: the finest level, 100 x 120 pixels of it, on one slice after the other.
    layer._data_level = 0
    layer.corner_pixels = np.array([[0, 50, 60], [0, 149, 179]])
    viewer.dims.set_current_step(0, 40)
    layer.refresh(force=True)
    np.testing.assert_array_equal(layer._slice.image.raw, VOXELS[40, 50:150, 60:180])
    assert max(levels[0].reads) == 100 * 120
    # The thumbnail comes from the coarsest level, one slice of it.
    assert max(levels[1].reads) == 256 * 256

    levels[0].reads.clear()
    viewer.dims.order = (1, 0, 2)
    viewer.dims.set_current_step(1, 300)
    layer._data_level = 0
    layer.corner_pixels = np.array([[0, 0, 60], [63, 0, 179]])
    layer.refresh(force=True)
    np.testing.assert_array_equal(layer._slice.image.raw, VOXELS[:, 300, 60:180])
    assert max(levels[0].reads) <= 64 * 512


def test_a_view_of_a_view_is_a_volume() -> None:
    first = open_volume(VOXELS)
    again = open_volume([first.view()])
    box = Box((3, 4, 5), (6, 7, 8))
    np.testing.assert_array_equal(again.read(box), first.read(box))
