"""MS-D as the network inside a model."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from brushfire.networks.msd import MixedScaleDense

if TYPE_CHECKING:
    from brushfire.networks.backbones.protocol import Part
    from brushfire.networks.kernels import FlatLayout

_STAGES = 4
_STEP = 4.3  # times the maps: they, their gradients and what layers take beside, as measured


class MixedScaleBackbone(MixedScaleDense):
    """`MixedScaleDense` in two dimensions; its maps begin with the input. See `Backbone`."""

    divisor = 1
    window: int | None = None
    rate = 1.0

    @property
    def reach(self) -> int:
        """Pixels beyond which nothing can reach a map."""
        return sum(self.dilations)

    def features_of(self, x: Tensor) -> Tensor:
        """Return the maps, (images, maps, y, x); see `Backbone`."""
        maps: Tensor = self(x)
        return maps

    def weighed(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Return the maps weighed by a linear layer; see `Backbone`."""
        if torch.is_grad_enabled():
            return _weighed(*self.flat_maps(x), weight, bias)
        with self.lent_maps(x) as (buffer, layout):
            return _weighed(buffer, layout, weight, bias)

    def bytes_of(self, height: int, width: int) -> int:
        """Return about how many bytes `weighed` takes; see `Backbone`."""
        # The maps, and the inputs twice: as they were given and as they are computed on.
        values = self.maps + 2 * self.channels
        return 4 * values * self.layout(1, height, width).total

    def step_bytes(self, images: int, side: int) -> int:
        """Return about how many bytes a gradient step takes; see `Backbone`."""
        kept = self.maps * self.layout(images, side, side).total
        return round(_STEP * 4 * (kept + sum(one.numel() for one in self.parameters())))

    def stages(self) -> list[list[Part]]:
        """Return the layers in four groups; see `Backbone`."""
        depth = len(self.weights)
        ends = [round(depth * stage / _STAGES) for stage in range(_STAGES + 1)]
        found: list[list[Part]] = []
        for first, last in pairwise(ends):
            parts = [(f"weights.{layer}", slice(None)) for layer in range(first, last)]
            rows = slice(first * self.width, last * self.width)
            found.append([*parts, ("biases", rows)])
        return found


def _weighed(buffer: Tensor, layout: FlatLayout, weight: Tensor, bias: Tensor) -> Tensor:
    flat = torch.addmm(bias[:, None], weight, buffer)
    return layout.images_of(flat).transpose(0, 1)
