"""Edges are compared on the grid of each volume, again when tiles come, and never at any length."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.special import ndtr

from brushfire.errors import ProjectError, StorageError
from brushfire.geometry import Box
from brushfire.learning.restoring import RestorationSettings
from brushfire.learning.restoring.edges import RISE
from brushfire.networks.settings import NetworkSettings
from brushfire.prediction import RestoredStore, RestoredTile
from brushfire.project import RestorationState
from brushfire.session.judging import (
    LONGEST,
    NOT_YET,
    EdgeComparison,
    EdgeLine,
    EdgeWatch,
    check_line,
    residual_check,
)
from brushfire.session.restoration import Restoration
from brushfire.session.states import TileUpdate
from brushfire.volumes import Volume, open_volume
from brushfire.volumes.resampling import grid_around, resampled

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (4, 48, 64)
SIZE = (2.0, 0.5, 0.5)
LINE = EdgeLine((1.0, 20.0, 10.0), (1.0, 20.0, 50.0), 0)
MICROMETRES = 15.0  # of the edge, from the first corner along x


def edge(shape: tuple[int, ...], width: float, size: float) -> np.ndarray:
    """Return an edge along x, ``width`` micrometres wide; voxels have ``size``."""
    x = (np.arange(shape[2]) + 0.5) * size - MICROMETRES
    return np.broadcast_to(ndtr(x * RISE / width), shape).astype(np.float32)


def volume(width: float = 2.0, copies: int = 1) -> Volume:
    given = np.stack([edge(SHAPE, width, SIZE[2])] * copies)
    return open_volume(given, axes="czyx", voxel_size=SIZE)


def restoring(source: Volume, way: str = "blind", **known: object) -> Restoration:
    network = NetworkSettings(restored=1, features=False)
    state = RestorationState(network=network, learning=RestorationSettings(way))
    return replace(Restoration(state, source), **known)


def fill(store: RestoredStore, values: np.ndarray) -> list[TileUpdate]:
    told = []
    for index in store.grid.indices(Box.of_shape(store.shape)):
        box = store.grid.box(index)
        store.put(RestoredTile(index, box, 1, values[box.slices][None]))
        told.append(TileUpdate(box, 1))
    return told


@pytest.fixture
def watch():
    made = EdgeWatch()
    yield made
    made.close()


def measured(watch: EdgeWatch, *of: object) -> EdgeComparison:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        watch.work(*of)
        found, error = watch.fetch()
        assert error is None
        if found:
            return watch.newest
        time.sleep(0.01)
    raise AssertionError("nothing was measured")


def test_what_is_not_restored_yet_is_said_and_measured_when_it_comes(watch: EdgeWatch) -> None:
    source = volume()
    what = restoring(source)
    store = RestoredStore(SHAPE, tile=16, budget_bytes=1 << 20)
    watch.follow(LINE)
    before = measured(watch, source, what, store)
    assert before.restored.problem == NOT_YET
    assert before.given.width == pytest.approx(2, rel=0.02)
    assert before.text.startswith("As given: 2.0")
    assert NOT_YET in before.text

    far = [TileUpdate(Box((3, 0, 0), (4, 16, 16)), 1)]
    watch.see_tiles(far)
    assert not watch._due
    watch.see_tiles(fill(store, edge(SHAPE, 3.0, SIZE[2])))
    after = measured(watch, source, what, store)
    assert after.restored.width == pytest.approx(3, rel=0.02)
    assert "Denoising made it 50 % wider." in after.text
    assert "Denoised: 3.00 µm (3.00 to 3.00), 6.0 voxels." in after.text


def test_a_zoomed_scan_is_measured_in_its_own_voxels(watch: EdgeWatch) -> None:
    coarse = volume(width=4.0)
    offset = (0.3, 1.1, 2.6)
    grid, origin = grid_around(coarse, (4, 40, 40), (1.0, 0.25, 0.25), offset)
    what = restoring(resampled(coarse, grid), target_origin=origin)
    what = replace(what, state=replace(what.state, offset=offset))
    store = RestoredStore(grid.shape, tile=64, budget_bytes=1 << 22)
    corner = what.corner[2]
    assert corner == pytest.approx(grid.phase[2])
    x = (np.arange(grid.shape[2]) + 0.5) * 0.25 + corner - MICROMETRES
    fill(store, np.broadcast_to(ndtr(x * RISE / 1.0), grid.shape).astype(np.float32))
    watch.follow(LINE)
    found = measured(watch, coarse, what, store)
    assert (found.given.voxel, found.restored.voxel) == (0.5, 0.25)
    assert found.given.width == pytest.approx(4, rel=0.02)
    assert found.restored.width == pytest.approx(1, rel=0.02)
    assert found.given.middle == pytest.approx(found.restored.middle, abs=0.02)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_lines_lie_in_any_plane(watch: EdgeWatch, axis: int) -> None:
    turned = np.transpose(edge((4, 40, 64), 3.0, 0.5), np.roll((0, 1, 2), axis))
    size = np.roll((2.0, 0.5, 0.5), axis)
    source = open_volume(turned, axes="zyx", voxel_size=tuple(size))
    store = RestoredStore(source.shape, tile=64, budget_bytes=1 << 22)
    fill(store, turned)
    start, stop = (np.roll(end, axis) for end in (LINE.start, LINE.stop))
    watch.follow(EdgeLine(tuple(start), tuple(stop), axis))
    found = measured(watch, source, restoring(source), store)
    assert found.given.width == pytest.approx(3, rel=0.02)
    assert found.restored.width == pytest.approx(3, rel=0.02)
    assert found.text.endswith("The fits cannot tell them apart.")


def test_of_parts_of_a_scan_their_mean_is_what_was_given(watch: EdgeWatch) -> None:
    parts = np.stack([edge(SHAPE, 2.0, SIZE[2]) + noise for noise in (-1.0, 1.0, 3.0)])
    source = open_volume(parts, axes="czyx", voxel_size=SIZE)
    store = RestoredStore(SHAPE, tile=64, budget_bytes=1 << 20)
    watch.follow(LINE)
    found = measured(watch, source, restoring(source, "splits"), store)
    assert found.given.values[[0, -1]] == pytest.approx([1, 2], abs=1e-3)


def test_values_are_saved_with_what_was_found(watch: EdgeWatch, tmp_path: Path) -> None:
    source = open_volume(edge(SHAPE, 2.0, SIZE[2]), axes="zyx")
    store = RestoredStore(SHAPE, tile=64, budget_bytes=1 << 20)
    fill(store, edge(SHAPE, 2.0, SIZE[2]))
    watch.follow(LINE)
    found = measured(watch, source, restoring(source), store)
    assert "As given: 4.00 voxels (4.00 to 4.00)." in found.text
    assert "µm" not in found.text
    found.save(tmp_path / "edge.csv")
    lines = (tmp_path / "edge.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# As given: 4.0")
    assert lines[3] == "which,distance (voxels),intensity"
    assert [line.split(",")[0] for line in lines[4:]] == ["given"] * 41 + ["denoised"] * 41
    with pytest.raises(StorageError, match="Choose another place"):
        found.save(tmp_path / "none" / "edge.csv")


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (EdgeLine((1, 0, 0), (1, 0, LONGEST + 2), 0), "at most"),
        (EdgeLine((1, 0, 0), (2, 0, 20), 0), "in one slice"),
        (EdgeLine((9, 0, 0), (9, 0, 20), 0), "lies in the volume"),
    ],
)
def test_lines_that_cannot_be_are_refused(line: EdgeLine, rule: str) -> None:
    source = volume()
    with pytest.raises(ProjectError, match=rule):
        check_line(line, source, restoring(source))


def test_what_was_removed_is_checked_in_any_plane() -> None:
    rng = np.random.default_rng(0)
    noisy = rng.standard_normal((64, 64, 64)).astype(np.float32)
    source = open_volume(noisy, axes="zyx", voxel_size=SIZE)
    store = RestoredStore(source.shape, tile=64, budget_bytes=1 << 22)
    box = Box((0, 0, 5), (64, 64, 6))
    assert residual_check(restoring(source), store, box) is None
    fill(store, 0 * noisy)
    work = residual_check(restoring(source), store, box)
    assert work is not None
    assert (
        work(lambda done, total: None, lambda: False).text == "What was removed looks like noise."
    )
