"""The journal and its checkpoints: what comes back, also from damaged files."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from brushfire.annotations import journal, lock, open_annotations, records
from brushfire.annotations.files import storage_error
from brushfire.annotations.lock import FolderLock
from brushfire.annotations.records import Edit, Patch
from brushfire.errors import AnnotationError, StorageError
from brushfire.geometry import Box

SHAPE = (6, 600, 700)


@pytest.fixture
def crashed(tmp_path):
    """Return a function that makes a folder as a crash after some edits leaves it."""

    def make(edits, *, checkpoint_after=None):
        store = open_annotations(tmp_path / "live", SHAPE)
        for number, (key, value) in enumerate(edits):
            store[key] = value
            assert store.flush(20)
            if number == checkpoint_after:
                assert store.checkpoint(20)
        shutil.copytree(tmp_path / "live", tmp_path / "crashed")
        store.close()
        return tmp_path / "crashed"

    return make


def stripes(count):
    return [((n % SHAPE[0], slice(20 * n, 20 * n + 9)), n % 5 + 1) for n in range(count)]


def painted(edits, leave_out=()):
    array = np.zeros(SHAPE, np.uint8)
    for number, (key, value) in enumerate(edits):
        if number not in leave_out:
            array[key] = value
    return array


def segments(folder):
    return sorted((folder / "journal").glob("segment-*.log"))


def reopened(folder, shape=SHAPE):
    store = open_annotations(folder, shape)
    found, recovery, revision = store[...], store.recovery, store.revision
    store.close()
    assert store.journal_error is None
    return found, recovery, revision


@pytest.mark.parametrize("checkpoint_after", [None, 0, 2, 5])
def test_every_edit_comes_back_once(crashed, checkpoint_after):
    folder = crashed(stripes(6), checkpoint_after=checkpoint_after)
    found, recovery, revision = reopened(folder)
    assert np.array_equal(found, painted(stripes(6)))
    assert (recovery, revision) == (None, 6)


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_torn_last_record_is_dropped_and_all_before_kept(crashed, cut):
    folder = crashed(stripes(6))
    (path,) = segments(folder)
    os.truncate(path, path.stat().st_size - cut)
    found, recovery, revision = reopened(folder)
    assert np.array_equal(found, painted(stripes(6), leave_out=[5]))
    assert (recovery, revision) == (None, 5)


def test_painting_goes_on_after_a_torn_record(crashed):
    folder = crashed(stripes(3))
    (path,) = segments(folder)
    os.truncate(path, path.stat().st_size - 5)
    store = open_annotations(folder, SHAPE)
    store[5, 500] = 9
    assert store.flush(20)
    shutil.copytree(folder, folder.with_name("again"))
    store.close()
    found, recovery, _ = reopened(folder.with_name("again"))
    expected = painted(stripes(2))
    expected[5, 500] = 9
    assert np.array_equal(found, expected)
    assert recovery is None


def test_a_damaged_record_in_the_middle_costs_itself_only(crashed):
    folder = crashed(stripes(6))
    (path,) = segments(folder)
    data = bytearray(path.read_bytes())
    starts = [at for at in range(len(data)) if data[at : at + 4] == records._RECORD_MAGIC]
    for start in (starts[2], starts[3]):
        data[start + 50] ^= 0xFF
    path.write_bytes(data)
    found, recovery, revision = reopened(folder)
    assert np.array_equal(found, painted(stripes(6), leave_out=[2, 3]))
    assert revision == 6
    assert recovery is not None
    assert recovery.startswith("2 edits could not be read back")
    kept = list((folder / "journal" / "damaged").iterdir())
    assert [one.read_bytes() for one in kept] == [bytes(data)]
    assert str(folder / "journal" / "damaged") in recovery
    again, recovery, _ = reopened(folder)
    assert np.array_equal(again, found)
    assert recovery is None


def test_a_damaged_end_before_a_later_file_is_told(crashed):
    folder = crashed(stripes(4))
    store = open_annotations(folder, SHAPE)
    store[5, 550] = 3
    assert store.flush(20)
    shutil.copytree(folder, folder.with_name("two"))
    store.close()
    first, second = segments(folder.with_name("two"))
    os.truncate(first, first.stat().st_size - 1)
    found, recovery, revision = reopened(folder.with_name("two"))
    expected = painted(stripes(3))
    expected[5, 550] = 3
    assert np.array_equal(found, expected)
    assert revision == 5
    assert recovery is not None
    assert recovery.startswith("1 edit ")
    kept = list((folder.with_name("two") / "journal" / "damaged").iterdir())
    assert [one.name for one in kept] == [first.name]
    assert second.name != first.name


def test_a_damaged_file_stays_until_its_edits_are_in_a_checkpoint(crashed):
    folder = crashed(stripes(3))
    (path,) = segments(folder)
    data = bytearray(path.read_bytes())
    data[80] ^= 0xFF
    path.write_bytes(data)
    store = open_annotations(folder, SHAPE)
    assert store.checkpoint(20)
    assert not path.exists()
    assert (folder / "journal" / "damaged" / path.name).read_bytes() == bytes(data)
    store.close()


def test_a_journal_for_another_shape_is_told(crashed):
    folder = crashed(stripes(2))
    with pytest.raises(AnnotationError, match=r"\(6, 600, 700\)"):
        open_annotations(folder, (6, 600, 701))
    found, _, _ = reopened(folder)  # and nothing was touched, nor is the folder still taken
    assert np.array_equal(found, painted(stripes(2)))


def test_a_checkpoint_for_another_shape_is_told(crashed):
    folder = crashed(stripes(2), checkpoint_after=1)
    with pytest.raises(AnnotationError, match="made for"):
        open_annotations(folder, (7, 600, 700))


def test_a_record_outside_the_labels_is_passed_over(crashed):
    folder = crashed(stripes(2))
    (path,) = segments(folder)
    box = Box((6, 0, 0), (7, 1, 1))
    foreign = Edit(3, (Patch(box, np.ones((1, 1, 1), np.uint8)),))
    path.write_bytes(path.read_bytes() + records.encode(foreign))
    found, recovery, _ = reopened(folder)
    assert np.array_equal(found, painted(stripes(2)))
    assert recovery is not None
    assert "1 edit " in recovery


def test_a_damaged_chunk_is_set_aside_and_told(crashed):
    folder = crashed(stripes(4), checkpoint_after=3)
    chunk = folder / "annotations.zarr" / "c.1.0.0"
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 0xFF
    chunk.write_bytes(data)
    found, recovery, _ = reopened(folder)
    expected = painted(stripes(4))
    expected[1, :256, :256] = 0
    assert np.array_equal(found, expected)
    assert recovery is not None
    assert recovery.startswith("1 block of labels could not be read back")
    kept = list((folder / "journal" / "damaged").iterdir())
    assert [one.read_bytes() for one in kept] == [bytes(data)]
    assert reopened(folder)[1] is None


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "cannot be understood"),
        ("{}", "cannot be understood"),
        ('{"attributes": {"brushfire": {"format": "x"}}}', "cannot be understood"),
    ],
)
def test_damaged_metadata_are_told(crashed, text, part):
    folder = crashed(stripes(2), checkpoint_after=1)
    (folder / "annotations.zarr" / "zarr.json").write_text(text)
    with pytest.raises(AnnotationError, match=part):
        open_annotations(folder, SHAPE)


def test_labels_of_a_newer_format_are_told(crashed):
    folder = crashed(stripes(2), checkpoint_after=1)
    path = folder / "annotations.zarr" / "zarr.json"
    found = json.loads(path.read_text())
    found["attributes"]["brushfire"]["format"] = 99
    path.write_text(json.dumps(found))
    with pytest.raises(AnnotationError, match="newer version"):
        open_annotations(folder, SHAPE)


def test_the_checkpoint_is_a_sparse_zarr_array_that_others_can_read(crashed):
    zarr = pytest.importorskip("zarr")
    folder = crashed(stripes(6), checkpoint_after=5)
    array = zarr.open_array(folder / "annotations.zarr", mode="r")
    assert array.shape == SHAPE
    assert np.array_equal(array[...], painted(stripes(6)))
    chunks = list((folder / "annotations.zarr").glob("c.*"))
    assert len(chunks) == 18  # of 54: each stripe touches three of the nine chunks of its slice
    assert segments(folder) == []


def test_a_checkpoint_forgets_chunks_that_were_erased(tmp_path):
    store = open_annotations(tmp_path, SHAPE)
    store[2, :5, :5] = 1
    assert store.checkpoint(20)
    assert (tmp_path / "annotations.zarr" / "c.2.0.0").exists()
    store[2] = 0
    assert store.checkpoint(20)
    assert not (tmp_path / "annotations.zarr" / "c.2.0.0").exists()
    store.close()
    assert reopened(tmp_path)[1:] == (None, 2)


def test_a_long_journal_becomes_a_checkpoint_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "CHECKPOINT_BYTES", 3000)
    store = open_annotations(tmp_path, SHAPE)
    array = np.zeros(SHAPE, np.uint8)
    for number in range(200):
        store[number % 6, number, :50] = array[number % 6, number, :50] = number % 7 + 1
        if number % 20 == 0:
            assert store.flush(20)
    assert store._journal is not None
    assert store._journal.wait_for_checkpoint(20)
    assert (tmp_path / "annotations.zarr" / "zarr.json").exists()
    shutil.copytree(tmp_path, tmp_path.with_name("copy"))
    assert store.checkpoint(20)
    assert segments(tmp_path) == []
    store.close()
    found, recovery, revision = reopened(tmp_path.with_name("copy"))
    assert np.array_equal(found, array)
    assert (recovery, revision) == (None, 200)


def test_an_edit_is_unsaved_until_it_is_on_disk(tmp_path):
    store = open_annotations(tmp_path, SHAPE)
    assert store.unsaved_seconds == 0
    store[0, 0, 0] = 1
    assert store.unsaved_seconds > 0
    assert store.flush(20)
    assert store.unsaved_seconds == 0
    store.close()


def test_a_store_that_is_dropped_gives_its_folder_back(tmp_path):
    store = open_annotations(tmp_path, SHAPE)
    store[0, 0, 0] = 1
    del store
    found, _, _ = reopened(tmp_path)
    assert found.sum() == 1


HOLD = """
import sys
from pathlib import Path
from brushfire.annotations import open_annotations
store = open_annotations(Path(sys.argv[1]), (6, 600, 700))
store[1, :9] = 4
assert store.flush(20)
print("open", flush=True)
sys.stdin.read()
"""


def test_a_folder_is_open_in_one_process_only_and_freed_by_its_death(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(AnnotationError, match=f"process {holder.pid}"):
            open_annotations(tmp_path, SHAPE)
        holder.kill()
        holder.wait()
    assert (tmp_path / "lock").read_text().startswith(f"{holder.pid} ")
    found, _, _ = reopened(tmp_path)
    assert (found[1, :9] == 4).all()


def test_a_folder_is_open_once_in_this_process(tmp_path):
    store = open_annotations(tmp_path, SHAPE)
    with pytest.raises(AnnotationError, match="this process"):
        open_annotations(tmp_path, SHAPE)
    store.close()
    reopened(tmp_path)


@pytest.mark.parametrize(
    ("holder", "free"),
    [
        ("", True),
        ("nonsense", True),
        ("1 elsewhere", True),
        (f"{os.getpid()} {{host}}", True),
        (f"{os.getppid()} {{host}}", False),
        ("{dead} {host}", True),
    ],
)
def test_without_locks_of_the_file_system_the_process_number_decides(
    tmp_path, monkeypatch, holder, free
):
    def unsupported(handle):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "_take", unsupported)
    finished = subprocess.Popen([sys.executable, "-c", ""])
    finished.wait()
    text = holder.format(host=lock.socket.gethostname(), dead=finished.pid)
    (tmp_path / "lock").write_text(text)
    taken = FolderLock(tmp_path / "lock")
    if free:
        taken.acquire()
        assert (tmp_path / "lock").read_text().split()[0] == str(os.getpid())
        taken.release()
    else:
        with pytest.raises(AnnotationError, match=str(os.getppid())):
            taken.acquire()
        assert not taken.held


def test_a_folder_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        open_annotations(tmp_path / "file", SHAPE)
    with pytest.raises(StorageError, match="gone"):
        open_annotations(tmp_path / "no" / "such", SHAPE)


@pytest.mark.parametrize(
    ("number", "part"),
    [
        (errno.ENOSPC, "is full"),
        (errno.EDQUOT, "is full"),
        (errno.EROFS, "may not be written"),
        (errno.ENOENT, "is gone"),
        (errno.EIO, "Check the disk"),
    ],
)
def test_the_disk_is_quoted_in_plain_words(number, part):
    error = storage_error(OSError(number, "as C says"), Path("/p"), "Rule.", "Then go on.")
    assert part in str(error)
    assert "/p" in str(error)


def test_a_file_that_fails_when_it_is_closed_does_not_end_the_journal(tmp_path, monkeypatch):
    store = open_annotations(tmp_path / "p", (4, 64, 64))
    store[0, 0, 0] = 1
    assert store.flush(20)
    handle, broken = store._journal._segment._handle, [True]
    real_sync, real_close = os.fsync, os.close

    def sync(which):
        if which == handle and broken:
            raise OSError(errno.EIO, "Input/output error")
        real_sync(which)

    def close(which):
        real_close(which)
        if which == handle and broken:
            broken.clear()
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "close", close)
    store[1, 1, 1] = 2
    while not store.flush(20):
        pass
    assert not broken
    store[2, 2, 2] = 3
    assert store.flush(20)
    store.close()
    monkeypatch.undo()
    with closing(open_annotations(tmp_path / "p", (4, 64, 64))) as again:
        assert again.counts().keys() == {1, 2, 3}
