"""What a kernel does: compute all layers of a mixed-scale dense network, and their gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from brushfire.networks.kernels.layout import FlatLayout


@dataclass(frozen=True, eq=False)
class Layers:
    """Weights of all layers.

    Parameters
    ----------
    channels : int
        Input channels.
    dilations : sequence of int
        Of each layer.
    weights : sequence of Tensor
        Of each layer, (width, channels + layer * width, 3, 3), or one 3 more.
    biases : Tensor
        (layers * width,).
    """

    channels: int
    dilations: Sequence[int]
    weights: Sequence[Tensor]
    biases: Tensor

    @property
    def depth(self) -> int:
        """How many layers there are."""
        return len(self.weights)

    @property
    def width(self) -> int:
        """Maps that each layer adds."""
        return self.weights[0].shape[0]

    def row(self, layer: int) -> int:
        """Return which row of the buffer holds the first map of a layer."""
        return self.channels + layer * self.width

    def blocks(self, size: int) -> list[tuple[int, int]]:
        """Return the first and one past the last layer of each block of at most ``size``."""
        return [(first, min(first + size, self.depth)) for first in range(0, self.depth, size)]


@dataclass(frozen=True, eq=False)
class Gradients:
    """Of all weights and biases, in the shapes of `Layers`; in their type, or a longer one."""

    weights: list[Tensor]
    biases: Tensor


class Kernel(Protocol):
    """One way to compute the layers. All ways give the same numbers, up to rounding."""

    @property
    def name(self) -> str:
        """What it is called where a user reads it."""
        ...

    def fill(self, buffer: Tensor, layers: Layers, layout: FlatLayout) -> None:
        """Compute all maps into the buffer.

        Parameters
        ----------
        buffer : Tensor
            (channels + depth * width, layout.total), the input in its first rows with its margins
            filled, the margins of all other rows zero, anything in their pixels. All margins are
            filled afterwards.
        layers : Layers
            What is computed.
        layout : FlatLayout
            Where the pixels lie.
        """
        ...

    def gradients(
        self, buffer: Tensor, slope: Tensor, layers: Layers, layout: FlatLayout, *, input_too: bool
    ) -> Gradients:
        """Return the gradients of all weights, and those of the input where they are asked for.

        Parameters
        ----------
        buffer : Tensor
            As `fill` left it.
        slope : Tensor
            The gradient with respect to the pixels in the buffer, same shape, zero in the margins;
            used up. Its first rows hold the gradient of the input afterwards, if ``input_too``,
            and anything in the margins.
        layers, layout
            As in `fill`.
        input_too : bool
            Whether the gradient of the input is wanted.
        """
        ...
