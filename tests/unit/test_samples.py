"""Sample data: the foam, its truth and its scan, and the sparse volume for benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from brushfire import samples
from brushfire.errors import Cancelled, SettingsError
from brushfire.geometry import Box
from brushfire.samples import foam, phantom
from brushfire.volumes import open_volume

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (20, 72, 96)


def everything(path: Path) -> np.ndarray:
    volume = open_volume(path)
    return volume.read(Box.of_shape(volume.shape))[0]


def test_a_foam_is_written_with_its_truth(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    made = samples.make_foam(
        tmp_path / "foam.ome.zarr", shape=SHAPE, angles=24, progress=lambda *p: seen.append(p)
    )
    assert seen == [(z, 20) for z in range(21)]
    volume, truth = open_volume(made.volume), open_volume(made.truth)
    assert (volume.shape, volume.dtype) == (SHAPE, np.uint16)
    assert volume.voxel_size == truth.voxel_size == samples.VOXEL_SIZE
    assert [name for _, name, _ in truth.label_classes] == ["matrix", "pore", "inclusion"]
    grey, labels = everything(made.volume), everything(made.truth)
    assert set(np.unique(labels)) == {1, 2, 3}
    # Pores are darker and inclusions brighter than the matrix, but not voxel by voxel.
    means = [grey[labels == value].mean() for value in (2, 1, 3)]
    assert means == sorted(means)
    assert grey[labels == 2].max() > np.median(grey[labels == 1])


def test_the_same_seed_gives_the_same_foam(tmp_path: Path) -> None:
    made = [
        samples.make_foam(tmp_path / name, shape=(17, 40, 40), angles=8, seed=seed)
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    ]
    first, second, third = (everything(m.volume) for m in made)
    np.testing.assert_array_equal(first, second)
    assert (first != third).any()


def test_spheres_do_not_touch() -> None:
    spheres = phantom.place_spheres((64, 128, 128), np.random.default_rng(0))
    assert set(spheres.classes) == {2, 3}
    assert len(spheres.radii) > 100
    gap = squareform(pdist(spheres.centres)) - spheres.radii[:, None] - spheres.radii
    assert gap[~np.eye(len(gap), dtype=bool)].min() >= 1.0


def test_cancelling_leaves_nothing(tmp_path: Path) -> None:
    done: list[int] = []
    with pytest.raises(Cancelled):
        samples.make_foam(
            tmp_path / "foam",
            shape=SHAPE,
            angles=8,
            progress=lambda i, n: done.append(i),
            cancelled=lambda: len(done) > 2,
        )
    assert not (tmp_path / "foam").exists()


@pytest.mark.parametrize(
    "options", [{"shape": (0, 5, 5)}, {"angles": 0}, {"photons": 0}, {"dtype": "float32"}]
)
def test_numbers_out_of_range_get_a_sentence(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="A foam has"):
        samples.make_foam(tmp_path / "foam", **options)


def test_the_small_sample_comes_with_the_code() -> None:
    made = samples.sample_paths()
    assert samples.sample_volume_path() == made.volume
    files = [path for path in made.volume.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 5_000_000
    assert len(files) < 12
    assert open_volume(made.volume).shape == open_volume(made.truth).shape == (64, 256, 256)


def test_the_small_sample_needs_more_than_a_threshold() -> None:
    made = samples.sample_paths()
    grey, labels = everything(made.volume), everything(made.truth)
    # The best class for each grey value, chosen and scored on all voxels.
    counts = np.stack([np.bincount(grey[labels == c], minlength=256) for c in (1, 2, 3)])
    guess = counts.argmax(axis=0)[grey] + 1
    scores = [
        ((guess == c) & (labels == c)).sum() / ((guess == c) | (labels == c)).sum()
        for c in (1, 2, 3)
    ]
    assert 0.55 < np.mean(scores) < 0.7


def test_without_the_repository_the_sample_is_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "lib" / "site-packages" / "brushfire"
    monkeypatch.setattr(foam, "__file__", str(package / "samples" / "foam.py"))
    monkeypatch.setattr(foam, "SMALL", (16, 32, 32))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = samples.sample_paths()
    assert made.volume == tmp_path / "cache" / "brushfire" / "foam.ome.zarr"
    written = (made.volume / "zarr.json").stat().st_mtime_ns
    assert samples.sample_paths() == made
    assert (made.volume / "zarr.json").stat().st_mtime_ns == written
    assert [path.name for path in made.volume.parent.iterdir()] == ["foam.ome.zarr"]


def test_the_sparse_volume_is_mostly_absent(tmp_path: Path) -> None:
    path = samples.make_sparse_huge(tmp_path / "huge.ome.zarr", shape=(200, 1500, 2000))
    volume = open_volume(path)
    assert volume.shape == (200, 1500, 2000)
    assert len(volume.levels) == 3
    middle = Box((100, 700, 900), (101, 800, 1000))
    assert volume.read(middle).std() > 1000
    assert not volume.read(Box((60, 700, 900), (61, 800, 1000))).any()
    # All levels show the same thing.
    coarse = volume.read(Box((50, 350, 450), (51, 400, 500)), level=1)
    fine = volume.read(Box((100, 700, 900), (101, 800, 1000))).reshape(1, 1, 50, 2, 50, 2)
    assert np.corrcoef(coarse.ravel(), fine.mean(axis=(3, 5)).ravel())[0, 1] > 0.8
    assert volume.statistics().std[0] > 0
    size = sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    assert size < volume.nbytes / 10
