"""Segmentation networks: MS-D, its features, its weights to and from bytes.

Settings and snapshots load without torch; the names that need torch are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from brushfire.networks.settings import NetworkSettings, suggest_settings
from brushfire.networks.snapshot import ModelSnapshot, answers

if TYPE_CHECKING:
    from brushfire.networks.halo import measure_halo
    from brushfire.networks.model import SegmentationModel

__all__ = [
    "ModelSnapshot",
    "NetworkSettings",
    "SegmentationModel",
    "answers",
    "measure_halo",
    "suggest_settings",
]

_NEED_TORCH = {
    "SegmentationModel": "brushfire.networks.model",
    "measure_halo": "brushfire.networks.halo",
}


def __getattr__(name: str) -> object:
    if name in _NEED_TORCH:
        return getattr(import_module(_NEED_TORCH[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
