"""A kernel machine on the features of single pixels: the convex part of what tells them.

It is linear in bounded functions of the features, so that fitting it is a convex problem, and
still separates what a linear model of the features cannot: bands of intensity, and combinations.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

WAVES = 192
STEPS = 7  # thresholds for each input
_STEEPNESS = 3.0  # of a threshold, which is a ramp: its width in standard deviations is 2/3
_AMPLITUDE = 2.5  # of both kinds together: the prior that a penalty of weights stands for


class ConvexHead(nn.Module):
    """Logits of pixels by a kernel logistic regression on their features.

    The kernel is the sum of a Gaussian one over all inputs, by random Fourier features (Rahimi &
    Recht 2007), and an additive one of ramps at quantiles of each input, which follows
    sharp borders of intensity as a forest does. Nothing flows back through it.

    Parameters
    ----------
    inputs : int
        Features of a pixel.
    classes : int
        Outputs.

    Attributes
    ----------
    thresholds : Tensor
        (steps, inputs), of features of unit spread.
    weight, bias : Tensor
        (classes, terms) and (classes,); zero until a fit.
    """

    frequencies: Tensor
    phases: Tensor
    thresholds: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)  # every model has the same waves
        frequencies = torch.randn(WAVES, inputs, generator=generator) / math.sqrt(inputs)
        self.register_buffer("frequencies", frequencies)
        self.register_buffer("phases", 2 * math.pi * torch.rand(WAVES, generator=generator))
        self.register_buffer("thresholds", torch.zeros(STEPS, inputs))
        self.register_buffer("weight", torch.zeros(classes, WAVES + STEPS * inputs))
        self.register_buffer("bias", torch.zeros(classes))

    def look(self, standard: Tensor) -> None:
        """Take over the quantiles of labelled pixels, (pixels, inputs) of unit spread."""
        places = torch.arange(1, STEPS + 1, dtype=standard.dtype, device=standard.device)
        self.thresholds.copy_(torch.quantile(standard, places / (STEPS + 1), dim=0))

    def terms(self, standard: Tensor) -> Tensor:
        """Return what the logits are linear in, (terms, pixels), of features (inputs, pixels)."""
        inputs, pixels = standard.shape
        result = standard.new_empty(self.weight.shape[1], pixels)
        waves, steps = result[:WAVES], result[WAVES:]
        torch.addmm(self.phases[:, None], self.frequencies, standard, out=waves)
        waves.cos_().mul_(_AMPLITUDE * math.sqrt(2 / WAVES))
        by_step = steps.view(STEPS, inputs, pixels)
        torch.sub(standard, self.thresholds[:, :, None], out=by_step)
        # A ramp and not a hyperbolic tangent, which does the same but takes ten times as long.
        by_step.mul_(_STEEPNESS).clamp_(-1, 1).mul_(_AMPLITUDE / math.sqrt(STEPS * inputs))
        return result

    @torch.no_grad()
    def forward(self, standard: Tensor) -> Tensor:
        """Return logits (classes, pixels) of features (inputs, pixels) of unit spread."""
        return torch.addmm(self.bias[:, None], self.weight, self.terms(standard))
