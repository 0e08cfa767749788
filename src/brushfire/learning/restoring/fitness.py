"""Whether a volume, its target and a network fit each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from brushfire.errors import LearningError, SettingsError
from brushfire.geometry import Box
from brushfire.learning.restoring.scans import called

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brushfire.geometry import Triple
    from brushfire.learning.restoring.scans import Scan
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
            got=f"no clean one for {called(volume)}",
            do="Give the volume that it should look like, or choose another way.",
        )
    if network.restored != len(target.channels):
        raise SettingsError(
            "A network restores the channels of its target.",
            got=f"{network.restored} for {len(target.channels)} of {called(target)}",
            do=f"Restore {len(target.channels)}.",
        )
    _check_size("The two volumes of a pair", volume, target)
    if origin is None and target.shape != volume.shape:
        raise LearningError(
            "The two volumes of a pair have one shape.",
            got=f"{volume.shape} of {called(volume)} and {target.shape} of {called(target)}",
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


def check_series(scans: Sequence[Scan]) -> None:
    """Check that scans are of one kind: voxels of one size, and as many channels.

    Parameters
    ----------
    scans : sequence of Scan
        One at least; those after the first are told by name.

    Raises
    ------
    LearningError
        If they are not.
    """
    first = scans[0].volume
    for scan in scans[1:]:
        if len(scan.volume.channels) != len(first.channels):
            raise LearningError(
                f"The scans of a series have as many channels as the first: {len(first.channels)}.",
                got=f"{len(scan.volume.channels)} of {called(scan.volume)}",
                do="Leave it out; where parts of a scan teach, one file has them as channels.",
            )
        _check_size("The scans of a series", first, scan.volume)


def _check_size(which: str, one: Volume, other: Volume) -> None:
    if not (one.voxel_size_known and other.voxel_size_known):
        return
    if not np.allclose(one.voxel_size, other.voxel_size, rtol=_ALIKE, atol=0):
        raise LearningError(
            f"{which} have one voxel size.",
            got=f"{one.voxel_size} micrometres of {called(one)} and {other.voxel_size} of"
            f" {called(other)}",
            do="Resample one of them to the other, or correct what their files say.",
        )


def statistics_of(volumes: Sequence[Volume]) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel, as single precision can hold them.

    Parameters
    ----------
    volumes : sequence of Volume
        Of as many channels each; each counts as much, however large it is.

    Raises
    ------
    LearningError
        If it cannot.
    VolumeError
        If a channel is constant, or has no finite value.
    """
    # One normalisation for all, frozen in the model. Were each scan brought to a mean and deviation
    # of its own, what gets brighter from scan to scan would look as if it did not, and a scan that
    # nothing was learned from, which `brushfire predict` restores, would be seen unlike those that
    # taught.
    found = [volume.statistics() for volume in volumes]
    means = np.array([one.mean for one in found], np.float64)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        mean = means.mean(0)
        spread = np.array([one.std for one in found], np.float64) ** 2 + (means - mean) ** 2
        values = np.array([mean, np.sqrt(spread.mean(0))])
        held = values.astype(np.float32)
    if not (np.isfinite(held).all() and (held[1] > 0).all()):
        raise LearningError(
            "Intensities are of a size that single precision can tell apart.",
            got=f"a mean of {values[0].tolist()} and a spread of {values[1].tolist()}"
            f" in {', '.join(called(volume) for volume in volumes)}",
            do="Scale the volume to values near 1, and open it again.",
        )
    return values[0].tolist(), values[1].tolist()
