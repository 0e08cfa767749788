"""`project.json`: its versions, and the way to and from the values of a project."""

from __future__ import annotations

import json
import math
import os
from contextlib import suppress
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from brushfire import __version__
from brushfire.annotations import LabelClass
from brushfire.errors import ProjectError
from brushfire.geometry import triple
from brushfire.learning.restoring import RestorationSettings
from brushfire.learning.settings import LearningSettings
from brushfire.networks.settings import NetworkSettings
from brushfire.project.state import (
    TASKS,
    DenoisedState,
    ProjectState,
    RestorationState,
    ScanReference,
    Settings,
    VolumeReference,
)
from brushfire.volumes import Statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FORMAT = "brushfire-project"
VERSION = 3


def _with_restoration(found: dict[str, Any]) -> dict[str, Any]:
    """Return what a project says that knew of no other task than segmentation."""
    return {**found, "restoration": None, "task": "segment"}


def _with_denoised(found: dict[str, Any]) -> dict[str, Any]:
    """Return what a project says that could segment its volume only as it is."""
    return {**found, "denoised": None}


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: _with_restoration,
    2: _with_denoised,
}
"""From a format version to the function that makes the next version's values of it."""

_T = TypeVar("_T", NetworkSettings, LearningSettings, RestorationSettings)


def migrate(
    found: dict[str, Any],
    migrations: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = MIGRATIONS,
    version: int = VERSION,
) -> dict[str, Any]:
    """Return the values of a `project.json` in the form of ``version``.

    Parameters
    ----------
    found : dict
        As read; not changed.
    migrations : mapping
        From a version to the function that makes the values of the next one.
    version : int
        The version wanted.

    Raises
    ------
    ProjectError
        If the values are of a newer version.
    ValueError
        If there is no version, or no way from it.
    """
    at = found.get("version")
    if isinstance(at, bool) or not isinstance(at, int):
        raise ValueError("it has no version number")
    if at > version:
        raise ProjectError(
            f"This version of Brushfire opens projects up to format {version}.",
            got=f"format {at}, written by Brushfire {found.get('brushfire', 'of a later date')}",
            do="Open the project with a newer version of Brushfire.",
        )
    while at < version:
        if at not in migrations:
            raise ValueError(f"format {at} was never used")
        found = {**migrations[at](dict(found)), "version": at + 1}
        at += 1
    return found


def to_json(state: ProjectState, folder: Path) -> bytes:
    """Return the contents of `project.json` in ``folder``."""
    return dump(
        {
            "format": FORMAT,
            "version": VERSION,
            "brushfire": __version__,
            "saved": now(),
            "volume": _noted(state.volume, folder),
            "classes": [asdict(one) for one in state.classes],
            "settings": asdict(state.settings),
            "shown_model": state.shown_model,
            "restoration": _noted_restoration(state.restoration, folder),
            "task": state.task,
            "denoised": _noted_denoised(state.denoised, folder),
        }
    )


def _noted(reference: VolumeReference, folder: Path) -> dict[str, Any]:
    volume = asdict(reference)
    if reference.source is not None and Path(reference.source).exists():
        with suppress(ValueError):  # another drive on Windows: then there is no relative path
            volume["relative"] = os.path.relpath(reference.source, folder)
    return volume


def _noted_restoration(state: RestorationState | None, folder: Path) -> dict[str, Any] | None:
    if state is None:
        return None
    return {
        **asdict(state),
        "target": None if state.target is None else _noted(state.target, folder),
        "splits": [_noted(one, folder) for one in state.splits],
        "others": [
            {
                "scan": _noted(one.scan, folder),
                "clean": None if one.clean is None else _noted(one.clean, folder),
            }
            for one in state.others
        ],
    }


def _noted_denoised(state: DenoisedState | None, folder: Path) -> dict[str, Any] | None:
    if state is None:
        return None
    return {**asdict(state), "splits": [_noted(one, folder) for one in state.splits]}


