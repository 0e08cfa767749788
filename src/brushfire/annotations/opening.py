"""Open the labels of a project folder: its checkpoint, and the journal on top of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from brushfire.annotations import checkpoint
from brushfire.annotations.files import storage_error
from brushfire.annotations.journal import Journal
from brushfire.annotations.lock import FolderLock
from brushfire.annotations.records import DamagedRecord, decode, decode_header, entries
from brushfire.annotations.segment import PATTERN, ClosedSegment, number_of
from brushfire.annotations.sparse import SparseLabels
from brushfire.annotations.store import CHUNK, LabelStore
from brushfire.geometry import Triple, triple

_LOCK = "lock"


def open_annotations(folder: Path | None, shape: Triple) -> LabelStore:
    """Open the labels of a project, with every edit that reached the disk.

    Parameters
    ----------
    folder : Path or None
        The project folder, made if it is not there. None keeps the labels in memory only.
    shape : tuple of int
        Voxels of the volume along z, y, x.

    Returns
    -------
    LabelStore
        Its `recovery` says what could not be read, if anything. A folder that cannot be
        written is opened all the same; `journal_error` then says so with the first edit.

    Raises
    ------
    AnnotationError
        If the labels are for another shape, of a newer format or damaged beyond use, or if
        another process has the folder open.
    StorageError
        If the folder cannot be read.
    """
    if folder is None:
        return LabelStore(shape)
    place = Path(folder)
    lock = FolderLock(place / _LOCK)
    try:
        place.mkdir(exist_ok=True)
        _try_lock(lock)
        return _open(place, triple(shape), lock)
    except OSError as error:
        lock.release()
        raise storage_error(
            error, place, "The labels of a project are read from its folder.", "Then open it again."
        ) from error
    except BaseException:
        lock.release()
        raise


def _try_lock(lock: FolderLock) -> None:
    try:
        lock.acquire()
    except OSError:
        # A full or read-only disk: the journal takes the lock before it first writes, and
        # tells why it cannot.
        return


def _open(folder: Path, shape: Triple, lock: FolderLock) -> LabelStore:
    checkpoint.finish(folder)
    loaded = checkpoint.load(folder, shape, CHUNK, writable=lock.held)
    labels = SparseLabels(loaded.grid)
    labels.restore(loaded.chunks, loaded.damaged)
    replay = _Replay(labels, loaded.sequence)
    paths = sorted((folder / checkpoint.JOURNAL).glob(PATTERN), key=number_of)
    for path in paths:
        replay.read(path)
    journal = Journal(
        folder,
        shape,
        lock,
        saved=replay.last,
        segments=replay.segments,
        number=max(map(number_of, paths), default=0),
    )
    recovery = _sentence(folder, replay.lost, len(loaded.damaged))
    return LabelStore.journaled(labels, replay.last, journal, recovery)


class _Replay:
    """Repeats the edits of segments in the order of their numbers, each once.

    Parameters
    ----------
    labels : SparseLabels
        Where the edits go.
    last : int
        Number of the last edit that is in them already.
    """

    def __init__(self, labels: SparseLabels, last: int) -> None:
        self._labels = labels
        self.last = last
        self.lost = 0
        self.segments: list[ClosedSegment] = []

    def read(self, path: Path) -> None:
        """Repeat the edits of one file that are not in the labels yet."""
        data = path.read_bytes()
        shape = decode_header(data)
        if shape is not None:
            checkpoint.check_shape(shape, self._labels.grid.shape, path)
        damaged, last = False, 0
        for entry in entries(data):
            if entry is None:
                damaged = True
                continue
            last = max(last, entry.sequence)
            if entry.sequence <= self.last:
                continue
            missing = entry.sequence - self.last - 1
            if missing and not damaged and self.segments:
                # The place that is missing was the end of the file before.
                self.segments[-1] = replace(self.segments[-1], damaged=True)
            self.lost += missing
            self.last = entry.sequence
            try:
                self._labels.replay(decode(entry, self._labels.grid.shape))
            except DamagedRecord:
                damaged = True
                self.lost += 1
        self.segments.append(ClosedSegment(path, last, len(data), damaged))


def _sentence(folder: Path, edits: int, chunks: int) -> str | None:
    lost = []
    if edits:
        lost.append("1 edit" if edits == 1 else f"{edits} edits")
    if chunks:
        lost.append("1 block of labels" if chunks == 1 else f"{chunks} blocks of labels")
    if not lost:
        return None
    return (
        f"{' and '.join(lost)} could not be read back, because the file is damaged; everything"
        f" else is here. The damaged files are kept in"
        f" {folder / checkpoint.JOURNAL / checkpoint.DAMAGED}."
    )
