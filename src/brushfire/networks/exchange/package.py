"""Folders and zips of other programs: their files by name, of which nothing is extracted."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from brushfire.archives import DAMAGED, OUTSIDE, harmless_entries, read_entry
from brushfire.errors import ModelError, StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_TEXT = 1 << 20
"""Bytes that a description may have."""
MOST_WEIGHTS = 2 << 30
"""Bytes that weights may have."""

_NEXT = "Choose another file, or ask whoever made it for a new one."


class Package:
    """A folder or a zip whose entries are harmless.

    Names go from its top; where a zip holds one folder and nothing else, from that folder.

    Parameters
    ----------
    path : Path
        The folder or zip.

    Raises
    ------
    ModelError
        If a zip is damaged, or an entry leads outside, is a link, encrypted or there twice.
    StorageError
        If it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._entries: Mapping[str, zipfile.ZipInfo] | None = None
        if not self.path.is_dir():
            self._entries = _entries(self.path)

    @property
    def is_folder(self) -> bool:
        """Whether it is no zip."""
        return self._entries is None

    def __contains__(self, name: str) -> bool:
        if self._entries is not None:
            return name in self._entries
        return os.path.lexists(self.path / name)

    def first(self, *names: str) -> str | None:
        """Return the first of some names that is there."""
        return next((name for name in names if name in self), None)

    def read(self, name: str, most: int = MOST_TEXT) -> bytes:
        """Return what a file holds.

        Parameters
        ----------
        name : str
            Its name, with / between folders.
        most : int
            Bytes that it may have.

        Raises
        ------
        ModelError
            If there is no such file inside, it is a link, or too long.
        StorageError
            If it cannot be read.
        """
        if OUTSIDE.search(name):
            raise _refusal("files inside it", f"the name {name[:100]!r} in {self.path}")
        if name not in self:
            raise _refusal(f"a file {name[:100]}", f"{self.path} without it")
        try:
            data = self._read_zipped(name, most) if self._entries else self._read_plain(name, most)
        except OSError as error:
            raise _unreadable(error, self.path) from error
        return data

    def _read_zipped(self, name: str, most: int) -> bytes:
        assert self._entries is not None
        info = self._entries[name]
        self._check_size(name, info.file_size, most)
        try:
            with zipfile.ZipFile(self.path) as archive:
                return read_entry(archive, info, self.path, _refusal)
        except DAMAGED as error:
            raise _refusal("whole files", f"{name} in {self.path} ({str(error)[:200]})") from error

    def _read_plain(self, name: str, most: int) -> bytes:
        path = self.path
        for part in Path(name).parts:
            path = path / part
            if path.is_symlink():
                raise _refusal("plain files", f"{path}, which is a link")
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise _refusal("plain files", f"{path}, which is no file")
        self._check_size(name, about.st_size, most)
        with path.open("rb") as file:
            data = file.read(most + 1)
        self._check_size(name, len(data), most)  # it may have grown
        return data

    def _check_size(self, name: str, size: int, most: int) -> None:
        if size > most:
            raise _refusal(f"at most {most} bytes of {name}", f"{size} in {self.path}")


def read_bytes(path: Path, most: int = MOST_WEIGHTS) -> bytes:
    """Return what a file holds.

    Raises
    ------
    ModelError
        If it has too many bytes.
    StorageError
        If it cannot be read.
    """
    try:
        size = path.stat().st_size
        if size > most:
            raise _refusal(f"at most {most} bytes", f"{size} in {path}")
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(error, path) from error


def write_package(path: Path, files: Mapping[str, bytes]) -> None:
    """Write files to a new folder, or to a new zip where the name ends so; whole or not at all.

    Raises
    ------
    ModelError
        If something is there.
    StorageError
        If the disk refuses.
    """
    path = Path(path)
    if os.path.lexists(path):
        raise ModelError(
            "A model is exported to a new place.",
            got=f"{path}, which exists",
            do="Choose another name.",
        )
    made = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        if path.suffix.lower() == ".zip":
            # Weights hardly get smaller; and no dates, so that the same model is the same file.
            with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
                for name, data in files.items():
                    archive.writestr(zipfile.ZipInfo(name), data)
        else:
            made.mkdir()
            for name, data in files.items():
                (made / name).parent.mkdir(parents=True, exist_ok=True)
                (made / name).write_bytes(data)
        os.replace(made, path)
    except OSError as error:
        raise StorageError(
            "A model is exported to a folder that exists and has room.",
            got=f"{path} ({error.strerror})",
            do="Choose another place.",
        ) from error
    finally:
        if made.is_dir():
            shutil.rmtree(made, ignore_errors=True)
        made.unlink(missing_ok=True)


def _entries(path: Path) -> dict[str, zipfile.ZipInfo]:
    """Return the files of a zip by name, each of them harmless."""
    try:
        with zipfile.ZipFile(path) as archive:
            files = harmless_entries(archive, path, _refusal)
    except OSError as error:
        raise _unreadable(error, path) from error
    except DAMAGED as error:
        raise _refusal("a whole zip, or a folder", f"{path} ({str(error)[:200]})") from error
    top = _top(files)
    return {name.removeprefix(top): one for name, one in files.items() if not one.is_dir()}


def _top(entries: Mapping[str, zipfile.ZipInfo]) -> str:
    """Return what comes before all names: nothing, or the only folder."""
    tops = {name.partition("/")[0] for name in entries}
    alone = len(tops) == 1 and all("/" in name for name in entries)
    return f"{tops.pop()}/" if alone else ""


def _unreadable(error: OSError, path: Path) -> StorageError:
    return StorageError(
        "A file of a model can be read.",
        got=f"{path} ({error.strerror or error})",
        do="Choose one that is there and may be read.",
    )


def _refusal(what: str, got: str) -> ModelError:
    return ModelError(f"A package of a model holds {what}.", got=got, do=_NEXT)
