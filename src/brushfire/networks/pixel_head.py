"""What is told from the features of single pixels: the mean of a kernel machine and trees.

Each errs where the other need not: the machine is smooth and joins many features, trees cut along
single ones and leave aside those that tell nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from brushfire.networks.convex_head import ConvexHead
from brushfire.networks.trees import Trees

_FARTHEST = 6.0  # standard deviations beyond which an input is not told apart
_STRIP = 8192  # pixels whose terms are in memory together


class PixelHead(nn.Module):
    """Logits of pixels by their features alone. Nothing flows back through it.

    Parameters
    ----------
    inputs : int
        Features of a pixel.
    classes : int
        Outputs.

    Attributes
    ----------
    mean, std : Tensor
        (inputs,), of the features of labelled pixels.
    machine : ConvexHead
        Zero until a fit.
    trees : Trees
        Have no say until they are grown.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("std", torch.ones(inputs))
        self.machine = ConvexHead(inputs, classes)
        self.trees = Trees(classes)

    def look(self, features: Tensor) -> None:
        """Take over how the features of labelled pixels are spread, (pixels, inputs)."""
        self.mean.copy_(features.mean(0))
        self.std.copy_(features.std(0, correction=0).clamp(min=1e-3))
        self.machine.look(self.standard(features.t()).t())

    def standard(self, features: Tensor) -> Tensor:
        """Return features (inputs, ...) of about mean 0 and standard deviation 1, far ones held."""
        shape = (-1, *[1] * (features.dim() - 1))
        result = (features - self.mean.view(shape)) / self.std.view(shape)
        return result.clamp_(-_FARTHEST, _FARTHEST)

    @torch.no_grad()
    def forward(self, features: Tensor, *, trees: bool = True) -> Tensor:
        """Return logits (images, classes, ...) of features (images, inputs, ...).

        Parameters
        ----------
        features : Tensor
            As they are.
        trees : bool
            Whether trees have their say. They know by heart the voxels that they were grown on:
            who wants to learn what is wrong there asks the machine alone.
        """
        images, inputs, *size = features.shape
        flat = features.reshape(images, inputs, -1)
        result = flat.new_empty(images, len(self.machine.bias), flat.shape[2])
        trees = trees and self.trees.grown
        for image in range(images):
            for first in range(0, flat.shape[2], _STRIP):
                strip = slice(first, first + _STRIP)
                standard = self.standard(flat[image, :, strip])
                logits = self.machine(standard)
                if trees:
                    logits = logits.softmax(0).add_(self.trees(standard)).mul_(0.5).log_()
                result[image, :, strip] = logits
        return result.view(images, result.shape[1], *size)
