"""A network that restores intensities: less noise, fewer artefacts, finer detail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from brushfire.errors import ModelError
from brushfire.networks.backbones import make_backbone
from brushfire.networks.sliced import BUDGET_BYTES, Core, SlicedModel, read_state, unfit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brushfire.networks.settings import NetworkSettings
    from brushfire.networks.snapshot import ModelSnapshot

_LEAST_SPLITS = 2


class RestorationModel(SlicedModel):
    """Intensities of the middle slice of a slab as they would be without what spoils them.

    Inputs are normalised, outputs are in the units of what was learned from (Pelt & Sethian 2018).
    Where channels are reconstructions from parts of one scan, the layers see the mean of some of
    them, and answers are averaged over which (Hendriksen, Pelt & Batenburg 2020).

    Parameters
    ----------
    settings : NetworkSettings
        Shape of the network; ``settings.restored`` channels are given.
    channels : int
        Channels of the volume.
    mean, std : sequence of float
        Of each channel's intensities; frozen in the model.
    target_mean, target_std : sequence of float
        Of each restored channel; frozen in the model.

    Raises
    ------
    ModelError
        If the settings restore nothing, or there are fewer than two parts of a scan.
    """

    target_mean: Tensor
    target_std: Tensor

    def __init__(
        self,
        settings: NetworkSettings,
        channels: int,
        *,
        mean: Sequence[float] = (),
        std: Sequence[float] = (),
        target_mean: Sequence[float] = (),
        target_std: Sequence[float] = (),
    ) -> None:
        super().__init__()
        _check(settings, channels)
        self.settings = settings
        self.channels = channels
        self.classes = ()
        outputs = settings.restored
        self.register_buffer("intensity_mean", torch.tensor(mean or [0.0] * channels))
        self.register_buffer("intensity_std", torch.tensor(std or [1.0] * channels))
        self.register_buffer("target_mean", torch.tensor(target_mean or [0.0] * outputs))
        self.register_buffer("target_std", torch.tensor(target_std or [1.0] * outputs))
        seen = (1 if settings.splits else channels) * settings.slices
        self.layers = make_backbone(settings, seen, outputs)
        self.head_weight = nn.Parameter(torch.zeros(outputs, self.layers.maps))
        self.head_bias = nn.Parameter(torch.zeros(outputs))
        self.halo = self.safe_halo

    @property
    def outputs(self) -> int:
        """Channels that are restored."""
        return self.settings.restored

    @property
    def values_per_pixel(self) -> int:
        """Floats that a prediction holds for a pixel beside the layers."""
        return 4 * self.outputs + 3 * self.channels * self.settings.slices

    def normalise_target(self, y: Tensor) -> Tensor:
        """Return restored intensities, (images, outputs, y, x), with mean 0 and deviation 1."""
        return (y - self.target_mean[:, None, None]) / self.target_std[:, None, None]

    def seen(self, normalised: Tensor) -> Tensor:
        """Return what the layers see: the volume's channels, or each choice of parts of a scan.

        Parameters
        ----------
        normalised : Tensor
            (images, channels * slices, y, x).

        Returns
        -------
        Tensor
            The same; with parts of a scan (images * parts, slices, y, x), image by image. The
            mean of parts has less noise than one, and is left at the scale that it has.
        """
        if not self.settings.splits:
            return normalised
        images, _, height, width = normalised.shape
        parts = normalised.view(images, self.channels, self.settings.slices, height, width)
        if self.settings.splits == "x:1":
            parts = (parts.sum(1, keepdim=True) - parts) / (self.channels - 1)
        return parts.flatten(0, 1)

    def restored_of(self, seen: Tensor, core: Core | None = None) -> Tensor:
        """Return what layers and head make of what they see, normalised, (images, outputs, y, x).

        Parameters
        ----------
        seen : Tensor
            As `seen` returned it, or any choice of it.
        core : tuple of slice, optional
            The rows and columns that are wanted, by default all.
        """
        rows, columns = core or (slice(None), slice(None))
        found = self.layers.weighed(seen, self.head_weight, self.head_bias)
        return found[:, :, rows, columns]

    def maps_of(self, seen: Tensor) -> Tensor:
        """Return what the head is linear in, (images, maps, y, x), of what the layers see."""
        return self.layers.features_of(seen)

    def normalised_output(self, normalised: Tensor, core: Core | None = None) -> Tensor:
        """Return restored intensities with mean 0 and deviation 1, (images, outputs, y, x)."""
        seen = self.seen(normalised)
        if not self.settings.splits:
            return self.restored_of(seen, core)
        if torch.is_grad_enabled():
            found = self.restored_of(seen, core)
            return found.view(-1, self.channels, *found.shape[1:]).mean(1)
        # One choice of parts at a time in memory.
        count = len(normalised)
        parts = seen.view(count, self.channels, *seen.shape[1:])
        kept = self.restored_of(parts[:, 0], core)
        for each in range(1, self.channels):
            kept += self.restored_of(parts[:, each], core)
        return kept / self.channels

    def forward(self, x: Tensor, core: Core | None = None) -> Tensor:
        """Return restored intensities, (images, outputs, height, width).

        Parameters
        ----------
        x : Tensor
            Intensities, float32, (images, channels * slices, height, width).
        core : tuple of slice, optional
            The rows and columns that are wanted, by default all.
        """
        found = self.normalised_output(self.normalise(x), core)
        return found * self.target_std[:, None, None] + self.target_mean[:, None, None]

    def compared(self, x: Tensor, core: Core) -> Tensor:
        """Return restored intensities in standard deviations of what was learned from."""
        return self.normalised_output(self.normalise(x), core)

    def restore(
        self,
        block: np.ndarray[Any, Any],
        *,
        wanted: tuple[slice, slice] | None = None,
        origin: tuple[int, int] = (0, 0),
        budget_bytes: int = BUDGET_BYTES,
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return restored intensities of each slice of a block but the outermost `context`.

        Parameters
        ----------
        block, wanted, origin, budget_bytes
            As for `SegmentationModel.probabilities`.

        Returns
        -------
        ndarray
            float32, (outputs, z, y, x), of the wanted rows and columns.

        Raises
        ------
        ModelError
            If the block has other channels or too few slices, or the budget is too small for any
            part.
        """
        return self._in_parts(block, self.outputs, wanted, origin, budget_bytes)

    def _predict(self, slab: np.ndarray[Any, Any], core: Core) -> np.ndarray[Any, Any]:
        """Return intensities (outputs, y, x) of the core of a slab (channels, slices, y, x)."""
        values = np.ascontiguousarray(slab, np.float32)
        with torch.no_grad():
            x = torch.from_numpy(values).to(self.device).flatten(0, 1)[None]
            result: np.ndarray[Any, Any] = self(x, core)[0].cpu().numpy()
        return result

    @classmethod
    def from_snapshot(
        cls, snapshot: ModelSnapshot, device: str | torch.device = "cpu"
    ) -> RestorationModel:
        """Return the model that a snapshot holds.

        Raises
        ------
        ModelError
            If the weights are damaged or do not fit the settings, or it restores nothing.
        """
        _check(snapshot.settings, snapshot.channels)
        state = read_state(snapshot.weights)
        try:
            model = cls(snapshot.settings, snapshot.channels)
            model.load_state_dict(state)
        except (RuntimeError, ValueError, KeyError) as error:
            raise unfit(error) from error
        model.halo = snapshot.halo
        return model.to(device).eval()


def _check(settings: NetworkSettings, channels: int) -> None:
    if not settings.restored:
        raise ModelError(
            "A model that restores gives at least one channel.",
            got="one that tells classes apart",
            do="Choose a model that was learned to restore.",
        )
    if settings.splits and channels < _LEAST_SPLITS:
        raise ModelError(
            "Learning from parts of one scan takes two reconstructions of them or more.",
            got=f"{channels}",
            do="Add those of the other parts, or learn from a single volume.",
        )
