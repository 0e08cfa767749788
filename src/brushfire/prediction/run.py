"""Predict a whole region into a store on disk, with a manifest of finished tiles to resume from."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

from brushfire.errors import StorageError
from brushfire.geometry import Box, Grid, Triple, triple
from brushfire.volumes import MultiscaleWriter, create_multiscale, open_volume

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import TextIO

    from numpy.typing import NDArray

TILE = 512
"""Edge of a tile of a whole-volume run, voxels; larger than on screen, so that less is halo."""

_HEADER, _MANIFEST = "run.json", "tiles.done"
_LABELS, _RESTORED = "labels.ome.zarr", "restored.ome.zarr"


class RegionRun:
    """Labels or restored intensities of one region, filled tile by tile in file order.

    All of them are made by one model.

    Parameters
    ----------
    folder : Path
        Where the store and its manifest live; made if missing. A run with the same ``key`` and
        region found there is continued, anything else found there is replaced.
    region : Box
        The voxels of the volume to predict, level 0.
    key : str
        Names the model and the volume; a changed key starts afresh.
    classes : sequence of (int, str, str)
        Value, name and colour of each class; none where intensities are restored.
    restored : int
        Channels that are restored, as float32; 0 for labels, uint8.
    """

    def __init__(
        self,
        folder: Path,
        region: Box,
        *,
        key: str,
        classes: Sequence[tuple[int, str, str]] = (),
        restored: int = 0,
    ) -> None:
        self.region = region
        self.grid = Grid(region.shape, (1, TILE, TILE))
        self._folder = folder
        self._header = _header(key, region, restored)
        try:
            self._done = self._resume()
            folder.mkdir(parents=True, exist_ok=True)
            self._store: MultiscaleWriter = create_multiscale(
                folder / (_RESTORED if restored else _LABELS),
                shape=region.shape,
                dtype="float32" if restored else "uint8",
                # Not the volume's: this store is ours alone, and that size may be corrected
                # between two attempts.
                voxel_size=(1.0, 1.0, 1.0),
                name="restored" if restored else "labels",
                labels=None if restored else classes,
                channels=[f"restored {at + 1}" for at in range(restored)] or None,
                chunk=(1, TILE, TILE),
                resume=bool(self._done),
                overwrite=not self._done,
            )
            (self._folder / _HEADER).write_text(json.dumps(self._header))
            self._manifest = self._open_manifest()
        except OSError as error:
            raise _storage_error(folder, error) from error

    @property
    def total(self) -> int:
        """Number of tiles."""
        return len(self.grid)

    @property
    def done(self) -> int:
        """Number of finished tiles, those of earlier attempts counted."""
        return len(self._done)

    def pending(self) -> Iterator[tuple[Triple, Box]]:
        """Yield index and box, in the volume's voxels, of each unfinished tile in file order."""
        for index in self.grid.indices():
            if index not in self._done:
                yield index, self.grid.box(index).shift(self.region.start)

    def write(self, index: Triple, block: NDArray[Any]) -> None:
        """Store one tile, (z, y, x) or (channels, z, y, x), then note it as finished."""
        try:
            self._store.write(self.grid.box(index), block)
            self._manifest.write("{} {} {}\n".format(*index))
            self._manifest.flush()
        except OSError as error:
            raise _storage_error(self._folder, error) from error
        self._done.add(index)

    def close(self) -> None:
        """Release the files; everything written stays for a later attempt."""
        self._manifest.close()
        self._store.close()

    def __enter__(self) -> RegionRun:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open_manifest(self) -> TextIO:
        # Written anew: a line that a crash cut in two must not run into the next one.
        fresh = (self._folder / _MANIFEST).with_suffix(".new")
        fresh.write_text("".join("{} {} {}\n".format(*index) for index in sorted(self._done)))
        fresh.replace(self._folder / _MANIFEST)
        return (self._folder / _MANIFEST).open("a", encoding="ascii")

    def _resume(self) -> set[Triple]:
        """Return the tiles an earlier attempt finished; clear the folder where it was another."""
        if not self._folder.exists():
            return set()
        if _read_header(self._folder) == self._header:
            return _finished(self._folder)
        shutil.rmtree(self._folder)
        return set()


class PredictedRegion:
    """A finished run, to read from; nothing is ever written or removed.

    Parameters
    ----------
    folder, region, key, restored
        As of the `RegionRun` that made it.
    cache_bytes : int
        What may be kept decoded.

    Attributes
    ----------
    shape : tuple of int
        Voxels z, y, x.

    Raises
    ------
    StorageError
        The run is not there, or not finished.
    """

    def __init__(
        self, folder: Path, region: Box, *, key: str, cache_bytes: int, restored: int = 0
    ) -> None:
        self.shape = region.shape
        self._restored = restored
        header = _header(key, region, restored)
        try:
            done = len(_finished(folder)) if _read_header(folder) == header else 0
        except OSError as error:
            raise _storage_error(folder, error) from error
        total = len(Grid(region.shape, (1, TILE, TILE)))
        if done != total:
            raise StorageError(
                "An export is written from a region that was predicted as a whole.",
                got=f"{done} of {total} tiles in {folder}",
                do="Export again: the tiles that are missing are predicted first.",
            )
        store = folder / (_RESTORED if restored else _LABELS)
        self._volume = open_volume(store, cache_bytes=cache_bytes)

    def read(self, box: Box) -> NDArray[Any]:
        """Return what was predicted of ``box``, given relative to the region.

        Returns
        -------
        ndarray
            Labels, uint8, (z, y, x); or restored intensities, float32, (channels, z, y, x).
        """
        block = self._volume.read(box)
        return block if self._restored else block[0]

    def close(self) -> None:
        """Release the files."""
        self._volume.close()


def can_be_continued(folder: Path, key: str) -> bool:
    """Whether ``folder`` holds an unfinished run of this key, as far as can be told."""
    try:
        header = _read_header(folder)
        if header is None or header.get("key") != key:
            return False
        region = Box(triple(header["start"]), triple(header["stop"]))
        return len(_finished(folder)) < len(Grid(region.shape, (1, TILE, TILE)))
    except OSError:
        return True
    except (ValueError, KeyError, TypeError):
        return False


def _header(key: str, region: Box, restored: int) -> dict[str, Any]:
    # As it is after a round trip through JSON.
    header = {"key": key, "start": [*region.start], "stop": [*region.stop], "tile": TILE}
    return {**header, "restored": restored} if restored else header


def _read_header(folder: Path) -> dict[str, Any] | None:
    """Return what a run is of; None where there is none or it cannot be understood."""
    try:
        found = json.loads((folder / _HEADER).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _finished(folder: Path) -> set[Triple]:
    """Return the tiles that are on disk."""
    try:
        lines = (folder / _MANIFEST).read_text().splitlines(keepends=True)
        # A line without its end was cut off by a crash: its tile is predicted again.
        return {triple([int(v) for v in line.split()]) for line in lines if line.endswith("\n")}
    except (FileNotFoundError, ValueError):
        return set()


def _storage_error(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        "Predictions are stored on disk while a region is predicted.",
        got=f"{folder}: {os.strerror(error.errno) if error.errno else error}",
        do="Free space or make the folder writable, then start again: finished tiles are kept.",
    )
