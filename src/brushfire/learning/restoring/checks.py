"""Check what is to be restored, and what came of it; every answer is a sentence for the user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.registration import phase_cross_correlation

from brushfire.geometry import Box

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from brushfire.geometry import Triple
    from brushfire.volumes import Volume

    Image = NDArray[np.float64]

Severity = Literal["fine", "warning", "refusal"]

SHIFT = 0.5  # voxels from which a shift matters
TILE = 128  # pixels; what is farther apart does not meet in a patch
CORRELATED = 0.1  # of neighbouring pixels' noise, from which a blind spot sees through it

_SLICES = 16  # that are looked at, of many
_SIDE = 512  # of what is looked at in a slice
_SHIFT_SIZE = (16, 320, 320)  # within which a shift is looked for: by less than half of it
_FLAT_SIDE = 16  # pixels of a region that may be flat
_FLAT_SHARE = 0.05  # of all regions, the flattest
_FEWEST_FLAT = 8
_LAGS = 4
_LEFT = 0.08  # of correlation in a residual beyond what noise has
_EDGES = 0.1  # of correlation of a residual with edges
_SCALED = (
    0.3  # of correlation of a residual with what is restored, from which that has another scale
)
_ALIKE = 0.1  # of correlation below which two images do not show the same


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Parameters
    ----------
    severity : {"fine", "warning", "refusal"}
        Whether to go on.
    text : str
        A sentence for the user.
    values : tuple of float
        What was measured.
    """

    severity: Severity
    text: str
    values: tuple[float, ...] = ()


