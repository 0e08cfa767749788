"""Open, read, write and build multiscale volumes; one protocol, one file for each format."""

from __future__ import annotations

from brushfire.volumes.lazy import LazyView
from brushfire.volumes.open import describe, open_volume
from brushfire.volumes.pyramid import build_pyramid, find_pyramid, find_wrong_level
from brushfire.volumes.statistics import Statistics, measure_percentiles
from brushfire.volumes.volume import Level, Volume
from brushfire.volumes.writer import MultiscaleWriter, create_multiscale, register_label

__all__ = [
    "LazyView",
    "Level",
    "MultiscaleWriter",
    "Statistics",
    "Volume",
    "build_pyramid",
    "create_multiscale",
    "describe",
    "find_pyramid",
    "find_wrong_level",
    "measure_percentiles",
    "open_volume",
    "register_label",
]
