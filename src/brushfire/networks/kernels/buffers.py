"""Memory for the maps of one pass, kept for the next.

New memory is cleared by the system page by page, which takes up to a third of a pass.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from brushfire.networks.kernels.layout import FlatLayout

KEPT_BYTES = 2**29
"""A buffer larger than this goes back to the system at once."""


class _Spare(threading.local):
    """The memory that a thread's last pass has left, and what has clean margins in it."""

    values: Tensor | None = None
    layout: FlatLayout | None = None
    rows: int = 0


_spare = _Spare()


@contextmanager
def lent_buffer(rows: int, layout: FlatLayout, like: Tensor) -> Iterator[Tensor]:
    """Lend a buffer of maps until the block ends; its margins are zero, its pixels anything.

    Only for what needs no gradients. A thread keeps one buffer at most, of at most `KEPT_BYTES`,
    until `forget_buffer`.

    Parameters
    ----------
    rows : int
        Maps.
    layout : FlatLayout
        Where the pixels lie.
    like : Tensor
        Of the wanted dtype and device. Only processors' memory is kept: torch itself does so for
        other devices.

    Yields
    ------
    Tensor
        (rows, layout.total).
    """
    count = rows * layout.total
    values, clean = _take(rows, layout, like)
    if values is None:
        values = like.new_zeros(count)
    elif not clean:
        values[:count] = 0
    yield values[:count].view(rows, layout.total)
    # Not after an error: margins may be half written.
    kept = values.device.type == "cpu" and values.nbytes <= KEPT_BYTES
    if kept and not values.is_inference():  # of no use outside of inference mode
        _spare.values, _spare.layout, _spare.rows = values, layout, rows


def _take(rows: int, layout: FlatLayout, like: Tensor) -> tuple[Tensor | None, bool]:
    """Return the spare memory if it serves, and whether its margins are zero; it is gone then."""
    values, count = _spare.values, rows * layout.total
    _spare.values = None
    fits = (
        values is not None
        and values.dtype == like.dtype
        and values.device == like.device
        and count <= values.numel()
    )
    # Mirrored margins hold what they mirrored.
    clean = layout.lead == 0 and _spare.layout == layout and rows <= _spare.rows
    return (values if fits else None), clean


def forget_buffer() -> None:
    """Give the memory back that this thread's last pass has left."""
    _spare.values = None
