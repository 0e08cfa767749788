"""One file of the journal, to which records are only ever appended."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brushfire.annotations.files import sync_folder
from brushfire.annotations.records import encode_header

if TYPE_CHECKING:
    from pathlib import Path

    from brushfire.geometry import Triple

PATTERN = "segment-*.log"


@dataclass(frozen=True, slots=True)
class ClosedSegment:
    """A segment to which nothing is added any more.

    Parameters
    ----------
    path : Path
        The file.
    last : int
        Largest sequence number in it; 0 without a record.
    size : int
        Bytes.
    damaged : bool
        Whether something in it could not be read, so that it is kept when it is not needed.
    """

    path: Path
    last: int
    size: int
    damaged: bool = False


class Segment:
    """A segment that is being written.

    Parameters
    ----------
    folder : Path
        The journal's folder.
    number : int
        Larger than that of all segments before.
    shape : tuple of int
        Shape of the labels.

    Raises
    ------
    OSError
        If the file cannot be made.
    """

    def __init__(self, folder: Path, number: int, shape: Triple) -> None:
        self.path = folder / f"segment-{number:08d}.log"
        self.last = 0
        self.size = 0
        self._handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            self._write(encode_header(shape))
            sync_folder(folder)
        except OSError:
            self.close()
            raise

    def append(self, data: bytes, last: int) -> None:
        """Write records and wait until they are on the disk.

        Parameters
        ----------
        data : bytes
            The records.
        last : int
            Sequence number of the last one.

        Raises
        ------
        OSError
            If the disk refuses. What was written before stays; the segment is of no more use,
            since the system may have forgotten what it could not write.
        """
        self._write(data)
        self.last = last

    def _write(self, data: bytes) -> None:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._handle, rest) :]
            os.fsync(self._handle)
        except OSError:
            with suppress(OSError):  # a torn end is also left out when it is read
                os.ftruncate(self._handle, self.size)
            raise
        self.size += len(data)

    def close(self) -> ClosedSegment | None:
        """Close the file; return what it holds, or None after removing it without a record."""
        # What an append reported as written is synced: closing has nothing left to lose.
        with suppress(OSError):
            os.close(self._handle)
        if self.last == 0:
            with suppress(OSError):  # an empty segment does no harm
                self.path.unlink()
            return None
        return ClosedSegment(self.path, self.last, self.size)


def number_of(path: Path) -> int:
    """Return the number in a segment's name; 0 where it is not one of ours."""
    digits = path.stem.removeprefix("segment-")
    return int(digits) if digits.isdecimal() else 0
