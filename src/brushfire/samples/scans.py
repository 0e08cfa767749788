"""Scans of a foam to restore: spoiled in one way each, with the truth beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brushfire.errors import SettingsError
from brushfire.geometry import Box, Scale, Triple, triple
from brushfire.samples.phantom import DEPTH, VOXEL_SIZE, Foam, measured_rays
from brushfire.tomography import (
    in_threads,
    never,
    nothing,
    reconstruct,
    reconstruct_splits,
)
from brushfire.volumes import create_multiscale

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from brushfire.tomography import Progress

_HALF_TURN = 180.0
# Bubbles of a scan have radii of 1 to 10 voxels, so that there is detail to lose.
FINENESS = 2.5
_MOST_VOXELS = 1 << 27
_LEVELS_BYTES = 256 << 20


@dataclass(frozen=True)
class ScanSettings:
    """What a scan is made with.

    Parameters
    ----------
    angles : int
        Projections, evenly spaced.
    degrees : float
        What they cover, more than 0 and at most 180; less leaves a missing wedge.
    photons : float
        Counted by one detector pixel without a sample.
    """

    angles: int
    degrees: float
    photons: float

    def __post_init__(self) -> None:
        if self.angles < 1 or not 0 < self.degrees <= _HALF_TURN or not self.photons > 0:
            raise SettingsError(
                "A scan has at least 1 angle, covers more than 0 and at most 180 degrees, and"
                " counts more than 0 photons.",
                got=f"{self.angles} angles, {self.degrees} degrees, {self.photons} photons",
                do="Give numbers in these ranges.",
            )

    @property
    def theta(self) -> NDArray[np.float64]:
        """Angles, degrees."""
        return np.linspace(0.0, self.degrees, self.angles, endpoint=False)


SCANS = {
    "noise": ScanSettings(angles=256, degrees=180.0, photons=300.0),
    "angles": ScanSettings(angles=48, degrees=180.0, photons=10000.0),
    "wedge": ScanSettings(angles=160, degrees=120.0, photons=3000.0),
}
ZOOM_SCAN = ScanSettings(angles=128, degrees=180.0, photons=10000.0)


@dataclass(frozen=True)
class FoamScan:
    """A foam as a scan shows it, and as it is.

    Parameters
    ----------
    noisy : ndarray
        Reconstruction from all projections, float32, (z, y, x), in attenuations of the matrix.
    clean : ndarray
        The foam itself with edges one voxel wide, not a reconstruction of it: there is nothing
        in it of noise, missing angles or the blur of a detector.
    splits : ndarray
        Reconstructions from interleaved parts of the projections, (part, z, y, x).
    """

    noisy: NDArray[np.float32]
    clean: NDArray[np.float32]
    splits: NDArray[np.float32]


@dataclass(frozen=True)
class ZoomedFoam:
    """A foam in a scan with large voxels, and as it is in small ones.

    Parameters
    ----------
    low : ndarray
        Reconstruction with large voxels, float32, (z, y, x), in attenuations of the matrix.
    high : ndarray
        The foam itself, each voxel of ``low`` divided along all three axes.
    zoom : int
        Into how many; both begin at the same corner.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    zoom: int


def scan_foam(
    settings: ScanSettings,
    *,
    shape: Sequence[int] = (40, 128, 128),
    parts: int = 4,
    fineness: float = FINENESS,
    seed: int = 0,
    progress: Progress = nothing,
    cancelled: Callable[[], bool] = never,
) -> FoamScan:
    """Scan a foam: reconstruct it from all projections, and from parts of them.

    Other than those of `brushfire.samples.make_foam`, detector pixels are all alike, so that the
    noise of the parts is independent, and filtered back-projection blurs nothing (a ramp filter).

    Parameters
    ----------
    settings : ScanSettings
        What it is made with; `SCANS` has three that are spoiled by noise, few angles, and a
        missing wedge.
    shape : sequence of int
        Voxels z, y, x; made in memory.
    parts : int
        Of the projections; see `brushfire.tomography.reconstruct_splits`.
    fineness : float
        By how much bubbles are smaller than those of `brushfire.samples.make_foam`, more than 0.
    seed : int
        Of the foam and the noise.
    progress : callable
        Takes steps done and steps in all.
    cancelled : callable
        Whether to stop; asked after each slice.

    Raises
    ------
    SettingsError
        For numbers out of range.
    Cancelled
        When stopped.
    """
    whole = _check(shape)
    if not fineness > 0:
        raise SettingsError(
            "The fineness of a foam is more than 0.",
            got=fineness,
            do="Give 1 for large bubbles, more for smaller ones.",
        )
    foam = Foam(whole, seed, fineness)
    clean = np.stack([foam.draw(z)[0] for z in range(whole[0])])
    rays = _scanned(clean, settings, seed, progress, cancelled)
    _, height, width = whole
    grey = np.float32(foam.side / DEPTH)
    options: dict[str, Any] = {"size": foam.side, "cancelled": cancelled}
    noisy = reconstruct(rays, settings.theta, **options)
    splits = reconstruct_splits(rays, settings.theta, parts=parts, **options)
    return FoamScan(
        noisy[:, :height, :width] * grey,
        clean[:, :height, :width],
        splits[..., :height, :width] * grey,
    )


