"""A model that answers slice by slice: how it is cut into parts, and its way to bytes and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from brushfire.errors import ModelError
from brushfire.geometry import Box, Grid
from brushfire.networks.pieces import LEAST, best_cut, outward
from brushfire.networks.snapshot import ModelSnapshot, describe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from brushfire.networks.backbones.protocol import Backbone
    from brushfire.networks.settings import NetworkSettings

Core = tuple[slice, slice]

BUDGET_BYTES = 512 * 2**20
"""Memory that a prediction may take where nobody says how much there is."""

_MARGIN_SHARE = 6  # of a fixed window: what is seen, and not predicted, on each of its sides

# Of kernels, and what torch keeps.
_SCRATCH_BYTES = {"cpu": 64 * 2**20, "meta": 64 * 2**20, "cuda": 512 * 2**20}
_OTHER_SCRATCH_BYTES = 128 * 2**20


class SlicedModel(nn.Module):
    """A network, what its inputs are normalised by, and a last, linear layer.

    Each kind of model says what it makes of a slab (`_predict`) and what that takes beside its
    layers (`values_per_pixel`).

    Attributes
    ----------
    settings : NetworkSettings
        Shape of the network.
    channels : int
        Channels of the volume.
    classes : tuple of int
        Class values, in the order of the outputs; none where no classes are told apart.
    halo : int
        Pixels in y and x that a tile needs; `safe_halo` until it was measured.
    """

    settings: NetworkSettings
    channels: int
    classes: tuple[int, ...]
    layers: Backbone
    halo: int
    head_weight: nn.Parameter
    intensity_mean: Tensor
    intensity_std: Tensor

    @property
    def context(self) -> int:
        """Slices that a tile needs on each side."""
        return self.settings.context

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.head_weight.device

    def normalise(self, x: Tensor) -> Tensor:
        """Return intensities with mean 0 and standard deviation 1 for each channel.

        Parameters
        ----------
        x : Tensor
            (images, channels * slices, height, width), the slices of a channel side by side.
        """
        slices = self.settings.slices
        mean = self.intensity_mean.repeat_interleave(slices)[:, None, None]
        std = self.intensity_std.repeat_interleave(slices)[:, None, None]
        return (x - mean) / std

    @property
    def safe_halo(self) -> int:
        """Pixels beyond which nothing can reach a tile's core, whatever the weights.

        In a network that needs fixed windows, the margin of each.
        """
        if self.layers.window is not None:
            return self.layers.window // _MARGIN_SHARE
        return self.layers.reach + self.seen_around

    @property
    def seen_around(self) -> int:
        """Pixels around each one of which the layers are told something at that one."""
        return 0

    @property
    def feature_reach(self) -> int:
        """Pixels beyond which nothing can reach the features of a pixel."""
        return 0

    @property
    def by_pixel(self) -> bool:
        """Whether pixels are told by their features alone."""
        return False

    @property
    def values_per_pixel(self) -> int:
        """Floats that a prediction holds for a pixel beside the layers."""
        raise NotImplementedError

    def compared(self, x: Tensor, core: Core) -> Tensor:
        """Return what has to agree between a tile and the whole, within 1e-3.

        Parameters
        ----------
        x : Tensor
            Intensities, (images, channels * slices, height, width).
        core : tuple of slice
            The rows and columns that are wanted.
        """
        raise NotImplementedError

    def _predict(self, slab: np.ndarray[Any, Any], core: Core) -> np.ndarray[Any, Any]:
        """Return outputs (outputs, y, x) of the core of a slab (channels, slices, y, x)."""
        raise NotImplementedError

    def _in_parts(
        self,
        block: np.ndarray[Any, Any],
        outputs: int,
        wanted: tuple[slice, slice] | None,
        origin: tuple[int, int],
        budget_bytes: int,
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return outputs of each slice of a block, part by part, so that memory is bounded."""
        channels, depth, height, width = block.shape
        count = depth - 2 * self.context
        if channels != self.channels or count < 1:
            raise ModelError(
                f"The model takes {self.channels} channel(s) and at least "
                f"{2 * self.context + 1} slice(s).",
                got=f"{channels} channel(s), {depth} slice(s)",
                do="Read a block with the model's context around it.",
            )
        whole = Box.of_shape((count, height, width))
        rows, columns = wanted or whole.slices[1:]
        (top, bottom, _), (left, right, _) = rows.indices(height), columns.indices(width)
        core = Box((0, top, left), (count, max(bottom, top), max(right, left)))
        if core.size == 0:
            return np.empty((outputs, *core.shape), np.float32)
        result = np.empty((outputs, *core.shape), np.float32)
        here, there = (0, -origin[0], -origin[1]), (0, *origin)
        for part in self._parts(core.shift(there), (height, width), budget_bytes):
            source = self.surroundings(part).shift(here).clip(whole.shape)
            part = part.shift(here)
            z = part.start[0]
            slab = block[:, z : z + self.settings.slices, *source.slices[1:]]
            inner = part.slices_in(source)
            result[:, *part.slices_in(core)] = self._predict(slab, (inner[1], inner[2]))[:, None]
        return result

    def surroundings(self, core: Box) -> Box:
        """Return what must be read to predict a core: as much in z, more in y and x.

        Parameters
        ----------
        core : Box
            Rows and columns counted from the corner of the slice, since networks with several
            resolutions, and those that need fixed windows, keep to a lattice.

        Returns
        -------
        Box
            It may stick out of the slice.
        """
        window = self.layers.window
        if window is None:
            return outward(core.grow((0, self.halo, self.halo)), self.layers.divisor)
        margin = self.safe_halo
        return outward(core, window - 2 * margin).grow((0, margin, margin))

    def _parts(self, core: Box, block: tuple[int, int], budget: int) -> Iterator[Box]:
        """Yield the parts of a core, one slice thick, that are predicted one by one."""
        window = self.layers.window
        if window is not None:
            self._check_room(window, window, budget)
            step = window - 2 * self.safe_halo
            lattice = outward(core, step)
            for box in Grid(lattice.shape, (1, step, step)).boxes():
                cut = box.shift(lattice.start).intersect(core)
                if cut is not None:
                    yield cut
            return
        more = self.layers.divisor - 1  # that a part may grow by on each side

        def fits(*sides: int) -> bool:
            height, width = (
                min(side + 2 * more, size) for side, size in zip(sides, block, strict=True)
            )
            return self.bytes_of(height, width) <= budget

        cell = best_cut((core.shape[1], core.shape[2]), self.halo, fits)
        if cell is None:
            height, width = (min(LEAST + 2 * (self.halo + more), side) for side in block)
            self._check_room(height, width, budget)
            cell = LEAST, LEAST
        for part in Grid(core.shape, (1, *cell)).boxes():
            yield part.shift(core.start)

    def _check_room(self, height: int, width: int, budget: int) -> None:
        needed = self.bytes_of(height, width)
        if needed > budget:
            raise ModelError(
                "The maps of a small part of a slice fit into the memory that the network gets.",
                got=f"{budget / 2**20:.0f} MiB for {needed / 2**20:.0f} MiB",
                do="Give the session more memory, or choose a network of less depth and width.",
            )

    def bytes_of(self, height: int, width: int) -> int:
        """Return about how many bytes it takes to predict a part of a slice, its halo included."""
        scratch = _SCRATCH_BYTES.get(self.device.type, _OTHER_SCRATCH_BYTES)
        beside = 4 * self.values_per_pixel * height * width
        return scratch + self.layers.bytes_of(height, width) + beside

    def snapshot(self, revision: int, metrics: dict[str, Any]) -> ModelSnapshot:
        """Return the model as plain values."""
        about = describe(
            revision=revision,
            settings=self.settings,
            channels=self.channels,
            classes=self.classes,
            halo=self.halo,
            metrics=metrics,
        )
        tensors = {
            name: (value.float() if value.is_floating_point() else value).cpu().contiguous()
            for name, value in self.state_dict().items()
        }
        weights = save_tensors(tensors, metadata=about)
        return ModelSnapshot(
            revision, weights, self.settings, self.channels, self.classes, self.halo, metrics
        )


