"""Models that answer the other way round, and files whose description says something else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from safetensors.torch import load, save

if TYPE_CHECKING:
    from brushfire.networks import SegmentationModel


def turn_round(model: SegmentationModel) -> None:
    """Make a model say of every pixel that it is what it is least like."""
    assert model.pixels is not None
    model.head_weight.data.zero_()
    model.pixels.machine.weight.neg_()
    model.pixels.machine.bias.neg_()
    model.pixels.trees.votes.zero_()


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
    return with_about(weights, '"version": 3', '"version": 1')
