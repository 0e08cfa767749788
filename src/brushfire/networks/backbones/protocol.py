"""What a model asks of the network inside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

Part = tuple[str, slice]
"""Rows of a parameter: its name, and which of its first axis."""


@runtime_checkable
class Backbone(Protocol):
    """A network without its last, linear layer.

    Attributes
    ----------
    channels : int
        Inputs at each pixel, neighbouring slices included.
    maps : int
        What it gives at each pixel.
    """

    channels: int
    maps: int

    @property
    def divisor(self) -> int:
        """Rows and columns at which it begins to compute are multiples of this.

        They are counted from the corner of the slice, so that what it answers does not depend on
        where a tile begins.
        """

    @property
    def window(self) -> int | None:
        """Side in pixels of the fixed windows in which it computes.

        It has such where what it answers depends on all that is in sight.
        """

    @property
    def reach(self) -> int:
        """Pixels beyond which nothing can reach a map, whatever the weights."""

    @property
    def rate(self) -> float:
        """Share of the usual learning rate that it takes."""

    def features_of(self, x: Tensor) -> Tensor:
        """Return the maps of (images, channels, y, x), (images, maps, y, x)."""

    def weighed(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Return the maps weighed by a linear layer, (images, outputs, y, x).

        Parameters
        ----------
        x : Tensor
            (images, channels, y, x).
        weight, bias : Tensor
            (outputs, maps) and (outputs,).
        """

    def bytes_of(self, height: int, width: int) -> int:
        """Return about how many bytes `weighed` takes at most for one image, without gradients."""

    def step_bytes(self, images: int, side: int) -> int:
        """Return about how many bytes its part of a gradient step on square images takes.

        That of its weights' gradients included; ``side`` is in pixels.
        """

    def stages(self) -> list[list[Part]]:
        """Return all parameters in groups, from those next to the input to those next to the head.

        Each element of a parameter is in one group.
        """

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Return parameters by name, as torch does."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return parameters, as torch does."""

    def modules(self) -> Iterator[nn.Module]:
        """Return all modules inside, as torch does."""

    def train(self, mode: bool = True) -> object:
        """Say whether what layers are normalised by is noted, as torch does."""

    def buffers(self) -> Iterator[Tensor]:
        """Return what was noted while learning, and is no parameter, as torch does."""
