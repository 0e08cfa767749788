"""The scans of a series that one network learns from; importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brushfire.geometry import Triple
    from brushfire.volumes import Volume


@dataclass(frozen=True, eq=False)
class Scan:
    """A volume to learn from.

    Parameters
    ----------
    volume : Volume
        What is restored; in the way "splits" each channel is a reconstruction of a part of it.
    target : Volume or None
        What it should look like, in the way "pairs".
    origin : tuple of int or None
        Voxel of the volume, z, y, x, where the target begins; without it both have one shape.
    """

    volume: Volume
    target: Volume | None = None
    origin: Triple | None = None


def called(volume: Volume) -> str:
    """Return what tells a volume from others: a series may have one name in many folders."""
    return volume.name if volume.source is None else "/".join(Path(volume.source).parts[-2:])
