"""Models as packages of the BioImage Model Zoo, in its format 0.5."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from brushfire import __version__
from brushfire.errors import ModelError
from brushfire.networks.exchange.definitions import LIBRARY, is_monai
from brushfire.networks.exchange.foreign import (
    monai_definition,
    monai_network,
    monai_part,
    scale_of,
    window_of,
)
from brushfire.networks.exchange.package import write_package
from brushfire.networks.exchange.saved import NOTE
from brushfire.networks.exchange.zoo import DESCRIPTIONS, OWN_CLASS, OWN_MODULE
from brushfire.networks.exchange.zoo_network import SegmentationNetwork

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn

    from brushfire.networks.model import SegmentationModel

_FORMAT = "0.5.3"
_WEIGHTS, _INPUT, _OUTPUT, _README = "weights.pt", "test_input.npy", "test_output.npy", "README.md"
_LEAST_SIDE = 64
_SEED = 0
_NAME = re.compile(r"[^\w+\- ()]")  # what a name there may not have
_DOI = re.compile(r"10\.\d{4,9}/[^\s,;]+")
_URL = re.compile(r"https?://\S+")
_AXES = {"z": 0, "y": -2, "x": -1}


def write_zoo_package(
    model: SegmentationModel,
    path: Path,
    classes: Mapping[int, str],
    about: Mapping[str, str],
) -> None:
    """Write a model as a package of the BioImage Model Zoo, with tensors made by running it.

    One of MONAI's networks goes out as such, so that its tools need no Brushfire: intensities are
    normalised before it, softmax follows. Any other model goes out whole, for tools that have
    Brushfire beside them.

    Parameters
    ----------
    model : SegmentationModel
        The model.
    path : Path
        A new folder, or NAME.zip.
    classes : mapping of int to str
        Names of its classes.
    about : mapping of str to str
        See `ABOUT`; authors are divided by commas.

    Raises
    ------
    ModelError
        If pyyaml is not installed, or something is at ``path``.
    StorageError
        If the disk refuses.
    """
    network, architecture, sizes, steps = _as_monai(model) or _as_own(model)
    names = tuple(sizes)
    shape = tuple(_least(size) for size in sizes.values())
    mean, std = (np.array(one, np.float32) for one in (scale_of if steps else _spread_of)(model))
    noise = np.random.default_rng(_SEED).normal(size=(1, len(mean), *shape)).astype(np.float32)
    column = (..., *(None,) * len(shape))
    given = noise * std[column] + mean[column]
    scaled = (given - mean[column]) / std[column] if steps else given
    with torch.no_grad():
        result = network.cpu()(torch.from_numpy(scaled))
        result = result.softmax(1) if steps else result
    weights = io.BytesIO()
    torch.save({name: value.cpu() for name, value in network.state_dict().items()}, weights)
    files = {
        _WEIGHTS: weights.getvalue(),
        _INPUT: _npy(given),
        _OUTPUT: _npy(result.numpy()),
        _README: _readme(model, classes, about, own=not steps).encode(),
    }
    inputs = [f"input {index}" for index in range(len(mean))]
    outputs = [classes.get(value, f"Class {value}") for value in model.classes]
    description = {
        "format_version": _FORMAT,
        "type": "model",
        "name": _NAME.sub(" ", about.get("name", "")).strip()[:128] or "Segmentation",
        "description": (about.get("description") or "Segments images.")[:1024],
        **_credits(about),
        "documentation": {"source": _README, "sha256": _digest(files[_README])},
        "inputs": [
            {
                "id": "raw",
                "axes": [*_first(inputs), *(_space(axis, sizes[axis]) for axis in names)],
                "data": {"type": "float32"},
                "test_tensor": {"source": _INPUT, "sha256": _digest(files[_INPUT])},
                "preprocessing": steps[:1],
            }
        ],
        "outputs": [
            {
                "id": "probabilities",
                "axes": [*_first(outputs), *(_space(axis, _same(sizes, axis)) for axis in names)],
                "data": {"type": "float32"},
                "test_tensor": {"source": _OUTPUT, "sha256": _digest(files[_OUTPUT])},
                "postprocessing": steps[1:],
            }
        ],
        "weights": {
            "pytorch_state_dict": {
                "source": _WEIGHTS,
                "sha256": _digest(files[_WEIGHTS]),
                "pytorch_version": torch.__version__.partition("+")[0],
                "architecture": architecture,
            }
        },
        "config": {NOTE: {"slices": model.settings.slices, "classes": list(model.classes)}},
        "tags": ["segmentation", "pytorch"],
    }
    write_package(path, {DESCRIPTIONS[0]: _yaml(description), **files})


_Made = tuple["nn.Module", dict[str, Any], dict[str, Any], list[dict[str, Any]]]
"""A network, how to make it, the sizes of its axes, and the steps before and after it."""


def _as_monai(model: SegmentationModel) -> _Made | None:
    """Return one of MONAI's networks, None where none computes what the model does."""
    if not is_monai(model.settings):
        return None
    try:
        name, arguments = monai_definition(model)
        network = monai_network(model)
    except ModelError:
        return None
    window = window_of(model)
    mean, std = scale_of(model)
    one = len(mean) == 1
    kwargs: dict[str, Any] = (
        {"mean": mean[0], "std": std[0]} if one else {"mean": mean, "std": std, "axis": "channel"}
    )
    sizes: dict[str, Any] = {axis: window[_AXES[axis]] for axis in ("z", "y", "x")[-len(window) :]}
    if monai_part(model).window is None:
        sizes = {**sizes, **_any_side(model)}
    steps: list[dict[str, Any]] = [
        {"id": "fixed_zero_mean_unit_variance", "kwargs": kwargs},
        {"id": "softmax", "kwargs": {"axis": "channel"}},
    ]
    return network, {"import_from": LIBRARY, "callable": name, "kwargs": arguments}, sizes, steps


