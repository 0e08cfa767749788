"""Missing levels are built beside the source, found again, and gone after cancelling."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brushfire.errors import Cancelled, StorageError
from brushfire.geometry import Box
from brushfire.volumes import build_pyramid, find_pyramid, find_wrong_level, open_volume
from brushfire.volumes.reduce import halve, plan_steps
from support.volumes import never, quiet, write_tiff, write_zarr

if TYPE_CHECKING:
    from typing import Any

    from brushfire.geometry import Triple

SHAPE = (5, 700, 1300)
DATA = np.random.default_rng(0).integers(0, 60000, SHAPE, dtype=np.uint16)


def build(volume: Any, folder: Path, **options: Any) -> Any:
    options = {"budget_bytes": 1 << 21, "progress": quiet, "cancelled": never, **options}
    return build_pyramid(volume, folder, **options)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_levels_are_built_and_found_again(tmp_path: Path, compression: str | None) -> None:
    source = write_tiff(tmp_path, DATA, compression=compression)
    volume = open_volume(source)
    assert volume.needs_pyramid
    seen: list[tuple[int, int]] = []
    built = build(volume, tmp_path / "levels", progress=lambda *p: seen.append(p))
    assert seen == [(i, len(seen) - 1) for i in range(len(seen))]
    assert [level.shape for level in built.levels] == [SHAPE, (3, 350, 650), (2, 175, 325)]
    assert built.levels[2].factors == (4.0, 4.0, 4.0)
    assert not built.needs_pyramid
    assert (built.source, built.fingerprint) == (volume.source, volume.fingerprint)
    np.testing.assert_array_equal(built.view()[4], DATA[4])
    mean = DATA[:4].reshape(2, 2, 350, 2, 650, 2).mean(axis=(1, 3, 5))
    assert np.abs(built.read(Box.of_shape((2, 350, 650)), level=1)[0] - mean).max() <= 0.5

    found = find_pyramid(open_volume(source), tmp_path / "levels")
    assert found is not None
    assert found.levels == built.levels
    np.testing.assert_array_equal(found.view(2)[1], built.view(2)[1])
    # Another volume of the same size finds nothing.
    assert find_pyramid(open_volume(DATA + 1), tmp_path / "levels") is None


@settings(max_examples=12, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 700), st.integers(513, 1100)),
    depth=st.sampled_from([0.5, 1.0, 9.0]),
    dtype=st.sampled_from(["u1", "i2", "f4"]),
    channels=st.integers(1, 2),
    budget=st.integers(1, 1 << 22),
)
def test_levels_built_block_by_block_are_those_built_at_once(
    shape: Triple, depth: float, dtype: str, channels: int, budget: int
) -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(0, 40, (channels, *shape)).clip(0, 99).astype(dtype)
    voxel = (depth, 1.0, 1.0)
    with tempfile.TemporaryDirectory() as folder:
        built = build(
            open_volume(data, axes="czyx", voxel_size=voxel), Path(folder), budget_bytes=budget
        )
        wanted = data
        steps = plan_steps(shape, voxel)
        assert len(built.levels) == 1 + len(steps) > 1
        for level, step in enumerate(steps, start=1):
            wanted = halve(wanted, step, labels=False)
            found = built.read(Box.of_shape(wanted.shape[1:]), level=level)
            np.testing.assert_array_equal(found, wanted)
        check = {"budget_bytes": budget, "progress": quiet, "cancelled": never}
        assert find_wrong_level(built, **check) is None
        built.close()


def test_a_level_that_is_not_of_the_one_below_is_found() -> None:
    wrong = DATA[::2, ::2, ::2].copy()
    volume = open_volume([DATA, wrong])
    check = {"budget_bytes": 1 << 21, "progress": quiet, "cancelled": never}
    found = find_wrong_level(volume, **check)
    assert found is not None
    assert found[0] == 1
    right = halve(DATA[None], (2, 2, 2), labels=False)[0]
    assert find_wrong_level(open_volume([DATA, right]), **check) is None
    right[2, 300, 600] += 1
    level, box = find_wrong_level(open_volume([DATA, right]), **check)
    assert level == 1
    assert box.contains(Box((2, 300, 600), (3, 301, 601)))


def test_thick_slices_are_not_merged(tmp_path: Path) -> None:
    volume = open_volume(DATA, voxel_size=(50.0, 4.0, 4.0))
    built = build(volume, tmp_path)
    assert [level.shape[0] for level in built.levels] == [5, 5, 5]
    # Levels for another voxel size are no use.
    assert find_pyramid(open_volume(DATA), tmp_path) is None
    assert find_pyramid(open_volume(DATA, voxel_size=(50.0, 4.0, 4.0)), tmp_path) is not None


def test_channels_are_kept(tmp_path: Path) -> None:
    volume = open_volume(np.stack([DATA, 60000 - DATA]))
    built = build(volume, tmp_path)
    assert built.channels == volume.channels
    np.testing.assert_allclose(built.view(1, 0)[1].astype(int) + built.view(1, 1)[1], 60000, atol=1)


def test_only_missing_levels_are_written(tmp_path: Path) -> None:
    levels = [DATA, DATA[::2, ::2, ::2]]
    built = build(open_volume(levels), tmp_path)
    assert [level.shape for level in built.levels] == [SHAPE, (3, 350, 650), (2, 175, 325)]
    np.testing.assert_array_equal(np.asarray(built.view(1)), levels[1])
    assert built.levels[2].factors[1:] == (4.0, 4.0)


def test_a_volume_with_all_levels_stays_as_it_is(tmp_path: Path) -> None:
    volume = open_volume(write_zarr(tmp_path))
    assert build(volume, tmp_path / "levels") is volume
    assert not (tmp_path / "levels").exists()


def test_nothing_is_left_after_cancelling(tmp_path: Path) -> None:
    asked = []

    def cancelled() -> bool:
        asked.append(True)
        return len(asked) > 2

    volume = open_volume(DATA)
    with pytest.raises(Cancelled):
        build(volume, tmp_path, cancelled=cancelled)
    assert list(tmp_path.iterdir()) == []
    assert find_pyramid(volume, tmp_path) is None


def test_what_a_killed_process_left_is_built_anew(tmp_path: Path) -> None:
    volume = open_volume(DATA)
    build(volume, tmp_path)
    (store,) = tmp_path.iterdir()
    store.rename(store.with_name(f"{store.name}.partial"))
    assert find_pyramid(volume, tmp_path) is None
    build(volume, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [store.name]


def test_a_damaged_pyramid_is_as_good_as_none(tmp_path: Path) -> None:
    volume = open_volume(DATA)
    build(volume, tmp_path)
    (store,) = tmp_path.iterdir()
    (store / "zarr.json").write_text("{")
    assert find_pyramid(volume, tmp_path) is None
    assert len(build(volume, tmp_path).levels) == 3


def test_a_folder_that_cannot_be_written_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        build(open_volume(DATA), tmp_path / "file")
