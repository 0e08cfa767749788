"""Numpy's indexing, resolved to a box or to voxel coordinates."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from brushfire.errors import AnnotationError
from brushfire.geometry import Box, Triple

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Selection:
    """A basic index: the box that covers it, and what to do with the box's voxels.

    Parameters
    ----------
    box : Box
        The smallest box that holds the selected voxels; may be empty.
    rest : tuple
        Index into the voxels of the box that gives the selection.
    whole : bool
        Whether the selection is all of the box, in its order, without new axes.
    dropped : tuple of int
        Axes of the box that the selection does not have.
    """

    box: Box
    rest: tuple[Any, ...]
    whole: bool
    dropped: tuple[int, ...]


def basic(key: Any, shape: Triple) -> Selection | None:
    """Resolve integers, slices, ``...`` and new axes; None where ``key`` needs arrays.

    Raises
    ------
    IndexError
        As numpy does: too many indices, or an integer out of range.
    """
    items = key if isinstance(key, tuple) else (key,)
    if not all(_is_basic(item) for item in items):
        return None
    start, stop, dropped = [], [], []
    rest: list[Any] = []
    plain = True
    axis = 0
    for item in _expand(items):
        if item is None:
            rest.append(None)
            plain = False
            continue
        if isinstance(item, slice):
            low, high, turn = _span(item, shape[axis])
            rest.append(turn)
            plain = plain and turn == slice(None)
        else:
            low = _integer(item, axis, shape[axis])
            high = low + 1
            rest.append(0)
            dropped.append(axis)
        start.append(low)
        stop.append(high)
        axis += 1
    box = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    return Selection(box, tuple(rest), plain, tuple(dropped))


def coordinates(key: Any, shape: Triple) -> tuple[NDArray[np.intp], ...]:
    """Return z, y and x of every selected voxel, each in the shape of the selection.

    Numpy itself indexes three arrays of coordinates that take no memory, so that every form
    of index means here what it means there.

    Raises
    ------
    IndexError
        As numpy does.
    """
    if isinstance(key, tuple):
        key = tuple(np.asarray(item) if isinstance(item, list) else item for item in key)
    axes = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij", sparse=True)
    return tuple(np.broadcast_to(axis, shape)[key] for axis in axes)


def as_labels(value: Any) -> NDArray[np.uint8]:
    """Return ``value`` as label values.

    Raises
    ------
    AnnotationError
        If a value is not a whole number from 0 to 127.
    """
    array = np.asarray(value)
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if array.dtype.kind == "f" and (array == np.floor(array)).all():
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise AnnotationError(
            "Labels are whole numbers from 0 to 127.",
            got=f"values of type {array.dtype}",
            do="Convert them first.",
        )
    if array.size and (array.max() > 127 or array.min() < 0):
        wrong = array.min() if array.min() < 0 else array.max()
        raise AnnotationError(
            "A label is 0 for unlabelled or a class from 1 to 127.",
            got=int(wrong),
            do="Choose one of the classes of the project.",
        )
    return array.astype(np.uint8, copy=False)


def spread(value: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return ``value`` broadcast to ``shape``, as an assignment in numpy does.

    Raises
    ------
    AnnotationError
        If the shapes do not fit.
    """
    extra = value.ndim - len(shape)
    fitted = value
    if extra > 0 and all(n == 1 for n in value.shape[:extra]):
        fitted = value.reshape(value.shape[extra:])
    try:
        return np.broadcast_to(fitted, shape)
    except ValueError as error:
        raise AnnotationError(
            f"Labels that are written have the shape of the place they go to, here {shape}.",
            got=f"labels of shape {value.shape}",
            do="Write a block of that shape, or one value.",
        ) from error


def _is_basic(item: Any) -> bool:
    if item is None or item is Ellipsis or isinstance(item, slice):
        return True
    if isinstance(item, bool | np.bool_):
        return False  # True is an integer to Python, but a mask to numpy
    if isinstance(item, np.ndarray):
        return item.ndim == 0 and item.dtype.kind in "iu"
    return isinstance(item, int | np.integer)


def _expand(items: tuple[Any, ...]) -> list[Any]:
    """Put full slices where ``...`` stands and at the end, so that all three axes are named."""
    given = sum(item is not None and item is not Ellipsis for item in items)
    dots = sum(item is Ellipsis for item in items)
    if dots > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    if given > 3:
        raise IndexError(f"too many indices: labels have 3 axes, but {given} were indexed")
    fill = [slice(None)] * (3 - given)
    if not dots:
        return [*items, *fill]
    at = next(i for i, item in enumerate(items) if item is Ellipsis)
    return [*items[:at], *fill, *items[at + 1 :]]


def _integer(item: Any, axis: int, size: int) -> int:
    value = operator.index(item)
    if not -size <= value < size:
        raise IndexError(f"index {value} is out of bounds for axis {axis} with size {size}")
    return value % size


def _span(item: slice, size: int) -> tuple[int, int, slice]:
    """Return the covered range and the slice into it."""
    start, stop, step = item.indices(size)
    count = len(range(start, stop, step))
    if count == 0:
        return 0, 0, slice(None)
    last = start + (count - 1) * step
    if step > 0:
        return start, last + 1, slice(None) if step == 1 else slice(None, None, step)
    return last, start + 1, slice(None, None, step)
