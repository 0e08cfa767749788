"""Foams of three classes to segment, reconstructed from few noisy projections."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brushfire.errors import SettingsError
from brushfire.geometry import Box, Triple, triple
from brushfire.samples.phantom import DEPTH, VOXEL_SIZE, Foam, measured_rays
from brushfire.tomography import backprojected, in_threads
from brushfire.volumes import MultiscaleWriter, create_multiscale, register_label

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

FOAM_CLASSES = ((1, "matrix", "#0072b2"), (2, "pore", "#e69f00"), (3, "inclusion", "#009e73"))
# Each slice is made whole, in memory.
LARGEST_SIDE = 8192
MOST_PHOTONS = 1e9
# Grey values reach from black to white, in attenuations of the matrix; noise goes below 0.
BLACK, WHITE = -0.8, 3.0
UNEVEN = 0.01  # gain of detector pixels
# Slices made at a time: one chunk.
SLAB = 16
SAMPLE_NAME = "foam.ome.zarr"
SMALL: Triple = (64, 256, 256)


@dataclass(frozen=True)
class FoamPaths:
    """Where a foam sample is.

    Parameters
    ----------
    volume : Path
        OME-Zarr store of the reconstruction.
    truth : Path
        Label image with the true class of each voxel, 1 to 3, inside that store.
    """

    volume: Path
    truth: Path


def make_foam(
    path: str | os.PathLike[str],
    *,
    shape: Sequence[int] = (64, 256, 256),
    angles: int = 60,
    photons: float = 1500.0,
    seed: int = 0,
    dtype: str = "uint16",
    shard: Sequence[int] | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> FoamPaths:
    """Make a foam of three classes and its tomographic reconstruction, block by block.

    Each slice is projected along ``angles`` directions, the projections get the noise of counting
    photons and the uneven gain of a detector, and the slice is reconstructed by filtered
    backprojection. The same arguments give the same voxels.

    Parameters
    ----------
    path : path
        OME-Zarr store to write; the truth goes into it as the label image "truth".
    shape : sequence of int
        Voxels z, y, x.
    angles : int
        Projections over half a turn.
    photons : float
        Counted by one detector pixel without a sample; fewer make more noise.
    seed : int
        Of the random numbers.
    dtype : str
        "uint8" or "uint16".
    shard : sequence of int, optional
        Voxels in one file, see `brushfire.volumes.create_multiscale`.
    overwrite : bool
        Replace a store that is there.
    progress : callable
        Takes slices done and slices in all.
    cancelled : callable
        Whether to stop; asked between slabs of 16 slices.

    Raises
    ------
    Cancelled
        When stopped; what was written is removed.
    SettingsError
        For numbers out of range.
    """
    whole = _check(shape, angles, photons, dtype)
    target = Path(path)
    scan = _Scan(whole, angles, photons, seed, np.dtype(dtype))
    options: dict[str, Any] = {"shape": whole, "voxel_size": VOXEL_SIZE, "shard": shard}
    volume = create_multiscale(
        target, dtype=dtype, name="foam", overwrite=overwrite, attributes=scan.told(), **options
    )
    try:
        truth_path = register_label(target, "truth")
        truth = create_multiscale(
            truth_path, dtype="uint8", name="truth", labels=FOAM_CLASSES, **options
        )
        with volume, truth:
            _write_slabs(scan, volume, truth, progress, cancelled)
            for writer in (volume, truth):
                writer.build_levels(
                    budget_bytes=256 << 20, progress=lambda i, n: None, cancelled=cancelled
                )
    except BaseException:
        shutil.rmtree(target)
        raise
    return FoamPaths(target, truth_path)


def _check(shape: Sequence[int], angles: int, photons: float, dtype: str) -> Triple:
    whole = triple(shape)
    if (
        min(whole) < 1
        or max(whole) > LARGEST_SIDE
        or not 1 <= angles <= LARGEST_SIDE
        or not 0 < photons <= MOST_PHOTONS
        or dtype not in ("uint8", "uint16")
    ):
        raise SettingsError(
            f"A foam has a shape z, y, x of 1 to {LARGEST_SIDE} voxels, 1 to {LARGEST_SIDE} angles,"
            f" more than 0 and at most {MOST_PHOTONS:.0e} photons, and type uint8 or uint16.",
            got=f"shape {whole}, angles {angles}, photons {photons}, dtype {dtype}",
            do="Give numbers in these ranges.",
        )
    return whole


def _write_slabs(
    scan: _Scan,
    volume: MultiscaleWriter,
    truth: MultiscaleWriter,
    progress: Callable[[int, int], None],
    cancelled: Callable[[], bool],
) -> None:
    depth, height, width = scan.shape
    slab = max(SLAB, volume.block[0])
    progress(0, depth)
    for start in range(0, depth, slab):
        stop = min(start + slab, depth)
        planes = []
        for made in in_threads(scan.slice, range(start, stop), cancelled):
            planes.append(made)
            progress(start + len(planes), depth)
        box = Box((start, 0, 0), (stop, height, width))
        volume.write(box, np.stack([image for image, _ in planes]))
        truth.write(box, np.stack([labels for _, labels in planes]))


class _Scan:
    """A foam and the instrument that looks at it; slices may be made in any order."""

    def __init__(
        self, shape: Triple, angles: int, photons: float, seed: int, dtype: np.dtype[Any]
    ) -> None:
        self.foam = Foam(shape, seed)
        self.shape = shape
        self.photons = photons
        self.seed = seed
        self.dtype = dtype
        self.theta = np.linspace(0.0, 180.0, angles, endpoint=False)

    def told(self) -> dict[str, Any]:
        """Return how the data were made, for the metadata."""
        how = {"angles": len(self.theta), "photons": self.photons, "seed": self.seed}
        return {"sample": "foam", **how}

    def slice(self, z: int) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Return one slice of the reconstruction and of the truth."""
        plane, labels = self.foam.draw(z)
        rng = np.random.default_rng([self.seed, z])
        rays = measured_rays(plane, self.theta, self.photons, rng, uneven=UNEVEN)
        side = self.foam.side
        made = backprojected(rays, self.theta, size=side, filter_name="hann")
        _, height, width = self.shape
        grey = (made[:height, :width] * (side / DEPTH) - BLACK) / (WHITE - BLACK)
        top = np.iinfo(self.dtype).max
        return np.rint(np.clip(grey, 0.0, 1.0) * top).astype(self.dtype), labels


def sample_paths() -> FoamPaths:
    """Return the small foam sample, made once where it did not come with the code."""
    beside = Path(__file__).resolve().parents[3] / "sample_data" / SAMPLE_NAME
    if beside.is_dir():
        return FoamPaths(beside, beside / "labels" / "truth")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    target = home / "brushfire" / SAMPLE_NAME
    if not target.is_dir():
        _make_sample(target)
    return FoamPaths(target, target / "labels" / "truth")


def sample_volume_path() -> Path:
    """Return the path of the small foam sample's volume."""
    return sample_paths().volume


def _make_sample(target: Path) -> None:
    """Make the small sample in one step, as others see it."""
    partial = target.with_name(f"{target.name}.{os.getpid()}")
    make_small_foam(partial)
    try:
        os.replace(partial, target)
    except OSError:
        # Another process was faster; the two are equal.
        shutil.rmtree(partial)
        if not target.is_dir():
            raise


def make_small_foam(path: str | os.PathLike[str], *, overwrite: bool = False) -> FoamPaths:
    """Make the sample that comes with the code: 64 x 256 x 256 voxels in two files."""
    return make_foam(path, shape=SMALL, dtype="uint8", shard=SMALL, overwrite=overwrite)
