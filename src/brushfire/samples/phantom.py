"""A foam of spheres, and what a detector measures of one of its slices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree
from skimage.transform import radon

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from brushfire.geometry import Triple

VOXEL_SIZE = (0.65, 0.65, 0.65)
# Attenuation of the classes, relative to the matrix.
ATTENUATION = {1: 1.0, 2: 0.4, 3: 1.9}
# A ray through the matrix from side to side loses this much (natural logarithm).
DEPTH = 2.0
# Radii in voxels, share of the volume and class, in the order in which they are placed.
POPULATIONS = (
    (16.0, 26.0, 0.14, 2),
    (9.0, 16.0, 0.10, 2),
    (4.0, 9.0, 0.06, 2),
    (5.0, 10.0, 0.12, 3),
    (3.0, 5.0, 0.02, 3),
)


@dataclass(frozen=True)
class Spheres:
    """Spheres that do not overlap: centres z, y, x and radii in voxels, and classes."""

    centres: NDArray[np.float64]
    radii: NDArray[np.float64]
    classes: NDArray[np.uint8]


class Foam:
    """A foam that is drawn slice by slice, in any order.

    Parameters
    ----------
    shape : tuple of int
        Voxels z, y, x.
    seed : int
        Of where the spheres are.
    fineness : float
        By how much the spheres are smaller than those of `POPULATIONS`, and more of them.
    """

    def __init__(self, shape: Triple, seed: int, fineness: float = 1.0) -> None:
        self.shape = shape
        self.side = max(shape[1:])
        self.spheres = place_spheres(shape, np.random.default_rng(seed), fineness)

    def draw(self, z: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Return attenuation (a square, with soft edges) and classes of one slice."""
        _, height, width = self.shape
        side = self.side
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


def measured_rays(
    plane: NDArray[np.float32],
    theta: NDArray[np.float64],
    photons: float,
    rng: np.random.Generator,
    *,
    uneven: float,
) -> NDArray[np.float32]:
    """Return what a detector measures of a slice, (angle, detector pixel).

    Parameters
    ----------
    plane : ndarray
        A square of attenuations, relative to the matrix.
    theta : ndarray
        Angles, degrees.
    photons : float
        Counted by one detector pixel without a sample.
    rng : numpy.random.Generator
        Of the noise.
    uneven : float
        How far the gain of detector pixels differs; what remains of that after correction makes
        faint rings.
    """
    rays = radon(plane * (DEPTH / len(plane)), theta, circle=False)
    counts = rng.poisson(photons * np.exp(-rays)).astype(np.float32)
    gain = 1.0 + rng.normal(0.0, uneven, (rays.shape[0], 1)).astype(np.float32)
    measured = -np.log(np.maximum(counts * gain, 0.5) / photons)
    return np.asarray(measured.T, np.float32)


def place_spheres(shape: Triple, rng: np.random.Generator, fineness: float = 1.0) -> Spheres:
    """Place spheres at random, the largest first, and keep those that touch no other."""
    centres = np.empty((0, 3))
    radii = np.empty(0)
    classes = np.empty(0, np.uint8)
    reach = max(population[1] for population in POPULATIONS) / fineness
    extent = np.asarray(shape, float)
    room = float(np.prod(extent + 2 * reach))
    for low, high, share, kind in POPULATIONS:
        smallest, largest = low / fineness, high / fineness
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
    return Spheres(centres, radii, classes)


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
