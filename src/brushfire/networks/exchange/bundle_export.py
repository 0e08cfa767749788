"""Models with one of MONAI's networks as bundles of MONAI."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import torch

from brushfire.networks.exchange.bundles import CONFIGS, METADATA, WEIGHTS
from brushfire.networks.exchange.definitions import LIBRARY
from brushfire.networks.exchange.foreign import (
    monai_definition,
    monai_network,
    scale_of,
    window_of,
)
from brushfire.networks.exchange.package import write_package
from brushfire.networks.exchange.saved import NOTE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brushfire.networks.model import SegmentationModel

_SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)


def write_bundle(
    model: SegmentationModel,
    path: Path,
    classes: Mapping[int, str],
    about: Mapping[str, str],
) -> None:
    """Write a model as a bundle of MONAI.

    Parameters
    ----------
    model : SegmentationModel
        With one of MONAI's networks, without features.
    path : Path
        A new folder, or NAME.zip.
    classes : mapping of int to str
        Names of its classes.
    about : mapping of str to str
        See `ABOUT`.

    Raises
    ------
    ModelError
        If MONAI has no network that computes the same, or something is at ``path``.
    StorageError
        If the disk refuses.
    """
    name, arguments = monai_definition(model)
    weights = io.BytesIO()
    torch.save(monai_network(model).state_dict(), weights)
    files = {
        CONFIGS[0]: _json(_inference(model, name, arguments)),
        METADATA: _json(_metadata(model, classes, about)),
        WEIGHTS[0]: weights.getvalue(),
        "LICENSE": f"{about.get('licence', 'unknown')}\n".encode(),
        "docs/README.md": _readme(name, about).encode(),
    }
    write_package(path, files)


def _json(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, indent=4).encode()


def _inference(model: SegmentationModel, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    mean, std = scale_of(model)
    return {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": {"_target_": f"{LIBRARY}.{name}", **arguments},
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": "EnsureTyped",
                    "keys": "image",
                    "dtype": "$torch.float32",
                },
                {
                    "_target_": "NormalizeIntensityd",
                    "keys": "image",
                    "subtrahend": mean,
                    "divisor": std,
                    "channel_wise": True,
                },
            ],
        },
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": list(window_of(model)),
            "overlap": 0.25,
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            ],
        },
        "checkpointloader": {
            "_target_": "CheckpointLoader",
            "load_path": "$@bundle_root + '/models/model.pt'",
            "load_dict": {"model": "@network"},
            "map_location": "@device",
        },
    }


def _metadata(
    model: SegmentationModel, classes: Mapping[int, str], about: Mapping[str, str]
) -> dict[str, Any]:
    import monai
    import numpy

    s = model.settings
    inputs = model.channels * (s.slices if s.axes == 2 else 1)
    tensor = {
        "type": "image",
        "format": "magnitude",
        "modality": "unknown",
        "num_channels": inputs,
        "spatial_shape": ["*"] * s.axes,
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": True,
        "channel_def": {str(index): f"input {index}" for index in range(inputs)},
    }
    outputs = {
        **tensor,
        "type": "probabilities",
        "format": "segmentation",
        "num_channels": len(model.classes),
        "value_range": [0, 1],
        "channel_def": {
            str(index): classes.get(value, f"Class {value}")
            for index, value in enumerate(model.classes)
        },
    }
    return {
        "schema": _SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "exported"},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": numpy.__version__,
        "required_packages_version": {},
        "name": about.get("name", "model"),
        "task": "segmentation",
        "description": about.get("description", ""),
        "authors": about.get("authors", ""),
        "copyright": "",
        "license": about.get("licence", "unknown"),
        "references": [one for one in [about.get("cite", "")] if one],
        "network_data_format": {"inputs": {"image": tensor}, "outputs": {"pred": outputs}},
        NOTE: {"slices": s.slices, "classes": list(model.classes)},
    }


def _readme(name: str, about: Mapping[str, str]) -> str:
    return (
        f"# {about.get('name', 'model')}\n\n{about.get('description', '')}\n\n"
        f"A {name} that segments, exported from Brushfire. Axes are channel, (z,) y and x. The"
        " configuration holds network, scaling of intensities, inferer and weights; where images"
        " come from and go to is to be added.\n"
    )
