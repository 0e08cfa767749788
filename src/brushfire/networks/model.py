"""A network that segments: normalisation, features, what tells pixels by them, and layers.

The logits are the sum of two parts. The first sees the features of single pixels and is fitted
in a moment; the layers, MS-D for one, see what that makes of one class all around, beside the
image, and correct it. Where there are no features, the layers are alone and see the image.
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
from brushfire.networks.backbones import make_backbone
from brushfire.networks.features import FeatureBank, inputs_of
from brushfire.networks.pieces import LEAST, best_cut, outward
from brushfire.networks.pixel_head import PixelHead
from brushfire.networks.pretrained import take_over_pretrained
from brushfire.networks.refining import BANK, INPUTS, class_inputs, guide_of, margins
from brushfire.networks.snapshot import ModelSnapshot, describe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brushfire.networks.settings import NetworkSettings

Core = tuple[slice, slice]

BUDGET_BYTES = 512 * 2**20
"""Memory that a prediction may take where nobody says how much there is."""

_MARGIN_SHARE = 6  # of a fixed window: what is seen, and not predicted, on each of its sides
_FARTHEST = 8.0  # standard deviations beyond which an input of the layers is not told apart

# Of kernels, and what torch keeps.
_SCRATCH_BYTES = {"cpu": 64 * 2**20, "meta": 64 * 2**20, "cuda": 512 * 2**20}
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
        self.inputs = inputs = inputs_of(settings, channels)
        self.register_buffer("intensity_mean", torch.tensor(mean or [0.0] * channels))
        self.register_buffer("intensity_std", torch.tensor(std or [1.0] * channels))
        count = len(self.classes)
        self.pixels = PixelHead(inputs, count) if settings.features else None
        seen, outputs = (INPUTS, 1) if settings.features else (inputs, count)
        self.register_buffer("input_mean", torch.zeros(seen))
        self.register_buffer("input_std", torch.ones(seen))
        self.adapter: nn.Parameter | None = None
        if settings.adapter:
            seen = settings.adapter * settings.slices
            # As if each of the layers' channels were the mean of the volume's.
            self.adapter = nn.Parameter(torch.full((settings.adapter, channels), 1 / channels))
        self.layers = make_backbone(settings, seen, outputs)
        self.head_weight = nn.Parameter(torch.zeros(outputs, self.layers.maps))
        self.head_bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("prior_shift", torch.zeros(count))
        self.halo = self.safe_halo

    def start(self, *, pretrained: bool = True) -> None:
        """Take over weights that were learned before any stroke, if there are some of this shape.

        Otherwise they change nothing until they are trained.

        Parameters
        ----------
        pretrained : bool
            Whether to take them over, beside how inputs are standardised.
        """
        if self.pixels is not None:
            take_over_pretrained(self, weights=pretrained)

    @property
    def safe_halo(self) -> int:
        """Pixels beyond which nothing can reach a tile's core, whatever the weights.

        In a network that needs fixed windows, the margin of each.
        """
        if self.layers.window is not None:
            return self.layers.window // _MARGIN_SHARE
        seen = 0 if self.bank is None else self.feature_reach + BANK.radius
        return self.layers.reach + seen

    @property
    def feature_reach(self) -> int:
        """Pixels beyond which nothing can reach the features of a pixel."""
        return 0 if self.bank is None else self.bank.radius

    @property
    def by_pixel(self) -> bool:
        """Whether the layers change nothing, so that pixels are told by their features alone."""
        return self.pixels is not None and not bool(self.head_weight.any())

    @property
    def context(self) -> int:
        """Slices that a tile needs on each side."""
        return self.settings.context

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.head_weight.device

    def normalise_by(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Normalise by the intensities of another volume from now on, one value a channel."""
        self.intensity_mean.copy_(torch.tensor(mean))
        self.intensity_std.copy_(torch.tensor(std))

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

    def standard_features(self, raw: Tensor) -> Tensor:
        """Return what `raw_inputs` returned with about mean 0 and standard deviation 1."""
        if self.pixels is None:
            return (raw - self.input_mean[:, None, None]) / self.input_std[:, None, None]
        return (raw - self.pixels.mean[:, None, None]) / self.pixels.std[:, None, None]

    def logits(self, normalised: Tensor, core: Core | None = None) -> Tensor:
        """Return logits of normalised intensities, in the proportions of the strokes.

        Parameters
        ----------
        normalised : Tensor
            (images, channels * slices, height, width).
        core : tuple of slice, optional
            The rows and columns that are wanted, by default all.
        """
        return self.logits_of(self.raw_inputs(normalised), core)

    def logits_of(self, raw: Tensor, core: Core | None = None) -> Tensor:
        """Return logits of what `raw_inputs` returned; see `logits`."""
        rows, columns = core or (slice(None), slice(None))
        if self.pixels is None:
            return self._layers_on(raw)[:, :, rows, columns]
        if self.by_pixel:
            fitted: Tensor = self.pixels(raw[:, :, rows, columns])
            return fitted
        fitted = self.pixels(raw)
        return (fitted + self.correction(raw, fitted))[:, :, rows, columns]

    def logits_at(
        self, normalised: Tensor, rows: Tensor, columns: Tensor, *, machine: bool = False
    ) -> Tensor:
        """Return logits of some pixels of one image, (pixels, classes).

        Parameters
        ----------
        normalised : Tensor
            (1, channels * slices, height, width).
        rows, columns : Tensor
            Of the pixels, int64.
        machine : bool
            Whether to ask the kernel machine alone, if there is one: neither trees nor layers.
        """
        raw = self.raw_inputs(normalised)
        if self.pixels is None or not (machine or self.by_pixel):
            return self.logits_of(raw)[0][:, rows, columns].t()
        fitted: Tensor = self.pixels(raw[:, :, rows, columns], trees=not machine)[0]
        return fitted.t()

    def terms(self, raw: Tensor) -> Tensor:
        """Return what a fit is linear in, (pixels, terms), of `raw_inputs` (pixels, inputs)."""
        if self.pixels is None:
            return (raw - self.input_mean) / self.input_std
        return self.pixels.machine.terms(self.pixels.standard(raw.t())).t()

    def correction(self, raw: Tensor, fitted: Tensor) -> Tensor:
        """Return what the layers add to the logits of the pixels alone.

        Parameters
        ----------
        raw : Tensor
            What `raw_inputs` returned.
        fitted : Tensor
            Logits of the pixels alone, (images, classes, height, width).
        """
        assert self.bank is not None
        guide = guide_of(raw, self.channels, self.bank.per_channel)
        margin = margins(fitted)
        if torch.is_grad_enabled():
            return self._layers_on(class_inputs(margin, guide)).view(fitted.shape)
        # One class at a time in memory.
        each = [
            self._layers_on(class_inputs(margin[:, index, None], guide))
            for index in range(fitted.shape[1])
        ]
        return torch.cat(each, 1)

    def _layers_on(self, inputs: Tensor) -> Tensor:
        """Return what layers and head make of inputs, (images, outputs, height, width)."""
        inputs = (inputs - self.input_mean[:, None, None]).div_(self.input_std[:, None, None])
        if self.pixels is not None:
            inputs.clamp_(-_FARTHEST, _FARTHEST)
        return self.layers.weighed(self._adapted(inputs), self.head_weight, self.head_bias)

    def maps_of(self, raw: Tensor) -> Tensor:
        """Return what the head is linear in, (images, maps, height, width), without features.

        Parameters
        ----------
        raw : Tensor
            What `raw_inputs` returned.
        """
        return self.layers.features_of(self._adapted(self.standard_features(raw)))

    def _adapted(self, inputs: Tensor) -> Tensor:
        """Return the channels that the layers were learned on, (images, channels, y, x)."""
        if self.adapter is None:
            return inputs
        images, _, height, width = inputs.shape
        each = inputs.view(images, self.channels, -1, height, width)
        return torch.einsum("oc,ncsyx->nosyx", self.adapter, each).flatten(1, 2)

    def forward(self, x: Tensor, core: Core | None = None) -> Tensor:
        """Return logits (images, classes, height, width), shifted to the volume's proportions.

        Parameters
        ----------
        x : Tensor
            Intensities, float32, (images, channels * slices, height, width).
        core : tuple of slice, optional
            The rows and columns that are wanted, by default all.
        """
        return self.logits(self.normalise(x), core) + self.prior_shift[:, None, None]

    def probabilities(
        self,
        block: np.ndarray[Any, Any],
        *,
        wanted: tuple[slice, slice] | None = None,
        origin: tuple[int, int] = (0, 0),
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
        origin : tuple of int
            Row and column of the slice at which the block begins, see `surroundings`.
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
        result = np.empty((len(self.classes), *core.shape), np.float32)
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
        # The sums, and the inputs of the layers twice: as they were and as they are.
        values = 4 * len(self.classes) + self.inputs + 2 * self.channels * self.settings.slices
        scratch = _SCRATCH_BYTES.get(self.device.type, _OTHER_SCRATCH_BYTES)
        return scratch + self.layers.bytes_of(height, width) + 4 * values * height * width

    def _predict(self, slab: np.ndarray[Any, Any], core: Core) -> np.ndarray[Any, Any]:
        """Return probabilities (classes, y, x) of the core of a slab (channels, slices, y, x)."""
        values = np.ascontiguousarray(slab, np.float32)
        with torch.no_grad():
            x = torch.from_numpy(values).to(self.device).flatten(0, 1)[None]
            result: np.ndarray[Any, Any] = self(x, core)[0].softmax(0).cpu().numpy()
        return result

    def with_classes(self, classes: Sequence[int]) -> SegmentationModel:
        """Return a copy with these outputs; known classes keep theirs, new ones start at zero."""
        other = SegmentationModel(self.settings, self.channels, classes).to(self.device)
        state = {name: value.clone() for name, value in self.state_dict().items()}
        by_class = {"prior_shift": 0}  # and the axis of classes
        if self.pixels is None:
            by_class |= {"head_weight": 0, "head_bias": 0}
        else:
            by_class |= {"pixels.machine.weight": 0, "pixels.machine.bias": 0}
            by_class["pixels.trees.votes"] = 1
        for name, axis in by_class.items():
            values = other.state_dict()[name].clone()
            for index, value in enumerate(other.classes):
                if value in self.classes:
                    known = state[name].select(axis, self.classes.index(value))
                    values.select(axis, index).copy_(known)
            state[name] = values
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
            name: (value.float() if value.is_floating_point() else value).cpu().contiguous()
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
            state.pop("knots", None)  # empty in models without features of the first versions
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
        for name in ("intensity_std", "input_std", "pixels.std"):
            if name in state and not bool((state[name] > 0).all()):
                raise ModelError(
                    "A model's standard deviations are above zero.",
                    got=f"{float(state[name].min())} in {name}",
                    do="Choose an older revision, or reset learning.",
                )
        if model.pixels is not None:
            model.pixels.trees.check(model.inputs)
        model.halo = snapshot.halo
        return model.to(device).eval()
