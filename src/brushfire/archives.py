"""Zips from elsewhere: which entries are harmless, and reading one; nothing is extracted."""

from __future__ import annotations

import lzma
import re
import stat
import zipfile
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from brushfire.errors import BrushfireError

    Refuse = Callable[[str, str], BrushfireError]

DAMAGED = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError,
    RuntimeError, ValueError, OverflowError,
)  # fmt: skip
"""What a damaged archive can raise, and what one of another program's methods does."""

OUTSIDE = re.compile(r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)|\x00")
"""Names that lead outside, or end before they seem to."""

MOST_ENTRIES = 1000
"""Files that a zip of a model may have."""

_APPLE = "__MACOSX/"  # what its own zips hold beside the files
_ENCRYPTED = 1  # a bit of an entry's flags


def harmless_entries(
    archive: zipfile.ZipFile, place: object, refuse: Refuse
) -> dict[str, zipfile.ZipInfo]:
    """Return the entries of an archive by name, each of them harmless.

    Parameters
    ----------
    archive : ZipFile
        Of which the directory alone is looked at.
    place : object
        Where it is, for sentences.
    refuse : callable
        Makes an error of what such archives hold, and of what this one has instead.

    Raises
    ------
    BrushfireError
        If there are too many, or one leads outside, is a link, encrypted, or there twice.
    """
    infos = archive.infolist()
    if len(infos) > MOST_ENTRIES:
        raise refuse(f"at most {MOST_ENTRIES} files", f"{len(infos)} in {place}")
    entries: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.orig_filename  # as it was written, before zipfile made it harmless
        kind = stat.S_IFMT(info.external_attr >> 16)
        if OUTSIDE.search(name):
            raise refuse("files inside it", f"the name {name[:100]!r} in {place}")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise refuse("plain files", f"{name[:100]!r} in {place}, which is a link or a device")
        if info.flag_bits & _ENCRYPTED:
            raise refuse("files that anybody can read", f"{name[:100]!r} in {place}, encrypted")
        if info.filename in entries:
            raise refuse("each file once", f"{name[:100]!r} twice in {place}")
        entries[info.filename] = info
    return {name: one for name, one in entries.items() if not name.startswith(_APPLE)}


def read_entry(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, place: object, refuse: Refuse
) -> bytes:
    """Return what an entry holds, as many bytes as it says; its size was checked before.

    Raises
    ------
    BrushfireError
        If it has another length.
    """
    with archive.open(info) as file:
        data = file.read(info.file_size + 1)
    if len(data) != info.file_size:
        name = info.filename[:100]
        raise refuse("files as long as it says", f"{len(data)} bytes of {name} in {place}")
    return data