def read_state(weights: bytes) -> dict[str, Tensor]:
    """Return the tensors of a model file.

    Raises
    ------
    ModelError
        If it is damaged, or holds what is no number or no standard deviation.
    """
    try:
        state: dict[str, Tensor] = load_tensors(weights)
    except (SafetensorError, RuntimeError, ValueError, KeyError) as error:
        raise unfit(error) from error
    wrong = [name for name, value in state.items() if not bool(value.isfinite().all())]
    if wrong:
        raise ModelError(
            "A model's weights are finite numbers.",
            got=f"NaN or infinity in {wrong[0]}",
            do="Choose an older revision, or reset learning.",
        )
    for name in ("intensity_std", "input_std", "pixels.std", "target_std"):
        if name in state and not bool((state[name] > 0).all()):
            raise ModelError(
                "A model's standard deviations are above zero.",
                got=f"{float(state[name].min())} in {name}",
                do="Choose an older revision, or reset learning.",
            )
    return state


def unfit(error: Exception) -> ModelError:
    """Return what to say of weights that are damaged or belong to another network."""
    return ModelError(
        "A model's weights are a whole safetensors file that fits its settings.",
        got=f"{type(error).__name__}: {str(error)[:200]}",
        do="Choose a model file that Brushfire wrote, or an older revision.",
    )
