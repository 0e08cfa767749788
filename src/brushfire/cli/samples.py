"""Samples made by code, and scans reconstructed in parts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from brushfire.cli.terminal import interruptible, progress_bar
from brushfire.errors import VolumeError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from brushfire.geometry import Scale, Triple


def make_sample(
    path: Path,
    kind: str,
    shape: Triple | None,
    *,
    angles: int | None,
    photons: float | None,
    seed: int,
) -> Iterable[Path]:
    """Make a sample and return what was written.

    Parameters
    ----------
    path : Path
        A folder, or the store of a foam to segment.
    kind : str
        "foam", "zoom", or one of `brushfire.samples.SCANS`.
    shape, angles, photons : optional
        Instead of what is usual for the kind.
    seed : int
        Of the random numbers.
    """
    from brushfire import samples

    given = _given(angles=angles, photons=photons)
    title = f"Making {path.name}"
    with interruptible() as stop, progress_bar(title) as update:
        options = _given(
            shape=shape,
            seed=seed,
            progress=lambda done, total: update(done, total, title),
            cancelled=stop.is_set,
        )
        if kind == "foam":
            target = path if path.suffix == ".zarr" else path / samples.SAMPLE_NAME
            made = samples.make_foam(target, **given, **options)
            return made.volume, made.truth
        if kind == "zoom":
            zoomed = samples.zoom_foam(replace(samples.ZOOM_SCAN, **given), **options)
            return samples.save_zoom(path, zoomed).values()
        scan = samples.scan_foam(replace(samples.SCANS[kind], **given), **options)
        return samples.save_scan(path, scan).values()


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def split_scan(
    sinogram: Path,
    out: Path,
    *,
    parts: int,
    degrees: float,
    theta: Path | None,
    voxel_size: Scale | None,
    overwrite: bool,
) -> Path:
    """Write reconstructions from interleaved angles; see `brushfire.tomography.save_splits`."""
    from brushfire.tomography import save_splits

    stack = _read_array(sinogram)
    count = stack.shape[1] if stack.ndim == 3 else 0
    angles = np.arange(count) * (degrees / max(count, 1)) if theta is None else _read_array(theta)
    title = f"Making {out.name}"
    with interruptible() as stop, progress_bar(title) as update:
        return save_splits(
            out,
            stack,
            angles,
            parts=parts,
            voxel_size=voxel_size,
            overwrite=overwrite,
            progress=lambda done, total: update(done, total, title),
            cancelled=stop.is_set,
        )


def _read_array(path: Path) -> np.ndarray[Any, Any]:
    """Return an array of a .npy file, mapped, without running anything from it."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        found = error
    if not isinstance(found, np.ndarray):
        raise VolumeError(
            "A scan and its angles are read from .npy files that hold an array of numbers.",
            got=f"{path} ({found})",
            do="Write it with numpy.save.",
        )
    return found
