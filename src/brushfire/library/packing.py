"""Folders and zips of a few small files with known names; nothing is ever extracted."""

from __future__ import annotations

import io
import os
import shutil
import stat
import threading
import zipfile
from contextlib import suppress
from typing import TYPE_CHECKING

from brushfire.annotations.files import storage_error, sync_folder, write_atomically
from brushfire.archives import DAMAGED, MOST_ENTRIES, harmless_entries, read_entry
from brushfire.errors import ModelError, StorageError
from brushfire.learning.patches import FILE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CARD = "card.json"
WEIGHTS = "weights.safetensors"
EXAMPLES = "examples.safetensors"
PATCHES = "patches.safetensors"
BOUNDS = {CARD: 1 << 20, WEIGHTS: 1 << 30, EXAMPLES: 64 << 20, PATCHES: FILE_BYTES}
"""The files of a model, and how many bytes each may have."""

_MOST_BYTES = sum(BOUNDS.values()) + (1 << 20)
_NEXT = "Choose another model file, or ask whoever made it for a new one."


def read_folder(folder: Path, names: tuple[str, ...] = tuple(BOUNDS)) -> dict[str, bytes]:
    """Return those files of a model's folder that there are, of some names.

    Raises
    ------
    ModelError
        If one is a link or no file, or larger than it may be.
    StorageError
        If one cannot be read.
    """
    found = {}
    for name in names:
        path = folder / name
        try:
            about = path.lstat()
            if not stat.S_ISREG(about.st_mode):
                raise _refusal("plain files", f"{path}, which is a link or no file")
            _check_size(path, name, about.st_size)
            with path.open("rb") as file:
                found[name] = file.read(BOUNDS[name] + 1)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise unreadable(error, path) from error
        _check_size(path, name, len(found[name]))  # it may have grown
    return found


def read_bare(path: Path) -> bytes:
    """Return a file of weights; raises as `read_folder` does."""
    try:
        _check_size(path, WEIGHTS, path.stat().st_size)
        with path.open("rb") as file:
            data = file.read(BOUNDS[WEIGHTS] + 1)
    except OSError as error:
        raise unreadable(error, path) from error
    _check_size(path, WEIGHTS, len(data))
    return data


def read_zip(path: Path, names: tuple[str, ...] = tuple(BOUNDS)) -> dict[str, bytes]:
    """Return those files of a model's zip that there are, of some names.

    They lie at its top, or in its only folder there. Sizes are checked before anything is read.

    Raises
    ------
    ModelError
        If it is damaged, or an entry leads outside, is a link, encrypted, there twice, or larger
        than it may be.
    StorageError
        If it cannot be read.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _refusal(f"at most {_MOST_BYTES} bytes", f"{path.stat().st_size} in {path}")
        with zipfile.ZipFile(path) as archive:
            entries = harmless_entries(archive, path, _refusal)
            top = _top(entries)
            return {
                name: _read(archive, entries[top + name], name, path)
                for name in names
                if top + name in entries
            }
    except OSError as error:
        raise unreadable(error, path) from error
    except DAMAGED as error:
        raise _refusal("a whole zip", f"{path} ({str(error)[:200]})") from error


def names_in_zip(path: Path) -> list[str]:
    """Return what a zip holds, or nothing where it cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()[:MOST_ENTRIES]
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return []


def _top(entries: Mapping[str, zipfile.ZipInfo]) -> str:
    """Return what comes before the names of a model's files: nothing, or the only folder."""
    folders = {name.partition("/")[0] for name in entries}
    if CARD not in entries and len(folders) == 1:
        return f"{folders.pop()}/"
    return ""


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, path: Path) -> bytes:
    _check_size(path, name, info.file_size)
    return read_entry(archive, info, path, _refusal)


def _check_size(path: Path, name: str, size: int) -> None:
    if size > BOUNDS[name]:
        raise _refusal(f"at most {BOUNDS[name]} bytes of {name}", f"{size} in {path}")


def write_folder(folder: Path, files: Mapping[str, bytes], *, overwrite: bool) -> None:
    """Write a model's folder beside its place and rename it, so that it is whole or not there.

    Raises
    ------
    ModelError
        If something is there that is not to be replaced, or is no model.
    StorageError
        If the disk refuses; what was there is then still there.
    """
    _check_target(folder, overwrite=overwrite)
    made, old = _beside(folder, "new"), _beside(folder, "old")
    try:
        made.mkdir()
        for name, data in files.items():
            write_atomically(made / name, data)
        if folder.exists():
            os.replace(folder, old)
        try:
            os.replace(made, folder)
        except OSError:
            if old.exists():
                os.replace(old, folder)
            raise
        sync_folder(folder.parent)
    except OSError as error:
        raise _unwritable(error, folder) from error
    finally:
        for left in (made, old):
            shutil.rmtree(left, ignore_errors=True)


def write_zip(path: Path, files: Mapping[str, bytes], *, overwrite: bool) -> None:
    """Write a model's zip, so that it is whole or not there; raises as `write_folder` does."""
    _check_target(path, overwrite=overwrite)
    packed = io.BytesIO()
    # Weights hardly get smaller; and stored ones are read without work.
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            # Without a date, so that the same model gives the same file.
            archive.writestr(zipfile.ZipInfo(name), data)
    try:
        write_atomically(path, packed.getvalue())
    except OSError as error:
        raise _unwritable(error, path) from error


def remove(path: Path) -> None:
    """Remove a model's folder or zip; of a link the link alone.

    Raises
    ------
    StorageError
        If the disk refuses.
    """
    try:
        if path.is_symlink() or not path.is_dir():
            path.unlink()
            return
        # Gone at once for everybody who looks, however long its files take.
        old = _beside(path, "old")
        os.replace(path, old)
        shutil.rmtree(old)
        sync_folder(path.parent)
    except OSError as error:
        raise _unwritable(error, path) from error


def unreadable(error: OSError, path: Path) -> StorageError:
    """Return the sentence for a model file that the disk does not give."""
    return storage_error(error, path, "A model file can be read.", "Or choose another one.")


def _unwritable(error: OSError, path: Path) -> StorageError:
    rule = "A model file is written to a folder that exists."
    return storage_error(error, path, rule, "Or choose another place.")


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.{what}")


def _check_target(path: Path, *, overwrite: bool) -> None:
    there = False
    with suppress(OSError):
        path.lstat()
        there = True
    if not there:
        return
    if not overwrite:
        raise ModelError(
            "A model file is written to a new place.",
            got=f"{path}, which exists",
            do="Choose another name, or say that it is to be replaced.",
        )
    if path.is_dir() and (path.is_symlink() or not (path / CARD).is_file()):
        raise ModelError(
            "Only a model is replaced by a model.",
            got=f"the folder {path} without a {CARD}",
            do="Choose another name.",
        )


def _refusal(what: str, got: str) -> ModelError:
    return ModelError(f"A model file holds {what}.", got=got, do=_NEXT)
