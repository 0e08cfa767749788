"""Write what is finished block by block, reopen it and compare."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, get_args

import numpy as np

from brushfire.errors import Cancelled, ExportError, VolumeError
from brushfire.export.disk import remove, size_on_disk, storage_error
from brushfire.export.manifest import Manifest, block_digest, is_manifest, slabs_digest
from brushfire.export.targets import CACHE_BYTES, Description, Format, cell_of, open_target
from brushfire.geometry import Box, Grid, Triple
from brushfire.volumes import find_wrong_level, open_volume

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from brushfire.volumes import Volume

_TIFF_SUFFIXES = (".tif", ".tiff")
# Writing blocks, finishing, comparing blocks, and comparing levels where there are some.
_STAGES: dict[Format, int] = {"ome-zarr": 4, "tiff": 3}


class Source(Protocol):
    """What is written, kept where blocks of it can be read again."""

    @property
    def shape(self) -> Triple:
        """Voxels of the region, z, y, x."""

    def read(self, box: Box) -> NDArray[Any]:
        """Return what is written of ``box``, which is relative to the region.

        (z, y, x), or (channels, z, y, x) where the description names channels.
        """


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was exported.

    Parameters
    ----------
    path : Path
        The target.
    format : {"ome-zarr", "tiff"}
        Of the target.
    shape : tuple of int
        Voxels, z, y, x.
    checksum : str
        Of all values, block by block; what was written and what was read back agree on it.
    bytes : int
        Size of the target on disk.
    """

    path: Path
    format: Format
    shape: Triple
    checksum: str
    bytes: int


def write_checked(
    source: Source,
    path: Path | str,
    description: Description,
    *,
    budget_bytes: int,
    progress: Callable[[int, int], None],
    cancelled: Callable[[], bool],
    overwrite: bool = False,
) -> ExportReport:
    """Write a source to ``path``, reopen it and compare.

    Blocks go into ``partial-NAME`` beside the target, which takes its final name only when every
    block was read back unchanged. An export that ended early goes on where it was: a block is
    skipped when its recorded checksum is the source's.

    Parameters
    ----------
    source : Source
        What is written, finished.
    path : Path or str
        Target: a folder for OME-Zarr, a file that ends in .tif or .tiff for TIFF.
    description : Description
        What it is.
    budget_bytes : int
        Upper limit for what is held in memory.
    progress : callable
        Takes blocks done and blocks in all.
    cancelled : callable
        Asked before every block.
    overwrite : bool
        Whether an image of the same format at ``path`` is replaced, once the new one is complete.

    Raises
    ------
    Cancelled
        ``cancelled()`` was True; what was written stays for the next attempt.
    ExportError
        The region is empty, the format unknown, the target is something else, or what is read
        back is not what was written.
    StorageError
        The disk is full or read-only.
    """
    target = Path(path)
    check_target(target, description.format, overwrite=overwrite)
    if min(description.shape) < 1:
        raise ExportError(
            "An export holds at least one voxel.",
            got=f"a region of {description.shape} voxels (z, y, x)",
            do="Choose a larger region.",
        )
    export = _Export(source, target, description, budget_bytes, progress, cancelled)
    try:
        return export.run()
    except OSError as error:
        raise storage_error(target, error) from error


