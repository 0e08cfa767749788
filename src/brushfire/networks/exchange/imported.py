"""What reading a file of another program gives."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brushfire.networks.model import SegmentationModel

ABOUT = ("name", "description", "licence", "authors", "cite", "source")
"""What may be known of a model beside its weights."""

_LONGEST = 10_000  # letters of a text
_LONGEST_NAME = 80
_ODD = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]+')  # what names of files cannot have


@dataclass(frozen=True, eq=False)
class Imported:
    """A model of another program, ready to predict.

    Parameters
    ----------
    model : SegmentationModel
        The model.
    classes : mapping of int to str
        Name of each class value of the model.
    about : mapping of str to str
        Texts under the names in `ABOUT`, those that are known.
    report : tuple of str
        Sentences: what was taken, what was not, and what is to know of it.
    own_intensities : bool
        Whether the file says which mean and standard deviation intensities are normalised by.
        Otherwise they are 0 and 1, and the model expects those of the volume that it is used on,
        see `SegmentationModel.normalise_by`.
    """

    model: SegmentationModel
    classes: Mapping[int, str]
    about: Mapping[str, str] = field(default_factory=dict)
    report: tuple[str, ...] = ()
    own_intensities: bool = False


def told(**texts: object) -> dict[str, str]:
    """Return what a file tells of a model as texts under the names in `ABOUT`, without empty ones.

    The name is one that a file may have.
    """
    found = {name: str(value).strip()[:_LONGEST] for name, value in texts.items() if value}
    if "name" in found:
        found["name"] = _ODD.sub(" ", found["name"])[:_LONGEST_NAME].strip(" .")
    return {name: text for name, text in found.items() if text}