def check_pair(noisy: Volume, target: Volume, origin: Triple = (0, 0, 0)) -> Finding:
    """Return whether a volume and its target lie on each other.

    Parameters
    ----------
    noisy, target : Volume
        On one grid; the first channel of each is compared, in the middle of the target.
    origin : tuple of int
        Voxel of the noisy volume, z, y, x, where the target begins.

    Returns
    -------
    Finding
        With how far the target lies off, z, y, x, in voxels.
    """
    size = target.shape
    side = [min(n, most) for n, most in zip(size, _SHIFT_SIZE, strict=True)]
    start = [(n - one) // 2 for n, one in zip(size, side, strict=True)]
    box = Box(
        (start[0], start[1], start[2]),
        (start[0] + side[0], start[1] + side[1], start[2] + side[2]),
    )
    one = _prepared(noisy.read_padded(box.shift(origin))[0])
    other = _prepared(target.read_padded(box)[0])
    if not (one.any() and other.any()):
        return Finding("warning", "Whether the pair is shifted cannot be told: its middle is flat.")
    moved, *_ = phase_cross_correlation(one, other, upsample_factor=10, normalization=None)
    alike = _likeness(one, np.roll(other, [round(value) for value in moved], (0, 1, 2)))
    return _told(tuple(0.0 - float(value) for value in moved), alike)


def _told(shift: tuple[float, ...], alike: float) -> Finding:
    z, y, x = shift
    said = f"{abs(z):.1f} voxels in z, {abs(y):.1f} in y and {abs(x):.1f} in x"
    if alike < _ALIKE:
        return Finding(
            "warning",
            "The two volumes of the pair hardly resemble each other: check that they show the"
            " same object, and that neither is flipped or turned.",
            shift,
        )
    if max(abs(y), abs(x)) > TILE:
        return Finding(
            "refusal",
            f"The two volumes of the pair are shifted by {said}: nothing can be learned from"
            " them. Align them first.",
            shift,
        )
    if max(map(abs, shift)) > SHIFT:
        return Finding(
            "warning",
            f"The two volumes of the pair are shifted by {said}. What is learned will be blurred"
            " by as much: align them first.",
            shift,
        )
    return Finding("fine", "The two volumes of the pair lie on each other.", shift)


def _prepared(block: NDArray[Any]) -> Image:
    """Return the edges of a block, fading to its sides.

    Without what is coarse: it is alike a few voxels away, and the fading would then pull every
    shift towards 0.
    """
    whole = block.astype(np.float64)
    values = gaussian_filter(whole, (0, 1, 1)) - gaussian_filter(whole, (1, 3, 3))
    for axis in range(3):
        shape = [1, 1, 1]
        shape[axis] = values.shape[axis]
        values *= np.hanning(values.shape[axis] + 2)[1:-1].reshape(shape)
    faded: Image = values
    return faded


def _likeness(one: Image, other: Image) -> float:
    size = np.sqrt((one * one).sum() * (other * other).sum())
    return abs(float((one * other).sum() / size)) if size else 0.0


def check_noise(volume: Volume, channel: int = 0) -> Finding:
    """Return whether the noise of neighbouring pixels is independent, as a blind spot needs it.

    Parameters
    ----------
    volume : Volume
        Its flattest regions are looked at.
    channel : int
        Which channel.

    Returns
    -------
    Finding
        With the correlation of pixels 1 to 4 apart in the direction where neighbours correlate
        more; a warning where that of neighbours is above 0.1 or below -0.1.
    """
    found = flat_autocorrelation(_some_slices(volume, channel))
    if found is None:
        return Finding(
            "warning",
            "Whether the noise of neighbouring pixels is independent cannot be told: no region of"
            " the volume is flat.",
        )
    values = tuple(float(value) for value in found)
    if abs(values[0]) > CORRELATED:
        return Finding(
            "warning",
            f"The noise of neighbouring pixels is not independent (their correlation is"
            f" {values[0]:.2f} in flat regions), so that hidden pixels can be guessed, noise"
            " included: learning from the volume alone will leave noise in. Learn from parts of"
            " one scan, or from pairs.",
            values,
        )
    return Finding(
        "fine",
        f"The noise of neighbouring pixels is independent (their correlation is {values[0]:.2f}"
        " in flat regions).",
        values,
    )


def flat_autocorrelation(slices: NDArray[Any]) -> NDArray[np.float64] | None:
    """Return the autocorrelation of the noise in the flattest regions of slices.

    Parameters
    ----------
    slices : ndarray
        (slices, y, x).

    Returns
    -------
    ndarray or None
        Of lags 1 to 4, in the direction, y or x, in which neighbours correlate more. None where
        there are too few regions.
    """
    tiles = _tiles(slices)
    if len(tiles) < _FEWEST_FLAT:
        return None
    # Structure is what is left of a region when its noise is averaged.
    smooth = gaussian_filter(tiles, (0, 2, 2))
    rough = smooth.var((1, 2))
    chosen = np.argsort(rough)[: max(_FEWEST_FLAT, int(len(tiles) * _FLAT_SHARE))]
    return _autocorrelation(_without_trend(tiles[chosen]))


def check_residual(noisy: NDArray[Any], restored: NDArray[Any]) -> Finding:
    """Return whether what was removed looks like noise.

    Parameters
    ----------
    noisy, restored : ndarray
        (slices, y, x), in one unit.

    Returns
    -------
    Finding
        With the largest difference of the autocorrelation of the residual, 1 to 4 pixels apart,
        from what it is in flat regions; the correlation of the residual with edges: above 0
        where these were blurred, below 0 where they were sharpened; and that with what is restored:
        far from 0 where this has another scale.
    """
    finite = np.isfinite(noisy) & np.isfinite(restored)
    residual = np.where(finite, noisy.astype(np.float64) - restored, 0.0)
    if not residual.any():
        return Finding("warning", "Nothing was removed: the result is the input.")
    own = flat_autocorrelation(residual)
    whole = _autocorrelation(_without_trend(_tiles(residual)))
    beyond = float(np.abs(whole - (0 if own is None else own)).max())
    sharp = np.where(finite, restored, 0).astype(np.float64)
    sharp -= gaussian_filter(sharp, (0, 2, 2))
    edges = _correlation(residual, sharp)
    level = _correlation(residual, np.where(finite, restored, 0.0))
    values = beyond, edges, level
    if edges > _EDGES:
        return Finding(
            "warning",
            f"What was removed follows the edges of the image (correlation {edges:.2f}): structure"
            " was removed with the noise. Learn longer, or choose a larger network.",
            values,
        )
    if abs(level) > _SCALED:
        return Finding(
            "warning",
            f"What was removed depends on the intensity (correlation {level:.2f}): the result has"
            " another scale than the volume, as a clean volume that it learned from may have.",
            values,
        )
    if beyond > _LEFT:
        return Finding(
            "warning",
            f"What was removed is not as the noise in flat regions is (its correlation differs by"
            f" {beyond:.2f}): structure may have been removed. Compare before and after.",
            values,
        )
    return Finding("fine", "What was removed looks like noise.", values)


def check_values(volume: Volume) -> list[Finding]:
    """Return what is odd about the intensities: slices that are constant, pixels without a number.

    Parameters
    ----------
    volume : Volume
        Up to 16 of its slices are looked at.
    """
    depth, height, width = volume.shape
    chosen = np.unique(np.linspace(0, depth - 1, min(depth, _SLICES)).round().astype(int))
    constant, holes, total = 0, 0, 0
    for z in chosen:
        plane = volume.read(Box((int(z), 0, 0), (int(z) + 1, height, width)))
        finite = np.isfinite(plane) if plane.dtype.kind == "f" else np.ones(plane.shape, np.bool_)
        holes += int(plane.size - finite.sum())
        total += plane.size
        constant += not finite.any() or np.ptp(plane[finite]) == 0
    findings = []
    if constant:
        findings.append(
            Finding(
                "warning",
                f"{constant} of {len(chosen)} slices that were looked at are constant: there is"
                " nothing in them to learn from.",
                (constant / len(chosen),),
            )
        )
    if holes:
        share = holes / total
        findings.append(
            Finding(
                "warning",
                f"{_percent(share)} of the volume has no number (NaN or infinity), as around the"
                " field of view: nothing is learned there, and the mean is taken for it.",
                (share,),
            )
        )
    return findings


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else "Less than 1 %"


def _some_slices(volume: Volume, channel: int) -> NDArray[np.float32]:
    depth, height, width = volume.shape
    chosen = np.unique(np.linspace(0, depth - 1, min(depth, _SLICES) + 2)[1:-1].astype(int))
    top, left = max(0, (height - _SIDE) // 2), max(0, (width - _SIDE) // 2)
    size = min(height, _SIDE), min(width, _SIDE)
    planes = [
        volume.read(Box((int(z), top, left), (int(z) + 1, top + size[0], left + size[1])))
        for z in chosen
    ]
    return np.concatenate([plane[channel] for plane in planes]).astype(np.float32)


def _tiles(slices: NDArray[Any]) -> Image:
    """Return (tiles, 16, 16): the squares of slices that are finite and not constant."""
    side = _FLAT_SIDE
    rows, columns = (size // side for size in slices.shape[1:])
    cut = slices[:, : rows * side, : columns * side].astype(np.float64)
    tiles = cut.reshape(len(cut), rows, side, columns, side).swapaxes(2, 3).reshape(-1, side, side)
    tiles = tiles[np.isfinite(tiles).all((1, 2))]
    varied: Image = tiles[np.ptp(tiles, (1, 2)) > 0]
    return varied


def _without_trend(tiles: Image) -> Image:
    """Return tiles without the plane through each."""
    at = np.linspace(-1, 1, tiles.shape[1])
    rows, columns = np.meshgrid(at, at, indexing="ij")
    basis = np.stack([np.ones_like(rows), rows, columns]).reshape(3, -1)
    flat = tiles.reshape(len(tiles), -1)
    fit = flat @ np.linalg.pinv(basis) @ basis
    left: Image = (flat - fit).reshape(tiles.shape)
    return left


def _autocorrelation(tiles: Image) -> NDArray[np.float64]:
    """Return the autocorrelation of lags 1 to 4 where it is larger at lag 1, along y or x."""
    power = float((tiles * tiles).mean()) or 1.0
    along = np.array(
        [
            [
                (tiles[:, lag:] * tiles[:, :-lag]).mean(),
                (tiles[..., lag:] * tiles[..., :-lag]).mean(),
            ]
            for lag in range(1, _LAGS + 1)
        ]
    )
    along = along / power
    found: NDArray[np.float64] = along[:, np.abs(along[0]).argmax()]
    return found


def _correlation(one: Image, other: Image) -> float:
    a, b = one - one.mean(), other - other.mean()
    size = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / size) if size > 0 else 0.0
