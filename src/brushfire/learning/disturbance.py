"""Random changes of intensities that leave the classes what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from brushfire.networks.smoothing import smooth

if TYPE_CHECKING:
    from collections.abc import Sequence

GAIN = 0.05
OFFSET = 0.05  # of the standard deviation of intensities
BLURRED = 0.25  # of the images
BLURS = (0.5, 0.75, 1.0)  # standard deviations in pixels
_MOST_NOISE = 0.15
_MAD_TO_STD = 1.4826
_KERNEL = ((1.0, -2.0, 1.0), (-2.0, 4.0, -2.0), (1.0, -2.0, 1.0))  # blind to planes and edges
_KERNEL_NORM = 6.0


def noise_level(images: Sequence[Tensor]) -> float:
    """Return the standard deviation of the noise in normalised images, at most 0.15.

    Noise that is added in learning is like the noise that is there: more would drown the fine
    features of a clean volume (Immerkaer 1996).

    Parameters
    ----------
    images : sequence of Tensor
        Each (channels, y, x).
    """
    found = []
    for image in images:
        if min(image.shape[1:]) >= 3:
            kernel = image.new_tensor(_KERNEL)[None, None]
            rough = functional.conv2d(image[:, None], kernel).abs()
            found.append(float(rough.median()) * _MAD_TO_STD / _KERNEL_NORM)
    return min(sum(found) / len(found), _MOST_NOISE) if found else 0.0


def disturbed(x: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Return normalised intensities with random blur, gain, offset and noise.

    Parameters
    ----------
    x : Tensor
        (images, channels, height, width).
    noise : float
        Typical standard deviation of what is added.
    generator : Generator
        Decides everything.
    """

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(x)

    images, channels = x.shape[:2]
    if float(torch.rand((), generator=generator)) < BLURRED:
        x = smooth(x, BLURS[int(torch.randint(len(BLURS), (), generator=generator))])
    gain = 1 + GAIN * random(images, channels, 1, 1)
    offset = OFFSET * random(images, channels, 1, 1)
    spread = noise * random(images, 1, 1, 1).abs()
    return x * gain + offset + spread * random(*x.shape)
