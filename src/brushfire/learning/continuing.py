"""Going on: from a saved model, after numbers that are none, and as an average of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from brushfire.errors import LearningError, ModelError

if TYPE_CHECKING:
    from brushfire.networks.settings import NetworkSettings
    from brushfire.networks.sliced import SlicedModel
    from brushfire.networks.snapshot import ModelSnapshot


def check_continues(snapshot: ModelSnapshot, network: NetworkSettings, channels: int) -> None:
    """Check that learning can go on from a model.

    Raises
    ------
    ModelError
        If it was made for other settings or channels.
    """
    if snapshot.settings != network or snapshot.channels != channels:
        raise ModelError(
            "A model continues with the network settings and channels it was made with.",
            got=f"{snapshot.settings}, {snapshot.channels} channel(s)",
            do="Choose those settings, or reset learning.",
        )


def diverged(got: str, *, kept: bool) -> LearningError:
    """Return what to say where numbers are not finite; ``kept`` is whether there is a model."""
    said = "The last good model is kept. " if kept else ""
    return LearningError(
        "The loss of a training step and its gradients are finite numbers.",
        got=got,
        do=f"{said}Choose a lower learning rate, look for extreme intensities in the volume, "
        "and start again.",
    )


def follow(average: SlicedModel, newest: SlicedModel, decay: float) -> None:
    """Move averaged weights towards the newest by a share of 1 - ``decay``."""
    with torch.no_grad():
        for mean, new in zip(average.parameters(), newest.parameters(), strict=True):
            mean.lerp_(new, 1 - decay)
        # What layers were normalised by goes with their weights.
        seen = zip(average.layers.buffers(), newest.layers.buffers(), strict=True)
        for kept, noted in seen:
            if kept.is_floating_point():
                kept.lerp_(noted, 1 - decay)
            else:
                kept.copy_(noted)