def _as_own(model: SegmentationModel) -> _Made:
    """Return the whole model."""
    settings = asdict(model.settings)
    arguments = {
        "settings": {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()},
        "channels": model.channels,
        "classes": list(model.classes),
    }
    network = SegmentationNetwork(settings, model.channels, model.classes).eval()
    network.load_state_dict(model.state_dict())
    side = model.layers.window
    sizes = _any_side(model) if side is None else {"y": side, "x": side}
    architecture = {"import_from": OWN_MODULE, "callable": OWN_CLASS, "kwargs": arguments}
    return network, architecture, sizes, []


def _spread_of(model: SegmentationModel) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of the intensities of each channel and slice."""
    slices = model.settings.slices
    mean, std = (
        values.cpu().repeat_interleave(slices).tolist()
        for values in (model.intensity_mean, model.intensity_std)
    )
    return mean, std


def _any_side(model: SegmentationModel) -> dict[str, Any]:
    step = model.layers.divisor
    size = {"min": -(-_LEAST_SIDE // step) * step, "step": step}
    return {"y": size, "x": dict(size)}


def _least(size: Any) -> int:
    return int(size["min"] if isinstance(size, dict) else size)


def _same(sizes: Mapping[str, Any], axis: str) -> Any:
    """Return the size of an output's axis: that of the input where it may differ."""
    fixed = not isinstance(sizes[axis], dict)
    return sizes[axis] if fixed else {"tensor_id": "raw", "axis_id": axis}


def _first(channels: list[str]) -> list[dict[str, Any]]:
    return [{"type": "batch"}, {"type": "channel", "channel_names": channels}]


def _space(axis: str, size: Any) -> dict[str, Any]:
    return {"type": "space", "id": axis, "size": size}


def _credits(about: Mapping[str, str]) -> dict[str, Any]:
    """Return authors, licence and what to cite, as far as they are known."""
    authors = [one.strip() for one in about.get("authors", "").split(",") if one.strip()]
    cited = []
    for line in about.get("cite", "").splitlines():
        doi, url = _DOI.search(line), _URL.search(line)
        where = {"doi": doi.group()} if doi else {"url": url.group()} if url else {}
        if where:  # which an entry has to say there
            cited.append({"text": line.strip(), **where})
    licence = about.get("licence", "")
    return {
        "authors": [{"name": one.replace("/", " ").replace("\\", " ")} for one in authors],
        **({"cite": cited} if cited else {}),
        **({"license": licence} if licence not in ("", "unknown") else {}),
    }


def _readme(
    model: SegmentationModel, classes: Mapping[int, str], about: Mapping[str, str], *, own: bool
) -> str:
    names = ", ".join(classes.get(value, f"Class {value}") for value in model.classes)
    needs = f"\n\nIt is run with napari-brushfire {__version__} or later installed." if own else ""
    cite = about.get("cite", "")
    return (
        f"# {about.get('name', 'Segmentation')}\n\n{about.get('description', '')}\n\n"
        f"Exported from Brushfire. Outputs are probabilities of: {names}. The network is"
        f" {model.settings.architecture}; of each channel it sees {model.settings.slices}"
        f" neighbouring slice(s), the middle one of which is segmented.{needs}\n\n"
        "## Validation\n\nCompare the likeliest class with masks that were painted by hand on"
        " slices that nothing was learned from, by their Dice coefficient.\n"
        + (f"\n## Cite\n\n{cite}\n" if cite else "")
    )


def _npy(values: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(values, np.float32), allow_pickle=False)
    return file.getvalue()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _yaml(values: Mapping[str, Any]) -> bytes:
    try:
        import yaml
    except ImportError as error:
        raise ModelError(
            "Packages of the BioImage Model Zoo are written with the package pyyaml.",
            got="an installation without it",
            do='Run: pip install "napari-brushfire[bioimageio]".',
        ) from error

    class Dumper(yaml.SafeDumper):  # type: ignore[misc]
        """Writes what is there twice twice, rather than a reference."""

        def ignore_aliases(self, data: object) -> bool:
            return True

    text: str = yaml.dump(dict(values), Dumper=Dumper, sort_keys=False, allow_unicode=True)
    return text.encode()
