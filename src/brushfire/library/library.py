"""The local library: one folder of model files, each under its name."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_data_path

from brushfire.annotations.files import storage_error
from brushfire.errors import BrushfireError, ModelError
from brushfire.library import packing
from brushfire.library.card import ModelCard, check_name
from brushfire.library.files import (
    SUFFIX,
    ZIP_SUFFIX,
    bare_name,
    read_card,
    read_model_file,
    write_model_file,
)

if TYPE_CHECKING:
    from brushfire.library.files import ModelFile

VARIABLE = "BRUSHFIRE_LIBRARY"
"""The environment variable that names the library's folder."""


@dataclass(frozen=True)
class Entry:
    """A model of the library.

    Parameters
    ----------
    name : str
        By which it is asked for: that of its file.
    path : Path
        Its folder or zip.
    card : ModelCard or None
        What is known of it, under that name; None where it cannot be read.
    problem : str
        Why it cannot be read, or "".
    """

    name: str
    path: Path
    card: ModelCard | None
    problem: str = ""


def library_folder() -> Path:
    """Return where the library is: as the environment says, else in the user's data folder."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else user_data_path("brushfire", appauthor=False) / "library"


class Library:
    """Models that are kept for later projects.

    Parameters
    ----------
    folder : Path, optional
        Where they are; `library_folder` by default. It is made when something is added.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = library_folder() if folder is None else Path(folder)

    def entries(self) -> tuple[Entry, ...]:
        """Return everything there is, by name; what is damaged has a sentence in place of a card.

        Raises
        ------
        StorageError
            If the folder cannot be read.
        """
        found: dict[str, Entry] = {}
        for path in self._paths():
            entry = _entry(path)
            first = found.setdefault(entry.name.casefold(), entry)
            if first is not entry:
                problem = f"{first.path.name} has the same name: give one of the two another."
                found[path.name] = replace(entry, card=None, problem=problem)
        return tuple(found.values())

    def find(self, name: str) -> Path | None:
        """Return the folder or zip of a model; None where there is none of that name."""
        wanted = name.casefold()  # as some disks do, so that a library can move to one
        return next((p for p in self._paths() if bare_name(p).casefold() == wanted), None)

    def get(self, name: str) -> ModelFile:
        """Return a model, read and checked as a whole.

        Raises
        ------
        ModelError
            If there is none of that name, or it is damaged.
        StorageError
            If it cannot be read.
        """
        path = self._need(name)
        return read_model_file(path).named(bare_name(path))

    def card(self, name: str) -> ModelCard:
        """Return what is known of a model; raises as `get` does."""
        path = self._need(name)
        return replace(read_card(path), name=bare_name(path))

    def add(self, file: ModelFile, *, replace: bool = False) -> Entry:
        """Keep a model under the name on its card.

        Parameters
        ----------
        file : ModelFile
            The model.
        replace : bool
            Whether it takes the place of one that has the name.

        Raises
        ------
        ModelError
            If the name is taken.
        StorageError
            If the disk refuses.
        """
        name = file.card.name
        self.check_free(name, replace=replace)
        before = self.find(name)
        path = self.folder / f"{name}{SUFFIX}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._refusal(error) from error
        write_model_file(path, file, overwrite=replace)
        # It may have been a zip, or written in other letters, which some disks tell apart.
        if before is not None and before.exists() and not before.samefile(path):
            packing.remove(before)
        return Entry(name, path, file.card)

    def check_free(self, name: str, *, replace: bool = False) -> None:
        """Check that a model may get a name; ModelError where it is taken, or cannot be one."""
        check_name(name)
        if not replace and self.find(name) is not None:
            raise ModelError(
                "Each model of the library has its own name.",
                got=f"{name}, which is taken",
                do="Choose another name, or say that it is to be replaced.",
            )

    def remove(self, name: str) -> None:
        """Remove a model.

        Raises
        ------
        ModelError
            If there is none of that name.
        StorageError
            If the disk refuses.
        """
        packing.remove(self._need(name))

    def export(self, name: str, out: Path, *, overwrite: bool = False, crops: bool = False) -> None:
        """Write a model to a file or folder for others, see `write_model_file`.

        Labelled crops, which are parts of images, are left out unless ``crops`` says otherwise.
        """
        file = self.get(name)
        write_model_file(out, file if crops else file.without_patches(), overwrite=overwrite)

    def _paths(self) -> list[Path]:
        try:
            found = [
                path
                for path in self.folder.iterdir()
                if path.name.lower().endswith((SUFFIX, ZIP_SUFFIX)) and path.name[0] != "."
            ]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._refusal(error) from error
        # A folder before a zip of the same name, which is found only by its path.
        return sorted(found, key=lambda path: (bare_name(path).casefold(), path.name))

    def _need(self, name: str) -> Path:
        path = self.find(name)
        if path is None:
            kept = ", ".join(bare_name(one) for one in self._paths()[:20]) or "nothing yet"
            raise ModelError(
                "A model is asked for by its name in the library.",
                got=f"{name}; the library holds {kept}",
                do="Choose one of those: 'brushfire models list' shows more of each.",
            )
        return path

    def _refusal(self, error: OSError) -> BrushfireError:
        rule = "The library is a folder that can be read and written."
        return storage_error(error, self.folder, rule, f"Or name another one in {VARIABLE}.")


def _entry(path: Path) -> Entry:
    name = bare_name(path)
    try:
        # The name by which it is found; files are renamed.
        return Entry(name, path, replace(read_card(path), name=name))
    except BrushfireError as error:
        return Entry(name, path, None, str(error))
