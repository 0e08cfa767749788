"""How a network learns; importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brushfire.errors import SettingsError
from brushfire.learning.transfer.schedules import SCHEDULES, Schedule, check_schedule
from brushfire.networks.architectures import MSD, architecture_of

if TYPE_CHECKING:
    from brushfire.networks.settings import NetworkSettings


@dataclass(frozen=True)
class LearningSettings:
    """How gradient steps are made.

    Parameters
    ----------
    patch : int
        Side of the square patches in pixels, 32 to 1024; less where memory is short.
    batch : int or None
        Patches in a step, 1 to 64; fewer where memory is short. None is one on a processor, and
        up to 8 elsewhere.
    learning_rate : float
        Step size of AdamW soon after new strokes, above 0 and at most 1; a twentieth of it for
        layers that begin with weights that know shapes.
    weight_decay : float
        Decay of AdamW, 0 to 1.
    dice_weight : float
        Weight of soft Dice beside cross-entropy, 0 to 10.
    label_smoothing : float
        Share of a label that is spread over all classes, 0 to 0.5.
    consistency : float
        Weight of agreeing, where nothing is labelled, with what was known before the strokes (or,
        in a network without features, with the averaged weights), 0 to 100.
    average : float
        Decay of the moving average of weights that is shown, 0 (none) to below 1.
    augment : bool
        Whether patches are flipped, turned, stretched, bent, blurred, and changed in gain, offset
        and noise.
    pretrained : bool
        Whether the layers begin with weights that know shapes, or an encoder with what it learned
        on ImageNet; otherwise with random ones.
    trees : bool
        Whether trees have a say beside the kernel machine.
    proportions : bool
        Whether a model is corrected for how common classes are in the volume.
    examples : bool
        Whether what a project started from is learned beside its strokes.
    replay : float
        Share of the gradient steps that are made on crops of what a project started from, 0 (none)
        to 0.9. They keep layers from forgetting it; the strokes here are seen that much less often.
    schedule : str
        Which weights learn, and when, see `SCHEDULES`.
    frozen_steps : int
        Steps for which the last layer learns alone in the schedule "frozen", 0 to 100,000.
    grading : float
        Share of the rate of the stage after it that each stage gets in the schedule "graded",
        above 0 to 1.
    rank : int
        Directions of a change in the schedule "low-rank", 1 to 64.
    held_out : float
        Share of the stroke regions of a class that is kept for validation, 0 to 0.5.
    cache_bytes : int
        Bytes of the volume kept in memory for learning.

    Raises
    ------
    SettingsError
        If a value is outside its range.
    """

    patch: int = 192
    batch: int | None = None
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    dice_weight: float = 0.5
    label_smoothing: float = 0.02
    consistency: float = 10.0
    average: float = 0.98
    augment: bool = True
    pretrained: bool = True
    trees: bool = True
    proportions: bool = True
    examples: bool = True
    replay: float = 0.25
    schedule: Schedule = "all"
    frozen_steps: int = 100
    grading: float = 0.7
    rank: int = 4
    held_out: float = 0.2
    cache_bytes: int = 256 * 2**20

    def __post_init__(self) -> None:
        _check("The patch side", self.patch, 32, 1024)
        if self.batch is not None:
            _check("The batch", self.batch, 1, 64)
        _check("The learning rate", self.learning_rate, 1e-8, 1.0)
        _check("The weight decay", self.weight_decay, 0.0, 1.0)
        _check("The weight of Dice", self.dice_weight, 0.0, 10.0)
        _check("Label smoothing", self.label_smoothing, 0.0, 0.5)
        _check("The weight of consistency", self.consistency, 0.0, 100.0)
        _check("The averaging decay", self.average, 0.0, 0.9999)
        _check("The replayed share", self.replay, 0.0, 0.9)
        if self.schedule not in SCHEDULES:
            raise SettingsError(
                "A schedule says which weights learn.",
                got=repr(self.schedule),
                do=f"Choose one of: {', '.join(SCHEDULES)}.",
            )
        _check("The number of steps with frozen layers", self.frozen_steps, 0, 100_000)
        _check("The grading of rates", self.grading, 1e-3, 1.0)
        _check("The rank", self.rank, 1, 64)
        _check("The held-out share", self.held_out, 0.0, 0.5)
        _check("The cache in bytes", self.cache_bytes, 2**20, 2**40)


def check_patch(network: NetworkSettings, learning: LearningSettings) -> None:
    """Check that a network can learn so, and from such patches.

    Raises
    ------
    SettingsError
        If its schedule is of no use to the network. If patches are not wider than a dilation: that
        layer would only see beyond their edges. Or if they are smaller than the windows of a
        network that takes no others.
    """
    check_schedule(learning.schedule, network)
    least = network.least_patch
    if learning.patch >= least:
        return
    if network.architecture == MSD:
        raise SettingsError(
            "A training patch is wider than the largest dilation.",
            got=f"patches of {learning.patch} pixels, a dilation of {least - 1}",
            do=f"Choose dilations up to {learning.patch - 1}, or larger patches.",
        )
    raise SettingsError(
        f"A training patch is as wide as {architecture_of(network.architecture).title} needs.",
        got=f"patches of {learning.patch} pixels for {least}",
        do=f"Choose patches of {least} pixels, or smaller windows.",
    )


def _check(what: str, value: float, lowest: float, highest: float) -> None:
    # Written so that NaN fails too.
    if not lowest <= value <= highest:
        raise SettingsError(
            f"{what} is from {lowest:g} to {highest:g}.", got=value, do="Choose one in that range."
        )
