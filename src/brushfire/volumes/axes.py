"""Bring the axes of any array into the order channel, z, y, x."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from brushfire.errors import AxesError, VolumeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from brushfire.geometry import Box

LETTERS = "tczyx"
# A leading axis up to this long, without a name, is taken for channels; a longer one for slices.
MOST_GUESSED_CHANNELS = 16


@dataclass(frozen=True)
class AxisMap:
    """How an array's own axes become channel, z, y, x.

    Parameters
    ----------
    axes : str
        One letter for each axis of the array, in its order; "?" for an axis of length 1 that
        has no meaning here.
    shape : tuple of int
        Voxels along channel, z, y, x; 1 where the array has no such axis.
    fixed : tuple of (int or None)
        For each axis of the array, the index that is always read, or None where it is kept.
    """

    axes: str
    shape: tuple[int, int, int, int]
    fixed: tuple[int | None, ...]

    def index(self, channels: slice, box: Box) -> tuple[int | slice, ...]:
        """Return the index into the array that reads ``channels`` of ``box``."""
        wanted = dict(zip("czyx", (channels, *box.slices), strict=True))
        return tuple(
            wanted[letter] if fixed is None else fixed
            for letter, fixed in zip(self.axes, self.fixed, strict=True)
        )

    def arrange(self, block: NDArray[np.generic]) -> NDArray[np.generic]:
        """Bring what `index` read into the order channel, z, y, x; missing axes have length 1."""
        kept = [a for a, fixed in zip(self.axes, self.fixed, strict=True) if fixed is None]
        block = block.transpose([kept.index(letter) for letter in "czyx" if letter in kept])
        gaps = [i for i, letter in enumerate("czyx") if letter not in kept]
        return np.expand_dims(block, gaps)


def resolve_axes(shape: Sequence[int], axes: str | None, *, time: int | None) -> AxisMap:
    """Decide what each axis of an array is.

    Parameters
    ----------
    shape : sequence of int
        The array's shape, in its own order.
    axes : str or None
        Letters out of "tczyx" ("s", samples of a colour pixel, is a channel), one for each axis or
        one for each axis longer than 1. Without them the last three are z, y, x.
    time : int or None
        The time point to read where there is more than one.

    Raises
    ------
    AxesError, VolumeError
        For axes that are no volume: too many, too few, named twice, or time without a choice.
    """
    shape = tuple(int(n) for n in shape)
    if min(shape, default=0) < 1:
        raise VolumeError(
            "A volume has at least one voxel on each axis.",
            got=f"shape {shape}",
            do="Check that the file or array is complete.",
        )
    letters = _name_axes(shape) if axes is None else _match_axes(shape, axes)
    _check_letters(letters, shape)
    fixed = tuple(
        None if letter in "czyx" else _time_index(time, n) if letter == "t" else 0
        for letter, n in zip(letters, shape, strict=True)
    )
    if time is not None and "t" not in letters:
        raise AxesError(
            "A time point can be chosen only where there is a time axis.",
            got=f"time={time} with axes {letters}",
            do="Leave time out, or name the axes.",
        )
    sizes = dict(zip(letters, shape, strict=True))
    c, z, y, x = (sizes.get(letter, 1) for letter in "czyx")
    return AxisMap(letters, (c, z, y, x), fixed)


def _match_axes(shape: tuple[int, ...], axes: str) -> str:
    letters = "".join(axes.lower().replace(",", "").split())
    if "c" not in letters:
        letters = letters.replace("s", "c")
    if len(letters) == len(shape):
        return "".join(
            "?" if n == 1 and letter not in LETTERS else letter
            for letter, n in zip(letters, shape, strict=True)
        )
    long = [i for i, n in enumerate(shape) if n > 1]
    if len(letters) == len(long):
        named = dict(zip(long, letters, strict=True))
        return "".join(named.get(i, "?") for i in range(len(shape)))
    raise AxesError(
        "There is one axis letter for each axis of the data.",
        got=f"axes {axes!r} for shape {shape}",
        do="Give as many letters out of t, c, z, y, x as the shape has numbers.",
    )


def _name_axes(shape: tuple[int, ...]) -> str:
    """Guess axes that nobody named."""
    long = [i for i, n in enumerate(shape) if n > 1]
    if len(long) > 4:
        raise AxesError(
            "A volume has at most four axes: channel, z, y, x.",
            got=f"{len(long)} axes longer than 1 in shape {shape}",
            do="Name the axes, for example axes='tczyx', and choose a time point.",
        )
    if len(shape) < 2:
        raise VolumeError(
            "A volume has at least two axes, y and x.",
            got=f"shape {shape}",
            do="Open an image or a stack of images.",
        )
    if len(shape) <= 3:
        return "zyx"[-len(shape) :]
    # Axes of length 1 in front say nothing; four that are left hold the channels.
    front = len(shape) - 4 if len(long) < 4 or long[0] >= len(shape) - 4 else None
    if front is not None:
        return "?" * front + _place_channels(shape[front:])
    letters = iter(_place_channels(tuple(shape[i] for i in long)))
    return "".join(next(letters) if i in long else "?" for i in range(len(shape)))


def _place_channels(shape: tuple[int, ...]) -> str:
    if shape[0] <= MOST_GUESSED_CHANNELS:
        return "czyx"
    if shape[-1] <= 4:
        return "zyxc"
    raise AxesError(
        "The channel axis can be told from the others.",
        got=f"shape {shape} without names for its axes",
        do="Name the axes, for example axes='czyx' or axes='tzyx' with a time point.",
    )


def _check_letters(letters: str, shape: tuple[int, ...]) -> None:
    named = [letter for letter in letters if letter != "?"]
    unknown = [a for a, n in zip(letters, shape, strict=True) if a not in LETTERS and n > 1]
    if unknown:
        raise AxesError(
            "The axes of a volume are t, c, z, y and x.",
            got=f"axes {letters} with shape {shape}",
            do="Name the axes with these letters, for example axes='czyx'.",
        )
    if len(named) != len(set(named)):
        raise AxesError(
            "Each axis is named once.",
            got=f"axes {letters} with shape {shape}",
            do="Name the axes, for example axes='czyx'.",
        )
    if "y" not in named or "x" not in named:
        raise AxesError(
            "A volume has the axes y and x.",
            got=f"axes {letters} with shape {shape}",
            do="Name the axes, for example axes='zyx'.",
        )


def _time_index(time: int | None, count: int) -> int:
    if count == 1 and time in (None, 0):
        return 0
    if time is None:
        raise AxesError(
            "One time point is opened at a time.",
            got=f"{count} time points",
            do=f"Choose one with time=0 to time={count - 1}, or, if the axis named t is in fact "
            "depth, open with axes that name it z.",
        )
    if not 0 <= time < count:
        raise AxesError(
            "The chosen time point exists.",
            got=f"time={time} of {count}",
            do=f"Choose time=0 to time={count - 1}.",
        )
    return time


def check_dtype(dtype: np.dtype[np.generic]) -> np.dtype[np.generic]:
    """Return the type that reading gives: native byte order, and uint8 for bool.

    Raises
    ------
    VolumeError
        For complex numbers, objects, records, text and anything else that is no real number.
    """
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind not in "uif":
        raise VolumeError(
            "The voxels of a volume are real numbers.",
            got=f"dtype {dtype}",
            do="Convert to an integer or floating point type first, for example the magnitude of "
            "complex numbers.",
        )
    return dtype.newbyteorder("=")
