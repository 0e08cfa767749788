"""Read OME-Zarr 0.4 and 0.5, images and labels: metadata by yaozarrs, voxels by tensorstore."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import yaozarrs
from pydantic import ValidationError

from brushfire.errors import VolumeError
from brushfire.volumes.axes import LETTERS, AxisMap, resolve_axes
from brushfire.volumes.sources import ArraySource
from brushfire.volumes.stores import open_array
from brushfire.volumes.units import micrometres
from brushfire.volumes.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from brushfire.geometry import Scale
    from brushfire.volumes.cache import Cache

METADATA_FILES = ("zarr.json", ".zgroup", ".zarray", ".zattrs")


@dataclass(frozen=True)
class _Node:
    """A zarr group or array on disk."""

    path: Path
    zarr_format: int
    is_array: bool
    attributes: dict[str, Any]


def is_zarr(folder: Path) -> bool:
    """Whether ``folder`` is a zarr group or array of format 2 or 3."""
    return any((folder / name).is_file() for name in METADATA_FILES)


def open_ome_zarr(
    path: Path,
    *,
    axes: str | None,
    voxel_size: Scale | None,
    name: str | None,
    time: int | None,
    cache: Cache,
) -> Volume:
    """Open the image in the zarr group at ``path``.

    A group that only leads to one image (a folder of labels, a converted series) opens that image.

    Raises
    ------
    VolumeError
        Without OME metadata, with metadata that break the specification, or with several images
        to choose from.
    """
    node = _read_node(path)
    if node.is_array:
        raise _no_metadata(path, "a plain zarr array")
    metadata = node.attributes.get("ome", node.attributes)
    if "multiscales" not in metadata:
        inner = _only_image(path, metadata)
        return open_ome_zarr(
            inner, axes=axes, voxel_size=voxel_size, name=name, time=time, cache=cache
        )
    image = _validate(node, metadata)
    multiscale = image.multiscales[0]
    arrays = [_open_dataset(node, dataset.path, cache) for dataset in multiscale.datasets]
    letters = axes or _letters([axis.name for axis in multiscale.axes])
    levels = _levels(path, multiscale, arrays, letters, time)
    kept = levels[0][1]
    version = "0.5" if node.zarr_format == 3 else "0.4"
    return Volume(
        name=name or multiscale.name or path.name.removesuffix(".zarr").removesuffix(".ome"),
        source=str(path),
        format=f"OME-Zarr {version}",
        axes=kept.axes,
        levels=[(source, factors) for source, _, factors in levels],
        voxel_size=voxel_size or _voxel_size(multiscale, kept),
        channels=_channel_names(node, image, kept.shape[0]),
        label_classes=_label_classes(metadata.get("image-label", {})),
        time=time if "t" in kept.axes else None,
        cache=cache,
    )


def read_attributes(path: Path) -> dict[str, Any]:
    """Return the attributes of the zarr group or array at ``path``."""
    return _read_node(path).attributes


def _read_node(path: Path) -> _Node:
    text = _read_json(path / "zarr.json")
    if text is not None:
        return _Node(path, 3, text.get("node_type") == "array", text.get("attributes", {}))
    is_array = (path / ".zarray").is_file()
    return _Node(path, 2, is_array, _read_json(path / ".zattrs") or {})


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise VolumeError(
            "The metadata of a store are JSON.",
            got=f"{path} ({error})",
            do="The store is damaged: copy or export it again.",
        ) from error
    if not isinstance(value, dict):
        raise VolumeError(
            "The metadata of a store are a JSON object.",
            got=f"{path} with {type(value).__name__}",
            do="The store is damaged: copy or export it again.",
        )
    return value


def _only_image(path: Path, metadata: dict[str, Any]) -> Path:
    """Return the one image that a group without an image of its own leads to."""
    inside: list[str] = []
    if isinstance(metadata.get("labels"), list):
        inside = [str(label) for label in metadata["labels"]]
    elif "plate" in metadata:
        wells = [well.get("path", "") for well in metadata["plate"].get("wells", [])]
        inside = [f"{well}/0" for well in wells]
    elif "well" in metadata:
        inside = [str(i.get("path", "")) for i in metadata["well"].get("images", [])]
    elif "series" in metadata or "bioformats2raw.layout" in metadata:
        inside = sorted(
            (p.name for p in path.iterdir() if p.name.isdigit() and is_zarr(p)), key=int
        )
    images = [path / name for name in inside if is_zarr(path / name)]
    if not images:
        raise _no_metadata(path, "a zarr group")
    if len(images) > 1:
        shown = ", ".join(str(image) for image in images[:4])
        raise VolumeError(
            "One image is opened at a time.",
            got=f"{path}, which holds {len(images)} images",
            do=f"Open one of them: {shown}{' ...' if len(images) > 4 else ''}",
        )
    return images[0]


def _no_metadata(path: Path, what: str) -> VolumeError:
    nearby = ""
    parent = _read_node(path.parent) if is_zarr(path.parent) else None
    if parent is not None and "multiscales" in parent.attributes.get("ome", parent.attributes):
        nearby = f"Open the group above it, {path.parent}"
    return VolumeError(
        "A zarr store carries OME metadata (multiscales) that say what its axes are.",
        got=f"{what} without them at {path}",
        do=f"{nearby}."
        if nearby
        else "Open it with zarr.open(...) and give the array to "
        "brushfire with its axes, or convert it to OME-Zarr.",
    )


def _validate(node: _Node, metadata: dict[str, Any]) -> Any:
    """Return the yaozarrs model of an image or label image."""
    is_label = "image-label" in metadata
    if node.zarr_format == 3:
        kind = yaozarrs.v05.LabelImage if is_label else yaozarrs.v05.Image
    else:
        kind = yaozarrs.v04.LabelImage if is_label else yaozarrs.v04.Image
    try:
        with warnings.catch_warnings():
            # What the specification only recommends does not keep an image from opening.
            warnings.simplefilter("ignore")
            return yaozarrs.validate_ome_object(_plain_version(metadata), kind)
    except ValidationError as error:
        version = metadata.get("version") or _first(metadata["multiscales"]).get("version")
        expected = "0.5" if node.zarr_format == 3 else "0.4"
        shown = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {' '.join(e['msg'].split())[:160]}"
            for e in error.errors()[:3]
        )
        raise VolumeError(
            f"The metadata follow OME-Zarr 0.4 or 0.5 (this is zarr format {node.zarr_format}, "
            f"so {expected}).",
            got=f"version {version} in {node.path}: {shown}",
            do="Write the store again with a current OME-Zarr writer, or open its arrays with "
            "zarr and give them to brushfire with their axes.",
        ) from error


def _plain_version(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata with a version like "0.5-dev-spatialdata" cut to "0.5"."""

    def cut(row: dict[str, Any]) -> dict[str, Any]:
        version = str(row.get("version", ""))
        return {**row, "version": version[:3]} if version.startswith(("0.4-", "0.5-")) else row

    rows = metadata["multiscales"]
    if isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
        rows = [cut(row) for row in rows]
    return {**cut(metadata), "multiscales": rows}


