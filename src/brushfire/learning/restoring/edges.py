"""How sharp is an edge? Its profile along a line across it, and its width: no truth is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.optimize import brentq, curve_fit, minimize_scalar
from scipy.special import ndtr, ndtri, stdtrit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ends = Sequence[float] | Array

FEWEST = 8
"""Voxels that a line crosses at least: two levels and a rise between them."""
MARGIN = 8
"""Voxels around a line that interpolation looks at; farther ones count for less than 0.01 %."""

RISE = 2 * float(ndtri(0.9))  # standard deviations from 10 to 90 %
_EXPLAINED = 0.5  # of the variance along the line, by one edge at least
_STARTS = (0.5, 2.0, 6.0)  # voxels: deviations that a fit begins with
_SHARPEST = 0.1  # voxels: a smaller deviation cannot be told from it
_SURE = 0.95  # on each side: 90 % certainty
_PLACES = 25  # of the middle that are tried before the best is refined

TOO_SHORT = (
    f"The line is too short: draw it over {FEWEST} voxels or more, from one side to the other."
)
NO_NUMBERS = "Part of the line has no numbers."
NO_EDGE = "No single edge stands out: draw across one, at right angles to it."
NOT_WITHIN = "The edge is not all within the line: draw it longer, from one side to the other."
TOO_NOISY = "There is too much noise to tell: draw where the contrast is higher."
NOT_FITTED = "No edge could be fitted here: draw the line elsewhere."


@dataclass(frozen=True, eq=False)
class EdgeProfile:
    """Intensities along a line, and the edge that it crosses.

    Parameters
    ----------
    distances : ndarray
        Micrometres from the start of the line, a voxel apart.
    values : ndarray
        Mean intensities there; not a number where nothing is known.
    voxel : float
        Micrometres of a voxel in the direction of the line.
    width : float or None
        Micrometres in which the edge rises from 10 to 90 %; None where there is no edge.
    low, high : float or None
        Micrometres between which the width lies with 90 % certainty, by the fit, which takes noise
        to be independent from voxel to voxel; 0 where the edge may be as sharp as voxels can show.
    contrast : float or None
        Difference of the intensities on both sides.
    middle : float or None
        Micrometres from the start of the line to where half of it has risen.
    problem : str
        Why there is no width, or "".
    """

    distances: Array
    values: Array
    voxel: float
    width: float | None = None
    low: float | None = None
    high: float | None = None
    contrast: float | None = None
    middle: float | None = None
    problem: str = ""


def edge_profile(
    plane: NDArray[Any],
    start: Ends,
    stop: Ends,
    *,
    voxel_size: Sequence[float] = (1.0, 1.0),
    across: float = 0.0,
) -> EdgeProfile:
    """Return the intensities along a line in a plane, and the width of the edge that it crosses.

    The width is the 10 to 90 % rise distance of the edge response, as in ASTM E1695 and in the edge
    spread functions of ISO 12233, of an error function that is fitted to the profile. An edge
    that the line crosses at an angle looks wider: by 2 % at 10 degrees, by 15 % at 30, and more
    where it is narrow and the line broad.

    Parameters
    ----------
    plane : ndarray
        Rows, columns.
    start, stop : sequence of float
        Ends of the line, row and column, 0 in the middle of the first pixel.
    voxel_size : sequence of float
        Micrometres of a row and of a column.
    across : float
        Micrometres over which the mean is taken, at right angles to the line.

    Returns
    -------
    EdgeProfile
        With a sentence in place of a width where there is none.
    """
    return find_edge(*_along(plane, start, stop, voxel_size, across))


def find_edge(x: Array, y: Array, voxel: float) -> EdgeProfile:
    """Return a profile with the edge in it, see `edge_profile`.

    Parameters
    ----------
    x : ndarray
        Micrometres from the start of the line, ascending from 0.
    y : ndarray
        Intensities there.
    voxel : float
        Micrometres of a voxel.
    """

    def without(problem: str) -> EdgeProfile:
        return EdgeProfile(x, y, voxel, problem=problem)

    if len(x) < FEWEST:
        return without(TOO_SHORT)
    if not np.isfinite(y).all():
        return without(NO_NUMBERS)
    spread = float(np.ptp(y))
    if spread <= 1e-9 * float(np.abs(y).max()):
        return without(NO_EDGE)
    scaled = (y - y.min()) / spread
    fit = _fitted(x, scaled, voxel)
    if fit is None:
        return without(NOT_FITTED)
    (_, rise, middle, log_sigma), explained = fit
    if explained < _EXPLAINED:
        return without(NO_EDGE)
    width = RISE * float(np.exp(log_sigma))
    if not x[0] + voxel < middle < x[-1] - voxel or width > x[-1]:
        return without(NOT_WITHIN)
    low, high = _between(x, scaled, voxel, middle, log_sigma)
    if high > x[-1]:
        return without(TOO_NOISY)
    return EdgeProfile(x, y, voxel, width, low, high, abs(float(rise)) * spread, float(middle))


def voxels_along(start: Ends, stop: Ends, voxel_size: Sequence[float]) -> float:
    """Return how many voxels of a plane a line crosses, see `edge_profile`."""
    length, _, voxel, _ = _directed(start, stop, voxel_size)
    return length / voxel


def _directed(
    start: Ends, stop: Ends, voxel_size: Sequence[float]
) -> tuple[float, Array, float, float]:
    """Return a line's length and direction, and a voxel along and across it, in micrometres."""
    sizes = np.asarray(voxel_size, np.float64)
    way = (np.asarray(stop, np.float64) - np.asarray(start, np.float64)) * sizes
    length = float(np.hypot(*way))
    ahead: Array = way / length if length else np.array([0.0, 1.0])
    voxel, beside = (1 / float(np.hypot(*(one / sizes))) for one in (ahead, _turned(ahead)))
    return length, ahead, voxel, beside


