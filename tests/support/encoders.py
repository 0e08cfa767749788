"""Whether timm's encoders can be had here, and a hub's cache with weights made here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from brushfire.networks.loading import load_timm

if TYPE_CHECKING:
    from pathlib import Path

    from brushfire.networks.architectures import Encoder


def skip_without_timm() -> None:
    """Skip a test where timm, or torchvision beside this torch, cannot be imported."""
    try:
        load_timm()
    except ImportError as error:
        pytest.skip(f"timm's encoders are not here: {error}")


def fill_cache(cache: Path, encoder: Encoder) -> Path:
    """Write random weights of an encoder to where the hub's client keeps what it has fetched."""
    import timm
    from safetensors.torch import save_model

    folder = cache / ("models--" + encoder.repository.replace("/", "--"))
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text("0" * 40)
    path = folder / "snapshots" / ("0" * 40) / "model.safetensors"
    path.parent.mkdir(parents=True)
    save_model(timm.create_model(encoder.weights), str(path))
    return path
