"""Multi-scale features of a slice: what a linear model needs to segment at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from brushfire.networks.smoothing import reach_of, smooth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brushfire.networks.settings import NetworkSettings

SIGMAS = (1.0, 2.0, 4.0, 8.0, 16.0)


class FeatureBank:
    """Gaussian, gradient magnitude and both Hessian eigenvalues at several scales, and the input.

    Parameters
    ----------
    sigmas : sequence of float
        Standard deviations in pixels.
    """

    def __init__(self, sigmas: Sequence[float] = SIGMAS) -> None:
        self.sigmas = tuple(sigmas)

    @property
    def per_channel(self) -> int:
        """Features of one channel."""
        return 1 + 4 * len(self.sigmas)

    @property
    def radius(self) -> int:
        """Pixels around a pixel that its features depend on."""
        return reach_of(max(self.sigmas)) + _step(max(self.sigmas))

    def __call__(self, x: Tensor) -> Tensor:
        """Return the features of each channel.

        Parameters
        ----------
        x : Tensor
            (images, channels, height, width).

        Returns
        -------
        Tensor
            (images, channels * per_channel, height, width); for each channel the input, then for
            each scale Gaussian, gradient magnitude, larger and smaller Hessian eigenvalue.
        """
        images, channels, height, width = x.shape
        features = x.new_empty(images, channels, self.per_channel, height, width)
        features[:, :, 0] = x
        for scale, sigma in enumerate(self.sigmas):
            planes = features[:, :, 1 + 4 * scale : 5 + 4 * scale]
            planes[:, :, 0] = smooth(x, sigma)
            _derivatives(planes, _step(sigma))
        return features.flatten(1, 2)


def inputs_of(settings: NetworkSettings, channels: int) -> int:
    """Return how many values a network knows of each pixel of a volume with so many channels."""
    if settings.features:
        return channels * (FeatureBank().per_channel + settings.slices - 1)
    return channels * settings.slices


def _step(sigma: float) -> int:
    """Return the distance of the pixels whose differences make derivatives.

    Neighbours of a strongly smoothed image differ by little more than the rounding of float32.
    """
    return max(1, int(sigma) // 4)


def _derivatives(planes: Tensor, step: int) -> None:
    """Write what differences over ``step`` pixels make of the first plane into the other three.

    Those are gradient magnitude and both eigenvalues of the Hessian.
    """
    smoothed = planes[:, :, 0]
    height, width = smoothed.shape[2:]
    padded = functional.pad(smoothed, (step, step, step, step), mode="replicate")

    def at(dy: int, dx: int) -> Tensor:
        top, left = step * (1 + dy), step * (1 + dx)
        return padded[:, :, top : top + height, left : left + width]

    gradient = torch.hypot(at(1, 0) - at(-1, 0), at(0, 1) - at(0, -1))
    planes[:, :, 1] = gradient.mul_(0.5 / step)
    yy = at(1, 0) + at(-1, 0) - 2 * smoothed
    xx = at(0, 1) + at(0, -1) - 2 * smoothed
    yx = (at(1, 1) + at(-1, -1) - at(1, -1) - at(-1, 1)).mul_(0.25)
    middle = (yy + xx).mul_(0.5)
    spread = torch.hypot((yy - xx).mul_(0.5), yx)
    planes[:, :, 2] = (middle + spread).mul_(1 / step**2)
    planes[:, :, 3] = (middle - spread).mul_(1 / step**2)
