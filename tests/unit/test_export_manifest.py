"""The list of finished blocks survives what a crash does to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from brushfire.export.manifest import Manifest, block_digest, is_manifest

if TYPE_CHECKING:
    from pathlib import Path

HEADER = {"name": "späte Masken", "cell": [1, 2, 3]}
DIGESTS = {(0, 0, 0): "00" * 16, (0, 0, 1): "a1" * 16}


def filled(path: Path) -> Path:
    with Manifest(path, HEADER) as manifest:
        for index, digest in DIGESTS.items():
            manifest.add(index, digest)
    return path


def test_blocks_come_back(tmp_path: Path) -> None:
    with Manifest(filled(tmp_path / "m"), HEADER) as manifest:
        assert manifest.digests == DIGESTS
    assert is_manifest(tmp_path / "m")


def test_a_torn_last_line_is_dropped_and_the_next_is_whole(tmp_path: Path) -> None:
    path = filled(tmp_path / "m")
    path.write_bytes(path.read_bytes()[:-5])
    with Manifest(path, HEADER) as manifest:
        assert manifest.digests == {(0, 0, 0): "00" * 16}
        manifest.add((0, 0, 1), "b2" * 16)
    with Manifest(path, HEADER) as manifest:
        assert manifest.digests[(0, 0, 1)] == "b2" * 16


def test_another_header_starts_anew(tmp_path: Path) -> None:
    with Manifest(filled(tmp_path / "m"), {**HEADER, "cell": [1, 2, 4]}) as manifest:
        assert manifest.digests == {}


def test_what_is_forgotten_stays_forgotten(tmp_path: Path) -> None:
    with Manifest(filled(tmp_path / "m"), HEADER) as manifest:
        manifest.forget([(0, 0, 0)])
        manifest.add((0, 0, 2), "c3" * 16)
    with Manifest(tmp_path / "m", HEADER) as manifest:
        assert set(manifest.digests) == {(0, 0, 1), (0, 0, 2)}


def test_a_checksum_depends_on_blocks_and_not_on_their_order_of_writing(tmp_path: Path) -> None:
    with Manifest(filled(tmp_path / "a"), HEADER) as first:
        checksum = first.checksum()
    with Manifest(tmp_path / "b", HEADER) as second:
        for index in reversed(DIGESTS):
            second.add(index, DIGESTS[index])
        assert second.checksum() == checksum
        second.add((0, 0, 0), "01" * 16)
        assert second.checksum() != checksum


def test_a_digest_tells_values_and_shapes_apart() -> None:
    block = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    digests = {
        block_digest(block),
        block_digest(block.reshape(3, 2, 4)),
        block_digest(block + np.uint8(1)),
    }
    assert len(digests) == 3
    assert block_digest(block[:, :, ::-1][:, :, ::-1]) in digests


def test_other_files_are_no_manifests(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xff\xfe\n")
    (tmp_path / "y").write_text("notes\n")
    assert not any(is_manifest(tmp_path / name) for name in "xyz")
