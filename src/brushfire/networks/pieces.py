"""How a slice is cut into parts, so that the maps of one fit into the memory that is given."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from brushfire.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Callable

_FINER = 1.1  # between the sides of parts that are considered

LEAST = 32
"""Sides of the smallest parts in pixels, halo apart: below it nearly all work is halo."""


def outward(box: Box, step: int) -> Box:
    """Return a box whose rows and columns begin and end at multiples of ``step`` around it."""
    (z, *low), (end, *high) = box.start, box.stop
    top, left = (start // step * step for start in low)
    bottom, right = (-(-stop // step) * step for stop in high)
    return Box((z, top, left), (end, bottom, right))


def best_cut(
    size: tuple[int, int], halo: int, fits: Callable[[int, int], bool]
) -> tuple[int, int] | None:
    """Return the sides of the parts of a slice for the least work in all.

    Parameters
    ----------
    size : tuple of int
        Pixels of what is wanted, y and x.
    halo : int
        Pixels that are computed around each part.
    fits : callable
        Takes the sides of a part, halo included; says whether its maps can be kept.

    Returns
    -------
    tuple of int or None
        Sides of a part in y and x, halo apart; those at the far edges may be smaller. None where
        not even the smallest part fits.
    """
    counts = [_counts(side) for side in size]

    def part(cut: tuple[int, ...]) -> tuple[int, int]:
        height, width = (-(-side // count) for side, count in zip(size, cut, strict=True))
        return height, width

    def work(cut: tuple[int, ...]) -> int:
        height, width = part(cut)
        return cut[0] * cut[1] * (height + 2 * halo) * (width + 2 * halo)

    for cut in sorted(product(*counts), key=work):
        height, width = part(cut)
        if fits(height + 2 * halo, width + 2 * halo):
            return height, width
    return None


def _counts(side: int) -> list[int]:
    """Return into how many parts a side may be cut: some of all numbers, up to the smallest."""
    counts, part = {1}, float(LEAST)
    while part < side:
        counts.add(-(-side // int(part)))
        part *= _FINER
    return sorted(counts)
