"""Files that survive a crash at any moment, and sentences for disks that refuse."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from brushfire.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENODEV}


def sync_folder(folder: Path) -> None:
    """Make names created, replaced and removed in ``folder`` survive a power cut."""
    if os.name == "nt":  # Windows has no handle of a folder to flush; NTFS journals names itself
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` so that ``path`` holds either all of it or what it held before.

    Raises
    ------
    OSError
        As the disk says; `storage_error` makes a sentence of it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):  # the first error is the one to tell
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def storage_error(error: OSError, place: Path, rule: str, do: str) -> StorageError:
    """Return the sentence for an error of the disk.

    Parameters
    ----------
    error : OSError
        What the system said.
    place : Path
        File or folder that was to be written.
    rule : str
        What should have worked, as a sentence.
    do : str
        What happens next if the user does as told, as a sentence.
    """
    if error.errno in _FULL:
        got, move = f"the disk of {place} is full", "Free some space."
    elif error.errno in _FORBIDDEN:
        got, move = f"{place} may not be written", "Make the folder writable."
    elif error.errno in _GONE:
        got, move = f"{place} is gone", "Bring the folder or the drive back."
    else:
        got, move = f"{error.strerror or error} at {place}", "Check the disk."
    return StorageError(rule, got=got, do=f"{move} {do}")
