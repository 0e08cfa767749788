"""Predict a whole region into a store on disk, with a manifest of finished tiles to resume from."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

from brushfire.errors import StorageError
from brushfire.geometry import Box, Grid, Triple, triple
from brushfire.volumes import MultiscaleWriter, create_multiscale

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import TextIO

    import numpy as np
    from numpy.typing import NDArray

TILE = 512
"""Edge of a tile of a whole-volume run, voxels; larger than on screen, so that less is halo."""

_HEADER, _MANIFEST = "run.json", "tiles.done"


class RegionRun:
    """The labels of one region, made by one model, filled tile by tile in file order.

    Parameters
    ----------
    folder : Path
        Where the store and its manifest live; made if missing. A run with the same ``key`` and
        region found there is continued, anything else found there is replaced.
    region : Box
        The voxels of the volume to predict, level 0.
    key : str
        Names the model and the volume; a changed key starts afresh.
    voxel_size : tuple of float
        Micrometres, z, y, x.
    classes : sequence of (int, str, str)
        Value, name and colour of each class.
    """

    def __init__(
        self,
        folder: Path,
        region: Box,
        *,
        key: str,
        voxel_size: tuple[float, float, float],
        classes: Sequence[tuple[int, str, str]],
    ) -> None:
        self.region = region
        self.grid = Grid(region.shape, (1, TILE, TILE))
        self._folder = folder
        self._header = {"key": key, "start": region.start, "stop": region.stop, "tile": TILE}
        self._done = self._resume()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._store: MultiscaleWriter = create_multiscale(
                folder / "labels.ome.zarr",
                shape=region.shape,
                dtype="uint8",
                voxel_size=voxel_size,
                name="labels",
                labels=classes,
                chunk=(1, TILE, TILE),
                resume=bool(self._done),
                overwrite=not self._done,
            )
            self._header_path.write_text(json.dumps(self._header))
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

    @property
    def shape(self) -> Triple:
        """Voxels of the region, z, y, x."""
        return self.region.shape

    def pending(self) -> Iterator[tuple[Triple, Box]]:
        """Yield index and box, in the volume's voxels, of each unfinished tile in file order."""
        for index in self.grid.indices():
            if index not in self._done:
                yield index, self.grid.box(index).shift(self.region.start)

    def write(self, index: Triple, labels: NDArray[np.uint8]) -> None:
        """Store one tile, then note it as finished, in this order."""
        try:
            self._store.write(self.grid.box(index), labels)
            self._manifest.write("{} {} {}\n".format(*index))
            self._manifest.flush()
        except OSError as error:
            raise _storage_error(self._folder, error) from error
        self._done.add(index)

    def read(self, box: Box) -> NDArray[np.uint8]:
        """Return the labels of ``box``, given relative to the region."""
        block: NDArray[np.uint8] = self._store.read(box)
        return block

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

    @property
    def _header_path(self) -> Path:
        return self._folder / _HEADER

    @property
    def _manifest_path(self) -> Path:
        return self._folder / _MANIFEST

    def _open_manifest(self) -> TextIO:
        # Written anew: a line that a crash cut in two must not run into the next one.
        fresh = self._manifest_path.with_suffix(".new")
        fresh.write_text("".join("{} {} {}\n".format(*index) for index in sorted(self._done)))
        fresh.replace(self._manifest_path)
        return self._manifest_path.open("a", encoding="ascii")

    def _resume(self) -> set[Triple]:
        """Return the tiles an earlier attempt finished; clear the folder where it was another."""
        try:
            header = json.loads(self._header_path.read_text())
            lines = self._manifest_path.read_text().splitlines(keepends=True)
            # A line without its end was cut off by a crash: its tile is predicted again.
            done = {triple([int(v) for v in ln.split()]) for ln in lines if ln.endswith("\n")}
        except (OSError, ValueError):
            header, done = None, set()
        if header == json.loads(json.dumps(self._header)):
            return done
        if self._folder.exists():
            shutil.rmtree(self._folder)
        return set()


def can_be_continued(folder: Path, key: str) -> bool:
    """Whether ``folder`` holds an unfinished run of this key."""
    try:
        header = json.loads((folder / _HEADER).read_text())
        finished = len((folder / _MANIFEST).read_text().splitlines())
        region = Box(triple(header["start"]), triple(header["stop"]))
        total = len(Grid(region.shape, (1, TILE, TILE)))
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return header.get("key") == key and finished < total


def _storage_error(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        "Predictions are stored on disk while a region is predicted.",
        got=f"{folder}: {os.strerror(error.errno) if error.errno else error}",
        do="Free space or make the folder writable, then start again: finished tiles are kept.",
    )
