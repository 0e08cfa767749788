"""Build the coarser levels that a volume lacks, and find those built earlier."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brushfire.errors import VolumeError
from brushfire.volumes.cache import Cache
from brushfire.volumes.ome_zarr import is_zarr, open_ome_zarr, read_attributes
from brushfire.volumes.reduce import Reduction, chain, plan_steps, reduced_shape
from brushfire.volumes.stores import storage_errors
from brushfire.volumes.writer import create_multiscale

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from brushfire.geometry import Box, Scale
    from brushfire.volumes.volume import Volume


def build_pyramid(
    volume: Volume,
    folder: str | os.PathLike[str],
    *,
    budget_bytes: int,
    progress: Callable[[int, int], None],
    cancelled: Callable[[], bool],
) -> Volume:
    """Write the missing coarser levels of ``volume`` under ``folder`` and return it with them.

    The source is never changed, and level 0 stays the source's own.

    Parameters
    ----------
    volume : Volume
        What to reduce, from its coarsest level on.
    folder : path
        Where the OME-Zarr store with the reduced levels goes; made if missing.
    budget_bytes : int
        Memory for making the blocks; what ``volume`` keeps in its own cache comes on top.
    progress : callable
        Takes blocks done and blocks in all.
    cancelled : callable
        Whether to stop; asked between slabs.

    Raises
    ------
    Cancelled
        When stopped; what was written is removed.
    StorageError
        When the disk is full or read-only.
    """
    voxel_size = _coarsest_voxel_size(volume)
    steps = plan_steps(volume.levels[-1].shape, voxel_size)
    if not steps:
        progress(0, 0)
        return volume
    target = _store_path(volume, Path(folder))
    unfinished = target.with_name(f"{target.name}.partial")
    try:
        _discard(unfinished)
        # A third of it for the arrays; the allocator keeps about as much again of what was freed.
        _write_levels(volume, unfinished, voxel_size, budget_bytes // 3, progress, cancelled)
        with storage_errors(target):
            _discard(target)
            os.replace(unfinished, target)
    except BaseException:
        _discard(unfinished)
        raise
    return _attach(volume, target)


def find_pyramid(volume: Volume, folder: str | os.PathLike[str]) -> Volume | None:
    """Return ``volume`` with the levels built earlier under ``folder``, or None without any."""
    target = _store_path(volume, Path(folder))
    if not is_zarr(target):
        return None
    try:
        made_of = read_attributes(target).get("brushfire", {})
        if made_of != _provenance(volume):
            return None
        return _attach(volume, target)
    except VolumeError:
        # A damaged copy of what can be built again is as good as none.
        return None


def find_wrong_level(
    volume: Volume,
    *,
    budget_bytes: int,
    progress: Callable[[int, int], None],
    cancelled: Callable[[], bool],
) -> tuple[int, Box] | None:
    """Return the first block of a coarser level that is not what the level below it gives.

    Parameters
    ----------
    volume : Volume
        With levels made as `build_pyramid` and `MultiscaleWriter.build_levels` make them.
    budget_bytes : int
        Memory for the blocks being compared.
    progress : callable
        Takes blocks done and blocks in all.
    cancelled : callable
        Whether to stop; asked between slabs.

    Returns
    -------
    (int, Box) or None
        The level, and the block in its voxels; None where every level is right.

    Raises
    ------
    Cancelled
        When stopped.
    VolumeError
        When level 0 cannot be read.
    """
    reductions = chain(
        [(level.shape, level.factors) for level in volume.levels],
        source_chunk=volume.chunk,
        target_block=volume.chunk,
        channels=len(volume.channels),
        dtype=volume.dtype,
        budget_bytes=budget_bytes,
    )
    labels = bool(volume.label_classes)
    total = sum(len(reduction.grid) for reduction in reductions)
    done = 0
    for level, reduction in enumerate(reductions, start=1):
        below = partial(volume.read, level=level - 1)
        for box, block in reduction.blocks(below, labels=labels, cancelled=cancelled):
            if not _holds(volume, level, box, block):
                return level, box
            done += 1
            progress(done, total)
    return None


def _holds(volume: Volume, level: int, box: Box, block: NDArray[Any]) -> bool:
    try:
        stored = volume.read(box, level=level)
    except VolumeError:
        return False  # it cannot even be decoded
    return np.array_equal(stored, block, equal_nan=block.dtype.kind == "f")


def _write_levels(
    volume: Volume,
    path: Path,
    voxel_size: Scale,
    budget_bytes: int,
    progress: Callable[[int, int], None],
    cancelled: Callable[[], bool],
) -> None:
    last = len(volume.levels) - 1
    source = volume.levels[last].shape
    step = plan_steps(source, voxel_size)[0]
    z, y, x = (v * s for v, s in zip(voxel_size, step, strict=True))
    provenance = _provenance(volume)
    with create_multiscale(
        path,
        shape=reduced_shape(source, step),
        dtype=volume.dtype,
        voxel_size=(z, y, x),
        name=volume.name,
        channels=volume.channels,
        attributes=provenance,
        cache_bytes=0,  # each chunk is decoded once
    ) as writer:
        first = Reduction(
            source=source,
            target=writer.shape,
            step=step,
            source_chunk=volume.chunk,
            target_block=writer.block,
            channels=len(volume.channels),
            dtype=volume.dtype,
            budget_bytes=budget_bytes,
        )
        rest = sum(len(r.grid) for r in writer.reductions(budget_bytes))
        done = len(first.grid)
        progress(0, done + rest)

        def read(box: Box) -> NDArray[Any]:
            return volume.read(box, level=last)

        labels = bool(volume.label_classes)
        made = first.run(read, writer.write, labels=labels, cancelled=cancelled)
        for count, _ in enumerate(made, start=1):
            progress(count, done + rest)
        writer.build_levels(
            budget_bytes=budget_bytes,
            progress=lambda i, n: progress(done + i, done + n) if i else None,
            cancelled=cancelled,
        )


def _attach(volume: Volume, path: Path) -> Volume:
    built = open_ome_zarr(
        path, axes=None, voxel_size=None, name=None, time=None, cache=volume.cache or Cache()
    )
    base = volume.levels[-1]
    step = plan_steps(base.shape, _coarsest_voxel_size(volume))[0]
    levels = []
    for source, level in zip(built.sources, built.levels, strict=True):
        z, y, x = (f * s * g for f, s, g in zip(base.factors, step, level.factors, strict=True))
        levels.append((source, (z, y, x)))
    return volume.with_levels(levels)


def _store_path(volume: Volume, folder: Path) -> Path:
    return folder / f"pyramid-{volume.fingerprint[:12]}.ome.zarr"


def _provenance(volume: Volume) -> dict[str, Any]:
    return {
        "fingerprint": volume.fingerprint,
        "levels": len(volume.levels),
        "steps": [
            list(s) for s in plan_steps(volume.levels[-1].shape, _coarsest_voxel_size(volume))
        ],
        "channels": list(volume.channels),
    }


def _coarsest_voxel_size(volume: Volume) -> Scale:
    factors = volume.levels[-1].factors
    z, y, x = (v * f for v, f in zip(volume.voxel_size, factors, strict=True))
    return z, y, x


def _discard(path: Path) -> None:
    with storage_errors(path):
        if path.exists():
            shutil.rmtree(path)
