"""The metadata of the OME-Zarr stores that brushfire writes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaozarrs

from brushfire.errors import VolumeError
from brushfire.volumes.stores import write_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from brushfire.geometry import Scale


def image_attributes(
    *,
    name: str,
    version: str,
    voxel_size: Scale | None,
    factors: Sequence[Scale],
    labels: Sequence[tuple[int, str, str]] | None,
    channels: Sequence[str] | None,
    extra: dict[str, Any],
) -> dict[str, Any]:
    """Return the attributes of the group of a multiscale image, checked against the specification.

    Parameters
    ----------
    name : str
        Of the image.
    version : str
        "0.4" or "0.5".
    voxel_size : tuple of float or None
        Micrometres z, y, x of level 0.
    factors : sequence of tuple of float
        For each level.
    labels : sequence of (int, str, str) or None
        Value, name and "#rrggbb" of each class.
    channels : sequence of str or None
        With them there is a channel axis in front.
    extra : dict
        Kept under the key "brushfire".
    """
    space = {"type": "space", **({"unit": "micrometer"} if voxel_size else {})}
    axes: list[dict[str, str]] = [{"name": letter, **space} for letter in "zyx"]
    if channels is not None:
        axes.insert(0, {"name": "c", "type": "channel"})
    lead = [] if channels is None else [1.0]
    datasets = [
        {
            "path": str(i),
            "coordinateTransformations": _transforms(
                voxel_size or (1.0, 1.0, 1.0), factor, lead, centred=not labels
            ),
        }
        for i, factor in enumerate(factors)
    ]
    multiscale = {
        "name": name,
        "axes": axes,
        "datasets": datasets,
        "type": "nearest" if labels else "mean",
    }
    ome: dict[str, Any] = {"multiscales": [multiscale]}
    if labels:
        ome["image-label"] = _label_metadata(labels)
    if version == "0.4":
        multiscale["version"] = version
        if labels:
            ome["image-label"]["version"] = version
        kind = yaozarrs.v04.LabelImage if labels else yaozarrs.v04.Image
        attributes = ome
    else:
        ome["version"] = version
        kind = yaozarrs.v05.LabelImage if labels else yaozarrs.v05.Image
        attributes = {"ome": ome}
    yaozarrs.validate_ome_object(ome, kind)
    if channels is not None:
        extra = {**extra, "channels": list(channels)}
    return {**attributes, "brushfire": extra} if extra else attributes


def _transforms(
    voxel_size: Scale, factor: Scale, lead: list[float], *, centred: bool
) -> list[dict[str, Any]]:
    """Return scale and, where a voxel is a mean, how far its centre lies from the origin."""
    pairs = list(zip(voxel_size, factor, strict=True))
    transforms: list[dict[str, Any]] = [
        {"type": "scale", "scale": [*lead, *(v * f for v, f in pairs)]}
    ]
    if centred and max(factor) > 1:
        moved = [v * (f - 1) / 2 for v, f in pairs]
        transforms.append({"type": "translation", "translation": [*(0.0 for _ in lead), *moved]})
    return transforms


def _label_metadata(labels: Sequence[tuple[int, str, str]]) -> dict[str, Any]:
    colors, properties = [], []
    for value, name, color in labels:
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", color):
            raise VolumeError(
                "A colour is six hexadecimal digits.", got=color, do="Write it like '#1f77b4'."
            )
        rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        colors.append({"label-value": int(value), "rgba": [*rgb, 255]})
        properties.append({"label-value": int(value), "name": name})
    return {"colors": colors, "properties": properties}


def write_group(path: Path, zarr_format: int, attributes: dict[str, Any]) -> None:
    """Write the group metadata of a store; arrays come first, so that a store is never half."""
    if zarr_format == 2:
        write_json(path / ".zgroup", {"zarr_format": 2})
        write_json(path / ".zattrs", attributes)
    else:
        group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        write_json(path / "zarr.json", group)
