"""Small volumes to restore: soft blobs with independent noise, and learners of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter

from brushfire.geometry import Box
from brushfire.learning.restoring.learner import RestorationLearner
from brushfire.learning.restoring.settings import RestorationSettings
from brushfire.networks import NetworkSettings
from brushfire.volumes import Volume, open_volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from brushfire.learning.restoring.scans import Scan
    from brushfire.learning.restoring.settings import Way
    from brushfire.networks.restoration import RestorationModel

SHAPE = (8, 64, 64)
NOISE = 0.5


def blobs(
    count: int = 1, shape: tuple[int, int, int] = SHAPE, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a clean volume of 0 and 1, (z, y, x), and noisy ones of it, (count, z, y, x)."""
    rng = np.random.default_rng(seed)
    clean = (gaussian_filter(rng.standard_normal(shape), (2, 4, 4)) > 0).astype(np.float32)
    noisy = clean + NOISE * rng.standard_normal((count, *shape)).astype(np.float32)
    return clean, noisy.astype(np.float32)


def as_volume(values: NDArray[Any], name: str = "volume") -> Volume:
    axes = "czyx" if values.ndim == 4 else "zyx"
    return open_volume(values, axes=axes, voxel_size=(1.0, 1.0, 1.0), name=name)


def network_for(way: Way, **changes: Any) -> NetworkSettings:
    options: dict[str, Any] = {
        "depth": 8,
        "dilations": (1, 2, 3, 4),
        "slices": 1 if way == "neighbours" else 3,
        "features": False,
        "restored": 1,
        "splits": "x:1" if way == "splits" else "",
    }
    return NetworkSettings(**{**options, **changes})


def learner_for(
    way: Way,
    noisy: NDArray[Any],
    clean: NDArray[Any] | None = None,
    *,
    network: NetworkSettings | None = None,
    seed: int = 0,
    step_bytes: float = float("inf"),
    target_origin: tuple[int, int, int] | None = None,
    others: Sequence[Scan] = (),
    **options: Any,
) -> RestorationLearner:
    settings = RestorationSettings(way, **{"patch": 48, **options})
    return RestorationLearner(
        as_volume(noisy, "noisy"),
        None if clean is None else as_volume(clean, "clean"),
        network or network_for(way),
        settings,
        target_origin=target_origin,
        others=others,
        device="cpu",
        seed=seed,
        step_bytes=step_bytes,
    )


def restored_by(model: RestorationModel, volume: Volume) -> NDArray[np.float32]:
    """Return the whole volume restored, (outputs, z, y, x)."""
    box = Box.of_shape(volume.shape).grow((model.context, 0, 0))
    return model.restore(volume.read_padded(box))


def decibels(found: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the PSNR of values whose truth spans 1."""
    return float(-10 * np.log10(np.mean(np.square(found - truth))))
