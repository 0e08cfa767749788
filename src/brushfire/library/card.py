"""What a model file says of itself: a card for people and programs, as JSON."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from brushfire import __version__
from brushfire.annotations import LabelClass, check_classes
from brushfire.errors import BrushfireError, ModelError
from brushfire.library import reading
from brushfire.library.fingerprints import Fingerprint

FORMAT = "brushfire-model-card"
VERSION = 1
UNKNOWN = "unknown"
"""What a licence is where nobody said."""

_NEXT = "Choose another model file, or save that model again."
_LONGEST_NAME = 100
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
_SUM = re.compile(r"[0-9a-f]{64}")


def check_name(name: str) -> str:
    """Return a name that a model may have, which is a file's name everywhere.

    Raises
    ------
    ModelError
        If it is empty, long, or has letters that file names cannot have.
    """
    odd = _FORBIDDEN.search(name)
    if not name.strip() or name != name.strip(" .") or len(name) > _LONGEST_NAME or odd:
        raise ModelError(
            f"The name of a model is a file's name: at most {_LONGEST_NAME} letters, without / \\ :"
            ' * ? " < > |, and without a space or a point at its ends.',
            got=repr(name[: _LONGEST_NAME + 20]),
            do="Choose another name.",
        )
    return name


@dataclass(frozen=True, slots=True)
class Making:
    """How a model was made; None and "" where nobody knows.

    Parameters
    ----------
    project : str
        Name of the project that it was learned in.
    strokes : int or None
        Connected stroke regions.
    voxels : int or None
        Labelled voxels.
    steps : int or None
        Gradient steps.
    seconds : float or None
        How long it learned.
    started_from : str
        What it started from itself.
    """

    project: str = ""
    strokes: int | None = None
    voxels: int | None = None
    steps: int | None = None
    seconds: float | None = None
    started_from: str = ""

    @classmethod
    def from_plain(cls, found: dict[str, Any]) -> Making:
        """Return what the values in a card say; ValueError where they are of another kind."""
        counts = {
            key: None if reading.take(found, key) is None else reading.whole(found, key)
            for key in ("strokes", "voxels", "steps")
        }
        seconds = reading.take(found, "seconds")
        return cls(
            project=reading.text(found, "project"),
            seconds=None if seconds is None else reading.finite(seconds, "'seconds'"),
            started_from=reading.text(found, "started_from"),
            **counts,
        )


@dataclass(frozen=True)
class ModelCard:
    """Everything that is known of a model but its weights.

    Parameters
    ----------
    name : str
        What it is called, see `check_name`.
    network : dict
        The network's settings, as JSON holds them.
    channels : int
        Channels of the volumes that it is for.
    classes : tuple of LabelClass
        In the order of its outputs.
    halo : int
        Pixels in y and x that a tile needs around its core.
    weights_sha256 : str
        Hexadecimal digest of the file of weights.
    examples_sha256 : str or None
        Of the file of labelled voxels, where there is one.
    patches_sha256 : str or None
        Of the file of labelled crops, where there is one.
    data : Fingerprint or None
        What it was learned on; None where nobody knows.
    metrics : dict
        What was measured of it, as JSON holds it.
    made : Making
        How it was made.
    licence : str
        SPDX text.
    description : str
        For people.
    brushfire : str
        The version that wrote it.

    Raises
    ------
    ModelError
        If the name cannot be one, or a text is too long.
    AnnotationError
        If two classes share a value or a name.
    ValueError
        If a number or a digest cannot be one, or there is no class.
    """

    name: str
    network: dict[str, Any]
    channels: int
    classes: tuple[LabelClass, ...]
    halo: int
    weights_sha256: str
    examples_sha256: str | None = None
    patches_sha256: str | None = None
    data: Fingerprint | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    made: Making = field(default_factory=Making)
    licence: str = UNKNOWN
    description: str = ""
    brushfire: str = __version__

    def __post_init__(self) -> None:
        check_name(self.name)
        check_classes(self.classes)
        for written in (self.licence, self.description):
            if len(written) > reading.LONGEST:
                raise ModelError(
                    f"A text on a card has at most {reading.LONGEST} letters.",
                    got=len(written),
                    do="Say it in fewer.",
                )
        # As JSON holds them, so that a card equals the one that is read back.
        object.__setattr__(self, "network", reading.plain(self.network))
        object.__setattr__(self, "metrics", reading.plain(self.metrics))
        if self.channels < 1 or self.halo < 0 or not self.classes:
            raise ValueError("a model has a channel, a class and a halo")
        sums = (self.weights_sha256, self.examples_sha256, self.patches_sha256)
        if not all(_SUM.fullmatch(one) for one in sums if one is not None):
            raise ValueError("a sha256 digest has 64 hexadecimal digits")

    @property
    def mean_dice(self) -> float | None:
        """The mean Dice that its metrics tell; None where they tell none."""
        return _score(self.metrics.get("mean_dice"))

    @property
    def dice(self) -> dict[str, float]:
        """The Dice of each class that has one, by name."""
        found = self.metrics.get("dice")
        scores = found if isinstance(found, dict) else {}
        known = {one.name: _score(scores.get(str(one.value))) for one in self.classes}
        return {name: score for name, score in known.items() if score is not None}

    def to_json(self) -> bytes:
        """Return the card as JSON for people to read."""
        about = {"format": FORMAT, "version": VERSION, **reading.plain(asdict(self))}
        return (json.dumps(about, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes) -> ModelCard:
        """Return the card that `to_json` wrote.

        Raises
        ------
        ModelError
            If something is missing or of another kind, or the card is of a newer version.
        """
        try:
            found = reading.as_table(json.loads(data), "the card")
            if found.get("format") != FORMAT:
                raise ValueError(f'it does not say "format": "{FORMAT}"')
            version = reading.whole(found, "version", 1)
            if version > VERSION:
                raise ModelError(
                    f"This version of Brushfire reads model cards up to format {VERSION}.",
                    got=f"format {version}, written by Brushfire {found.get('brushfire', '?')}",
                    do="Update Brushfire.",
                )
            return cls._from_plain(found)
        except ModelError:
            raise
        except (
            # Whatever a damaged file can hold: numbers beyond all bounds, brackets without end.
            ValueError, TypeError, OverflowError, RecursionError, BrushfireError,
        ) as error:  # fmt: skip
            raise ModelError(
                "The card of a model says what its network, classes and data are.",
                got=str(error)[:300] or type(error).__name__,
                do=_NEXT,
            ) from error

    @classmethod
    def _from_plain(cls, found: dict[str, Any]) -> ModelCard:
        data = reading.take(found, "data")
        rows = [reading.as_table(one, "classes") for one in reading.row(found, "classes")]
        examples = reading.take(found, "examples_sha256")
        # Cards of before have none; versions of before read a card with it, and leave crops aside.
        patches = found.get("patches_sha256")
        return cls(
            name=reading.text(found, "name"),
            network=reading.table(found, "network"),
            channels=reading.whole(found, "channels", 1),
            classes=tuple(
                LabelClass(
                    reading.whole(one, "value", 1),
                    reading.text(one, "name"),
                    reading.text(one, "color"),
                )
                for one in rows
            ),
            halo=reading.whole(found, "halo"),
            weights_sha256=reading.text(found, "weights_sha256"),
            examples_sha256=None if examples is None else reading.text(found, "examples_sha256"),
            patches_sha256=None if patches is None else reading.text(found, "patches_sha256"),
            data=None if data is None else Fingerprint.from_plain(reading.table(found, "data")),
            metrics=reading.table(found, "metrics"),
            made=Making.from_plain(reading.table(found, "made")),
            licence=reading.text(found, "licence"),
            description=reading.text(found, "description"),
            brushfire=reading.text(found, "brushfire"),
        )


def _score(value: object) -> float | None:
    """Return a score; metrics are whatever somebody wrote."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= 1 else None
