"""Model files whose description says something else."""

from __future__ import annotations

import json

from safetensors.torch import load, save


def about_of(weights: bytes) -> str:
    """Return the description in a model file, as JSON."""
    length = int.from_bytes(weights[:8], "little")
    about: str = json.loads(weights[8 : 8 + length])["__metadata__"]["brushfire"]
    return about


def with_about(weights: bytes, old: str, new: str) -> bytes:
    """Return a model file with something else in its description."""
    about = about_of(weights)
    assert old in about
    return save(load(weights), metadata={"brushfire": about.replace(old, new)})


def of_version_one(weights: bytes) -> bytes:
    """Return a model file that says it is of the first format version."""
    return with_about(weights, '"version": 2', '"version": 1')
