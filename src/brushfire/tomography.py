"""Reconstruct small tomographic scans, also in parts that share no projection."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from skimage.transform import iradon

from brushfire.errors import Cancelled, SettingsError
from brushfire.geometry import Box
from brushfire.volumes import create_multiscale

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from brushfire.geometry import Scale, Triple

    Progress = Callable[[int, int], None]

Filter = Literal["ramp", "shepp-logan", "cosine", "hamming", "hann"]
LEAST_PARTS = 2
_FULL_TURN_IN_RADIANS = 6.3
_LEVELS_BYTES = 256 << 20
_Made = TypeVar("_Made")


def nothing(done: int, total: int) -> None:
    """Hear how far it is, and do nothing."""


def never() -> bool:
    """Return False: nobody asks to stop."""
    return False


def backprojected(
    plane: NDArray[Any],
    theta: NDArray[np.float64],
    *,
    size: int,
    filter_name: Filter = "ramp",
) -> NDArray[np.float32]:
    """Return one slice by filtered back-projection, a square of ``size`` pixels.

    Parameters
    ----------
    plane : ndarray
        Line integrals in pixels times attenuation, (angle, detector pixel); the axis of rotation
        is at detector pixel ``pixels // 2``.
    theta : ndarray
        Angles, degrees.
    size : int
        Side of the square in detector pixels, around the axis.
    filter_name : str
        "ramp", or one of those that blur: "shepp-logan", "cosine", "hamming", "hann".
    """
    made = iradon(
        np.asarray(plane, np.float32).T,
        theta,
        circle=False,
        output_size=size,
        filter_name=filter_name,
    )
    return np.asarray(made, np.float32)


def reconstruct(
    sinogram: NDArray[Any],
    theta: Sequence[float] | NDArray[Any],
    *,
    size: int | None = None,
    filter_name: Filter = "ramp",
    progress: Progress = nothing,
    cancelled: Callable[[], bool] = never,
) -> NDArray[np.float32]:
    """Return a volume by filtered back-projection, slice by slice.

    For data that fit into memory; detectors in parallel beams, with the axis of rotation in the
    middle (at pixel ``pixels // 2``) and along z.

    Parameters
    ----------
    sinogram : ndarray
        Line integrals (minus the logarithm of the transmitted share), (z, angle, detector pixel);
        may be a mapped file.
    theta : sequence of float
        Angles, degrees, in any order. With less than half a turn there are streaks, and what the
        projections do see is too strong, so that the mean is right.
    size : int, optional
        Side of a slice in pixels; by default that of the detector. What lies outside the circle
        that every projection sees is not reliable.
    filter_name : str
        See `backprojected`.
    progress : callable
        Takes slices done and slices in all.
    cancelled : callable
        Whether to stop; asked before each slice.

    Returns
    -------
    ndarray
        float32, (z, y, x), attenuation for one pixel's length.

    Raises
    ------
    SettingsError
        For shapes that do not match, angles in radians, or numbers that are not finite.
    Cancelled
        When stopped.
    """
    scan = _Sinogram(sinogram, theta, size, filter_name, parts=1)
    whole: NDArray[np.float32] = _gather(scan, progress, cancelled)[0]
    return whole


def reconstruct_splits(
    sinogram: NDArray[Any],
    theta: Sequence[float] | NDArray[Any],
    *,
    parts: int = 4,
    size: int | None = None,
    filter_name: Filter = "ramp",
    progress: Progress = nothing,
    cancelled: Callable[[], bool] = never,
) -> NDArray[np.float32]:
    """Return reconstructions from interleaved angles: same object, independent noise.

    Each of the ``parts`` has every ``parts``-th angle, in order of the angles, so that no
    projection is in two of them. That is what Noise2Inverse learns from (Hendriksen, Pelt &
    Batenburg 2020); it holds as far as the noise of one projection says nothing of another's.
    What all projections share, such as rings, is not noise to it.

    Parameters
    ----------
    sinogram, theta, size, filter_name, progress, cancelled
        As for `reconstruct`.
    parts : int
        How many, at least 2.

    Returns
    -------
    ndarray
        float32, (part, z, y, x).

    Raises
    ------
    SettingsError
        As for `reconstruct`; and for fewer than 2 parts, or fewer angles than parts.
    Cancelled
        When stopped.
    """
    _check_parts(parts)
    scan = _Sinogram(sinogram, theta, size, filter_name, parts)
    return _gather(scan, progress, cancelled)


def save_splits(
    path: str | os.PathLike[str],
    sinogram: NDArray[Any],
    theta: Sequence[float] | NDArray[Any],
    *,
    parts: int = 4,
    size: int | None = None,
    filter_name: Filter = "ramp",
    voxel_size: Scale | None = None,
    overwrite: bool = False,
    progress: Progress = nothing,
    cancelled: Callable[[], bool] = never,
) -> Path:
    """Write `reconstruct_splits` as an OME-Zarr with one channel for each part, block by block.

    Parameters
    ----------
    path : path
        Store to write; removed again when it is not completed.
    sinogram, theta, parts, size, filter_name, progress, cancelled
        As for `reconstruct_splits`.
    voxel_size : tuple of float, optional
        Micrometres z, y, x.
    overwrite : bool
        Replace a store that is there.

    Raises
    ------
    SettingsError, Cancelled
        As for `reconstruct_splits`.
    VolumeError
        For a target that exists.
    StorageError
        When the disk is full or read-only.
    """
    _check_parts(parts)
    scan = _Sinogram(sinogram, theta, size, filter_name, parts)
    writer = create_multiscale(
        path,
        shape=scan.shape,
        dtype="float32",
        voxel_size=voxel_size,
        name="splits",
        channels=[f"part {k + 1} of {parts}" for k in range(parts)],
        overwrite=overwrite,
        attributes={"parts": parts, "angles": len(scan.theta), "filter": filter_name},
    )
    depth, height, width = scan.shape
    progress(0, depth)
    try:
        with writer:
            for start in range(0, depth, writer.block[0]):
                slab = range(start, min(start + writer.block[0], depth))
                planes = []
                for made in in_threads(scan.slice, slab, cancelled):
                    planes.append(made)
                    progress(start + len(planes), depth)
                box = Box((slab.start, 0, 0), (slab.stop, height, width))
                writer.write(box, np.stack(planes, axis=1))
            writer.build_levels(budget_bytes=_LEVELS_BYTES, progress=nothing, cancelled=cancelled)
    except BaseException:
        shutil.rmtree(path)
        raise
    return Path(path)


def in_threads(
    make: Callable[[int], _Made], slices: Iterable[int], cancelled: Callable[[], bool]
) -> Iterator[_Made]:
    """Yield what ``make`` returns for each slice, in order, made in as many threads as cores.

    Raises
    ------
    Cancelled
        When stopped; asked after each slice.
    """
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        try:
            for made in pool.map(make, slices):
                if cancelled():
                    raise Cancelled
                yield made
        finally:
            pool.shutdown(cancel_futures=True)


def _gather(
    scan: _Sinogram, progress: Progress, cancelled: Callable[[], bool]
) -> NDArray[np.float32]:
    depth = scan.shape[0]
    found = np.empty((scan.parts, *scan.shape), np.float32)
    progress(0, depth)
    for z, made in enumerate(in_threads(scan.slice, range(depth), cancelled)):
        found[:, z] = made
        progress(z + 1, depth)
    return found


@dataclass(frozen=True)
class _Sinogram:
    """A stack of sinograms that was checked, and how to reconstruct each slice."""

    stack: NDArray[Any]
    angles: Sequence[float] | NDArray[Any]
    size: int | None
    filter_name: Filter
    parts: int

    def __post_init__(self) -> None:
        stack = self.stack
        if stack.ndim != 3 or min(stack.shape) < 1 or stack.dtype.kind not in "uif":
            raise SettingsError(
                "A stack of sinograms has three axes of real numbers: slice, angle, detector"
                " pixel.",
                got=f"shape {stack.shape}, type {stack.dtype}",
                do="Move the axes into this order.",
            )
        theta = self.theta
        if theta.shape != (stack.shape[1],) or not np.isfinite(theta).all():
            raise SettingsError(
                "There is one angle, a number of degrees, for each projection.",
                got=f"{theta.size} angles for {stack.shape[1]} projections, the middle axis of"
                f" {stack.shape}",
                do="Give as many angles as there are projections.",
            )
        if len(theta) > 1 and np.ptp(theta) <= _FULL_TURN_IN_RADIANS:
            raise SettingsError(
                "Angles are in degrees and cover more than a few of them.",
                got=f"{theta.min():.4g} to {theta.max():.4g}",
                do="Multiply radians by 180 / pi.",
            )
        if len(theta) < self.parts:
            raise SettingsError(
                "Each part of a scan has at least one projection of its own.",
                got=f"{len(theta)} angles for {self.parts} parts",
                do="Make fewer parts.",
            )
        if self.size is not None and self.size < 1:
            raise SettingsError(
                "A slice has at least one pixel.", got=self.size, do="Leave the size out."
            )

    @property
    def theta(self) -> NDArray[np.float64]:
        return np.asarray(self.angles, np.float64)

    @property
    def shape(self) -> Triple:
        side = self.size or self.stack.shape[2]
        return self.stack.shape[0], side, side

    def slice(self, z: int) -> NDArray[np.float32]:
        """Return one slice of every part, (part, y, x)."""
        plane = np.asarray(self.stack[z], np.float32)
        if not np.isfinite(plane).all():
            raise SettingsError(
                "A sinogram holds finite numbers only.",
                got=f"{np.count_nonzero(~np.isfinite(plane))} that are not, in slice {z}",
                do="Fill dead pixels from their neighbours, and take no logarithm of 0.",
            )
        theta = self.theta
        order = np.argsort(theta, kind="stable")
        size = self.shape[1]
        chosen = [order[k :: self.parts] for k in range(self.parts)]
        return np.stack(
            [
                backprojected(plane[one], theta[one], size=size, filter_name=self.filter_name)
                for one in chosen
            ]
        )


def _check_parts(parts: int) -> None:
    if parts < LEAST_PARTS:
        raise SettingsError(
            "A scan is divided into at least 2 parts, so that one can be learned from the other.",
            got=f"{parts}",
            do="Use 4, or leave the number out.",
        )
