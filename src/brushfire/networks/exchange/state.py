"""What both layouts share: tensors taken by name and shape, and models built from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from brushfire.errors import ModelError, SettingsError
from brushfire.networks.backbones.mixed_scale import MixedScaleBackbone
from brushfire.networks.model import SegmentationModel
from brushfire.networks.settings import NetworkSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from brushfire.networks.settings import Border

DILATIONS = tuple(range(1, 11))
"""What layers cycle through unless somebody chose others, in both programs as here."""

_MAX_CLASS = 127
_PARALLEL = "module."  # before each name where several devices were used at once
_ANOTHER = "Choose a file of that network, or say with another layout what it is."


class Tensors:
    """A state dict that is taken apart: each tensor once, in the shape that is expected.

    Parameters
    ----------
    state : mapping of str to Tensor
        As `torch.nn.Module.state_dict` returns it.
    network : str
        What it is taken for, as the beginning of a sentence.

    Raises
    ------
    ModelError
        If it holds something else than tensors.
    """

    def __init__(self, state: Mapping[str, Tensor], network: str) -> None:
        self._network = network
        plain = all(isinstance(name, str) for name in state)
        parallel = plain and all(name.startswith(_PARALLEL) for name in state)
        self._left = {
            name.removeprefix(_PARALLEL) if parallel else name: value
            for name, value in state.items()
        }
        for name, value in self._left.items():
            if not isinstance(value, Tensor):
                raise self.refusal(f"{type(value).__name__} under the name {name!r}")
            # A tensor that repeats few stored values could claim any size.
            stored = value.layout == torch.strided and not value.is_meta
            if not stored or _size(value) > value.untyped_storage().nbytes():
                raise self.refusal(f"{name}, which is not stored as it is")

    def __contains__(self, name: str) -> bool:
        return name in self._left

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tensors that nobody took."""
        return tuple(self._left)

    def rename(self, name_of: Callable[[str], str]) -> None:
        """Call tensors otherwise; where two get one name, the first keeps it."""
        left: dict[str, Tensor] = {}
        for name, value in self._left.items():
            left.setdefault(name_of(name), value)
        self._left = left

    def size(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor that is there, whatever it is."""
        return tuple(self._left[name].shape)

    def drop(self, names: Iterable[str]) -> None:
        """Forget tensors that are of no use."""
        for name in names:
            del self._left[name]

    def count(self, pattern: str) -> int:
        """Return how many names there are with 0, 1, 2 and so on in place of {}."""
        found = 0
        while pattern.format(found) in self._left:
            found += 1
        return found

    def shape(self, name: str, axes: int) -> tuple[int, ...]:
        """Return the shape of a tensor.

        Raises
        ------
        ModelError
            If it is missing, has another number of axes, or is empty.
        """
        shape = tuple(self._get(name).shape)
        if len(shape) != axes or 0 in shape:
            raise self.refusal(f"{name} of shape {shape}, which has {axes} axes")
        return shape

    def take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Return a tensor in double precision; it counts as known from now on.

        Raises
        ------
        ModelError
            If it is missing, has another shape, or holds what are no finite numbers.
        """
        value = self._get(name)
        if tuple(value.shape) != shape:
            raise self.refusal(f"{name} of shape {tuple(value.shape)} in place of {shape}")
        if not value.is_floating_point():
            raise self.refusal(f"{name} of type {value.dtype}")
        self._check_finite(name, value)
        del self._left[name]
        return value.detach().to("cpu", torch.float64)

    def take_like(self, name: str, own: Tensor) -> Tensor:
        """Return a tensor in shape and kind of another one; it counts as known from now on.

        Raises
        ------
        ModelError
            If it is missing, of another shape or kind, or holds what are no finite numbers.
        """
        value = self._get(name)
        if value.shape != own.shape:
            raise self.refusal(
                f"{name} of shape {tuple(value.shape)} in place of {tuple(own.shape)}"
            )
        if value.is_floating_point() != own.is_floating_point():
            raise self.refusal(f"{name} of type {value.dtype} in place of {own.dtype}")
        if value.is_floating_point():
            value = value.detach().to(own.dtype)
            self._check_finite(name, value)
        del self._left[name]
        return value.detach().to(own.device, own.dtype)

    def _check_finite(self, name: str, value: Tensor) -> None:
        if not bool(value.isfinite().all()):
            raise ModelError(
                "A model's weights are finite numbers.",
                got=f"NaN or infinity in {name}",
                do="Choose weights from before training diverged.",
            )

    def end(self) -> None:
        """Raise a ModelError if there is a tensor that nobody took."""
        if self._left:
            more = f" and {len(self._left) - 1} more" if len(self._left) > 1 else ""
            raise self.refusal(f"{next(iter(self._left))}{more}, which it does not have")

    def refusal(self, got: str, do: str = _ANOTHER) -> ModelError:
        """Return the error that says that this is another network."""
        return ModelError(
            f"{self._network} has tensors of certain names and shapes.", got=got, do=do
        )

    def _get(self, name: str) -> Tensor:
        if name not in self._left:
            raise self.refusal(f"no tensor {name}")
        return self._left[name]


def build(
    *,
    width: int,
    dilations: Sequence[int],
    border: Border,
    slices: int,
    classes: Sequence[int] | None,
    mean: Tensor,
    std: Tensor,
    weights: Sequence[Tensor],
    biases: Tensor,
    head_weight: Tensor,
    head_bias: Tensor,
) -> SegmentationModel:
    """Return a model without features that has these weights.

    Parameters
    ----------
    width : int
        Maps that each layer adds.
    dilations : sequence of int
        Cycled through by the layers, pixels.
    border : str
        As in `NetworkSettings`.
    slices : int
        Neighbouring slices given as inputs, those of a channel side by side.
    classes : sequence of int or None
        Class values in the order of the outputs; 1, 2 and so on for None.
    mean, std : Tensor
        Of each input, (inputs,).
    weights, biases : sequence of Tensor, Tensor
        As in `MixedScaleDense`.
    head_weight, head_bias : Tensor
        (outputs, inputs + maps) and (outputs,).

    Raises
    ------
    ModelError
        If something does not fit what models here may be.
    """
    try:
        settings = NetworkSettings(
            len(weights), width, tuple(dilations), slices, features=False, border=border
        )
    except SettingsError as error:
        raise ModelError(error.rule, got=error.got, do="Choose another network.") from error
    means, stds = _of_channels(mean, slices), _of_channels(std, slices)
    model = SegmentationModel(
        settings, len(means), checked_classes(classes, len(head_bias)), mean=means, std=stds
    )
    # The model's own tensors are of single precision, so that copying rounds.
    with torch.no_grad():
        layers = mixed_scale_of(model)
        for mine, given in zip(layers.weights, weights, strict=True):
            mine.copy_(given)
        layers.biases.copy_(biases)
        model.head_weight.copy_(head_weight)
        model.head_bias.copy_(head_bias)
    for name, value in model.state_dict().items():
        if not bool(value.isfinite().all()) or (name == "intensity_std" and not bool(value.all())):
            raise ModelError(
                "A model's weights are finite numbers in single precision.",
                got=f"values beyond them for {name}",
                do="Scale the intensities before that network learns.",
            )
    return model.eval()


def checked_dilations(dilations: Sequence[int]) -> tuple[int, ...]:
    """Return the dilations.

    Raises
    ------
    ModelError
        If there is none, or one is out of range.
    """
    try:
        return NetworkSettings(dilations=tuple(dilations)).dilations
    except SettingsError as error:
        raise ModelError(error.rule, got=error.got, do=error.do) from error


def checked_classes(classes: Sequence[int] | None, outputs: int) -> tuple[int, ...]:
    """Return the class values of outputs.

    Raises
    ------
    ModelError
        If there are too few outputs, or the values do not fit them.
    """
    if outputs < 2:
        raise ModelError(
            "A network that segments has an output for each of at least two classes.",
            got=f"{outputs} output(s)",
            do="Choose a network that was trained with one output for each class.",
        )
    values = tuple(range(1, outputs + 1) if classes is None else classes)
    if (
        len(values) != outputs
        or len(set(values)) != outputs
        or not all(1 <= value <= _MAX_CLASS for value in values)
    ):
        raise ModelError(
            f"Each of the {outputs} outputs has a class value of its own, 1 to {_MAX_CLASS}.",
            got=", ".join(map(str, values)),
            do="Give as many different values, in the order of the outputs.",
        )
    return values


def normalisation(model: SegmentationModel) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each input in double precision, (inputs,)."""
    slices = model.settings.slices
    mean = model.intensity_mean.double().repeat_interleave(slices)
    std = model.intensity_std.double().repeat_interleave(slices)
    return mean + std * model.input_mean, std * model.input_std


def mixed_scale_of(model: SegmentationModel) -> MixedScaleBackbone:
    """Return the layers of a model.

    Raises
    ------
    ModelError
        If they are not those of an MS-D network.
    """
    if not isinstance(model.layers, MixedScaleBackbone):
        raise ModelError(
            "Programs for mixed-scale dense networks have no others.",
            got=f"a model with the network {model.settings.architecture}",
            do="Export an MS-D network, or keep this one as a model file.",
        )
    return model.layers


def check_exportable(model: SegmentationModel, program: str, borders: Sequence[Border]) -> None:
    """Raise a ModelError if a program has no network that computes what the model does."""
    mixed_scale_of(model)
    if model.settings.features:
        raise ModelError(
            f"{program} has networks that see intensities and nothing else.",
            got="a model with features of several scales as further inputs",
            do="Train one without features: switch them off in the settings of the network.",
        )
    if model.settings.adapter:
        raise ModelError(
            f"{program} has networks that see the channels of a volume as they are.",
            got="a model with a layer that makes other channels of them",
            do="Train one on these channels.",
        )
    if model.settings.border not in borders:
        raise ModelError(
            f"{program} continues a slice beyond its edges as border {' or '.join(borders)} does.",
            got=f"a model with border {model.settings.border}",
            do=f"Train one with border {borders[0]}.",
        )


def _size(value: Tensor) -> int:
    """Return the bytes of all values."""
    return value.numel() * value.element_size()


def _of_channels(values: Tensor, slices: int) -> list[float]:
    """Return what all slices of each channel have in common."""
    if len(values) % slices:
        raise ModelError(
            "A network sees the same number of slices of each channel.",
            got=f"{len(values)} input(s) for {slices} slices",
            do="Give the number of slices that it was trained with.",
        )
    channels = values.view(-1, slices)
    if bool((channels != channels[:, :1]).any()):
        raise ModelError(
            "All slices of a channel are normalised alike.",
            got=f"{slices} slices with scales of their own",
            do="Give 1 as the number of slices: then each input is a channel.",
        )
    return [float(value) for value in channels[:, 0]]
