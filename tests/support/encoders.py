"""Whether timm's encoders can be had here, and a hub's cache with weights made here."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from brushfire.networks.loading import load_timm

if TYPE_CHECKING:
    from pathlib import Path

    from brushfire.networks.architectures import Encoder


def has_timm() -> bool:
    """Return whether timm, and torchvision beside this torch, can be imported."""
    with suppress(ImportError):
        load_timm()
        return True
    return False


def skip_without_timm() -> None:
    if not has_timm():
        pytest.skip("timm's encoders are not here.")


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
