"""Compile a loop once and keep it for later processes: needs numba."""

from __future__ import annotations

from typing import TYPE_CHECKING

from numba import njit

if TYPE_CHECKING:
    from collections.abc import Callable


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Return a loop that is compiled when it is first called, and holds no lock meanwhile.

    numba compiles it again when the file that it is written in has changed, and looks at no other.
    """
    try:
        kept: Callable[..., None] = njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no folder to keep it in: it is compiled again by every process
        kept = njit(nogil=True)(function)
    return kept
