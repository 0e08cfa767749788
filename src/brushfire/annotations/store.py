"""The label store: sparse labels that look like an array to napari and reach the disk."""

from __future__ import annotations

import weakref
from math import prod
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from brushfire.annotations.indexing import as_labels, basic, coordinates, spread
from brushfire.annotations.records import Edit, Patch, Record, Replacement
from brushfire.annotations.sparse import SparseLabels
from brushfire.errors import AnnotationError
from brushfire.geometry import Grid, Triple, triple

if TYPE_CHECKING:
    from brushfire.annotations.journal import Journal
    from brushfire.annotations.snapshot import AnnotationSnapshot
    from brushfire.annotations.tally import ClassCount
    from brushfire.errors import BrushfireError

CHUNK: Triple = (1, 256, 256)
"""Chosen by benchmarks/annotation_store.py: as quick as larger chunks, in half the memory."""

MAX_READ = 1 << 30
"""Reading more voxels than this at once is refused: it would be most of a volume."""


class LabelStore:
    """Labels of a whole volume: uint8, 0 where unlabelled, sparse in memory.

    It has what a `napari.layers.Labels` layer asks of its data, and numpy's indexing. What is
    read is a copy. One thread, the main one, reads and writes; snapshots are for all others.

    Parameters
    ----------
    shape : tuple of int
        Voxels along z, y, x; at least 1 each.
    chunk : tuple of int
        Voxels of a chunk. The default makes painting on XY slices quickest.

    Raises
    ------
    AnnotationError
        If the shape is not three positive integers.
    """

    dtype = np.dtype(np.uint8)
    ndim = 3

    def __init__(self, shape: Triple, *, chunk: Triple = CHUNK) -> None:
        if len(shape) != 3 or min(shape) < 1:
            raise AnnotationError(
                "Labels have three axes, z, y and x, with at least one voxel on each.",
                got=f"shape {tuple(shape)}",
                do="Give the shape of the volume's finest level.",
            )
        self._labels = SparseLabels(Grid(triple(shape), chunk))
        self._revision = 0
        self._snapshot: AnnotationSnapshot | None = None
        self._journal: Journal | None = None
        self._finalizer: weakref.finalize[Any, Any] | None = None
        self._closed = False
        self._recovery: str | None = None

    @classmethod
    def journaled(
        cls, labels: SparseLabels, revision: int, journal: Journal, recovery: str | None
    ) -> LabelStore:
        """Return a store of labels that were read from disk; see `open_annotations`.

        Parameters
        ----------
        labels : SparseLabels
            What was read; the store owns it from now on.
        revision : int
            Number of the last edit in it.
        journal : Journal
            Where all further edits go.
        recovery : str or None
            What could not be read.
        """
        store = cls(labels.grid.shape, chunk=labels.grid.cell)
        store._labels, store._revision = labels, revision
        store._journal, store._recovery = journal, recovery
        # Also runs when the interpreter ends: the writer is a daemon thread and would be cut off.
        store._finalizer = weakref.finalize(store, journal.close)
        if recovery is not None:
            store._offer(journal)  # so that damaged files can be set aside
        return store

    @property
    def shape(self) -> Triple:
        """Voxels along z, y, x."""
        return self._labels.grid.shape

    @property
    def size(self) -> int:
        """Voxels of the whole volume."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that the labels would take as a plain array; see `memory_bytes`."""
        return self.size

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NoReturn:
        raise AnnotationError(
            "Labels of a whole volume are never loaded at once.",
            got=f"a request for all {self.size:,} voxels",
            do="Read a box or a slice of them, or export them.",
        )

    def __repr__(self) -> str:
        return f"LabelStore(shape={self.shape}, revision={self._revision})"

    def __getitem__(self, key: Any) -> Any:
        """Return a copy of the labels at ``key``, as numpy's indexing does.

        Raises
        ------
        IndexError
            As numpy does.
        AnnotationError
            If more than about a billion voxels are asked for.
        """
        selection = basic(key, self.shape)
        if selection is None:
            return self._labels.read_points(coordinates(key, self.shape))[()]
        if selection.box.size > MAX_READ:
            raise AnnotationError(
                f"At most {MAX_READ:,} voxels of labels are read at once.",
                got=f"{selection.box.size:,} voxels",
                do="Read a smaller box, or show the labels in 2D.",
            )
        block = self._labels.read(selection.box)
        return block if selection.whole and not selection.dropped else block[selection.rest]

    def __setitem__(self, key: Any, value: Any) -> None:
        """Set the labels at ``key``, as numpy's indexing does, as one edit.

        Raises
        ------
        IndexError
            As numpy does.
        AnnotationError
            If a value is not 0 to 127, the shape of ``value`` does not fit, or the store is
            closed.
        """
        self._check_open()
        labels = as_labels(value)
        selection = basic(key, self.shape)
        if selection is None:
            points = coordinates(key, self.shape)
            self._commit(self._labels.write_points(points, spread(labels, points[0].shape)))
            return
        box = selection.box
        if selection.whole:
            kept = tuple(n for axis, n in enumerate(box.shape) if axis not in selection.dropped)
            block = np.expand_dims(spread(labels, kept), selection.dropped)
        else:
            block = self[box.slices]
            block[selection.rest] = spread(labels, np.shape(block[selection.rest]))
        self._commit(self._labels.write(box, block))

    @property
    def revision(self) -> int:
        """Number of edits that changed something, over the life of the project."""
        return self._revision

    @property
    def memory_bytes(self) -> int:
        """Bytes that the labelled chunks take now."""
        return self._labels.memory_bytes

    @property
    def recovery(self) -> str | None:
        """What could not be read when the labels were opened, as a sentence; None for nothing."""
        return self._recovery

    def counts(self) -> dict[int, ClassCount]:
        """Return voxels and slices of each class that has a voxel; exact, and quick."""
        return self._labels.tally.counts()

    def annotated_slices(self) -> tuple[int, ...]:
        """Return the slices along z that have a label, in rising order."""
        return tuple(sorted(self._labels.tally.by_slice))

    def snapshot(self) -> AnnotationSnapshot:
        """Return the labels as they are now, for any thread; only the writing thread calls it."""
        if self._snapshot is None:
            self._snapshot = self._labels.freeze(self._revision)
        return self._snapshot

    def replace(self, value: int, with_value: int) -> None:
        """Give all voxels labelled ``value`` the label ``with_value``, as one edit.

        Raises
        ------
        AnnotationError
            If ``value`` is not 1 to 127, ``with_value`` not 0 to 127, or the store is closed.
        """
        self._check_open()
        old, new = int(as_labels(value)), int(as_labels(with_value))
        if old == 0:
            raise AnnotationError(
                "Only labels of a class are replaced; 0 means unlabelled.",
                got=f"value {value}",
                do="Give a class from 1 to 127.",
            )
        if self._labels.replace(old, new):
            self._record(Replacement(self._revision + 1, old, new))

    @property
    def journal_error(self) -> BrushfireError | None:
        """Why edits do not reach the disk now; they stay in memory and are tried again."""
        return None if self._journal is None else self._journal.error

    @property
    def unsaved_seconds(self) -> float:
        """Age of the oldest edit that is not on disk yet; 0 when all are, or in memory only."""
        return 0.0 if self._journal is None else self._journal.unsaved_seconds

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all edits are on disk.

        Parameters
        ----------
        timeout : float
            Longest wait, in seconds.

        Returns
        -------
        bool
            Whether they are; False also after a refusal of the disk, see `journal_error`.
        """
        return True if self._journal is None else self._journal.flush(timeout)

    def checkpoint(self, timeout: float = 0.0) -> bool:
        """Have all labels written to the Zarr array and the journal emptied, in the background.

        Parameters
        ----------
        timeout : float
            How long to wait for it, in seconds. Edits are safe in the journal before.

        Returns
        -------
        bool
            Whether it is done.
        """
        if self._journal is None:
            return True
        if not self._closed:
            self._offer(self._journal)
        return self._journal.wait_for_checkpoint(timeout)

    def close(self) -> None:
        """Save what is not saved yet and give the folder back; can be called again.

        The labels can still be read. After a refusal of the disk, `journal_error` says what
        was not saved.
        """
        if self._closed:
            return
        self._closed = True
        if self._journal is not None and self._finalizer is not None:
            self._offer(self._journal)
            self._finalizer()

    def _check_open(self) -> None:
        if self._closed:
            raise AnnotationError(
                "Labels of a closed project do not change.",
                got="an edit after closing",
                do="Open the project again.",
            )

    def _commit(self, patches: tuple[Patch, ...]) -> None:
        if patches:
            self._record(Edit(self._revision + 1, patches))

    def _record(self, record: Record) -> None:
        self._revision = record.sequence
        self._snapshot = None
        if self._journal is not None and self._journal.append(record):
            self._offer(self._journal)

    def _offer(self, journal: Journal) -> None:
        journal.offer(self.snapshot(), self._labels.take_changed())