def from_json(found: dict[str, Any], folder: Path) -> ProjectState:
    """Return what the values of a `project.json` of this version say.

    Raises
    ------
    KeyError, TypeError, ValueError, BrushfireError
        If something is missing or does not fit.
    """
    settings = found["settings"]
    shown = found["shown_model"]
    return ProjectState(
        volume=_volume(found["volume"], folder),
        classes=tuple(
            LabelClass(int(one["value"]), str(one["name"]), str(one["color"]))
            for one in found["classes"]
        ),
        settings=Settings(
            network=_settings(NetworkSettings, settings["network"]),
            learning=_settings(LearningSettings, settings["learning"]),
            memory_budget_bytes=int(settings["memory_budget_bytes"]),
            tile=int(settings["tile"]),
        ),
        shown_model=None if shown is None else int(shown),
        restoration=_restoration(found["restoration"], folder),
        task=TASKS[TASKS.index(found["task"])],
        denoised=_denoised(found["denoised"], folder),
    )


def _denoised(noted: dict[str, Any] | None, folder: Path) -> DenoisedState | None:
    if noted is None:
        return None
    known = noted["statistics"]
    mean, std, low, high = (
        tuple(float(value) for value in known[key]) for key in ("mean", "std", "low", "high")
    )
    if not mean or not len(mean) == len(std) == len(low) == len(high) or not min(std) > 0:
        raise ValueError(f"statistics {known}")
    return DenoisedState(
        model=int(noted["model"]),
        splits=tuple(_volume(one, folder) for one in noted["splits"]),
        statistics=Statistics(mean, std, low, high),
    )


def _restoration(noted: dict[str, Any] | None, folder: Path) -> RestorationState | None:
    if noted is None:
        return None
    target, shown = noted["target"], noted["shown_model"]
    offset = noted["offset"]
    if offset is not None:
        z, y, x = (float(value) for value in offset)
        offset = z, y, x
    return RestorationState(
        network=_settings(NetworkSettings, noted["network"]),
        learning=_settings(RestorationSettings, noted["learning"]),
        target=None if target is None else _volume(target, folder),
        splits=tuple(_volume(one, folder) for one in noted["splits"]),
        offset=offset,
        shown_model=None if shown is None else int(shown),
        others=tuple(  # not there before series could be learned from
            ScanReference(
                _volume(one["scan"], folder),
                None if one["clean"] is None else _volume(one["clean"], folder),
            )
            for one in noted.get("others", ())
        ),
    )


def _volume(noted: dict[str, Any], folder: Path) -> VolumeReference:
    z, y, x = (float(size) for size in noted["voxel_size"])
    shape = triple(noted["shape"])
    if min(shape) < 1 or not all(math.isfinite(size) and size > 0 for size in (z, y, x)):
        raise ValueError(f"a volume of shape {shape} and voxel size {(z, y, x)}")
    source, relative = noted["source"], noted.get("relative")
    if source is not None and relative and not Path(source).exists():
        # Project and volume were moved together, or are mounted at another place.
        moved = Path(os.path.normpath(folder.absolute() / relative))
        source = str(moved) if moved.exists() else source
    return VolumeReference(
        source=None if source is None else str(source),
        fingerprint=str(noted["fingerprint"]),
        axes=str(noted["axes"]),
        voxel_size=(z, y, x),
        shape=shape,
        dtype=str(noted["dtype"]),
        time=None if noted.get("time") is None else int(noted["time"]),
        confirmed=bool(noted.get("confirmed", False)),
    )


def _settings(kind: type[_T], noted: dict[str, Any]) -> _T:
    """Return settings from JSON: lists become tuples, what is missing gets its default."""
    if not isinstance(noted, dict):
        raise TypeError(f"{kind.__name__} that are no object")
    known = {one.name for one in fields(kind)}
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in noted.items()
        if name in known
    }
    return kind(**values)


def dump(values: dict[str, Any]) -> bytes:
    """Return ``values`` as JSON for people to read; numbers of numpy become plain ones."""
    return (json.dumps(values, indent=2, default=_plain) + "\n").encode()


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} does not fit into JSON")


def now() -> str:
    """Return the time as ISO 8601, in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
