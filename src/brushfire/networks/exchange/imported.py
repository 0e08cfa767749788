"""What reading a file of another program gives."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brushfire.networks.model import SegmentationModel

ABOUT = ("name", "description", "licence", "authors", "cite", "source")
"""What may be known of a model beside its weights."""


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

    def known_as(self, **about: str) -> Imported:
        """Return it with what is known of it, where it does not say so itself."""
        return replace(self, about={**{k: v for k, v in about.items() if v}, **self.about})
