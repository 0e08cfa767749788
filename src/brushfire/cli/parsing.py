"""Words of a command line to values, with a sentence where they do not fit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from brushfire.errors import SettingsError
from brushfire.geometry import Box, Scale, Triple, triple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

GIB = 2**30

_Number = TypeVar("_Number", int, float)


def parse_shape(text: str) -> Triple:
    """Return three positive sizes from "64,256,256" (z, y, x).

    Raises
    ------
    SettingsError
        It is not of that form.
    """
    values = _numbers(text, int)
    if len(values) != 3 or min(values) < 1:
        raise SettingsError(
            "A shape is three whole numbers above zero, in the order z,y,x.",
            got=text,
            do="Write it like 64,256,256.",
        )
    return triple(values)


def parse_scale(text: str | None) -> Scale | None:
    """Return micrometres z, y, x from "0.5,0.1,0.1" or from one number; None from None.

    Raises
    ------
    SettingsError
        It is not of that form.
    """
    if text is None:
        return None
    values = _numbers(text, float)
    values = values * 3 if len(values) == 1 else values
    if len(values) != 3 or not all(0 < v < float("inf") for v in values):
        raise SettingsError(
            "A voxel size is three numbers above zero, in micrometres, in the order z,y,x.",
            got=text,
            do="Write it like 0.5,0.1,0.1, or one number for a cube.",
        )
    return values[0], values[1], values[2]


def parse_offset(text: str | None) -> Scale | None:
    """Return micrometres z, y, x from "120,0,85.5"; None from None.

    Raises
    ------
    SettingsError
        It is not of that form.
    """
    if text is None:
        return None
    values = _numbers(text, float)
    if len(values) != 3 or not all(abs(v) < float("inf") for v in values):
        raise SettingsError(
            "An offset is three numbers, in micrometres, in the order z,y,x.",
            got=text,
            do="Write it like 120,0,85.5.",
        )
    return values[0], values[1], values[2]


def parse_range(text: str | None) -> tuple[float, float] | None:
    """Return two numbers from "-1000,3000"; None from None.

    Raises
    ------
    SettingsError
        It is not of that form.
    """
    if text is None:
        return None
    values = _numbers(text, float)
    if len(values) != 2:
        raise SettingsError(
            "A range is two numbers, the lower one first.",
            got=text,
            do="Write it like -1000,3000.",
        )
    return values[0], values[1]


def parse_shares(texts: Iterable[str]) -> dict[str, float]:
    """Return the share of each class by its name, of texts like "pore=0.02".

    Raises
    ------
    SettingsError
        One is not of that form, or a class is named twice.
    """
    found: dict[str, float] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            share = float(number)
        except ValueError:
            name = ""
        if not name.strip() or name in found:
            raise SettingsError(
                "A share is the name of a class and a part of the whole volume, once for each.",
                got=text,
                do="Write it like pore=0.02, which is two per cent.",
            )
        found[name] = share
    return found


def parse_region(text: str | None, shape: Triple) -> Box | None:
    """Return a box from "10:20,:,512:1024" (z, y, x); an end left out is the volume's.

    Parameters
    ----------
    text : str or None
        None stands for the whole volume and returns None.
    shape : tuple of int
        Voxels of the volume, z, y, x.

    Raises
    ------
    SettingsError
        It is not of that form, or not inside the volume, or empty.
    """
    if text is None:
        return None
    try:
        ranges = [_range(part, n) for part, n in zip(text.split(","), shape, strict=True)]
    except ValueError:
        ranges = []
    if not ranges or any(not 0 <= a < b <= n for (a, b), n in zip(ranges, shape, strict=True)):
        whole = ",".join(f"0:{n}" for n in shape)
        raise SettingsError(
            f"A region is three ranges z,y,x inside {whole}, each with at least one voxel.",
            got=text,
            do="Write it like 10:20,:,512:1024; one slice is like 10,:,:.",
        )
    return Box(triple([a for a, _ in ranges]), triple([b for _, b in ranges]))


def parse_format(out: Path) -> str:
    """Return "tiff" or "ome-zarr" as the name of a target says.

    Raises
    ------
    SettingsError
        It says something else, such as an image format that cannot hold a volume.
    """
    suffix = out.suffix.lower()
    if suffix in (".tif", ".tiff"):
        return "tiff"
    if suffix in ("", ".zarr"):
        return "ome-zarr"
    raise SettingsError(
        "Masks are written as NAME.ome.zarr or NAME.tif.",
        got=out.name,
        do=f"Name it {out.stem}.ome.zarr or {out.stem}.tif, or say which with --format.",
    )


def parse_numbers(text: str | None) -> tuple[int, ...] | None:
    """Return whole numbers from "1,2,4"; None from None.

    Raises
    ------
    SettingsError
        It is not of that form.
    """
    if text is None:
        return None
    values = _numbers(text, int)
    if not values:
        raise SettingsError(
            "Classes and dilations are whole numbers with commas between them.",
            got=text,
            do="Write them like 1,2,4.",
        )
    return tuple(values)


def parse_budget(gib: float | None) -> int | None:
    """Return bytes from GiB; None from None.

    Raises
    ------
    SettingsError
        It is no number of bytes.
    """
    if gib is None:
        return None
    if not 0 < gib < float("inf"):
        raise SettingsError(
            "A memory budget is a number of GiB above zero.", got=gib, do="Write it like 4 or 0.5."
        )
    return int(gib * GIB)


def parse_seconds(seconds: float) -> float:
    """Return ``seconds``.

    Raises
    ------
    SettingsError
        They are no number, or have no end.
    """
    if not 0 < seconds < float("inf"):
        raise SettingsError(
            "Learning takes a number of seconds above zero.",
            got=seconds,
            do="Write it like 300; Ctrl-C ends it earlier and keeps the best model so far.",
        )
    return seconds


def _numbers(text: str, kind: Callable[[str], _Number]) -> list[_Number]:
    try:
        return [kind(word) for word in text.split(",")]
    except ValueError:
        return []


def _range(text: str, size: int) -> tuple[int, int]:
    start, colon, stop = (part.strip() for part in text.partition(":"))
    if not colon:
        return int(start), int(start) + 1
    return int(start or 0), int(stop or size)


def parse_object(text: str) -> dict[str, Any]:
    """Return a JSON object.

    Raises
    ------
    SettingsError
        If it is none.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise SettingsError(
            "Arguments are a JSON object.",
            got=text[:60],
            do='Write for example {"in_channels": 1}.',
        )
    return found
