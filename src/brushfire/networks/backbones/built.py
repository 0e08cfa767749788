"""What networks that other packages build have in common, as the network inside a model."""

from __future__ import annotations

import copy
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from brushfire.errors import SettingsError
from brushfire.networks.architectures import architecture_of, not_installed, read_arguments
from brushfire.networks.backbones.footprint import peak_bytes, step_bytes, without_values

if TYPE_CHECKING:
    from brushfire.networks.architectures import Architecture
    from brushfire.networks.backbones.protocol import Part
    from brushfire.networks.settings import NetworkSettings

_MOST_WEIGHTS = 200_000_000
_REACH = 16  # times the divisor: what convolutions and resolutions of these shapes pass on
_GENTLE_RATE = 0.25


@dataclass(frozen=True)
class Built:
    """A network as its package makes it, and what is to know of it."""

    net: nn.Module
    head: str
    """The linear layer: its input are the maps."""
    divisors: tuple[int, ...]
    """Along each axis."""
    stages: list[list[str]]
    """Names of modules, from the input to the head."""
    arguments: dict[str, Any]
    """What its class was called with, but for the outputs."""
    size: tuple[int, ...] | None = None
    """The only size that it takes, if there is but one."""


class BuiltNetwork(nn.Module):
    """A network of another package as the network inside a model; see `Backbone`.

    Images are padded with their outermost values to sizes that it can compute on.

    Parameters
    ----------
    settings : NetworkSettings
        Which, and how large.
    channels : int
        Inputs at each pixel, neighbouring slices included.

    Attributes
    ----------
    net : Module
        The package's, without its head.
    head : str
        Name in it of the linear layer that was taken out.

    Raises
    ------
    SettingsError
        If it cannot be as the settings say, or has too many weights.
    """

    rate = 1.0

    def __init__(self, settings: NetworkSettings, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self._settings = settings
        with without_values():
            _check_size(self._build().net)
        built = self._build()
        self.maps = int(built.net.get_submodule(built.head).in_channels)  # type: ignore[arg-type]
        built.net.set_submodule(built.head, nn.Identity())
        self.net = built.net
        self.head = built.head
        self._arguments = built.arguments
        self._stages, self._divisors, self._size = built.stages, built.divisors, built.size
        self.divisor = max(built.divisors[-2:])
        self.reach = _REACH * self.divisor
        self.window = self._window()
        if self._kind.transformer:
            self.rate = _GENTLE_RATE
        self._bytes: dict[tuple[int, ...], int] = {}

    @abstractmethod
    def _make(self, given: dict[str, Any]) -> Built:
        """Build the network with the further arguments of its settings."""

    @property
    def _kind(self) -> Architecture:
        return architecture_of(self._settings.architecture)

    @property
    def _inputs(self) -> int:
        """Channels of the network itself."""
        s = self._settings
        return self.channels // s.slices if s.axes == 3 else self.channels

    def _build(self) -> Built:
        kind = self._kind
        given = read_arguments(kind, self._settings.arguments)
        try:
            return self._make(given)
        except ImportError as error:
            raise not_installed(kind, str(error)[:200]) from error
        except (ValueError, TypeError, KeyError, AssertionError, IndexError, RuntimeError) as error:
            raise SettingsError(
                f"{kind.title} can be built as the settings say.",
                got=f"{type(error).__name__}: {str(error)[:200]}",
                do="Choose another depth, width or arguments.",
            ) from error

    def _window(self) -> int | None:
        in_sight = (nn.modules.instancenorm._InstanceNorm, nn.GroupNorm)
        if self._size is not None:
            return int(self._size[-1])
        moves = not self._kind.in_windows
        if moves and not any(isinstance(module, in_sight) for module in self.net.modules()):
            return None
        return self._settings.window

    def features_of(self, x: Tensor) -> Tensor:
        """Return the maps, (images, maps, y, x); see `Backbone`."""
        s = self._settings
        if s.axes == 3:
            x = x.view(x.shape[0], -1, s.slices, *x.shape[2:])
        maps = self._maps(x)
        return maps[:, :, s.context] if s.axes == 3 else maps

    def _maps(self, x: Tensor) -> Tensor:
        """Return the maps of (images, channels, ...), in parts where only one size is possible."""
        size = tuple(x.shape[2:])
        for axis, side in enumerate(self._size or ()):
            if size[axis] > side:
                parts = torch.split(x, side, axis + 2)
                return torch.cat([self._maps(part) for part in parts], axis + 2)
        maps: Tensor = self.net(_padded(x, self.computed_size(size)))
        return maps[(slice(None), slice(None), *(slice(0, side) for side in size))]

    def weighed(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Return the maps weighed by a linear layer; see `Backbone`."""
        return functional.conv2d(self.features_of(x), weight[:, :, None, None], bias)

    def bytes_of(self, height: int, width: int) -> int:
        """Return about how many bytes `weighed` takes; see `Backbone`."""
        s = self._settings
        size = self.computed_size((s.slices, height, width) if s.axes == 3 else (height, width))
        if size not in self._bytes:
            net = copy.deepcopy(self.net).to("meta").eval()
            with torch.no_grad():
                self._bytes[size] = peak_bytes(net, (1, self._inputs, *size))
        return self._bytes[size]

    def step_bytes(self, images: int, side: int) -> int:
        """Return about how many bytes a gradient step takes; see `Backbone`."""
        other = copy.deepcopy(self).to("meta").train()
        return step_bytes(other.features_of, (images, self.channels, side, side))

    def stages(self) -> list[list[Part]]:
        """Return the network's blocks from input to head; see `Backbone`."""
        names = [name for name, _ in self.named_parameters()]
        found = [
            [
                (name, slice(None))
                for name in names
                if any(name.startswith(f"net.{module}.") for module in modules)
            ]
            for modules in self._stages
        ]
        return [stage for stage in found if stage]

    def computed_size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Return the size that is computed on for an image of ``size``, (z,) y and x."""
        if self._size is not None:
            return self._size
        counts = [-(-side // step) for side, step in zip(size, self._divisors, strict=True)]
        # Two in the plane at least: a resolution with one pixel could not be normalised.
        counts[-2:] = [max(count, 2) for count in counts[-2:]]
        return tuple(count * step for count, step in zip(counts, self._divisors, strict=True))


def _check_size(net: nn.Module) -> None:
    weights = sum(parameter.numel() for parameter in net.parameters())
    if weights > _MOST_WEIGHTS:
        raise SettingsError(
            f"A network has at most {_MOST_WEIGHTS:,} weights.",
            got=f"{weights:,}",
            do="Choose a smaller width or depth.",
        )


def _padded(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return (images, channels, ...) with the outermost values repeated at the far ends."""
    more = [wanted - side for wanted, side in zip(size, x.shape[2:], strict=True)]
    if not any(more):
        return x
    sides = [end for side in reversed(more) for end in (0, side)]
    return functional.pad(x, sides, mode="replicate")
