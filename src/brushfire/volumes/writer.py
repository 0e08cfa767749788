"""Write multiscale OME-Zarr 0.4 and 0.5, images and labels, block by block."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brushfire.errors import VolumeError
from brushfire.geometry import Box, Grid, Scale, Triple, triple
from brushfire.volumes.axes import check_dtype
from brushfire.volumes.metadata import image_attributes, write_group
from brushfire.volumes.ome_zarr import is_zarr, read_attributes
from brushfire.volumes.reduce import chain, plan_steps, reduced_shape
from brushfire.volumes.stores import (
    bounded_context,
    create_array,
    open_array,
    shared_context,
    storage_errors,
)
from brushfire.volumes.volume import Level, check_voxel_size

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from numpy.typing import DTypeLike, NDArray

    from brushfire.volumes.reduce import Reduction

CHUNK: Triple = (16, 256, 256)
ZARR_FORMATS = {"0.4": 2, "0.5": 3}


def create_multiscale(
    path: str | os.PathLike[str],
    *,
    shape: Sequence[int],
    dtype: DTypeLike,
    voxel_size: Scale | None,
    name: str,
    labels: Sequence[tuple[int, str, str]] | None = None,
    channels: Sequence[str] | None = None,
    chunk: Sequence[int] | None = None,
    version: str = "0.5",
    shard: Sequence[int] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    attributes: dict[str, Any] | None = None,
    cache_bytes: int | None = None,
) -> MultiscaleWriter:
    """Create an OME-Zarr store, all levels still empty, and return its writer.

    Parameters
    ----------
    path : path
        Folder of the store; by habit NAME.ome.zarr.
    shape : sequence of int
        Voxels z, y, x.
    dtype : dtype
        Of the voxels; an integer type for labels.
    voxel_size : tuple of float or None
        Micrometres z, y, x; None when unknown, which writes no unit.
    name : str
        Of the image, in the metadata.
    labels : sequence of (int, str, str), optional
        Value, name and "#rrggbb" of each class: makes a label image, whose coarser levels hold
        only values that are there.
    channels : sequence of str, optional
        Names of channels; with them blocks have the axes channel, z, y, x, else z, y, x.
    chunk : sequence of int, optional
        Voxels z, y, x compressed together.
    version : str
        "0.5" or "0.4" of OME-Zarr.
    shard : sequence of int, optional
        Voxels z, y, x in one file, a multiple of ``chunk``; only for 0.5. Write whole shards
        (`MultiscaleWriter.block`): a part is read, changed and written again.
    overwrite : bool
        Replace a store that is there already. Anything else that is there is never removed.
    resume : bool
        Go on with a store of the same shape and type, if there is one.
    attributes : dict, optional
        Kept under the key "brushfire" of the metadata.
    cache_bytes : int, optional
        What all levels together may keep decoded, in a cache of their own. By default they share
        one of `stores.WRITER_CACHE_BYTES` with the other writers of this process.

    Raises
    ------
    VolumeError
        For a target that exists, or shapes, types and versions that cannot be written.
    StorageError
        When the disk is full or read-only.
    """
    if version not in ZARR_FORMATS:
        raise VolumeError(
            "OME-Zarr is written as version 0.4 or 0.5.", got=version, do="Choose one of these."
        )
    layout = _Layout(shape, dtype, voxel_size, channels, chunk, shard, version, bool(labels))
    target = Path(path)
    cache = shared_context(write=True) if cache_bytes is None else bounded_context(cache_bytes)
    if _prepare_target(target, overwrite=overwrite, resume=resume):
        return MultiscaleWriter(target, layout, _reopen(target, layout, cache))
    group = image_attributes(
        name=name,
        version=version,
        voxel_size=voxel_size,
        factors=[level.factors for level in layout.levels],
        labels=labels,
        channels=channels,
        extra=attributes or {},
    )
    arrays = [
        create_array(
            target / str(i),
            ZARR_FORMATS[version],
            cache,
            shape=layout.with_channels(level.shape, len(channels or ())),
            dtype=layout.dtype,
            chunk=layout.with_channels(layout.chunk, 1),
            shard=layout.shard and layout.with_channels(layout.shard, 1),
            dimension_names=layout.axes,
        )
        for i, level in enumerate(layout.levels)
    ]
    write_group(target, ZARR_FORMATS[version], group)
    return MultiscaleWriter(target, layout, arrays)


class _Layout:
    """What a store looks like: checked shapes, types and chunks."""

    def __init__(
        self,
        shape: Sequence[int],
        dtype: DTypeLike,
        voxel_size: Scale | None,
        channels: Sequence[str] | None,
        chunk: Sequence[int] | None,
        shard: Sequence[int] | None,
        version: str,
        labels: bool,
    ) -> None:
        self.shape = triple(shape)
        self.dtype = check_dtype(np.dtype(dtype))
        self.labels = labels
        self.version = version
        self.channels = len(channels) if channels is not None else None
        self.axes = "zyx" if channels is None else "czyx"
        if min(self.shape) < 1:
            raise VolumeError(
                "A volume has at least one voxel on each axis.", got=shape, do="Give its z, y, x."
            )
        if labels and self.dtype.kind not in "ui":
            raise VolumeError(
                "Labels are whole numbers.", got=self.dtype, do="Use uint8 or another integer type."
            )
        self.chunk = triple([min(n, c) for n, c in zip(self.shape, chunk or CHUNK, strict=True)])
        self.shard = self._check_shard(shard)
        self.levels = self._plan(check_voxel_size(voxel_size or (1.0, 1.0, 1.0)))

    def _check_shard(self, shard: Sequence[int] | None) -> Triple | None:
        if shard is None:
            return None
        wanted = triple(shard)
        fits = all(s % c == 0 for s, c in zip(wanted, self.chunk, strict=True))
        if self.version != "0.5" or not fits:
            raise VolumeError(
                "A shard is made of whole chunks, in OME-Zarr 0.5.",
                got=f"shard {wanted} of chunks {self.chunk} in version {self.version}",
                do="Make the shard a multiple of the chunk, or leave it out.",
            )
        most = [-(-n // c) * c for n, c in zip(self.shape, self.chunk, strict=True)]
        return triple([min(s, m) for s, m in zip(wanted, most, strict=True)])

    def _plan(self, voxel_size: Scale) -> tuple[Level, ...]:
        levels = [Level(self.shape, (1.0, 1.0, 1.0))]
        for step in plan_steps(self.shape, voxel_size):
            z, y, x = (f * s for f, s in zip(levels[-1].factors, step, strict=True))
            levels.append(Level(reduced_shape(levels[-1].shape, step), (z, y, x)))
        return tuple(levels)

    def with_channels(self, shape: Triple, count: int) -> tuple[int, ...]:
        return shape if self.channels is None else (count, *shape)


class MultiscaleWriter:
    """Writes one OME-Zarr store; made by `create_multiscale`.

    Different blocks may be written from different threads when they are whole multiples of
    `block`. What `write` returned from is on its way to the disk in full: a reader sees it.

    Attributes
    ----------
    path : Path
        Folder of the store.
    shape : tuple of int
        Voxels z, y, x.
    dtype : numpy.dtype
        Type of the voxels.
    levels : tuple of Level
        Finest first; the coarser ones are empty until `build_levels`.
    block : tuple of int
        Voxels z, y, x that are stored in one file; writing multiples of it is fastest.
    """

    def __init__(self, path: Path, layout: _Layout, arrays: Sequence[Any]) -> None:
        self.path = path
        self.shape = layout.shape
        self.dtype = layout.dtype
        self.levels = layout.levels
        self.block = layout.shard or layout.chunk
        self._layout = layout
        self._arrays: list[Any] | None = list(arrays)

    def __enter__(self) -> MultiscaleWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, box: Box, block: NDArray[Any], level: int = 0) -> None:
        """Write ``block`` at ``box`` of a level; the coarser ones are `build_levels`' to write.

        Parameters
        ----------
        box : Box
            Lies inside the store.
        block : numpy.ndarray
            Axes z, y, x, or channel, z, y, x for a store with channels; one of length 1 may
            stay in front.

        Raises
        ------
        VolumeError
            For a box outside, or a block of another shape or of values that do not fit the type.
        StorageError
            When the disk is full or read-only.
        """
        self._check_box(box, level)
        array = self._array(level)
        expected = self._layout.with_channels(box.shape, self._layout.channels or 1)
        block = np.asarray(block)
        if block.ndim == 4 and self._layout.channels is None and block.shape[0] == 1:
            block = block[0]
        if block.shape != expected or not np.can_cast(block.dtype, self.dtype, "same_kind"):
            raise VolumeError(
                "A block has the shape of its box and the type of the store.",
                got=f"{block.shape} {block.dtype} for {expected} {self.dtype}",
                do="Convert the block first.",
            )
        with storage_errors(self.path):
            array[self._index(box)].write(block.astype(self.dtype, copy=False)).result()

    def discard(self, box: Box, level: int = 0) -> None:
        """Remove the blocks that touch ``box``, without reading them: they read as 0 then.

        Writing a block at the far edge of a store with shards reads what is there first, which
        ends in an error where that is damaged.

        Raises
        ------
        StorageError
            When the disk is read-only.
        """
        self._check_box(box, level)
        channels = range(self._layout.channels or 1)
        folder = self.path / str(level) / ("" if self._layout.version == "0.4" else "c")
        with storage_errors(self.path):
            for index in Grid(self.levels[level].shape, self.block).indices(box):
                for channel in channels:
                    name = index if self._layout.channels is None else (channel, *index)
                    folder.joinpath(*map(str, name)).unlink(missing_ok=True)

    def read(self, box: Box, level: int = 0) -> NDArray[Any]:
        """Return what is at ``box`` of a level, with the axes that `write` takes; 0 where nothing
        was written.
        """  # noqa: D205
        self._check_box(box, level)
        block: NDArray[Any] = self._array(level)[self._index(box)].read().result()
        return block

    def build_levels(
        self,
        *,
        budget_bytes: int,
        progress: Callable[[int, int], None],
        cancelled: Callable[[], bool],
    ) -> None:
        """Make all coarser levels from level 0.

        Parameters
        ----------
        budget_bytes : int
            Memory for the blocks being made.
        progress : callable
            Takes blocks done and blocks in all.
        cancelled : callable
            Whether to stop; asked between slabs.

        Raises
        ------
        Cancelled
            When stopped; levels made so far stay, and building can start again.
        StorageError
            When the disk is full or read-only.
        """
        reductions = self.reductions(budget_bytes)
        total = sum(len(reduction.grid) for reduction in reductions)
        done = 0
        progress(done, total)
        for level, reduction in enumerate(reductions, start=1):
            below = partial(self._read_channels, level=level - 1)
            for box, block in reduction.blocks(
                below, labels=self._layout.labels, cancelled=cancelled
            ):
                self.discard(box, level)
                self.write(box, block, level)
                done += 1
                progress(done, total)

    def reductions(self, budget_bytes: int) -> list[Reduction]:
        """Return how each coarser level is made."""
        return chain(
            [(level.shape, level.factors) for level in self.levels],
            source_chunk=self._layout.chunk,
            target_block=self.block,
            channels=self._layout.channels or 1,
            dtype=self.dtype,
            budget_bytes=budget_bytes,
        )

    def close(self) -> None:
        """End writing; harmless when already closed."""
        self._arrays = None

    def _array(self, level: int) -> Any:
        if self._arrays is None:
            raise VolumeError(
                "A store is open while it is written.",
                got=str(self.path),
                do="Create it again with resume=True.",
            )
        return self._arrays[level]

    def _index(self, box: Box) -> tuple[slice, ...]:
        return box.slices if self._layout.channels is None else (slice(None), *box.slices)

    def _check_box(self, box: Box, level: int) -> None:
        if not 0 <= level < len(self.levels):
            raise VolumeError(
                "The level exists.", got=f"level {level} of {len(self.levels)}", do="Use 0."
            )
        if not Box.of_shape(self.levels[level].shape).contains(box):
            raise VolumeError(
                "A block lies inside the store.",
                got=f"{box} of level {level} with {self.levels[level].shape} voxels",
                do="Clip the box to the level's shape.",
            )

    def _read_channels(self, box: Box, level: int) -> NDArray[Any]:
        block = self.read(box, level)
        return block[None] if self._layout.channels is None else block


def register_label(image: str | os.PathLike[str], name: str) -> Path:
    """List a label image in the store of the image that it belongs to, and return its path.

    Parameters
    ----------
    image : path
        OME-Zarr store of the image, which exists.
    name : str
        Of the label image; it is created at the returned path, before or after.

    Raises
    ------
    VolumeError
        When there is no store.
    StorageError
        When it cannot be written to.
    """
    store = Path(image)
    if not is_zarr(store):
        raise VolumeError(
            "Labels are listed in the store of their image.",
            got=str(store),
            do="Write the image first.",
        )
    zarr_format = 3 if (store / "zarr.json").is_file() else 2
    folder = store / "labels"
    found = read_attributes(folder) if is_zarr(folder) else {}
    listed = list(found.get("ome", found).get("labels", []))
    names = {"labels": listed if name in listed else [*listed, name]}
    ome = names if zarr_format == 2 else {"ome": {"version": "0.5", **names}}
    write_group(folder, zarr_format, {**found, **ome})
    return folder / name


def _prepare_target(target: Path, *, overwrite: bool, resume: bool) -> bool:
    """Make room for a new store; return whether there is one to go on with."""
    with storage_errors(target):
        if not target.exists() or (target.is_dir() and not any(target.iterdir())):
            return False
        if target.is_dir() and is_zarr(target):
            if resume:
                return True
            if overwrite:
                shutil.rmtree(target)
                return False
    raise VolumeError(
        "A new store is written to a path that is free.",
        got=f"{target}, which exists",
        do="Choose another name, or remove it first.",
    )


def _reopen(target: Path, layout: _Layout, cache: Any) -> list[Any]:
    """Open the arrays of an existing store for writing, if they are what ``layout`` says."""
    arrays = []
    for i, level in enumerate(layout.levels):
        shape = layout.with_channels(level.shape, layout.channels or 1)
        folder = target / str(i)
        there = (folder / (".zarray" if layout.version == "0.4" else "zarr.json")).is_file()
        zarr_format = ZARR_FORMATS[layout.version]
        found = open_array(folder, zarr_format, cache, write=True) if there else None
        have = None if found is None else (tuple(found.shape), found.dtype.numpy_dtype)
        if have != (shape, layout.dtype):
            raise VolumeError(
                "A store is continued with the same shape, type and version.",
                got=f"{have} instead of {(shape, layout.dtype)} at {folder}",
                do="Choose another name, or write it anew with overwrite.",
            )
        arrays.append(found)
    return arrays
