"""Take over weights of another model, as `StartSettings` say."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from brushfire.errors import ModelError
from brushfire.learning.transfer.strategies import StartSettings, check_start, slimmed
from brushfire.networks.model import SegmentationModel

if TYPE_CHECKING:
    from collections.abc import Sequence

_FREQUENCIES = (0.1, 0.2, 0.3)  # of Gabor filters, waves per pixel
_ORIENTATIONS = 8
_LAYERS = "layers."


@dataclass(frozen=True)
class Taken:
    """What was taken over.

    Parameters
    ----------
    weights, all : int
        Numbers that were taken over, and how many there are, layers and head.
    classes : tuple of int
        Class values that were known before.
    remark : str
        What was changed to make it fit, if anything.
    """

    weights: int
    all: int
    classes: tuple[int, ...]
    remark: str = ""


def started(
    source: SegmentationModel,
    start: StartSettings,
    *,
    channels: int,
    classes: Sequence[int],
    mean: Sequence[float],
    std: Sequence[float],
    seed: int = 0,
) -> tuple[SegmentationModel, Taken]:
    """Return a model for another volume that starts from a source.

    Parameters
    ----------
    source : SegmentationModel
        What was learned; its class values are those of the new model where they mean the same.
    start : StartSettings
        What is taken over.
    channels : int
        Of the new volume.
    classes : sequence of int
        Class values of the new model.
    mean, std : sequence of float
        Of each channel of the new volume.
    seed : int
        Decides what begins at random.

    Raises
    ------
    SettingsError
        If that way to start cannot work for this network.
    """
    check_start(start, source.settings)
    network = source.settings
    other = channels != source.channels
    if start.weights == "slim":
        network = slimmed(network, start.stages)
    if other and start.channels == "adapter" and not network.features:
        network = replace(network, adapter=source.settings.adapter or source.channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SegmentationModel(network, channels, classes, mean=mean, std=std)
        taken = _Taking(source, model, start).run()
    model.halo = source.halo if start.weights == "all" and not other else model.safe_halo
    return model.eval(), taken


class _Taking:
    """One start."""

    def __init__(
        self, source: SegmentationModel, model: SegmentationModel, start: StartSettings
    ) -> None:
        self._source, self._model, self._start = source, model, start
        self._theirs = source.state_dict()
        self._mine = model.state_dict()  # shares memory with the model

    def run(self) -> Taken:
        start, model = self._start, self._model
        stages = len(self._source.layers.stages())
        count = {"all": stages, "lower": start.stages, "slim": start.stages}
        taken = self._take_stages(count.get(start.weights, 0))
        known: tuple[int, ...] = ()
        if start.weights == "all":
            more, known = self._take_head()
            taken += more
        elif start.weights == "statistics":
            self._take_statistics()
        elif start.weights == "gabor":
            self._take_gabor()
        self._take_scale()
        numbers = [*model.layers.parameters(), model.head_weight, model.head_bias]
        return Taken(taken, sum(value.numel() for value in numbers), known, self._remark())

    def _take_stages(self, count: int) -> int:
        """Copy the first stages; return how many numbers that were."""
        taken = 0
        stages = self._source.layers.stages()
        for stage in stages[:count]:
            for name, rows in stage:
                found = self._fitting(_LAYERS + name)
                if found is not None:
                    part = self._mine[_LAYERS + name][rows]
                    part.copy_(found[rows])
                    taken += part.numel()
            # What they were normalised by belongs to them.
            modules = {name.rpartition(".")[0] for name, _ in stage}
            for name, value in self._theirs.items():
                noted = name.startswith(_LAYERS) and name.endswith(
                    ("running_mean", "running_var", "num_batches_tracked")
                )
                inside = name.removeprefix(_LAYERS).rpartition(".")[0] in modules
                if (
                    noted
                    and (inside or count >= len(stages))
                    and self._mine[name].shape == value.shape
                ):
                    self._mine[name].copy_(value)
        return taken

    def _fitting(self, name: str) -> Tensor | None:
        """Return the source's weights as they fit here; None where they cannot."""
        mine: Tensor | None = self._mine.get(name)
        theirs: Tensor = self._theirs[name]
        if mine is None or mine.ndim != theirs.ndim:
            return None
        if mine.shape == theirs.shape:
            return theirs
        before, now = self._source.layers.channels, self._model.layers.channels
        inputs = [value.shape[1] - seen for value, seen in ((theirs, before), (mine, now))]
        alike = theirs.shape[0] == mine.shape[0] and theirs.shape[2:] == mine.shape[2:]
        first = self._source.settings.axes == 3 and theirs.shape[1] == self._source.channels
        if first and alike and mine.shape[1] == self._model.channels:
            return self._matched(theirs, 1)
        if not alike or inputs[0] != inputs[1]:
            return None
        slices = self._source.settings.slices
        return torch.cat([self._matched(theirs[:, :before], slices), theirs[:, before:]], 1)

    def _matched(self, weight: Tensor, slices: int) -> Tensor:
        """Return weights of input channels, (outputs, channels * slices, ...), for others."""
        now = self._model.channels
        each = weight.view(weight.shape[0], -1, slices, *weight.shape[2:])
        before = each.shape[1]
        if self._start.channels == "copy":
            found = each[:, [channel % before for channel in range(now)]]
        else:
            found = each.mean(1, keepdim=True).expand(-1, now, *each.shape[2:])
        result: Tensor = (found * (before / now)).flatten(1, 2)
        return result

    def _take_head(self) -> tuple[int, tuple[int, ...]]:
        """Copy what tells classes apart; return how many numbers, and which classes."""
        source, model = self._source, self._model
        known = tuple(value for value in model.classes if value in source.classes)
        for value in known:
            shift = source.prior_shift[source.classes.index(value)]
            model.prior_shift[model.classes.index(value)] = shift
        if model.pixels is not None and model.inputs == source.inputs:
            fitted = source.with_classes(model.classes)
            assert fitted.pixels is not None
            model.pixels.load_state_dict(fitted.pixels.state_dict())
        elif model.pixels is not None:
            known = ()
        if model.head_weight.shape[1] != source.head_weight.shape[1]:
            return 0, ()
        if model.pixels is not None:
            rows = [(0, 0)]
        else:
            rows = [(model.classes.index(v), source.classes.index(v)) for v in known]
        with torch.no_grad():
            for mine, theirs in rows:
                model.head_weight[mine] = source.head_weight[theirs]
                model.head_bias[mine] = source.head_bias[theirs]
        return len(rows) * (model.head_weight.shape[1] + 1), known

    def _take_statistics(self) -> None:
        """Draw weights with the mean and spread of the source's, tensor by tensor."""
        for name, _ in self._model.layers.named_parameters():
            theirs, mine = self._theirs.get(_LAYERS + name), self._mine[_LAYERS + name]
            if theirs is not None and theirs.numel() > 1:
                spread = float(theirs.std(correction=0))
                mine.copy_(float(theirs.mean()) + spread * torch.randn_like(mine))

    def _take_gabor(self) -> None:
        weight = next(
            value for _, value in self._model.layers.named_parameters() if value.ndim == 4
        )
        with torch.no_grad():
            weight.copy_(gabor_filters(weight))

    def _take_scale(self) -> None:
        """Copy how inputs are standardised, where there are as many."""
        for name in ("input_mean", "input_std"):
            if self._mine[name].shape == self._theirs[name].shape:
                self._mine[name].copy_(self._theirs[name])

    def _remark(self) -> str:
        before, now = self._source.channels, self._model.channels
        if before == now or self._model.settings.features:
            return ""
        how = {
            "mean": "each of them gets the mean of the weights",
            "copy": "they get copies of the weights in turn",
            "adapter": "a layer that learns makes those channels of them",
        }[self._start.channels]
        return f"It was learned on {before} channel(s), and here are {now}: {how}."


