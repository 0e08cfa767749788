"""What the disk says, as sentences."""

from __future__ import annotations

import errno
import shutil
from typing import TYPE_CHECKING

from brushfire.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path

_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def storage_error(path: Path, error: OSError) -> StorageError:
    """Return the sentence for what went wrong while writing ``path``."""
    if error.errno in _FULL:
        rule = "An export needs free space on the disk of its target."
        do = "Free some space or choose another disk, then export again: finished blocks are kept."
    elif error.errno in _READ_ONLY:
        rule = "An export needs a folder that can be written."
        do = "Choose another folder or change its permissions."
    else:
        rule = "An export writes to the disk of its target."
        do = "Look after the disk, then export again: finished blocks are kept."
    return StorageError(rule, got=f"{path}: {error.strerror or error}", do=do)


def require_free_space(path: Path, needed: int) -> None:
    """Raise where the disk of ``path`` has less than ``needed`` bytes left.

    Raises
    ------
    StorageError
        With both numbers.
    """
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise StorageError(
            f"This export needs {needed / 2**20:.1f} MiB of free space.",
            got=f"{free / 2**20:.1f} MiB free in {path.parent}",
            do="Free some space, choose another disk, or export a smaller region.",
        )


def size_on_disk(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return path.stat().st_size


def remove(path: Path) -> None:
    """Remove a file or a folder; nothing happens where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
