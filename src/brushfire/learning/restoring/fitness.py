"""Whether a volume, its target and a network fit each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from brushfire.errors import LearningError, SettingsError
from brushfire.geometry import Box

if TYPE_CHECKING:
    from brushfire.geometry import Triple
    from brushfire.learning.restoring.settings import RestorationSettings
    from brushfire.networks.settings import NetworkSettings
    from brushfire.volumes import Volume

_ALIKE = 0.01  # relative difference of voxel sizes that are meant to be the same


def region_of(
    volume: Volume,
    target: Volume | None,
    settings: RestorationSettings,
    network: NetworkSettings,
    origin: Triple | None,
) -> Box:
    """Return where in a volume there is something to learn from.

    Parameters
    ----------
    volume, target, settings, network
        As for `RestorationLearner`.
    origin : tuple of int, optional
        Voxel of the volume, z, y, x, where the target begins; without it both have one shape.

    Raises
    ------
    SettingsError
        If there is no target where there should be one, or of other channels than are restored;
        or if there is one where nothing is learned from it.
    LearningError
        If the target has another voxel size, or does not lie inside the volume.
    """
    whole = Box.of_shape(volume.shape)
    if settings.way != "pairs":
        if target is not None:
            raise SettingsError(
                "Only pairs have a target of their own.",
                got=f"a target in the way {settings.way!r}",
                do="Choose the way 'pairs', or give no target.",
            )
        return whole
    if target is None:
        raise SettingsError(
            "Pairs are a noisy volume and a clean one.",
            got="no clean one",
            do="Give the volume that it should look like, or choose another way.",
        )
    if network.restored != len(target.channels):
        raise SettingsError(
            "A network restores the channels of its target.",
            got=f"{network.restored} for {len(target.channels)}",
            do=f"Restore {len(target.channels)}.",
        )
    _check_grid(volume, target)
    if origin is None and target.shape != volume.shape:
        raise LearningError(
            "The two volumes of a pair have one shape.",
            got=f"{volume.shape} and {target.shape}",
            do="Say at which voxel the smaller one begins, or crop the larger one.",
        )
    region = Box.of_shape(target.shape).shift(origin or (0, 0, 0))
    if not whole.contains(region):
        raise LearningError(
            "What is learned from lies inside the volume that is restored.",
            got=f"a target of {target.shape} voxels at {region.start} of {volume.shape}",
            do="Check where it begins.",
        )
    return region


def _check_grid(volume: Volume, target: Volume) -> None:
    if not (volume.voxel_size_known and target.voxel_size_known):
        return
    if not np.allclose(volume.voxel_size, target.voxel_size, rtol=_ALIKE, atol=0):
        raise LearningError(
            "The two volumes of a pair have one voxel size.",
            got=f"{volume.voxel_size} and {target.voxel_size} micrometres",
            do="Resample one of them to the other, or correct what their files say.",
        )


def statistics_of(volume: Volume) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel, as single precision can hold them.

    Raises
    ------
    LearningError
        If it cannot.
    VolumeError
        If a channel is constant, or has no finite value.
    """
    found = volume.statistics()
    values = np.array([found.mean, found.std], np.float64)
    with np.errstate(over="ignore", under="ignore"):
        held = values.astype(np.float32)
    if not (np.isfinite(held).all() and (held[1] > 0).all()):
        raise LearningError(
            "Intensities are of a size that single precision can tell apart.",
            got=f"a mean of {values[0].tolist()} and a spread of {values[1].tolist()}"
            f" in {volume.name}",
            do="Scale the volume to values near 1, and open it again.",
        )
    return list(found.mean), list(found.std)
