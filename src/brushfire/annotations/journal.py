"""The journal: a thread that brings edits to the disk within a fraction of a second."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from brushfire.annotations import checkpoint
from brushfire.annotations.files import storage_error
from brushfire.annotations.records import encode
from brushfire.annotations.segment import ClosedSegment, Segment
from brushfire.errors import BrushfireError, Cancelled, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from brushfire.annotations.lock import FolderLock
    from brushfire.annotations.records import Record
    from brushfire.annotations.snapshot import AnnotationSnapshot
    from brushfire.geometry import Triple

BATCH_SECONDS = 0.1  # edits wait this long for company, since each sync costs milliseconds
CHECKPOINT_BYTES = 16 << 20  # a journal of this size is replayed in about a second
PENDING_BYTES = 64 << 20  # more edits than this are not kept one by one while the disk refuses
FIRST_RETRY = 0.5
LAST_RETRY = 10.0
CLOSING_SECONDS = 2.0  # a checkpoint that takes longer than this at the end is given up


class _Trouble:
    """Why one kind of work was refused, and when to try it again.

    Parameters
    ----------
    rule, do : str
        The first and the last sentence that the user reads.
    """

    def __init__(self, rule: str, do: str) -> None:
        self.rule = rule
        self.do = do
        self.error: BrushfireError | None = None
        self.at = 0.0  # not before this time
        self._delay = FIRST_RETRY

    def again(self, error: BrushfireError) -> None:
        """Remember a refusal; each one in a row doubles the wait."""
        self.error = error
        self.at = time.monotonic() + self._delay
        self._delay = min(2 * self._delay, LAST_RETRY)

    def over(self) -> None:
        """Forget it: the work is done."""
        self.error, self.at, self._delay = None, 0.0, FIRST_RETRY


class Journal:
    """Appends edits to segment files, and replaces them by a checkpoint when they grow.

    The thread that paints calls `append` and `offer`, which copy nothing and never wait for
    the disk. All files are written by one daemon thread.

    Parameters
    ----------
    folder : Path
        The project folder.
    shape : tuple of int
        Shape of the labels.
    lock : FolderLock
        The folder's lock; taken before anything is written, and given back at the end.
    saved : int
        Number of the last edit that is on disk.
    segments : sequence of ClosedSegment
        Files of earlier sessions, needed until the next checkpoint.
    number : int
        Largest number of a segment so far.
    """

    def __init__(
        self,
        folder: Path,
        shape: Triple,
        lock: FolderLock,
        *,
        saved: int = 0,
        segments: Sequence[ClosedSegment] = (),
        number: int = 0,
    ) -> None:
        self._folder = folder
        self._shape = shape
        self._lock = lock
        # Below: changed by the writer thread only.
        self._number = number
        self._segment: Segment | None = None
        self._closed_segments = list(segments)
        # Below: changed under the condition.
        self._condition = threading.Condition()
        self._pending: deque[tuple[Record, float]] = deque()
        self._pending_bytes = 0
        self._latest = self._saved = saved
        self._dropped = 0  # edits up to here are in the offered snapshot only
        self._dropped_since = 0.0
        self._offered: AnnotationSnapshot | None = None
        self._changed: set[Triple] = set()
        self._journal_bytes = sum(one.size for one in self._closed_segments)
        self._writing = _Trouble(
            "Strokes are saved on disk within a second.",
            "They stay in memory, and are saved as soon as that is possible.",
        )
        self._gathering = _Trouble(
            "Strokes are gathered in annotations.zarr from time to time.",
            "That is tried again; what the journal holds is safe.",
        )
        self._begun = self._ended_turns = 0  # turns of the writer
        self._urgent = False  # somebody waits
        self._asked = False  # somebody waited when this turn began
        self._closing_at: float | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="brushfire-journal", daemon=True)
        self._thread.start()

    # ------------------------------------------------------- called by the thread that paints

    @property
    def error(self) -> BrushfireError | None:
        """Why the disk refused last time; None when all is well."""
        with self._condition:
            return self._writing.error or self._gathering.error

    @property
    def unsaved_seconds(self) -> float:
        """Age of the oldest edit that is not on disk, in seconds; 0 without one."""
        with self._condition:
            since = [self._dropped_since] if self._behind else []
            since += [self._pending[0][1]] if self._pending else []
            return time.monotonic() - min(since) if since else 0.0

    def append(self, record: Record) -> bool:
        """Take an edit; return whether a snapshot should be offered now."""
        with self._condition:
            self._pending.append((record, time.monotonic()))
            self._pending_bytes += record.nbytes
            self._latest = record.sequence
            if len(self._pending) == 1:
                self._condition.notify_all()
            if self._writing.error is not None or self._behind:
                return self._pending_bytes > PENDING_BYTES
            return self._journal_bytes > CHECKPOINT_BYTES and self._offered is None

    def offer(self, snapshot: AnnotationSnapshot, changed: frozenset[Triple]) -> None:
        """Take a snapshot to write as the next checkpoint.

        Parameters
        ----------
        snapshot : AnnotationSnapshot
            With all edits that were appended.
        changed : frozenset of tuple of int
            Chunks that changed since the last offer.
        """
        with self._condition:
            self._offered = snapshot
            self._changed |= changed
            refused = self._writing.error is not None or self._behind
            if refused and self._pending_bytes > PENDING_BYTES:
                # The snapshot holds these edits: memory stays bounded however long the disk
                # refuses. The checkpoint now has to come before any later edit.
                if not self._behind:
                    self._dropped_since = self._pending[0][1]
                self._dropped = snapshot.revision
                self._forget(snapshot.revision)
            self._condition.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until all edits so far are on disk; False when the disk refused or time ran out."""
        with self._condition:
            target = self._latest
            return self._wait(lambda: self._saved >= target, timeout)

    def wait_for_checkpoint(self, timeout: float) -> bool:
        """Wait until no snapshot is left to write; False as in `flush`."""
        with self._condition:
            return self._wait(lambda: self._offered is None, timeout)

    def close(self) -> None:
        """Write what is left, end the thread and give the lock back; can be called again."""
        with self._condition:
            if self._closing_at is None:
                self._closing_at = time.monotonic() + CLOSING_SECONDS
            self._condition.notify_all()
        # The last reference to a store may be dropped by any thread, even by the writer.
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _wait(self, done: Callable[[], bool], timeout: float) -> bool:
        # A turn under way may be refused for a reason that is gone by now: only one that begins
        # after this call says what the disk does with it.
        begun = self._begun
        self._urgent = True
        self._condition.notify_all()
        self._condition.wait_for(
            lambda: done() or (self._ended_turns > begun and self._refused) or self._ended,
            timeout,
        )
        return done()

    @property
    def _refused(self) -> bool:
        return self._writing.error is not None or self._gathering.error is not None

    # ------------------------------------------------------------------- the writer thread

    def _run(self) -> None:
        try:
            while self._wait_for_work():
                self._turn(urgent=self._asked)
            self._turn(urgent=True)
        finally:
            try:
                self._close_segment()
                self._lock.release()
            finally:
                with self._condition:
                    self._ended = True
                    self._condition.notify_all()

    def _wait_for_work(self) -> bool:
        """Wait until something is due; False when it is the last time."""
        with self._condition:
            while self._closing_at is None:
                due = self._due()
                now = time.monotonic()
                if due is not None and due <= now:
                    # Counted in the same step: who asks from here on waits for the next turn.
                    self._asked, self._urgent = self._urgent, False
                    self._begun += 1
                    return True
                self._condition.wait(None if due is None else due - now)
            self._begun += 1
            return False

    def _due(self) -> float | None:
        if self._urgent:
            return 0.0
        dues = []
        if self._pending and not self._behind:
            dues.append(max(self._pending[0][1] + BATCH_SECONDS, self._writing.at))
        if self._offered is not None:
            dues.append(self._gathering.at)
        return min(dues, default=None)

    @property
    def _behind(self) -> bool:
        """Whether edits are in the offered snapshot only, which then has to be written first."""
        return self._dropped > self._saved

    def _turn(self, *, urgent: bool) -> None:
        """Write what is due; whatever goes wrong is told, and tried again later."""
        if self._behind and (urgent or time.monotonic() >= self._gathering.at):
            self._attempt(self._write_checkpoint, self._gathering)
        if not self._behind and (urgent or time.monotonic() >= self._writing.at):
            self._attempt(self._write_pending, self._writing)
        if urgent or time.monotonic() >= self._gathering.at:
            self._attempt(self._write_checkpoint, self._gathering)
        with self._condition:
            self._ended_turns += 1
            self._condition.notify_all()

    def _attempt(self, work: Callable[[], None], trouble: _Trouble) -> None:
        try:
            work()
        except Cancelled:
            return  # only the checkpoint at the end is ever given up, with all edits safe
        except OSError as error:
            place = self._folder / checkpoint.JOURNAL
            refusal: BrushfireError = storage_error(error, place, trouble.rule, trouble.do)
        except BrushfireError as error:
            refusal = error
        except Exception as error:  # noqa: BLE001 - a dead writer would lose strokes silently
            refusal = StorageError(trouble.rule, got=repr(error), do=trouble.do)
        else:
            with self._condition:
                trouble.over()
            return
        with self._condition:
            trouble.again(refusal)
        self._close_segment()

    def _write_pending(self) -> None:
        with self._condition:
            batch = [record for record, _ in self._pending]
        if not batch:
            return
        last = batch[-1].sequence
        data = b"".join(map(encode, batch))
        self._open_segment().append(data, last)
        with self._condition:
            # Together with the number, so that whoever waited for it finds no old refusal.
            self._writing.over()
            self._saved = max(self._saved, last)
            self._forget(last)
            self._journal_bytes += len(data)
            self._condition.notify_all()

    def _write_checkpoint(self) -> None:
        with self._condition:
            snapshot, changed = self._offered, self._changed
            if snapshot is None:
                return
            self._changed = set()
        try:
            self._prepare()
            self._close_segment()
            checkpoint.write(self._folder, snapshot, changed, between=self._between)
        except BaseException:
            with self._condition:
                self._changed |= changed
            raise
        with self._condition:
            self._gathering.over()
            self._saved = max(self._saved, snapshot.revision)
            self._forget(snapshot.revision)
            if not self._pending:
                self._writing.over()
        self._remove_segments(snapshot.revision)
        with self._condition:
            if self._offered is snapshot:
                self._offered = None
            self._condition.notify_all()

    def _between(self) -> None:
        """Keep strokes safe while a long checkpoint is written."""
        with self._condition:
            ordered = not self._behind
            if ordered and self._closing_at is not None and time.monotonic() > self._closing_at:
                raise Cancelled  # all is in the segments, or soon will be
            oldest = self._pending[0][1] if self._pending else None
            due = oldest is not None and (self._urgent or time.monotonic() - oldest > BATCH_SECONDS)
        if due and ordered:
            self._write_pending()

    def _remove_segments(self, sequence: int) -> None:
        """Remove the files whose edits are all in the checkpoint; damaged ones are kept aside."""
        kept = []
        for one in self._closed_segments:
            if one.last > sequence:
                kept.append(one)
            elif one.damaged:
                aside = self._folder / checkpoint.JOURNAL / checkpoint.DAMAGED
                aside.mkdir(exist_ok=True)
                os.replace(one.path, checkpoint.free_name(aside / one.path.name))
            else:
                one.path.unlink(missing_ok=True)
        self._closed_segments = kept
        with self._condition:
            self._journal_bytes = sum(one.size for one in kept)

    def _prepare(self) -> None:
        """Make sure that the folder is there, and ours."""
        self._lock.acquire()
        (self._folder / checkpoint.JOURNAL).mkdir(exist_ok=True)

    def _open_segment(self) -> Segment:
        if self._segment is None:
            self._prepare()
            self._number += 1  # first, so that a file that cannot be made is not tried again
            self._segment = Segment(self._folder / checkpoint.JOURNAL, self._number, self._shape)
        return self._segment

    def _close_segment(self) -> None:
        if self._segment is not None:
            segment, self._segment = self._segment, None
            closed = segment.close()
            if closed is not None:
                self._closed_segments.append(closed)

    def _forget(self, sequence: int) -> None:
        """Drop the edits up to ``sequence``; called under the condition."""
        while self._pending and self._pending[0][0].sequence <= sequence:
            self._pending_bytes -= self._pending.popleft()[0].nbytes
