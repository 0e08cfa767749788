"""Sample data made by code: foam phantoms, reconstructed from few noisy projections."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import cKDTree
from skimage.transform import iradon, radon

from brushfire.errors import Cancelled, SettingsError
from brushfire.geometry import Box, Grid, Triple, triple
from brushfire.volumes import MultiscaleWriter, create_multiscale, register_label

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

FOAM_CLASSES = ((1, "matrix", "#0072b2"), (2, "pore", "#e69f00"), (3, "inclusion", "#009e73"))
VOXEL_SIZE = (0.65, 0.65, 0.65)
# Each slice is made whole, in memory.
LARGEST_SIDE = 8192
MOST_PHOTONS = 1e9
# Attenuation of the classes, relative to the matrix.
ATTENUATION = {1: 1.0, 2: 0.4, 3: 1.9}
# A ray through the matrix from side to side loses this much (natural logarithm).
DEPTH = 2.0
# Grey values reach from black to white, in attenuations of the matrix; noise goes below 0.
BLACK, WHITE = -0.8, 3.0
# Radii in voxels, share of the volume and class, in the order in which they are placed.
POPULATIONS = (
    (16.0, 26.0, 0.14, 2),
    (9.0, 16.0, 0.10, 2),
    (4.0, 9.0, 0.06, 2),
    (5.0, 10.0, 0.12, 3),
    (3.0, 5.0, 0.02, 3),
)
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


@dataclass(frozen=True)
class _Spheres:
    """Spheres that do not overlap: centres z, y, x and radii in voxels, and classes."""

    centres: NDArray[np.float64]
    radii: NDArray[np.float64]
    classes: NDArray[np.uint8]


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
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for start in range(0, depth, slab):
            stop = min(start + slab, depth)
            planes = []
            for made in pool.map(scan.slice, range(start, stop)):
                if cancelled():
                    pool.shutdown(cancel_futures=True)
                    raise Cancelled
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
        self.shape = shape
        self.photons = photons
        self.seed = seed
        self.dtype = dtype
        self.theta = np.linspace(0.0, 180.0, angles, endpoint=False)
        self.spheres = _place_spheres(shape, np.random.default_rng(seed))

    def told(self) -> dict[str, Any]:
        """Return how the data were made, for the metadata."""
        how = {"angles": len(self.theta), "photons": self.photons, "seed": self.seed}
        return {"sample": "foam", **how}

    def slice(self, z: int) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Return one slice of the reconstruction and of the truth."""
        foam, labels = self._draw(z)
        rng = np.random.default_rng([self.seed, z])
        side = foam.shape[0]
        rays = radon(foam * (DEPTH / side), self.theta, circle=False)
        counts = rng.poisson(self.photons * np.exp(-rays)).astype(np.float32)
        # Pixels of a detector differ; what remains after correction makes faint rings.
        gain = 1.0 + rng.normal(0.0, 0.01, (rays.shape[0], 1)).astype(np.float32)
        measured = -np.log(np.maximum(counts * gain, 0.5) / self.photons)
        made = iradon(
            measured.astype(np.float32),
            self.theta,
            circle=False,
            output_size=side,
            filter_name="hann",
        )
        _, height, width = self.shape
        grey = (made[:height, :width] * (side / DEPTH) - BLACK) / (WHITE - BLACK)
        top = np.iinfo(self.dtype).max
        return np.rint(np.clip(grey, 0.0, 1.0) * top).astype(self.dtype), labels

    def _draw(self, z: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Return attenuation (a square, with soft edges) and classes of one slice."""
        _, height, width = self.shape
        side = max(height, width)
        foam = np.full((side, side), ATTENUATION[1], np.float32)
        labels = np.ones((height, width), np.uint8)
        s = self.spheres
        for i in np.flatnonzero(np.abs(s.centres[:, 0] - z) < s.radii + 0.5):
            (cz, cy, cx), radius, kind = s.centres[i], s.radii[i], int(s.classes[i])
            reach = radius + 1.0
            y = np.arange(max(0, int(cy - reach)), min(side, int(cy + reach) + 2))
            x = np.arange(max(0, int(cx - reach)), min(side, int(cx + reach) + 2))
            distance = np.sqrt((z - cz) ** 2 + (y[:, None] - cy) ** 2 + (x - cx) ** 2)
            inside = np.clip(radius - distance + 0.5, 0.0, 1.0).astype(np.float32)
            block = (slice(y[0], y[-1] + 1), slice(x[0], x[-1] + 1)) if y.size and x.size else None
            if block is None:
                continue
            foam[block] += inside * (ATTENUATION[kind] - ATTENUATION[1])
            # The picture may be less than the square that is projected.
            part = labels[block]
            part[inside[: part.shape[0], : part.shape[1]] > 0.5] = kind
        return foam, labels


def _place_spheres(shape: Triple, rng: np.random.Generator) -> _Spheres:
    """Place spheres at random, the largest first, and keep those that touch no other."""
    centres = np.empty((0, 3))
    radii = np.empty(0)
    classes = np.empty(0, np.uint8)
    reach = max(population[1] for population in POPULATIONS)
    extent = np.asarray(shape, float)
    room = float(np.prod(extent + 2 * reach))
    for smallest, largest, share, kind in POPULATIONS:
        wanted = share * room / (4.19 * ((smallest + largest) / 2) ** 3)
        for _ in range(4):
            count = int(np.ceil(wanted - _count(radii, classes, smallest, largest, kind)))
            if count <= 0:
                break
            new = rng.uniform(-reach, extent + reach, (count, 3))
            sizes = rng.uniform(smallest, largest, count)
            free = _free(new, sizes, centres, radii)
            centres = np.concatenate([centres, new[free]])
            radii = np.concatenate([radii, sizes[free]])
            classes = np.concatenate([classes, np.full(int(free.sum()), kind, np.uint8)])
    return _Spheres(centres, radii, classes)


def _count(
    radii: NDArray[np.float64], classes: NDArray[np.uint8], low: float, high: float, kind: int
) -> int:
    return int(((radii >= low) & (radii < high) & (classes == kind)).sum())


def _free(
    new: NDArray[np.float64],
    sizes: NDArray[np.float64],
    centres: NDArray[np.float64],
    radii: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Return which of the new spheres keep a voxel's distance from old ones and each other."""
    every = np.concatenate([centres, new])
    all_sizes = np.concatenate([radii, sizes])
    pairs = cKDTree(every).query_pairs(
        float(sizes.max() + all_sizes.max() + 1.0), output_type="ndarray"
    )
    pairs = pairs[pairs[:, 1] >= len(centres)]
    gap = np.linalg.norm(every[pairs[:, 0]] - every[pairs[:, 1]], axis=1)
    touching = pairs[gap < all_sizes[pairs].sum(axis=1) + 1.0]
    # Of two new ones that touch, the later goes; query_pairs orders each pair.
    free = np.ones(len(every), bool)
    free[touching[:, 1]] = False
    return free[len(centres) :]


def sample_paths() -> FoamPaths:
    """Return the small foam sample, made once where it did not come with the code."""
    beside = Path(__file__).resolve().parents[2] / "sample_data" / SAMPLE_NAME
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


def make_sparse_huge(
    path: str | os.PathLike[str],
    *,
    shape: Sequence[int] = (2160, 2560, 2560),
    seed: int = 0,
    overwrite: bool = False,
) -> Path:
    """Write a multiscale uint16 OME-Zarr of any size of which only some chunks exist.

    The coarsest level is whole. The others have the middle of their middle slices, and a thin
    lattice of chunks elsewhere; all other voxels read as 0 and take no space. Made for benchmarks,
    in seconds.

    Parameters
    ----------
    path : path
        OME-Zarr store to write.
    shape : sequence of int
        Voxels z, y, x.
    seed : int
        Of the noise.
    overwrite : bool
        Replace a store that is there.
    """
    target = Path(path)
    rng = np.random.default_rng(seed)
    with create_multiscale(
        target,
        shape=shape,
        dtype="uint16",
        voxel_size=VOXEL_SIZE,
        name="sparse",
        overwrite=overwrite,
    ) as writer:
        noise = rng.integers(0, 2000, writer.block, dtype=np.uint16)
        for level, described in enumerate(writer.levels):
            grid = Grid(described.shape, writer.block)
            coarsest = level == len(writer.levels) - 1
            for box in grid.boxes() if coarsest else _sparse_boxes(grid):
                grey = _waves(box, described.factors)
                part = noise[tuple(slice(0, n) for n in box.shape)]
                writer.write(box, grey + part, level)
    return target


def _sparse_boxes(grid: Grid) -> Iterator[Box]:
    """Yield the middle slab's chunks, and one chunk in 512 of the others."""
    middle = grid.index_of([n // 2 for n in grid.shape])
    for index in grid.indices():
        near = max(abs(a - b) for a, b in zip(index[1:], middle[1:], strict=True)) <= 2
        lattice = all(i % 8 == 0 for i in index)
        if (index[0] == middle[0] and near) or lattice:
            yield grid.box(index)


def _waves(box: Box, factors: Sequence[float]) -> NDArray[np.uint16]:
    """Return a smooth pattern that looks the same at every level."""
    z, y, x = (
        np.sin((np.arange(a, b) + 0.5) * f / period, dtype=np.float32)
        for a, b, f, period in zip(box.start, box.stop, factors, (37.0, 61.0, 53.0), strict=True)
    )
    pattern = np.asarray(20000 + 12000 * (z[:, None, None] * y[:, None] * x))
    return pattern.astype(np.uint16)