def zoom_foam(
    settings: ScanSettings = ZOOM_SCAN,
    *,
    shape: Sequence[int] = (96, 256, 256),
    zoom: int = 4,
    seed: int = 0,
    progress: Progress = nothing,
    cancelled: Callable[[], bool] = never,
) -> ZoomedFoam:
    """Scan a foam with voxels that are too large for it.

    Parameters
    ----------
    settings : ScanSettings
        What the scan is made with.
    shape : sequence of int
        Small voxels z, y, x, multiples of ``zoom``.
    zoom : int
        How many small voxels make the side of a large one.
    seed, progress, cancelled
        As for `scan_foam`.

    Raises
    ------
    SettingsError, Cancelled
        As for `scan_foam`.
    """
    whole = _check(shape)
    if zoom < 1 or any(n % zoom for n in whole):
        raise SettingsError(
            "The small voxels of a zoomed scan divide the large ones evenly.",
            got=f"shape {whole}, zoom {zoom}",
            do="Choose a shape in multiples of the zoom.",
        )
    foam = Foam(whole, seed)
    drawn = np.stack([foam.draw(z)[0] for z in range(whole[0])])
    depth, side = whole[0] // zoom, foam.side // zoom
    large = drawn.reshape(depth, zoom, side, zoom, side, zoom).mean((1, 3, 5))
    rays = _scanned(large, settings, seed, progress, cancelled)
    low = reconstruct(rays, settings.theta, size=side, cancelled=cancelled)
    _, height, width = whole
    return ZoomedFoam(
        low[:, : height // zoom, : width // zoom] * np.float32(side / DEPTH),
        drawn[:, :height, :width],
        zoom,
    )


def save_scan(
    folder: str | os.PathLike[str], scan: FoamScan, *, overwrite: bool = False
) -> dict[str, Path]:
    """Write a scan as three OME-Zarr stores, and return their paths by name.

    Parameters
    ----------
    folder : path
        Gets noisy.ome.zarr, clean.ome.zarr and splits.ome.zarr, the last with a channel for each
        part.
    scan : FoamScan
        What is written.
    overwrite : bool
        Replace stores that are there.

    Raises
    ------
    VolumeError
        For a store that is there already.
    StorageError
        When the disk is full or read-only.
    """
    volumes = {"noisy": scan.noisy, "clean": scan.clean, "splits": scan.splits}
    return {
        name: _save(Path(folder), name, values, VOXEL_SIZE, overwrite)
        for name, values in volumes.items()
    }


def save_zoom(
    folder: str | os.PathLike[str], foam: ZoomedFoam, *, overwrite: bool = False
) -> dict[str, Path]:
    """Write low.ome.zarr and high.ome.zarr, each with its voxel size; otherwise as `save_scan`."""
    z, y, x = (size * foam.zoom for size in VOXEL_SIZE)
    return {
        "low": _save(Path(folder), "low", foam.low, (z, y, x), overwrite),
        "high": _save(Path(folder), "high", foam.high, VOXEL_SIZE, overwrite),
    }


def _check(shape: Sequence[int]) -> Triple:
    whole = triple(shape)
    if min(whole) < 1 or whole[0] * max(whole[1:]) ** 2 > _MOST_VOXELS:
        raise SettingsError(
            f"A scan of a foam is made in memory, from squares, of 1 to {_MOST_VOXELS} voxels.",
            got=f"shape {whole}",
            do="Give a smaller shape z, y, x, such as (40, 128, 128).",
        )
    return whole


def _scanned(
    volume: NDArray[np.float32],
    settings: ScanSettings,
    seed: int,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> NDArray[np.float32]:
    """Return what is measured of square slices, (z, angle, detector pixel)."""

    def measure(z: int) -> NDArray[np.float32]:
        rng = np.random.default_rng([seed, z])
        return measured_rays(volume[z], settings.theta, settings.photons, rng, uneven=0.0)

    stack = []
    for rays in in_threads(measure, range(len(volume)), cancelled):
        stack.append(rays)
        progress(len(stack), len(volume))
    return np.stack(stack)


def _save(
    folder: Path, name: str, values: NDArray[np.float32], voxel_size: Scale, overwrite: bool
) -> Path:
    path = folder / f"{name}.ome.zarr"
    parts = [f"part {k + 1} of {len(values)}" for k in range(len(values))]
    shape = triple(values.shape[-3:])
    with create_multiscale(
        path,
        shape=shape,
        dtype="float32",
        voxel_size=voxel_size,
        name=name,
        channels=parts if values.ndim == 4 else None,
        overwrite=overwrite,
    ) as writer:
        writer.write(Box.of_shape(shape), values)
        writer.build_levels(budget_bytes=_LEVELS_BYTES, progress=nothing, cancelled=never)
    return path