def _first(values: object) -> dict[str, Any]:
    found = values[0] if isinstance(values, list) and values else {}
    return found if isinstance(found, dict) else {}


def _open_dataset(node: _Node, path: str, cache: Cache) -> Any:
    folder = node.path / path
    if not is_zarr(folder):
        raise VolumeError(
            "Every level that the metadata name is in the store.",
            got=f"no array at {folder}",
            do="The store is incomplete: copy or export it again.",
        )
    try:
        zarr_format = 3 if (folder / "zarr.json").is_file() else 2
        return open_array(folder, zarr_format, cache.chunks)
    except ValueError as error:
        raise VolumeError(
            "The arrays of a store have a known type and compression.",
            got=f"{folder}: {str(error).split('[tensorstore_spec')[0].strip()[:300]}",
            do="Write the store again with a common codec, such as zstd or blosc.",
        ) from error


def _letters(names: Sequence[str]) -> str:
    """Return one letter for each named axis; what is no axis of a volume keeps its first letter."""
    return "".join(name.lower() if name.lower() in LETTERS else name[:1] for name in names)


def _levels(
    path: Path, multiscale: Any, arrays: Sequence[Any], letters: str, time: int | None
) -> list[tuple[ArraySource, AxisMap, Scale]]:
    levels: list[tuple[ArraySource, AxisMap, Scale]] = []
    finest = None
    for dataset, array in zip(multiscale.datasets, arrays, strict=True):
        if len(array.shape) != len(multiscale.axes):
            raise VolumeError(
                "Each level has as many axes as the metadata name.",
                got=f"shape {tuple(array.shape)} for {len(multiscale.axes)} axes in {path}",
                do="Write the store again; its metadata do not fit its arrays.",
            )
        axes = resolve_axes(array.shape, letters, time=time)
        scale = _scale(dataset.coordinateTransformations)
        finest = (axes, scale) if finest is None else finest
        if axes.shape[0] != finest[0].shape[0]:
            raise VolumeError(
                "Each level has the same channels.",
                got=f"{axes.shape[0]} and {finest[0].shape[0]} channels in {path}",
                do="Write the store again; its levels do not belong together.",
            )
        chunk = array.chunk_layout.read_chunk.shape
        source = ArraySource(array, axes, where=f"{path}/{dataset.path}", chunk=chunk, fresh=True)
        levels.append((source, axes, _factors(axes, finest[0], scale / finest[1])))
    return levels


