"""Take values out of JSON that somebody else may have written: each is checked, none is assumed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST = 10_000
"""Letters of a text."""


class CardValueError(ValueError):
    """A value is missing or of another kind; says which, in a few words."""


def take(found: Mapping[str, Any], key: str) -> Any:
    """Return the value of ``key``, which must be there."""
    if key not in found:
        raise CardValueError(f"no {key!r}")
    return found[key]


def text(found: Mapping[str, Any], key: str) -> str:
    """Return a text."""
    value = take(found, key)
    if not isinstance(value, str) or len(value) > LONGEST:
        raise CardValueError(f"{key!r} is no text of at most {LONGEST} letters")
    return value


def whole(found: Mapping[str, Any], key: str, least: int = 0) -> int:
    """Return a whole number of at least ``least``."""
    value = take(found, key)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise CardValueError(f"{key!r} is no whole number from {least} on")
    return value


def finite(value: Any, what: str) -> float:
    """Return a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CardValueError(f"{what} is no number")
    if not math.isfinite(value):
        raise CardValueError(f"{what} is not finite")
    return float(value)


def row(found: Mapping[str, Any], key: str, length: int | None = None) -> list[Any]:
    """Return a list, of ``length`` values where that is given."""
    value = take(found, key)
    if not isinstance(value, list) or length not in (None, len(value)):
        many = "" if length is None else f" of {length}"
        raise CardValueError(f"{key!r} is no list{many}")
    return value


def table(found: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return an object."""
    return as_table(take(found, key), key)


def as_table(value: Any, what: str) -> dict[str, Any]:
    """Return ``value`` where it is an object."""
    if not isinstance(value, dict):
        raise CardValueError(f"{what!r} is no object")
    return value


def plain(value: Any) -> Any:
    """Return ``value`` as JSON holds it: lists for tuples, Python's numbers, null for NaN."""
    if hasattr(value, "item"):  # numpy's numbers
        value = value.item()
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{type(value).__name__} does not fit into JSON")
