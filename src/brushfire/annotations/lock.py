"""One process at a time writes to a project folder."""

from __future__ import annotations

import errno
import os
import socket
import sys
from typing import TYPE_CHECKING

from brushfire.errors import AnnotationError

if TYPE_CHECKING:
    from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def _take(handle: int) -> None:
        # Far behind the text, so that others can still read who holds the lock.
        os.lseek(handle, 1 << 30, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _take(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


# Some network file systems have no locks: there the process number has to do.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


class FolderLock:
    """A lock file with the holder's process number in it.

    The operating system holds the lock as long as the process lives, so that a dead process
    leaves a file, but no lock: the next one takes it over.

    Parameters
    ----------
    path : Path
        The lock file. It stays when the lock is given back: removing it could take away the
        lock of a process that has just opened it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._handle is not None

    def acquire(self) -> None:
        """Take the lock, or do nothing when it is held already.

        Raises
        ------
        AnnotationError
            If another process, or another part of this one, holds it.
        OSError
            If the lock file cannot be written.
        """
        if self._handle is not None:
            return
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._lock(handle)
            os.ftruncate(handle, 0)
            os.lseek(handle, 0, os.SEEK_SET)
            os.write(handle, f"{os.getpid()} {socket.gethostname()}\n".encode())
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle

    def _lock(self, handle: int) -> None:
        try:
            _take(handle)
        except (BlockingIOError, PermissionError) as error:
            raise self._taken(handle) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            if self._holder_lives(handle):
                raise self._taken(handle) from error

    def _taken(self, handle: int) -> AnnotationError:
        return AnnotationError(
            "Only one Brushfire at a time works on a project.",
            got=f"{self._path.parent} is open in {self._holder(handle)}",
            do="Close it there, or open another project.",
        )

    @staticmethod
    def _holder_lives(handle: int) -> bool:
        """Whether the process named in the file runs, as far as this machine can tell."""
        words = _words(handle)
        if len(words) != 2 or not words[0].isdecimal() or words[1] != socket.gethostname():
            return False
        try:
            os.kill(int(words[0]), 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return int(words[0]) != os.getpid()

    @staticmethod
    def _holder(handle: int) -> str:
        words = _words(handle)
        if not words:
            return "another process"
        if words[0] == str(os.getpid()):
            return f"this process ({words[0]})"
        return f"process {words[0]}" + (f" on {words[1]}" if len(words) > 1 else "")

    def release(self) -> None:
        """Give the lock back; nothing happens when it is not held."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _words(handle: int) -> list[str]:
    os.lseek(handle, 0, os.SEEK_SET)
    return os.read(handle, 200).decode("utf-8", "replace").split()
