"""Edits as bytes: what the journal's segment files hold.

A segment is a header (magic, format version, shape, checksum) and then records, each with a
magic, a kind, a sequence number, a length, a checksum and a payload. All integers are
little-endian. A record that does not match its checksum is passed over: the magic of the next
one is searched, so that a damaged place costs the edits in it and no other.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from brushfire.errors import AnnotationError
from brushfire.geometry import Box, Triple, triple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

KEEP = 255
"""In a patch: this voxel was not part of the edit."""

VERSION = 1
_SEGMENT = struct.Struct("<8sHxx3QI")
_SEGMENT_MAGIC = b"BRUSHFJL"
_RECORD = struct.Struct("<4sBQII")
_RECORD_MAGIC = b"\xb5ED\x1a"
_CHECKED = struct.Struct("<BQI")
_PATCH = struct.Struct("<6II")
_REPLACE = struct.Struct("<BB")
_PATCHES_KIND = 1
_REPLACE_KIND = 2
_COMPRESSION = 1  # strokes are runs of one value: higher levels cost time and gain nothing


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """New values of one box; `KEEP` where the edit left the voxel alone."""

    box: Box
    values: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """One edit: the patches that it made in single chunks."""

    sequence: int
    patches: tuple[Patch, ...]

    @property
    def nbytes(self) -> int:
        """Memory that the edit takes until it is written."""
        return 200 + sum(patch.values.nbytes + 200 for patch in self.patches)


@dataclass(frozen=True, slots=True)
class Replacement:
    """One edit: all voxels with one value got another."""

    sequence: int
    value: int
    with_value: int

    @property
    def nbytes(self) -> int:
        """Memory that the edit takes until it is written."""
        return 200


Record = Edit | Replacement


class DamagedRecord(Exception):
    """The bytes of a record do not make sense."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A record that matches its checksum, not decoded yet."""

    kind: int
    sequence: int
    payload: bytes


def encode_header(shape: Triple) -> bytes:
    """Return the first bytes of a segment for labels of ``shape``."""
    body = _SEGMENT.pack(_SEGMENT_MAGIC, VERSION, *shape, 0)[:-4]
    return body + struct.pack("<I", zlib.crc32(body))


def decode_header(data: bytes) -> Triple | None:
    """Return the shape that a segment is for; None where the header is torn or damaged.

    Raises
    ------
    AnnotationError
        If a newer version of Brushfire wrote the segment.
    """
    if len(data) < _SEGMENT.size:
        return None
    magic, version, z, y, x, checksum = _SEGMENT.unpack_from(data)
    if magic != _SEGMENT_MAGIC or checksum != zlib.crc32(data[: _SEGMENT.size - 4]):
        return None
    if version > VERSION:
        raise AnnotationError(
            f"This version of Brushfire reads journals up to format {VERSION}.",
            got=f"format {version}",
            do="Open the project with a newer version of Brushfire.",
        )
    return triple((z, y, x))


def encode(record: Record) -> bytes:
    """Return a record as it stands in a segment."""
    if isinstance(record, Replacement):
        kind, payload = _REPLACE_KIND, _REPLACE.pack(record.value, record.with_value)
    else:
        kind, payload = _PATCHES_KIND, b"".join(map(_encode_patch, record.patches))
    checked = _CHECKED.pack(kind, record.sequence, len(payload))
    checksum = zlib.crc32(payload, zlib.crc32(checked))
    head = _RECORD.pack(_RECORD_MAGIC, kind, record.sequence, len(payload), checksum)
    return head + payload


def _encode_patch(patch: Patch) -> bytes:
    packed = zlib.compress(np.ascontiguousarray(patch.values).data, _COMPRESSION)
    return _PATCH.pack(*patch.box.start, *patch.box.stop, len(packed)) + packed


def entries(data: bytes) -> Iterator[Entry | None]:
    """Yield the records of a segment in their order, None for a damaged place between two.

    What stands after the last whole record is left out without a word: a process that was
    killed while it wrote leaves such a tail, and nobody was told that it was safe.
    """
    at = _SEGMENT.size if decode_header(data) is not None else 0
    damaged = at == 0
    while at < len(data):
        entry = _entry_at(data, at)
        if entry is None:
            damaged = True
            at = data.find(_RECORD_MAGIC, at + 1)
            if at < 0:
                return
            continue
        if damaged:
            yield None
            damaged = False
        yield entry
        at += _RECORD.size + len(entry.payload)


def _entry_at(data: bytes, at: int) -> Entry | None:
    if len(data) - at < _RECORD.size:
        return None
    magic, kind, sequence, length, checksum = _RECORD.unpack_from(data, at)
    if magic != _RECORD_MAGIC or at + _RECORD.size + length > len(data):
        return None
    payload = data[at + _RECORD.size : at + _RECORD.size + length]
    checked = _CHECKED.pack(kind, sequence, length)
    if checksum != zlib.crc32(payload, zlib.crc32(checked)):
        return None
    return Entry(kind, sequence, payload)


def decode(entry: Entry, shape: Triple) -> Record:
    """Return the edit of an entry.

    Raises
    ------
    DamagedRecord
        If it is no edit of labels of ``shape``.
    """
    if entry.kind == _REPLACE_KIND and len(entry.payload) == _REPLACE.size:
        value, with_value = _REPLACE.unpack(entry.payload)
        return Replacement(entry.sequence, value, with_value)
    if entry.kind != _PATCHES_KIND:
        raise DamagedRecord(f"kind {entry.kind}")
    return Edit(entry.sequence, tuple(_decode_patches(entry.payload, shape)))


def _decode_patches(payload: bytes, shape: Triple) -> Iterator[Patch]:
    at = 0
    while at < len(payload):
        if len(payload) - at < _PATCH.size:
            raise DamagedRecord("half a patch")
        *corners, length = _PATCH.unpack_from(payload, at)
        at += _PATCH.size
        try:
            box = Box(triple(corners[:3]), triple(corners[3:]))
        except ValueError as error:
            raise DamagedRecord(str(error)) from error
        if box.size == 0 or not Box.of_shape(shape).contains(box):
            raise DamagedRecord(f"a box without voxels of the labels: {box}")
        yield Patch(box, _unpack(payload[at : at + length], box))
        at += length


def _unpack(packed: bytes, box: Box) -> NDArray[np.uint8]:
    # No more is unpacked than the box holds, whatever the bytes claim.
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(packed, box.size + 1)
    except zlib.error as error:
        raise DamagedRecord(str(error)) from error
    if len(raw) != box.size:
        raise DamagedRecord(f"{len(raw)} values for {box.size} voxels")
    values = np.frombuffer(raw, np.uint8).reshape(box.shape)
    if ((values > 127) & (values != KEEP)).any():
        raise DamagedRecord("a value that is no label")
    return values
