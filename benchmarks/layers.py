"""What layers compute and how far that is from what it should be; shared by the benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import brushfire  # noqa: F401  before torch: sets what torch reads when it is loaded

import torch  # isort: skip

if TYPE_CHECKING:
    from brushfire.networks.kernels import Kernel
    from brushfire.networks.msd import MixedScaleDense


def outcome(layers: MixedScaleDense, kernel: Kernel, x: torch.Tensor) -> list[torch.Tensor]:
    """Return all maps, and the gradients of all weights as one tensor."""
    layers.kernel = kernel
    maps = layers(x)
    gradients = torch.autograd.grad(maps.square().mean(), [layers.biases, *layers.weights])
    return [maps.detach(), torch.cat([gradient.flatten() for gradient in gradients])]


def relative_errors(found: list[torch.Tensor], expected: list[torch.Tensor]) -> list[float]:
    """Return the error of each tensor in parts of what is expected, in float64."""
    return [float((a.double() - b).norm() / b.norm()) for a, b in zip(found, expected, strict=True)]
