"""Axes come out as channel, z, y, x, or a sentence says why not."""

from __future__ import annotations

import numpy as np
import pytest

from brushfire.errors import VolumeError
from brushfire.volumes import describe, open_volume


def numbers(*shape: int, dtype: str = "uint16") -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@pytest.mark.parametrize(
    ("shape", "axes", "expected", "found"),
    [
        ((8, 9), None, (1, 1, 8, 9), "yx"),
        ((1, 8, 9), None, (1, 1, 8, 9), "zyx"),
        ((7, 8, 9), None, (1, 7, 8, 9), "zyx"),
        ((1, 7, 8, 9), None, (1, 7, 8, 9), "czyx"),
        ((3, 7, 8, 9), None, (3, 7, 8, 9), "czyx"),
        ((20, 8, 9, 3), None, (3, 20, 8, 9), "zyxc"),
        ((1, 1, 7, 8, 9), None, (1, 7, 8, 9), "?czyx"),
        ((1, 2, 7, 8, 9), None, (2, 7, 8, 9), "?czyx"),
        ((2, 1, 7, 8, 9), None, (2, 7, 8, 9), "c?zyx"),
        ((8, 9, 3), "yxc", (3, 1, 8, 9), "yxc"),
        ((8, 9, 3), "yxs", (3, 1, 8, 9), "yxc"),
        ((9, 8, 7), "xyz", (1, 7, 8, 9), "xyz"),
        ((5, 1, 8, 9), "zyx", (1, 5, 8, 9), "z?yx"),
        ((5, 1, 8, 9), "Z, C, Y, X", (1, 5, 8, 9), "zcyx"),
        ((1, 2, 7, 8, 9), "tczyx", (2, 7, 8, 9), "tczyx"),
    ],
)
def test_axes_are_brought_into_order(
    shape: tuple[int, ...], axes: str | None, expected: tuple[int, ...], found: str
) -> None:
    volume = open_volume(numbers(*shape), axes=axes)
    assert (len(volume.channels), *volume.shape) == expected
    assert volume.axes == found
    assert open_volume(numbers(*shape), axes=volume.axes).axes == found


def test_the_voxels_follow_their_axes() -> None:
    data = numbers(4, 3, 2)
    volume = open_volume(data, axes="xyz")
    np.testing.assert_array_equal(volume.view()[1], data[:, :, 1].T)
    colour = open_volume(data, axes="yxc")
    np.testing.assert_array_equal(colour.view(channel=1)[0], data[:, :, 1])


def test_a_time_point_is_chosen() -> None:
    data = numbers(4, 2, 5, 8, 9)
    volume = open_volume(data, axes="tczyx", time=2)
    np.testing.assert_array_equal(volume.view(channel=1)[3], data[2, 1, 3])
    assert volume.time == 2
    assert "time point 2" in describe(volume)


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((4, 5, 8, 9), {"axes": "tzyx"}, "4 time points.*time=0 to time=3"),
        ((4, 5, 8, 9), {"axes": "tzyx", "time": 4}, "time=4 of 4"),
        ((5, 8, 9), {"time": 1}, "time axis"),
        ((2, 3, 4, 5, 6), {}, "at most four axes.*5 axes"),
        ((2, 3, 4, 5, 6), {"axes": "czyx"}, "one axis letter for each axis"),
        ((20, 20, 20, 20), {}, "channel axis.*axes='czyx'"),
        ((20, 20, 20), {"axes": "zzy"}, "named once"),
        ((20, 20, 20), {"axes": "zqx"}, "t, c, z, y and x"),
        ((20, 20), {"axes": "zx"}, "axes y and x"),
        ((20,), {}, "at least two axes"),
        ((0, 8, 9), {}, "at least one voxel"),
    ],
)
def test_what_is_no_volume_gets_a_sentence(
    shape: tuple[int, ...], options: dict[str, object], words: str
) -> None:
    with pytest.raises(VolumeError, match=words):
        open_volume(np.zeros(shape, np.uint8), **options)


@pytest.mark.parametrize(
    "dtype", ["complex64", "complex128", "object", "U4", "M8[s]", [("a", "u1"), ("b", "f4")]]
)
def test_voxels_are_real_numbers(dtype: object) -> None:
    with pytest.raises(VolumeError, match="real numbers"):
        open_volume(np.zeros((3, 4, 5), np.dtype(dtype)))


@pytest.mark.parametrize("dtype", ["u1", "i1", "u4", "i8", "f2", "f4", "f8", ">i2", ">f8"])
def test_numbers_keep_their_type(dtype: str) -> None:
    data = numbers(3, 4, 5, dtype=dtype)
    volume = open_volume(data)
    assert volume.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(volume.view()[1], data[1])


def test_bool_reads_as_bytes() -> None:
    volume = open_volume(np.eye(5, dtype=bool))
    assert volume.dtype == np.uint8
    np.testing.assert_array_equal(volume.view()[0], np.eye(5))


@pytest.mark.parametrize("source", [3.5, [], ["a"], [1, 2], None])
def test_what_cannot_be_opened_gets_a_sentence(source: object) -> None:
    with pytest.raises(VolumeError, match="opened from a path, an array"):
        open_volume(source)


def test_levels_get_smaller() -> None:
    volume = open_volume([numbers(8, 30, 40), numbers(4, 15, 20)])
    assert volume.levels[1].factors == (2.0, 2.0, 2.0)
    assert not volume.needs_pyramid
    with pytest.raises(VolumeError, match="finest first"):
        open_volume([numbers(4, 15, 20), numbers(8, 30, 40)])


@pytest.mark.parametrize("size", [(0, 1, 1), (1, 1), (1, -1, 1), (1, float("nan"), 1)])
def test_a_voxel_size_is_three_lengths(size: tuple[float, ...]) -> None:
    volume = open_volume(numbers(3, 4, 5))
    for call in (volume.with_voxel_size, lambda s: open_volume(numbers(3, 4, 5), voxel_size=s)):
        with pytest.raises(VolumeError, match="three positive lengths"):
            call(size)


def test_another_voxel_size_is_another_volume() -> None:
    volume = open_volume(numbers(3, 4, 5))
    other = volume.with_voxel_size((2.0, 1.0, 1.0))
    assert not volume.voxel_size_known
    assert (other.voxel_size, other.voxel_size_known) == ((2.0, 1.0, 1.0), True)
    assert other.fingerprint == volume.fingerprint
    assert "2 x 1 x 1" in describe(other)
    assert "unknown" in describe(volume)


def test_a_closed_volume_says_so() -> None:
    volume = open_volume(numbers(3, 4, 5))
    volume.close()
    volume.close()
    with pytest.raises(VolumeError, match="open while it is read"):
        volume.view()[0]


@pytest.mark.parametrize(
    ("shape", "needed"), [((2, 1024, 1024), False), ((1, 1025, 8), True), ((3, 8, 4096), True)]
)
def test_large_planes_need_a_pyramid(shape: tuple[int, ...], needed: bool) -> None:
    assert open_volume(np.zeros(shape, np.uint8)).needs_pyramid is needed
