"""Real processes that are killed, and disks that really refuse."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from brushfire.annotations import open_annotations

posix = pytest.mark.skipif(os.name != "posix", reason="uses signals and limits of POSIX")

PAINT = """
import sys, time
from pathlib import Path
from brushfire.annotations import open_annotations
store = open_annotations(Path(sys.argv[1]), (4, 500, 500))
for number in range(1_000_000):
    z, rest = divmod(number, 250_000)
    store[z, rest // 500, rest % 500] = number % 9 + 1
    print(number, time.monotonic(), flush=True)
"""


@posix
def test_kill_9_loses_nothing_older_than_a_second(tmp_path):
    told = []
    with subprocess.Popen(
        [sys.executable, "-c", PAINT, tmp_path], stdout=subprocess.PIPE, text=True
    ) as painter:
        assert painter.stdout is not None
        for line in painter.stdout:
            number, when = line.split()
            told.append((int(number), float(when)))
            if told[-1][1] - told[0][1] > 2.9:
                break
        painter.kill()
        killed = time.monotonic()
        painter.wait()
    store = open_annotations(tmp_path, (4, 500, 500))
    array = store[...].ravel()
    safe = [number for number, when in told if when < killed - 1]
    assert len(safe) > 50
    expected = np.array([number % 9 + 1 for number in safe])
    assert np.array_equal(array[safe], expected)
    assert store.recovery is None
    # And what is there is an unbroken beginning of what was painted.
    assert np.array_equal(np.flatnonzero(array), np.arange(store.revision))
    store.close()


EXIT = """
import sys
from pathlib import Path
from brushfire.annotations import open_annotations
store = open_annotations(Path(sys.argv[1]), (4, 500, 500))
store[1, 2, 3] = 4
"""


def test_a_script_that_ends_without_closing_loses_nothing(tmp_path):
    subprocess.run([sys.executable, "-c", EXIT, tmp_path], check=True)
    store = open_annotations(tmp_path, (4, 500, 500))
    assert store[1, 2, 3] == 4
    store.close()


# Forks children that kill themselves at their n-th operation on files, for rising n until one
# survives. What each was told to be safe goes through a pipe.
EVERYWHERE = """
import os, signal, sys
from pathlib import Path
import numpy as np
from brushfire.annotations import open_annotations

SHAPE = (3, 600, 600)
WATCHED = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}

def edit(store, number):
    if number == 4:
        store.replace(1, 9)
    elif number == 5:
        store[0] = 0
    else:
        store[number % 3, 30 * number : 30 * number + 20, 400:600] = number % 3 + 1

def work(folder, tell):
    store = open_annotations(folder, SHAPE)
    for number in range(7):
        edit(store, number)
        if store.flush(60):
            os.write(tell, b"x")
        if number in (2, 5):
            store.checkpoint(60)
    store.close()

def child(folder, fatal, tell):
    seen = 0
    def count(event, arguments):
        nonlocal seen
        if event in WATCHED and str(folder) in str(arguments[0]):
            seen += 1
            if seen == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    work(folder, tell)
    os._exit(0)

base, first, stride = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
for fatal in range(first, 10_000, stride):
    folder = base / str(fatal)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        child(folder, fatal, writer)
    os.close(writer)
    _, status = os.waitpid(pid, 0)
    print(fatal, len(os.read(reader, 100)), flush=True)
    os.close(reader)
    if status == 0:
        break
"""

SHAPE = (3, 600, 600)
STRIDE = 5  # 1 visits every operation, which takes a minute


def states():
    """Return what the child's labels are after each of its edits."""
    namespace: dict[str, object] = {}
    exec(EVERYWHERE.split("def work")[0], namespace)  # the same edits, on a plain array

    class Array(np.ndarray):
        def replace(self, value, other):
            self[self == value] = other

    array = np.zeros(SHAPE, np.uint8).view(Array)
    found = [np.array(array)]
    for number in range(7):
        namespace["edit"](array, number)
        found.append(np.array(array))
    return found


