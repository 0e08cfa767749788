"""All labels as a sparse Zarr array, brought up to date in one indivisible step.

Changed chunks are first written to a folder of their own, `journal/checkpoint.part`. Renaming
it to `journal/checkpoint` is the moment from which the checkpoint counts; `finish` then moves
its chunks into `annotations.zarr`, and its `zarr.json`, which carries the sequence number of
the last edit that the array contains, at the very end. `finish` can be repeated after a crash.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorstore as ts

from brushfire.annotations.files import sync_folder, write_atomically
from brushfire.errors import AnnotationError
from brushfire.geometry import Grid, Triple, triple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from brushfire.annotations.snapshot import AnnotationSnapshot

ARRAY = "annotations.zarr"
JOURNAL = "journal"
DAMAGED = "damaged"
VERSION = 1
_STAGED = "checkpoint"
_PART = "checkpoint.part"
_REMOVED = "removed.json"
_CHUNKS = "c.*.*.*"
_AT_ONCE = 16

# Labels are bytes in long runs: one thread keeps up, and leaves the cores to learning.
_CONTEXT = {
    "file_io_concurrency": {"limit": 4},
    "data_copy_concurrency": {"limit": 1},
    "cache_pool": {"total_bytes_limit": 0},
}


@dataclass(frozen=True)
class Loaded:
    """What a checkpoint holds.

    Parameters
    ----------
    grid : Grid
        Shape of the labels and of the chunks on disk.
    sequence : int
        Number of the last edit that is in the checkpoint; 0 for none.
    chunks : dict
        The voxels of every chunk that has a label.
    damaged : tuple of tuple of int
        Chunks that could not be read.
    """

    grid: Grid
    sequence: int = 0
    chunks: dict[Triple, NDArray[np.uint8]] = field(default_factory=dict)
    damaged: tuple[Triple, ...] = ()


def write(
    folder: Path,
    snapshot: AnnotationSnapshot,
    changed: Collection[Triple],
    *,
    between: Callable[[], None],
) -> None:
    """Bring the checkpoint in ``folder`` up to ``snapshot``.

    Parameters
    ----------
    folder : Path
        The project folder; its `journal` folder exists.
    snapshot : AnnotationSnapshot
        What the checkpoint is to hold.
    changed : collection of tuple of int
        At least the chunks that differ from the checkpoint on disk.
    between : callable
        Called often; what it raises before the checkpoint counts undoes all of it.

    Raises
    ------
    OSError
        As the disk says. The checkpoint on disk is then the old or the new one, never a mixture.
    """
    part = folder / JOURNAL / _PART
    finish(folder, between=between)
    part.mkdir()
    try:
        _stage(part, snapshot, changed, between)
        os.rename(part, folder / JOURNAL / _STAGED)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    sync_folder(folder / JOURNAL)
    finish(folder, between=between)


def _stage(
    part: Path,
    snapshot: AnnotationSnapshot,
    changed: Collection[Triple],
    between: Callable[[], None],
) -> None:
    try:
        array = ts.open(
            _spec(part, snapshot.grid, snapshot.revision), create=True, context=ts.Context(_CONTEXT)
        ).result()
        order = sorted(changed)
        removed = [_name(index) for index in order if snapshot.chunk(index) is None]
        found = ((index, snapshot.chunk(index)) for index in order)
        kept = [(index, chunk) for index, chunk in found if chunk is not None]
        for at in range(0, len(kept), _AT_ONCE):
            # Each write is synced before it is done, so that the rename is safe.
            writes = [
                array[snapshot.grid.box(index).slices].write(chunk)
                for index, chunk in kept[at : at + _AT_ONCE]
            ]
            for one in writes:
                one.result()
            between()
    except ValueError as error:  # tensorstore's form of a refusing disk
        raise _as_os_error(error, part) from error
    write_atomically(part / _REMOVED, json.dumps(removed).encode())
    sync_folder(part)


def _as_os_error(error: ValueError, place: Path) -> OSError:
    """Ask the disk itself what is wrong, since tensorstore tells it in words only."""
    probe = place / "probe"
    try:
        with probe.open("wb") as file:
            file.write(b"\0" * 65536)
            file.flush()
            os.fsync(file.fileno())
        probe.unlink()
    except OSError as refused:
        return refused
    return OSError(None, str(error))


def finish(folder: Path, *, between: Callable[[], None] = lambda: None) -> None:
    """Complete a checkpoint that counts but was not moved to its place yet.

    Raises
    ------
    OSError
        As the disk says; it can be called again.
    """
    staged, target = folder / JOURNAL / _STAGED, folder / ARRAY
    shutil.rmtree(folder / JOURNAL / _PART, ignore_errors=True)
    if not staged.exists():
        return
    if (staged / "zarr.json").exists():  # it goes last: without it all is in place
        target.mkdir(exist_ok=True)
        for name in json.loads((staged / _REMOVED).read_bytes()):
            (target / name).unlink(missing_ok=True)
        for source in sorted(staged.glob(_CHUNKS)):
            os.replace(source, target / source.name)
            between()
        sync_folder(target)
        os.replace(staged / "zarr.json", target / "zarr.json")
        sync_folder(target)
        sync_folder(folder)
    shutil.rmtree(staged)


def load(folder: Path, shape: Triple, cell: Triple, *, writable: bool) -> Loaded:
    """Read the checkpoint of a project folder; an empty one where there is none.

    Parameters
    ----------
    folder : Path
        The project folder.
    shape : tuple of int
        Shape that the labels should have.
    cell : tuple of int
        Shape of the chunks where no checkpoint says another.
    writable : bool
        Whether files of damaged chunks may be set aside.

    Raises
    ------
    AnnotationError
        If it is for another shape, of a newer format, or its metadata is damaged.
    """
    target = folder / ARRAY
    if not (target / "zarr.json").exists():
        return Loaded(Grid(shape, cell))
    grid, sequence = _metadata(target, shape)
    array = ts.open(_spec(target, grid, sequence), open=True, context=ts.Context(_CONTEXT)).result()
    chunks, damaged = {}, []
    for index, voxels in _chunks(target, grid, array):
        if voxels is None:
            if writable:
                _set_aside(folder, index)
            damaged.append(index)
        elif voxels.any():
            chunks[index] = voxels
    return Loaded(grid, sequence, chunks, tuple(damaged))


def _metadata(target: Path, shape: Triple) -> tuple[Grid, int]:
    try:
        found = json.loads((target / "zarr.json").read_bytes())
        ours = found["attributes"]["brushfire"]
        version, sequence = int(ours["format"]), int(ours["sequence"])
        stored = triple(found["shape"])
        cell = triple(found["chunk_grid"]["configuration"]["chunk_shape"])
        grid = Grid(stored, cell)
    except (ValueError, KeyError, TypeError) as error:
        raise AnnotationError(
            "The labels of a project are a Zarr array that Brushfire wrote.",
            got=f"{target / 'zarr.json'}, which cannot be understood ({error})",
            do="Restore that file from a backup, or move the folder annotations.zarr away to"
            " open the project with the strokes of the journal only.",
        ) from error
    if version > VERSION:
        raise AnnotationError(
            f"This version of Brushfire reads labels up to format {VERSION}.",
            got=f"format {version} in {target}",
            do="Open the project with a newer version of Brushfire.",
        )
    check_shape(stored, shape, target)
    return grid, sequence


def check_shape(stored: Triple, shape: Triple, place: Path) -> None:
    """Check that labels on disk are for the volume at hand.

    Raises
    ------
    AnnotationError
        If they are for another shape.
    """
    if stored != shape:
        raise AnnotationError(
            f"Labels have the shape of their volume, here {shape}.",
            got=f"labels of shape {stored} in {place}",
            do="Open the volume that this project was made for, or make a new project.",
        )


def _chunks(
    target: Path, grid: Grid, array: Any
) -> Iterator[tuple[Triple, NDArray[np.uint8] | None]]:
    counts = grid.counts
    found = []
    for path in sorted(target.glob(_CHUNKS)):
        names = path.name.split(".")[1:]
        if len(names) == 3 and all(name.isdecimal() for name in names):
            index = triple([int(name) for name in names])
            if all(i < n for i, n in zip(index, counts, strict=True)):
                found.append(index)
    for at in range(0, len(found), _AT_ONCE):
        group = found[at : at + _AT_ONCE]
        reads = [array[grid.box(index).slices].read() for index in group]
        for index, read in zip(group, reads, strict=True):
            try:
                # A copy of our own: the store writes into its chunks.
                voxels = np.array(read.result(), dtype=np.uint8, copy=True)
            except ValueError:
                yield index, None
            else:
                yield index, voxels if int(voxels.max(initial=0)) <= 127 else None


def _set_aside(folder: Path, index: Triple) -> None:
    aside = folder / JOURNAL / DAMAGED
    aside.mkdir(parents=True, exist_ok=True)
    os.replace(folder / ARRAY / _name(index), free_name(aside / _name(index)))


def free_name(path: Path) -> Path:
    """Return ``path``, with a number behind it where the name is taken."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def _name(index: Triple) -> str:
    return "c.{}.{}.{}".format(*index)


def _spec(path: Path, grid: Grid, sequence: int) -> dict[str, Any]:
    return {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": f"{path}/"},
        "metadata": {
            "shape": list(grid.shape),
            "data_type": "uint8",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(grid.cell)}},
            # All chunks in one folder: making a folder safe costs as much as making a file safe.
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "codecs": [
                {"name": "bytes"},
                {"name": "zstd", "configuration": {"level": 3, "checksum": True}},
            ],
            "fill_value": 0,
            "dimension_names": ["z", "y", "x"],
            "attributes": {"brushfire": {"format": VERSION, "sequence": sequence}},
        },
    }
