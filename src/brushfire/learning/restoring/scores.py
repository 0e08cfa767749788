"""How near an image is to the truth: PSNR and SSIM, with what they are measured by stated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import uniform_filter
from skimage.metrics import structural_similarity

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[Any]
    Mask = NDArray[np.bool_]

_SIDE = 7  # of a window of structural similarity, scikit-image's


def range_of(truth: Image, valid: Mask | None = None) -> float:
    """Return the span from the lowest to the highest finite value, by which scores are measured."""
    known = truth[np.isfinite(truth) if valid is None else valid & np.isfinite(truth)]
    return float(np.ptp(known)) if known.size else 0.0


def psnr(
    found: Image, truth: Image, *, data_range: float | None = None, valid: Mask | None = None
) -> float:
    """Return the peak signal-to-noise ratio in dB.

    Parameters
    ----------
    found, truth : ndarray
        Of one shape, in one unit.
    data_range : float, optional
        The peak; by default the span of the truth.
    valid : ndarray, optional
        Where to compare, bool; by default where the truth is finite.

    Returns
    -------
    float
        Infinite where both are equal; NaN where there is nothing to compare, or no span.
    """
    known = np.isfinite(truth) if valid is None else valid & np.isfinite(truth)
    span = range_of(truth, known) if data_range is None else data_range
    if not known.any() or span <= 0:
        return float("nan")
    apart = found[known].astype(np.float64) - truth[known]
    error = float(np.mean(apart * apart))
    return float("inf") if error == 0 else 10 * float(np.log10(span * span / error))


def ssim(
    found: Image, truth: Image, *, data_range: float | None = None, valid: Mask | None = None
) -> float:
    """Return the mean structural similarity of two images, over windows of 7 x 7 pixels.

    Parameters
    ----------
    found, truth, data_range, valid
        As for `psnr`, (y, x); only windows that are valid as a whole are compared.

    Returns
    -------
    float
        At most 1; NaN where no window is valid, or there is no span.
    """
    known = np.isfinite(truth) if valid is None else valid & np.isfinite(truth)
    span = range_of(truth, known) if data_range is None else data_range
    if min(truth.shape) < _SIDE or span <= 0:
        return float("nan")
    one, other = (np.where(known, values, 0).astype(np.float64) for values in (found, truth))
    _, each = structural_similarity(other, one, data_range=span, win_size=_SIDE, full=True)
    whole = uniform_filter(known.astype(np.float64), _SIDE, mode="constant") > 1 - 1e-6
    return float(each[whole].mean()) if whole.any() else float("nan")


def fitted(found: Image, truth: Image, *, valid: Mask | None = None) -> Image:
    """Return an image in the scale and offset in which it is nearest to the truth.

    For images whose units differ: a change of unit is no restoration.

    Parameters
    ----------
    found, truth, valid
        As for `psnr`.
    """
    known = np.isfinite(truth) if valid is None else valid & np.isfinite(truth)
    x, y = found[known].astype(np.float64), truth[known].astype(np.float64)
    if not x.size or np.ptp(x) == 0:
        return np.full(found.shape, y.mean() if y.size else 0.0)
    scale = float(((x - x.mean()) * (y - y.mean())).mean() / x.var())
    nearest: Image = scale * (found.astype(np.float64) - x.mean()) + y.mean()
    return nearest