def _turned(way: Array) -> Array:
    """Return the direction at right angles to one."""
    return np.array([-way[1], way[0]])


def _along(
    plane: NDArray[Any],
    start: Ends,
    stop: Ends,
    voxel_size: Sequence[float],
    across: float,
) -> tuple[Array, Array, float]:
    length, ahead, voxel, beside = _directed(start, stop, voxel_size)
    sizes = np.asarray(voxel_size, np.float64)
    count = int(length / voxel + 1e-6) + 1
    distances: Array = voxel * np.arange(count, dtype=np.float64)
    lanes = max(1, round(across / beside))
    aside = beside * (np.arange(lanes) - (lanes - 1) / 2)
    points = (
        np.asarray(start, np.float64)[:, None, None]
        + (ahead / sizes)[:, None, None] * distances[:, None]
        + (_turned(ahead) / sizes)[:, None, None] * aside
    )
    found, known = _interpolated(plane, points)
    total = known.sum(-1)
    values: Array = np.where(known, found, 0.0).sum(-1) / np.maximum(total, 1)
    values[total == 0] = np.nan
    return distances, values, voxel


def _interpolated(plane: NDArray[Any], points: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Return values between pixels, and which of them lie in the plane and among numbers.

    Cubic, since linear interpolation would widen an edge of two voxels by a seventh.
    """
    whole = np.asarray(plane, np.float64)
    finite = np.isfinite(whole)
    share = map_coordinates(finite.astype(np.float64), points, order=1, mode="grid-constant")
    if not finite.all():
        whole = np.where(finite, whole, whole[finite].mean() if finite.any() else 0.0)
    return map_coordinates(whole, points, order=3, mode="mirror"), share > 1 - 1e-6


def _fitted(x: Array, y: Array, voxel: float) -> tuple[Array, float] | None:
    """Return level, rise, middle and log deviation, and the share of the variance they explain."""
    at = _best_split(y)
    low, high = float(y[:at].mean()), float(y[at:].mean())
    middle = (x[at - 1] + x[at]) / 2
    reach = np.log([_SHARPEST * voxel, 2 * x[-1]])
    bounds = ([-np.inf, -np.inf, x[0], reach[0]], [np.inf, np.inf, x[-1], reach[1]])
    best: tuple[Array, float] | None = None
    for deviation in _STARTS:
        first = (low, high - low, middle, np.clip(np.log(deviation * voxel), *reach))
        try:
            found, _ = curve_fit(_risen, x, y, first, bounds=bounds)
        except RuntimeError:  # this start led nowhere
            continue
        left = float(((_risen(x, *found) - y) ** 2).sum())
        explained = 1 - left / float(((y - y.mean()) ** 2).sum())
        if best is None or explained > best[1]:
            best = found, explained
    return best


def _between(
    x: Array, y: Array, voxel: float, middle: float, log_sigma: float
) -> tuple[float, float]:
    """Return the least and the greatest width that the profile agrees with, by its likelihood.

    The covariance of a fit would not do: in noise the sharpest edge often fits best, and wide ones
    nearly as well.
    """
    even = y - y.mean()
    reach = max(2 * voxel, float(np.exp(log_sigma)))

    def left(log_sigma: float) -> float:
        """Return the squares that the best edge of this deviation leaves."""

        def at(place: float) -> float:
            risen = ndtr((x - place) / np.exp(log_sigma))
            risen -= risen.mean()
            power = max(float(risen @ risen), 1e-12)
            return float(even @ even) - float(risen @ even) ** 2 / power

        places = np.linspace(middle - reach, middle + reach, _PLACES)
        best, step = min(places, key=at), places[1] - places[0]
        refined = minimize_scalar(at, bounds=(best - step, best + step), method="bounded")
        return max(min(at(best), float(refined.fun)), 0.0)

    free = len(x) - 4
    most = left(log_sigma) * (1 + float(stdtrit(free, _SURE)) ** 2 / free)
    ends = np.log([_SHARPEST * voxel, 2 * x[-1]])
    low, high = (
        end
        if left(end) <= most
        else brentq(lambda one: left(one) - most, end, log_sigma, xtol=1e-3)
        for end in ends
    )
    return 0.0 if low == ends[0] else RISE * float(np.exp(low)), RISE * float(np.exp(high))


def _risen(x: Array, low: float, rise: float, middle: float, log_sigma: float) -> Array:
    """Return an error function that rises from one level to another."""
    risen: Array = low + rise * ndtr((x - middle) / np.exp(log_sigma))
    return risen


def _best_split(y: Array) -> int:
    """Return where two constants, one before and one from there on, fit best."""
    before = np.arange(1, len(y))
    sums = np.cumsum(y)[:-1]
    between = sums**2 / before + (y.sum() - sums) ** 2 / (len(y) - before)
    return int(between.argmax()) + 1