class _Export:
    """One attempt at one export."""

    def __init__(
        self,
        source: Source,
        target: Path,
        description: Description,
        budget_bytes: int,
        progress: Callable[[int, int], None],
        cancelled: Callable[[], bool],
    ) -> None:
        self._source = source
        self._target = target
        self._description = description
        self._budget = budget_bytes
        self._progress = progress
        self._cancelled = cancelled
        self._stages = _STAGES[description.format]
        self._partial = target.with_name(f"partial-{target.name}")
        self._checking = target.with_name(f"checking-{target.name}")
        cell = cell_of(description.format, description.shape, budget_bytes, description.voxel_bytes)
        self._grid = Grid(description.shape, cell)

    def run(self) -> ExportReport:
        """Write, finish, compare, and only then give the target its name."""
        manifest_path = self._partial.with_name(self._partial.name + ".blocks")
        _check_partial(manifest_path, self._partial, self._checking)
        if self._checking.exists():
            remove(self._partial)
            self._checking.replace(self._partial)
        if not self._partial.exists():
            remove(manifest_path)
        try:
            checksum = self._run(manifest_path)
        finally:
            # A manifest alone tells nothing: either all went well or nothing was begun.
            if not self._partial.exists():
                remove(manifest_path)
        return ExportReport(
            self._target,
            self._description.format,
            self._description.shape,
            checksum,
            size_on_disk(self._target),
        )

    def _run(self, manifest_path: Path) -> str:
        header = self._description.header(self._grid.cell)
        with Manifest(manifest_path, header) as manifest:
            self._write(manifest)
            self._compare(manifest)
            checksum = manifest.checksum()
        _put_in_place(self._partial, self._target)
        return checksum

    def _write(self, manifest: Manifest) -> None:
        resume = bool(manifest.digests)
        if not resume:
            remove(self._partial)
        target = open_target(self._description, self._partial, self._grid.cell, resume=resume)
        try:
            for done, index in enumerate(self._grid.indices()):
                self._step(0, done)
                box = self._grid.box(index)
                block = self._source.read(box)
                digest = block_digest(block)
                # Compared with the source and not just looked up: it may have changed since the
                # last attempt.
                if manifest.digests.get(index) != digest:
                    target.write(box, block)
                    manifest.add(index, digest)
            target.finish(self._budget, partial(self._staged, 1), self._cancelled)
        finally:
            target.close()

    def _compare(self, manifest: Manifest) -> None:
        # Under another name, because chunks that were just written wait decoded in a cache that
        # goes by the path: reading them from there would compare them with themselves.
        self._partial.replace(self._checking)
        try:
            volume = self._reopen()
            try:
                self._compare_blocks(volume, manifest)
                self._compare_levels(volume)
            finally:
                volume.close()
        finally:
            self._checking.replace(self._partial)
        self._step(self._stages, 0)

    def _compare_blocks(self, volume: Volume, manifest: Manifest) -> None:
        damaged = []
        for done, index in enumerate(self._grid.indices()):
            self._step(2, done)
            if self._digest_of(volume, self._grid.box(index)) != manifest.digests[index]:
                damaged.append(index)
        if damaged:
            manifest.forget(damaged)
            raise ExportError(
                "What is read back is what was written.",
                got=f"{len(damaged)} of {len(self._grid)} blocks of {self._partial} differ, the "
                f"first at {self._grid.box(damaged[0])}",
                do="Check the disk, then export again: only these blocks are written anew.",
            )

    def _compare_levels(self, volume: Volume) -> None:
        """Make each reduced level again from the one below, which by then is known to be right."""
        wrong = find_wrong_level(
            volume,
            budget_bytes=self._budget // 8,
            progress=partial(self._staged, 3),
            cancelled=self._cancelled,
        )
        if wrong is not None:
            level, box = wrong
            raise ExportError(
                "The reduced levels that are read back are those of the level below them.",
                got=f"another level {level} of {self._partial}, at {box}",
                do="Check the disk, then export again: the rest is kept, the levels made anew.",
            )

    def _reopen(self) -> Volume:
        volume = open_volume(self._checking, cache_bytes=CACHE_BYTES)
        wanted = self._description
        size = volume.voxel_size if volume.voxel_size_known else None
        if (
            volume.shape != wanted.shape
            or len(volume.channels) != max(1, len(wanted.channels))
            or volume.dtype != wanted.dtype
            or (size is None) != (wanted.voxel_size is None)
            or not np.allclose(size or (1,), wanted.voxel_size or (1,), rtol=1e-4)
        ):
            many = len(volume.channels)
            got = f"{many} x {volume.shape} {volume.dtype}, voxels of {size} micrometres"
            volume.close()
            raise ExportError(
                f"The export reads back as {max(1, len(wanted.channels))} x {wanted.shape} "
                f"{wanted.dtype}, voxels of {wanted.voxel_size} micrometres.",
                got=got,
                do=f"Remove {self._partial} and export again.",
            )
        return volume

    def _digest_of(self, volume: Volume, box: Box) -> str | None:
        """Return the checksum of what is on disk; None where it cannot even be decoded."""
        many = len(self._description.channels)
        try:
            # Slabs, because reading whole shards at once takes several times their size.
            slabs = Grid(box.shape, (volume.chunk[0], *box.shape[1:])).boxes()
            blocks = (volume.read(slab.shift(box.start)) for slab in slabs)
            if many:
                return slabs_digest((many, *box.shape), blocks)
            return slabs_digest(box.shape, (block[0] for block in blocks))
        except VolumeError:
            return None

    def _step(self, stage: int, done: int) -> None:
        """Tell how far it is: each stage counts one grid."""
        if self._cancelled():
            raise Cancelled
        self._progress(stage * len(self._grid) + done, self._stages * len(self._grid))

    def _staged(self, stage: int, done: int, total: int) -> None:
        blocks = len(self._grid)
        self._progress(stage * blocks + blocks * done // max(1, total), self._stages * blocks)


def check_target(path: Path | str, format: str, *, overwrite: bool = False) -> None:
    """Raise what an export would raise of its target, before hours of work go into it.

    Parameters
    ----------
    path : Path or str
        Target.
    format : str
        "ome-zarr" or "tiff".
    overwrite : bool
        Whether an image of the same format may be there.

    Raises
    ------
    ExportError
        The format is unknown, the name says another, or something else is there.
    StorageError
        The folder is read-only, or its disk is full.
    """
    target = Path(path)
    if format not in get_args(Format):
        raise ExportError(
            "Exports are written as 'ome-zarr' or 'tiff'.", got=format, do="Choose one of these."
        )
    named_tiff = target.suffix.lower() in _TIFF_SUFFIXES
    if named_tiff != (format == "tiff"):
        raise ExportError(
            "A TIFF is a file that ends in .tif or .tiff, and an OME-Zarr a folder that does not.",
            got=f"{target.name} as {format}",
            do=f"Name it {target.stem}{'.tif' if format == 'tiff' else '.ome.zarr'}.",
        )
    if not target.parent.is_dir():
        raise ExportError(
            "The folder of the target exists.", got=target.parent, do="Make it or choose another."
        )
    replaceable = target.exists() and _same_kind(target, format)
    if target.exists() and not (overwrite and replaceable):
        raise ExportError(
            "An export does not replace what is there"
            + (" unless it is told to overwrite it." if replaceable else "."),
            got=target,
            do="Choose another name, or overwrite it."
            if replaceable
            else "Remove it or choose another name.",
        )
    try:
        # Permissions do not tell: the owner may be root, the disk mounted read-only.
        with tempfile.TemporaryFile(dir=target.parent) as file:
            file.write(bytes(1))
    except OSError as error:
        raise storage_error(target, error) from error


def _same_kind(target: Path, format: str) -> bool:
    if format == "tiff":
        return target.is_file()
    return any((target / name).is_file() for name in ("zarr.json", ".zattrs", ".zgroup"))


def _check_partial(manifest: Path, *kept: Path) -> None:
    """Refuse to touch something that only happens to have the name of a half-finished export."""
    for path in (manifest, *kept):
        if path.exists() and not is_manifest(manifest):
            raise ExportError(
                f"A half-finished export is kept as {kept[0].name} until it is complete.",
                got=f"{path}, which is something else",
                do="Move it away or choose another name.",
            )


def _put_in_place(complete: Path, target: Path) -> None:
    if not target.is_dir():
        complete.replace(target)
        return
    # No system replaces a folder that holds something; the old one leaves last.
    old = Path(tempfile.mkdtemp(prefix="replaced-", dir=target.parent))
    target.replace(old / target.name)
    complete.replace(target)
    remove(old)
