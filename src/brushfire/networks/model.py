"""A network that segments: normalisation, features, MS-D and a linear head over all of it.

The head is linear in the inputs, in the maps, and, where there are features, in each input bent at
a few knots: then a fit of the head alone already finds bands of intensity, which a linear model
cannot, and stays convex.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from brushfire.errors import ModelError
from brushfire.geometry import Box, Grid
from brushfire.networks.features import FeatureBank
from brushfire.networks.msd import MixedScaleDense
from brushfire.networks.pieces import LEAST, best_cut
from brushfire.networks.snapshot import ModelSnapshot, describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brushfire.networks.kernels import FlatLayout
    from brushfire.networks.settings import NetworkSettings

KNOTS = (-0.7, 0.0, 0.7)  # where responses bend until a fit has seen the data
BUDGET_BYTES = 512 * 2**20
"""Memory that a prediction may take where nobody says how much there is."""

# Of kernels, and what torch keeps.
_SCRATCH_BYTES = {"cpu": 40 * 2**20, "cuda": 512 * 2**20}
_OTHER_SCRATCH_BYTES = 128 * 2**20


class SegmentationModel(nn.Module):
    """Class probabilities of the middle slice of a slab.

    Parameters
    ----------
    settings : NetworkSettings
        Shape of the network.
    channels : int
        Channels of the volume.
    classes : sequence of int
        Class values, in the order of the outputs.
    mean, std : sequence of float
        Of each channel's intensities; frozen in the model.

    Attributes
    ----------
    halo : int
        Pixels in y and x that a tile needs; `safe_halo` until it was measured.
    """

    intensity_mean: Tensor
    intensity_std: Tensor
    prior_shift: Tensor
    knots: Tensor
    input_mean: Tensor
    input_std: Tensor

    def __init__(
        self,
        settings: NetworkSettings,
        channels: int,
        classes: Sequence[int],
        *,
        mean: Sequence[float] = (),
        std: Sequence[float] = (),
    ) -> None:
        super().__init__()
        self.settings = settings
        self.channels = channels
        self.classes = tuple(int(value) for value in classes)
        self.bank = FeatureBank() if settings.features else None
        if self.bank is None:
            inputs = channels * settings.slices
        else:
            inputs = channels * (self.bank.per_channel + settings.slices - 1)
        self.inputs = inputs
        self.register_buffer("intensity_mean", torch.tensor(mean or [0.0] * channels))
        self.register_buffer("intensity_std", torch.tensor(std or [1.0] * channels))
        self.register_buffer("input_mean", torch.zeros(inputs))
        self.register_buffer("input_std", torch.ones(inputs))
        outputs = len(self.classes)
        self.layers = MixedScaleDense(
            inputs,
            settings.depth,
            settings.width,
            settings.dilations,
            outputs,
            border=settings.border,
        )
        knots = KNOTS if settings.features else ()
        self.register_buffer("knots", torch.tensor(knots)[:, None].expand(-1, inputs).clone())
        terms = self.layers.maps + len(knots) * inputs
        self.head_weight = nn.Parameter(torch.zeros(outputs, terms))
        self.head_bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("prior_shift", torch.zeros(outputs))
        self.halo = self.safe_halo

    @property
    def safe_halo(self) -> int:
        """Pixels beyond which nothing can reach a tile's core, whatever the weights."""
        return self.settings.reach + (0 if self.bank is None else self.bank.radius)

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

    def raw_inputs(self, normalised: Tensor) -> Tensor:
        """Return what the layers see, before it is standardised: features, then neighbours."""
        if self.bank is None:
            return normalised
        slices, context = self.settings.slices, self.context
        if slices == 1:
            return self.bank(normalised)
        images, _, height, width = normalised.shape
        slabs = normalised.view(images, self.channels, slices, height, width)
        neighbours = [index for index in range(slices) if index != context]
        return torch.cat(
            (self.bank(slabs[:, :, context]), slabs[:, :, neighbours].flatten(1, 2)), 1
        )

    def standardise(self, raw: Tensor) -> Tensor:
        """Return the inputs of the layers with about mean 0 and standard deviation 1."""
        return (raw - self.input_mean[:, None, None]).div_(self.input_std[:, None, None])

    def bent(self, inputs: Tensor) -> list[Tensor]:
        """Return standardised inputs, first axis the input, held at each knot where below it."""
        return [_held(inputs, knot) for knot in self.knots]

    def terms_at(self, normalised: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return all that the head is linear in, at some pixels, (pixels, terms); no gradients.

        Parameters
        ----------
        normalised : Tensor
            (1, channels * slices, height, width).
        rows, columns : Tensor
            Of the pixels, int64.
        """
        inputs = self.standardise(self.raw_inputs(normalised))
        with self.layers.lent_maps(inputs) as (buffer, layout):
            maps = layout.images_of(buffer)[:, 0][:, rows, columns]
        return torch.cat([maps, *self.bent(maps[: self.inputs])]).t()

    def logits(self, normalised: Tensor) -> Tensor:
        """Return logits from normalised intensities, in the proportions of the strokes."""
        return self.logits_of(self.standardise(self.raw_inputs(normalised)))

    def logits_of(self, inputs: Tensor) -> Tensor:
        """Return logits from standardised inputs."""
        if torch.is_grad_enabled():
            return self._head(*self.layers.flat_maps(inputs))
        with self.layers.lent_maps(inputs) as (buffer, layout):
            return self._head(buffer, layout)

    def _head(self, buffer: Tensor, layout: FlatLayout) -> Tensor:
        """Return the linear part of everything, (images, classes, height, width)."""
        sizes = [self.layers.maps] + [self.inputs] * len(self.knots)
        weights = torch.split(self.head_weight, sizes, 1)
        flat = torch.addmm(self.head_bias[:, None], weights[0], buffer)
        # The inputs are not learnt: nothing flows back through them.
        inputs = buffer[: self.inputs].detach()
        for weight, knot in zip(weights[1:], self.knots, strict=True):
            flat = torch.addmm(flat, weight, _held(inputs, knot))  # one at a time in memory
        return layout.images_of(flat).transpose(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (images, classes, height, width), shifted to the volume's proportions.

        Parameters
        ----------
        x : Tensor
            Intensities, float32, (images, channels * slices, height, width).
        """
        return self.logits(self.normalise(x)) + self.prior_shift[:, None, None]

    def probabilities(
        self,
        block: np.ndarray[Any, Any],
        *,
        wanted: tuple[slice, slice] | None = None,
        budget_bytes: int = BUDGET_BYTES,
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return class probabilities of each slice of a block but the outermost `context`.

        Memory stays under the budget however large a slice is: parts of it are predicted one by
        one, each with the halo around it.

        Parameters
        ----------
        block : ndarray
            Intensities, (channels, z + 2 * context, y, x).
        wanted : tuple of slice, optional
            Rows and columns of the block that are wanted, by default all; the others are halo.
        budget_bytes : int
            Memory that the network may take, block and result apart.

        Returns
        -------
        ndarray
            float32, (classes, z, y, x), of the wanted rows and columns.

        Raises
        ------
        ModelError
            If the block has other channels or too few slices, or the budget is too small for any
            part.
        """
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
            return np.empty((len(self.classes), *core.shape), np.float32)
        cell = self._cell(core.shape[1:], (height, width), budget_bytes)
        result = np.empty((len(self.classes), *core.shape), np.float32)
        for target in Grid(core.shape, (1, *cell)).boxes():
            part = target.shift(core.start)
            source = part.grow((0, self.halo, self.halo)).clip(whole.shape)
            z = part.start[0]
            slab = block[:, z : z + self.settings.slices, *source.slices[1:]]
            predicted = self._predict(slab)[:, None]
            result[:, *target.slices] = predicted[:, :, *part.slices_in(source)[1:]]
        return result

    def _cell(self, size: tuple[int, int], block: tuple[int, int], budget: int) -> tuple[int, int]:
        """Return the sides of the parts in which ``size`` pixels of a block are predicted."""

        def fits(*sides: int) -> bool:
            height, width = (min(side, n) for side, n in zip(sides, block, strict=True))
            return self.bytes_of(height, width) <= budget

        cell = best_cut(size, self.halo, fits)
        if cell is None:
            least = [min(LEAST + 2 * self.halo, side) for side in block]
            raise ModelError(
                "The maps of a small part of a slice fit into the memory that the network gets.",
                got=f"{budget / 2**20:.0f} MiB for {self.bytes_of(*least) / 2**20:.0f} MiB",
                do="Give the session more memory, or choose a network of less depth and width.",
            )
        return cell

    def bytes_of(self, height: int, width: int) -> int:
        """Return about how many bytes it takes to predict a part of a slice, its halo included."""
        # The maps, the head's sums, and the inputs twice: as they were beside as they are.
        values = self.layers.maps + 2 * len(self.classes) + 2 * self.inputs
        values += 2 * self.channels * self.settings.slices
        scratch = _SCRATCH_BYTES.get(self.device.type, _OTHER_SCRATCH_BYTES)
        return scratch + 4 * values * self.layers.layout(1, height, width).total

    def _predict(self, slab: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return probabilities (classes, y, x) of one slab (channels, slices, y, x)."""
        values = np.ascontiguousarray(slab, np.float32)
        with torch.no_grad():
            x = torch.from_numpy(values).to(self.device).flatten(0, 1)[None]
            result: np.ndarray[Any, Any] = self(x)[0].softmax(0).cpu().numpy()
        return result

    def with_classes(self, classes: Sequence[int]) -> SegmentationModel:
        """Return a copy with these outputs; known classes keep theirs, new ones start at zero."""
        other = SegmentationModel(self.settings, self.channels, classes).to(self.device)
        state = {name: value.clone() for name, value in self.state_dict().items()}
        for name in ("head_weight", "head_bias", "prior_shift"):
            rows = other.state_dict()[name].clone()
            for row, value in enumerate(other.classes):
                if value in self.classes:
                    rows[row] = state[name][self.classes.index(value)]
            state[name] = rows
        other.load_state_dict(state)
        other.halo = self.halo
        return other

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
            name: value.detach().to("cpu", torch.float32).contiguous()
            for name, value in self.state_dict().items()
        }
        weights = save_tensors(tensors, metadata=about)
        return ModelSnapshot(
            revision, weights, self.settings, self.channels, self.classes, self.halo, metrics
        )

    @classmethod
    def from_snapshot(
        cls, snapshot: ModelSnapshot, device: str | torch.device = "cpu"
    ) -> SegmentationModel:
        """Return the model that a snapshot holds.

        Raises
        ------
        ModelError
            If the weights are damaged or do not fit the settings.
        """
        try:
            state = load_tensors(snapshot.weights)
            model = cls(snapshot.settings, snapshot.channels, snapshot.classes)
            model.load_state_dict(state)
        except (SafetensorError, RuntimeError, ValueError, KeyError) as error:
            raise ModelError(
                "A model's weights are a whole safetensors file that fits its settings.",
                got=f"{type(error).__name__}: {str(error)[:200]}",
                do="Choose a model file that Brushfire wrote, or an older revision.",
            ) from error
        wrong = [name for name, value in state.items() if not bool(value.isfinite().all())]
        if wrong:
            raise ModelError(
                "A model's weights are finite numbers.",
                got=f"NaN or infinity in {wrong[0]}",
                do="Choose an older revision, or reset learning.",
            )
        for name in ("intensity_std", "input_std"):
            if not bool((state[name] > 0).all()):
                raise ModelError(
                    "A model's standard deviations are above zero.",
                    got=f"{float(state[name].min())} in {name}",
                    do="Choose an older revision, or reset learning.",
                )
        model.halo = snapshot.halo
        return model.to(device).eval()


def _held(inputs: Tensor, knot: Tensor) -> Tensor:
    """Return inputs, first axis the input, held at the knot where they are below it."""
    return torch.maximum(inputs, knot.view(-1, *[1] * (inputs.ndim - 1)))