def _scale(transforms: Sequence[Any]) -> Any:
    """Return the product of the scale transformations; 1.0 without any."""
    scales = [np.asarray(t.scale, float) for t in transforms if t.type == "scale"]
    return np.prod(scales, axis=0) if scales else 1.0


def _factors(axes: AxisMap, finest: AxisMap, ratio: np.ndarray[Any, Any]) -> Scale:
    """Return the level's factors: as the metadata say where the shapes agree, else by shape."""
    said = dict(zip(axes.axes, ratio, strict=True))
    factors = []
    for letter, full, n in zip("zyx", finest.shape[1:], axes.shape[1:], strict=True):
        factor = float(said.get(letter, 1.0))
        fits = factor > 0 and abs(full / factor - n) <= 1
        factors.append(factor if fits else full / n)
    return factors[0], factors[1], factors[2]


def _voxel_size(multiscale: Any, axes: AxisMap) -> Scale | None:
    """Return micrometres z, y, x, or None when the metadata give no unit of length."""
    scale = _scale(multiscale.datasets[0].coordinateTransformations)
    scale = scale * _scale(multiscale.coordinateTransformations or [])
    sizes: dict[str, float] = {}
    for letter, axis, value in zip(axes.axes, multiscale.axes, scale, strict=True):
        unit = micrometres(getattr(axis, "unit", None))
        if letter in "zyx" and unit is not None:
            sizes[letter] = float(value) * unit
    if not {"y", "x"} <= set(sizes) or ("z" in axes.axes and "z" not in sizes):
        return None
    # A plane has no depth of its own; a cube is the least surprising voxel.
    voxel = (sizes.get("z", sizes["y"]), sizes["y"], sizes["x"])
    return voxel if min(voxel) > 0 else None


def _channel_names(node: _Node, image: Any, count: int) -> list[str] | None:
    own = node.attributes.get("brushfire", {})
    if isinstance(own, dict) and isinstance(own.get("channels"), list):
        return [str(name) for name in own["channels"]]
    omero = getattr(image, "omero", None)
    channels = getattr(omero, "channels", None) or []
    names = [str(getattr(channel, "label", None) or "") for channel in channels]
    return names if len(names) == count and all(names) else None


def _label_classes(metadata: dict[str, Any]) -> list[tuple[int, str, str]]:
    """Return value, name and colour of the classes that a label image describes."""
    names: dict[int, str] = {}
    for row in metadata.get("properties") or []:
        words = [v for k, v in row.items() if k != "label-value" and isinstance(v, str)]
        names[int(row["label-value"])] = str(row.get("name") or next(iter(words), ""))
    classes = []
    for row in metadata.get("colors") or []:
        value, rgba = int(row["label-value"]), row.get("rgba") or [128, 128, 128, 255]
        if value > 0:
            color = "#{:02x}{:02x}{:02x}".format(*rgba[:3])
            classes.append((value, names.get(value) or f"class {value}", color))
    return classes
