"""What every format of a volume keeps: the voxels, lazily, from any thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brushfire.errors import VolumeError
from brushfire.geometry import Box, Triple, triple
from brushfire.volumes import open_volume
from support.volumes import DATA, FORMATS, SHAPE

if TYPE_CHECKING:
    from brushfire.volumes import Volume

FAST = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module", params=list(FORMATS))
def volume(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Volume:
    source = FORMATS[request.param](tmp_path_factory.mktemp("volume"))
    return open_volume(source)


@st.composite
def boxes(draw: st.DrawFn, shape: Triple = SHAPE) -> Box:
    pairs = [sorted((draw(st.integers(0, n)), draw(st.integers(0, n)))) for n in shape]
    return Box(triple([a for a, _ in pairs]), triple([b for _, b in pairs]))


def test_it_says_what_it_is(volume: Volume) -> None:
    assert volume.shape == SHAPE
    assert volume.dtype == np.uint16
    assert volume.dtype.isnative
    assert len(volume.channels) == 1
    assert volume.levels[0].factors == (1.0, 1.0, 1.0)
    assert [word for word, _ in volume.summary()] == [
        "Axes", "Size", "Voxel size", "Channels", "Type", "Levels", "Format",
    ]  # fmt: skip


@FAST
@given(box=boxes())
def test_a_box_reads_as_it_was_written(volume: Volume, box: Box) -> None:
    block = volume.read(box)
    assert block.dtype == np.uint16
    np.testing.assert_array_equal(block, DATA[box.slices][None])


@FAST
@given(box=boxes(), index=st.integers(-SHAPE[0], SHAPE[0] - 1))
def test_a_view_indexes_like_the_array(volume: Volume, box: Box, index: int) -> None:
    view = volume.view()
    np.testing.assert_array_equal(view[index], DATA[index])
    np.testing.assert_array_equal(np.asarray(view[box.slices]), DATA[box.slices])
    np.testing.assert_array_equal(view[:, index, ::-2], DATA[:, index, ::-2])


@FAST
@given(start=st.integers(-20, 20), depth=st.integers(1, 20), box=boxes())
def test_padding_reflects_at_the_ends(volume: Volume, start: int, depth: int, box: Box) -> None:
    tall = Box((start, *box.start[1:]), (start + depth, *box.stop[1:]))
    before, after = max(0, -start), max(0, start + depth - SHAPE[0])
    padded = np.pad(DATA, ((before, after), (0, 0), (0, 0)), mode="reflect")
    first = start + before
    expected = padded[first : first + depth][:, tall.slices[1], tall.slices[2]]
    block = volume.read_padded(tall)
    assert block.dtype == np.float32
    np.testing.assert_array_equal(block[0], expected)


def test_many_threads_read_at_once(volume: Volume) -> None:
    planes = [z % SHAPE[0] for z in range(60)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda z: volume.view()[z], planes))
    for z, plane in zip(planes, found, strict=True):
        np.testing.assert_array_equal(plane, DATA[z])


def test_a_reader_cannot_change_the_source(volume: Volume) -> None:
    block = volume.read(Box.of_shape(SHAPE))
    block[...] = 0
    np.testing.assert_array_equal(volume.view()[3], DATA[3])


def test_the_fingerprint_is_of_the_voxels_alone(volume: Volume) -> None:
    assert volume.fingerprint == open_volume(DATA.copy()).fingerprint
    assert volume.fingerprint != open_volume(DATA + 1).fingerprint


def test_statistics_agree_with_the_voxels(volume: Volume) -> None:
    found = volume.statistics()
    low, high = np.percentile(DATA, (0.5, 99.5))
    inner = DATA[(low <= DATA) & (high >= DATA)]
    assert found.mean[0] == pytest.approx(inner.mean(), rel=0.01)
    assert found.std[0] == pytest.approx(inner.std(), rel=0.01)
    assert found.low[0] == pytest.approx(low, abs=1)
    assert found.high[0] == pytest.approx(high, abs=1)


def test_opening_again_with_its_own_axes_gives_the_same(volume: Volume) -> None:
    if volume.source is None:
        pytest.skip("An array in memory has no path to open again.")
    again = open_volume(volume.source, axes=volume.axes)
    assert again.axes == volume.axes
    np.testing.assert_array_equal(again.view()[2], DATA[2])


@pytest.mark.parametrize("box", [Box((0, 0, 0), (8, 1, 1)), Box((-1, 0, 0), (1, 1, 1))])
def test_a_box_that_sticks_out_is_an_error(volume: Volume, box: Box) -> None:
    with pytest.raises(VolumeError, match="inside the volume"):
        volume.read(box)
    outside = Box((0, -1, 0), (1, 1, 1))
    with pytest.raises(VolumeError, match="inside the volume"):
        volume.read_padded(outside)


def test_a_level_or_channel_that_does_not_exist_is_an_error(volume: Volume) -> None:
    with pytest.raises(VolumeError, match="level exists"):
        volume.read(Box((0, 0, 0), (1, 1, 1)), level=9)
    with pytest.raises(VolumeError, match="channel exists"):
        volume.view(channel=1)