@posix
@pytest.mark.slow
def test_a_crash_at_any_operation_on_files_loses_nothing(tmp_path):
    lines = subprocess.run(
        [sys.executable, "-c", EVERYWHERE, tmp_path, "2", str(STRIDE)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert len(lines) > 60 // STRIDE
    expected = states()
    for line in lines:
        fatal, safe = map(int, line.split())
        store = open_annotations(tmp_path / str(fatal), SHAPE)
        assert safe <= store.revision <= safe + 1, line
        assert np.array_equal(store[...], expected[store.revision]), line
        assert store.recovery is None, line
        store.close()
        assert store.journal_error is None, line
        store = open_annotations(tmp_path / str(fatal), SHAPE)
        assert np.array_equal(store[...], expected[store.revision]), line
        store.close()


FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from brushfire.annotations import journal, open_annotations
from brushfire.errors import StorageError

folder, bounded = Path(sys.argv[1]), sys.argv[2] == "bounded"
if bounded:
    journal.PENDING_BYTES = 100_000
rng = np.random.default_rng(0)
store = open_annotations(folder, (3, 600, 600))
store[0, :5, :5] = 1
assert store.flush(20) and store.journal_error is None
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # Python ignores the signal: EFBIG
for number in range(12):
    store[1 + number % 2, 40 * number : 40 * number + 40] = rng.integers(0, 127, (40, 600))
    assert not store.flush(20)
    error = store.journal_error
    assert isinstance(error, StorageError) and "full" in str(error), error
assert store.unsaved_seconds > 0
if bounded:
    assert store._journal._pending_bytes < 300_000, store._journal._pending_bytes
expected = store[...]
assert expected[1:].any(axis=2).sum() > 400
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
# What was under way when there was no room may be refused once more: it is tried again.
assert store.flush(60) or store.flush(60), store.journal_error
assert store.journal_error is None and store.unsaved_seconds == 0
np.save(folder.with_name("expected.npy"), expected)
import os
os.kill(os.getpid(), 9)
"""


@posix
@pytest.mark.parametrize("form", ["kept", "bounded"])
def test_a_full_disk_is_told_and_everything_written_when_there_is_room(tmp_path, form):
    ended = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path / "p", form], capture_output=True, text=True
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    store = open_annotations(tmp_path / "p", (3, 600, 600))
    assert np.array_equal(store[...], np.load(tmp_path / "expected.npy"))
    assert store.recovery is None
    store.close()


READ_ONLY = """
import os, sys
from pathlib import Path
from brushfire.annotations import journal, open_annotations
from brushfire.errors import StorageError
import numpy, tensorstore

folder = Path(sys.argv[1])
if os.geteuid() == 0:  # root may write anywhere: become somebody who may not
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, 65534, 65534)
    os.setgid(65534)
    os.setuid(65534)
folders = [path for path in [folder, *folder.rglob("*")] if path.is_dir()]
for path in [folder, *folder.rglob("*")]:
    path.chmod(0o555 if path.is_dir() else 0o444)
store = open_annotations(folder, (3, 100, 100))
assert (store[0] == 1).all() and store.journal_error is None
store[1] = 2
assert not store.flush(20)
error = store.journal_error
assert isinstance(error, StorageError) and "may not be written" in str(error), error
assert (store[1] == 2).all() and store.unsaved_seconds > 0
for path in [folder, *folder.rglob("*")]:
    path.chmod(0o755 if path.is_dir() else 0o644)
assert store.flush(20) and store.journal_error is None
store.close()
store = open_annotations(folder, (3, 100, 100))
assert (store[1] == 2).all()
store.close()
print("done")
"""


@posix
def test_a_read_only_folder_is_opened_told_and_written_later():
    # Not tmp_path, which belongs to root where root runs the tests, out of everybody's sight.
    folder = Path(tempfile.mkdtemp(prefix="brushfire-test-"))
    try:
        store = open_annotations(folder, (3, 100, 100))
        store[0] = 1
        store.close()
        ended = subprocess.run(
            [sys.executable, "-c", READ_ONLY, folder], capture_output=True, text=True
        )
        assert ended.stdout == "done\n", ended.stderr
    finally:
        shutil.rmtree(folder)
