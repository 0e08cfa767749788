"""Where a zoomed scan lies in the whole one, refined by how much they look alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.feature import match_template

from brushfire.errors import VolumeError
from brushfire.geometry import Box, Scale, Triple, triple
from brushfire.volumes.resampling import grid_around, resampled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from brushfire.volumes.volume import Volume

REACH = 4
"""Coarse voxels around the place that was said in which a region is looked for."""

SURE = 0.3
"""Correlation below which the place is a guess."""

_COMPARED: Triple = (64, 160, 160)  # of the middle of a region, voxels
_MARGIN = 96  # most fine voxels around it that are searched, whatever the zoom


@dataclass(frozen=True)
class Alignment:
    """Where a region was found.

    Parameters
    ----------
    offset : tuple of float
        From the first corner of the whole to that of the region, micrometres, z, y, x.
    shift : tuple of int
        From where it was said to be, voxels of the region.
    correlation : float
        Of region and whole there, at the resolution of the whole; 1 for the same picture.
    remark : str
        What is doubtful, if anything.
    """

    offset: Scale
    shift: Triple
    correlation: float
    remark: str = ""


def align_region(coarse: Volume, region: Volume, offset: Sequence[float]) -> Alignment:
    """Look for the place of a zoomed scan near where it is said to be.

    The middle of the region, blurred as the whole is, is compared with the whole interpolated to
    its voxels, at all shifts of up to `REACH` coarse voxels (normalised cross-correlation).

    Parameters
    ----------
    coarse : Volume
        The whole.
    region : Volume
        The zoomed scan, of smaller voxels; channel 0 of both is compared.
    offset : sequence of float
        From the first corner of the whole to that of the region, micrometres, z, y, x.

    Raises
    ------
    VolumeError
        If the region sticks out of the whole or has larger voxels, or one of both is constant
        there.
    """
    grid, origin = grid_around(coarse, region.shape, region.voxel_size, offset)
    ratio = [c / f for c, f in zip(coarse.voxel_size, region.voxel_size, strict=True)]
    middle = _middle(region.shape)
    margin = [min(round(REACH * r), _MARGIN) if n > 1 else 0
              for r, n in zip(ratio, coarse.shape, strict=True)]  # fmt: skip
    place = middle.shift(origin)
    around = place.grow(margin).clip(grid.shape)
    image = resampled(coarse, grid).read(around)[0]
    template = region.read_padded(middle)[0]
    template = gaussian_filter(template, [max(r - 1, 0) / 2 for r in ratio], mode="nearest")
    _check_varied(template, region)
    _check_varied(image, coarse)
    found = np.nan_to_num(match_template(_finite(image), template), nan=-1.0)
    best = np.unravel_index(int(np.argmax(found)), found.shape)
    expected = [a - b for a, b in zip(place.start, around.start, strict=True)]
    shift = triple([int(b) - e for b, e in zip(best, expected, strict=True)])
    moved = [o + s * f for o, s, f in zip(offset, shift, region.voxel_size, strict=True)]
    correlation = float(found[best])
    at_edge = any(
        size > 1 and at in (0, size - 1) for at, size in zip(best, found.shape, strict=True)
    )
    return Alignment(
        (moved[0], moved[1], moved[2]), shift, correlation, _remark(correlation, at_edge=at_edge)
    )


def _remark(correlation: float, *, at_edge: bool) -> str:
    if correlation < SURE:
        return (
            f"The zoomed scan looks hardly like the whole there (correlation {correlation:.2f})."
            " Check the voxel sizes and the offset: with a wrong place nothing can be learned."
        )
    if at_edge:
        return (
            "The best place is at the edge of where it was looked for: the true one may lie"
            " beyond. Correct the offset and align again."
        )
    return ""


def _middle(shape: Triple) -> Box:
    """Return the middle of a region, as much as is compared."""
    sides = [min(n, most) for n, most in zip(shape, _COMPARED, strict=True)]
    start = [(n - side) // 2 for n, side in zip(shape, sides, strict=True)]
    return Box(triple(start), triple([a + side for a, side in zip(start, sides, strict=True)]))


def _finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
    bad = ~np.isfinite(values)
    return np.where(bad, values[~bad].mean(), values) if bad.any() else values


def _check_varied(values: NDArray[np.float32], volume: Volume) -> None:
    known = values[np.isfinite(values)]
    if known.size == 0 or known.std() == 0:
        raise VolumeError(
            "A zoomed scan is placed by what is in it and in the whole.",
            got=f"{volume.name}, in which all voxels there are alike",
            do="Correct the offset, or switch the refinement off.",
        )
