"""Edits as bytes: there and back, torn and damaged."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brushfire.annotations import records
from brushfire.annotations.records import KEEP, DamagedRecord, Edit, Patch, Replacement
from brushfire.errors import AnnotationError
from brushfire.geometry import Box

SHAPE = (6, 40, 50)


@st.composite
def edits(draw):
    sequence = draw(st.integers(1, 2**40))
    if draw(st.integers(0, 4)) == 0:
        return Replacement(sequence, draw(st.integers(1, 127)), draw(st.integers(0, 127)))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    patches = []
    for _ in range(draw(st.integers(1, 3))):
        start = [int(rng.integers(0, n)) for n in SHAPE]
        stop = [int(rng.integers(a + 1, n + 1)) for a, n in zip(start, SHAPE, strict=True)]
        box = Box(tuple(start), tuple(stop))
        values = rng.integers(0, 128, box.shape).astype(np.uint8)
        values[rng.random(box.shape) < 0.5] = KEEP
        patches.append(Patch(box, values))
    return Edit(sequence, tuple(patches))


def same(one, other):
    if type(one) is not type(other) or isinstance(one, Replacement):
        return one == other
    if (one.sequence, len(one.patches)) != (other.sequence, len(other.patches)):
        return False
    return all(
        a.box == b.box and np.array_equal(a.values, b.values)
        for a, b in zip(one.patches, other.patches, strict=True)
    )


def segment(made):
    return records.encode_header(SHAPE) + b"".join(map(records.encode, made))


def read(data):
    """Return what can be read of a segment, None where something is damaged."""
    found = []
    for entry in records.entries(data):
        if entry is None:
            found.append(None)
            continue
        try:
            found.append(records.decode(entry, SHAPE))
        except DamagedRecord:
            found.append(None)
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(edits(), max_size=6))
def test_what_is_written_is_read(made):
    data = segment(made)
    assert records.decode_header(data) == SHAPE
    assert all(same(a, b) for a, b in zip(read(data), made, strict=True))


@settings(max_examples=60, deadline=None)
@given(st.lists(edits(), min_size=1, max_size=5), st.data())
def test_a_torn_end_costs_the_last_edit_only(made, data):
    whole = segment(made)
    last = len(records.encode(made[-1]))
    torn = whole[: len(whole) - data.draw(st.integers(1, last))]
    assert all(same(a, b) for a, b in zip(read(torn), made[:-1], strict=True))
    # Some file systems leave zeros where data had not arrived, which may be what was to arrive.
    found = read(torn + bytes(300))
    assert all(same(a, b) for a, b in zip(found, made, strict=False))
    assert len(made) - 1 <= len(found) <= len(made)


@settings(max_examples=100, deadline=None)
@given(st.lists(edits(), min_size=2, max_size=5), st.data())
def test_a_changed_byte_costs_one_edit_only(made, data):
    header = len(records.encode_header(SHAPE))
    whole = bytearray(segment(made))
    at = data.draw(st.integers(header, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    found = [record for record in read(bytes(whole)) if record is not None]
    assert len(found) == len(made) - 1
    assert all(any(same(record, one) for one in made) for record in found)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_can_be_read(data):
    assert all(record is None for record in read(data))


def test_a_damaged_header_keeps_the_edits():
    made = [Replacement(1, 2, 3), Replacement(2, 3, 4)]
    whole = bytearray(segment(made))
    whole[20] ^= 1
    assert records.decode_header(bytes(whole)) is None
    assert read(bytes(whole)) == [None, *made]


def test_a_newer_format_is_told():
    header = bytearray(records.encode_header(SHAPE))
    header[8] = records.VERSION + 1
    header[-4:] = zlib.crc32(bytes(header[:-4])).to_bytes(4, "little")
    with pytest.raises(AnnotationError, match="newer version"):
        records.decode_header(bytes(header))


def patch(box, values):
    return Edit(1, (Patch(box, values),))


@pytest.mark.parametrize(
    "record",
    [
        patch(Box((0, 0, 0), (7, 1, 1)), np.zeros((7, 1, 1), np.uint8)),
        patch(Box((0, 0, 0), (1, 2, 2)), np.zeros((1, 2, 1), np.uint8)),
        patch(Box((0, 0, 0), (1, 2, 2)), np.zeros((1, 2, 9), np.uint8)),
        patch(Box((0, 0, 0), (1, 1, 2)), np.full((1, 1, 2), 200, np.uint8)),
    ],
    ids=["outside", "too few", "too many", "no label"],
)
def test_a_record_that_makes_no_sense_is_damaged(record):
    assert read(segment([record])) == [None]


@pytest.mark.parametrize(
    ("kind", "payload"), [(9, b""), (1, b"abc"), (2, b"a"), (1, b"\1" * 60), (1, bytes(28))]
)
def test_a_payload_that_makes_no_sense_is_damaged(kind, payload):
    with pytest.raises(DamagedRecord):
        records.decode(records.Entry(kind, 1, payload), SHAPE)
