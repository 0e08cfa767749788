"""Which blocks of a half-finished export are written, and with which checksum."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from brushfire.geometry import Triple, triple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

_KIND = "brushfire export"


def block_digest(block: NDArray[Any]) -> str:
    """Return the checksum of one block, (z, y, x) or (channels, z, y, x); it covers the shape."""
    return slabs_digest(block.shape, [block])


def slabs_digest(shape: tuple[int, ...], slabs: Iterable[NDArray[Any]]) -> str:
    """Return the checksum of the block of ``shape`` that ``slabs`` form, one below the other."""
    digest = hashlib.blake2b(repr(shape).encode(), digest_size=16)
    for slab in slabs:
        # Slice by slice in both cases: slabs of several channels are no pieces of their block.
        for z in range(slab.shape[-3]):
            digest.update(np.ascontiguousarray(slab[..., z, :, :]).view(np.uint8).data)
    return digest.hexdigest()


class Manifest:
    """An append-only file beside a half-finished target: a header, then a line for each block.

    Parameters
    ----------
    path : Path
        Of the manifest.
    header : mapping
        Everything that must be the same for an export to go on from here; plain JSON values.

    Attributes
    ----------
    digests : dict
        Checksum of each block that is written, by its index in the grid.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self._header = {"kind": _KIND, **header}
        self.digests = self._load()
        self._rewrite()

    def add(self, index: Triple, digest: str) -> None:
        """Note a block as written; call it after the block has reached its file."""
        self.digests[index] = digest
        self._file.write(_line(index, digest))
        self._file.flush()

    def forget(self, indices: Iterable[Triple]) -> None:
        """Take blocks back, so that the next attempt writes them anew."""
        for index in indices:
            self.digests.pop(index, None)
        self._file.close()
        self._rewrite()

    def checksum(self) -> str:
        """Return the checksum of all blocks, in the order of the grid."""
        digest = hashlib.blake2b(digest_size=16)
        for index in sorted(self.digests):
            digest.update(bytes.fromhex(self.digests[index]))
        return digest.hexdigest()

    def close(self) -> None:
        """Close the file; it stays for the next attempt."""
        self._file.close()

    def __enter__(self) -> Manifest:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _load(self) -> dict[Triple, str]:
        lines = _complete_lines(self.path)
        if not lines or lines[0] != json.dumps(self._header):
            return {}
        digests = {}
        for line in lines[1:]:
            z, y, x, digest = line.split()
            digests[triple([int(z), int(y), int(x)])] = digest
        return digests

    def _rewrite(self) -> None:
        # Always written anew: a line that a crash cut off must not run into the next one.
        fresh = self.path.with_name(self.path.name + ".new")
        lines = [json.dumps(self._header) + "\n"]
        lines += [_line(index, digest) for index, digest in self.digests.items()]
        try:
            fresh.write_text("".join(lines), encoding="utf-8")
            fresh.replace(self.path)
        finally:
            fresh.unlink(missing_ok=True)
        self._file = self.path.open("a", encoding="utf-8")


def is_manifest(path: Path) -> bool:
    """Whether ``path`` is a manifest of ours, whatever its export."""
    lines = _complete_lines(path)
    return bool(lines) and f'"kind": "{_KIND}"' in lines[0]


def _line(index: Triple, digest: str) -> str:
    return "{} {} {} {}\n".format(*index, digest)


def _complete_lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return []
    return text.split("\n")[:-1]
