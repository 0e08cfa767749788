"""Several volumes as the channels of one."""

from __future__ import annotations

import numpy as np
import pytest

from brushfire.errors import VolumeError
from brushfire.geometry import Box
from brushfire.volumes import open_volume
from brushfire.volumes.stacking import stack_channels

RNG = np.random.default_rng(0)
ONE, TWO = RNG.integers(0, 99, (3, 5, 7), np.uint8), RNG.random((3, 5, 7), np.float32)


def test_channels_lie_side_by_side() -> None:
    parts = [open_volume(ONE, name="one"), open_volume(TWO, name="two")]
    both = stack_channels(parts)
    assert both.channels == ("one", "two")
    box = Box((1, 0, 2), (3, 4, 7))
    found = both.read(box)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0], ONE[box.slices])
    np.testing.assert_array_equal(found[1], TWO[box.slices])
    view = both.view(channel=1)
    np.testing.assert_array_equal(np.asarray(view[2]), TWO[2])


def test_channels_of_each_keep_their_order() -> None:
    colours = open_volume(np.stack([ONE, 2 * ONE]), axes="czyx", name="colours")
    both = stack_channels([open_volume(ONE, name="one"), colours, open_volume(TWO, name="two")])
    assert len(both.channels) == 4
    np.testing.assert_array_equal(both.read(Box.of_shape(ONE.shape))[2], 2 * ONE)


@pytest.mark.parametrize(
    ("other", "size", "said"),
    [(ONE[:2], None, "shape"), (ONE, (1.0, 0.5, 0.5), "size")],
)
def test_other_grids_are_refused(other: np.ndarray, size: object, said: str) -> None:
    first = open_volume(ONE, voxel_size=(1.0, 1.0, 1.0))
    with pytest.raises(VolumeError, match=said):
        stack_channels([first, open_volume(other, voxel_size=size)])


def test_rounded_voxel_sizes_are_the_same() -> None:
    parts = [open_volume(ONE, voxel_size=(1.0, 0.5, size)) for size in (0.5, 0.5004)]
    assert stack_channels(parts).voxel_size == (1.0, 0.5, 0.5)


def test_nothing_is_no_volume() -> None:
    with pytest.raises(VolumeError):
        stack_channels([])
