"""A network that segments: normalisation, features, what tells pixels by them, and layers.

The logits are the sum of two parts. The first sees the features of single pixels and is fitted
in a moment; the layers, MS-D for one, see what that makes of one class all around, beside the
image, and correct it. Where there are no features, the layers are alone and see the image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from brushfire.errors import ModelError
from brushfire.networks.backbones import make_backbone
from brushfire.networks.features import FeatureBank, inputs_of
from brushfire.networks.pixel_head import PixelHead
from brushfire.networks.pretrained import take_over_pretrained
from brushfire.networks.refining import BANK, INPUTS, class_inputs, guide_of, margins
from brushfire.networks.sliced import BUDGET_BYTES, Core, SlicedModel, read_state, unfit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brushfire.networks.settings import NetworkSettings
    from brushfire.networks.snapshot import ModelSnapshot

_FARTHEST = 8.0  # standard deviations beyond which an input of the layers is not told apart


class SegmentationModel(SlicedModel):
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
        if settings.restored:
            raise ModelError(
                "A model that segments tells classes apart.",
                got="one that restores intensities",
                do="Choose a model that was learned to segment.",
            )
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
    def seen_around(self) -> int:
        """Pixels around each one of which the layers are told something at that one."""
        return 0 if self.bank is None else self.feature_reach + BANK.radius

    @property
    def feature_reach(self) -> int:
        """Pixels beyond which nothing can reach the features of a pixel."""
        return 0 if self.bank is None else self.bank.radius

    @property
    def by_pixel(self) -> bool:
        """Whether the layers change nothing, so that pixels are told by their features alone."""
        return self.pixels is not None and not bool(self.head_weight.any())

    def normalise_by(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Normalise by the intensities of another volume from now on, one value a channel."""
        self.intensity_mean.copy_(torch.tensor(mean))
        self.intensity_std.copy_(torch.tensor(std))

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
        return self._in_parts(block, len(self.classes), wanted, origin, budget_bytes)

    @property
    def values_per_pixel(self) -> int:
        """Floats that a prediction holds for a pixel beside the layers."""
        # The sums, and the inputs of the layers twice: as they were and as they are.
        return 4 * len(self.classes) + self.inputs + 2 * self.channels * self.settings.slices

    def compared(self, x: Tensor, core: Core) -> Tensor:
        """Return class probabilities; see `SlicedModel`."""
        found: Tensor = self(x, core).softmax(1)
        return found

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
        state = read_state(snapshot.weights)
        state.pop("knots", None)  # empty in models without features of the first versions
        try:
            model = cls(snapshot.settings, snapshot.channels, snapshot.classes)
            model.load_state_dict(state)
        except (RuntimeError, ValueError, KeyError) as error:
            raise unfit(error) from error
        if model.pixels is not None:
            model.pixels.trees.check(model.inputs)
        model.halo = snapshot.halo
        return model.to(device).eval()