def gabor_filters(like: Tensor) -> Tensor:
    """Return Gabor filters in place of a first layer's weights, as spread out as these.

    Three frequencies, eight orientations, and both phases take turns over the outputs; each has
    mean 0 (as in Raghu 2019).

    Parameters
    ----------
    like : Tensor
        (outputs, channels, height, width), as they are at random.

    Raises
    ------
    ModelError
        If the filters are smaller than 3 pixels: no wave shows in them.
    """
    outputs, channels, height, width = like.shape
    if min(height, width) < 3:
        raise ModelError(
            "A Gabor filter has three pixels or more on a side.",
            got=f"{height} x {width}",
            do="Choose another way to start.",
        )
    y = torch.arange(height)[:, None] - (height - 1) / 2
    x = torch.arange(width)[None] - (width - 1) / 2
    kinds = [
        (frequency, math.pi * turn / _ORIENTATIONS, phase)
        for frequency in _FREQUENCIES[::-1]
        for phase in (0.0, math.pi / 2)
        for turn in range(_ORIENTATIONS)
    ]
    found = torch.empty(outputs, 1, height, width)
    for index in range(outputs):
        frequency, angle, phase = kinds[index % len(kinds)]
        along = x * math.cos(angle) + y * math.sin(angle)
        around = torch.exp(-(x**2 + y**2) / (2 * (0.5 / frequency) ** 2))
        wave = around * torch.cos(2 * math.pi * frequency * along + phase)
        found[index, 0] = wave - wave.mean()
    found = found.expand(-1, channels, -1, -1)
    return found * (like.std(correction=0).cpu() / found.std(correction=0))
