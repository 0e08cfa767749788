"""Units of length, in micrometres."""

from __future__ import annotations

_PREFIXES = {
    "yocto": 1e-18,
    "zepto": 1e-15,
    "atto": 1e-12,
    "femto": 1e-9,
    "pico": 1e-6,
    "nano": 1e-3,
    "micro": 1.0,
    "milli": 1e3,
    "centi": 1e4,
    "deci": 1e5,
    "": 1e6,
    "deca": 1e7,
    "hecto": 1e8,
    "kilo": 1e9,
}
_SHORT = {
    "pm": 1e-6,
    "å": 1e-4,
    "a": 1e-4,
    "ang": 1e-4,
    "angstrom": 1e-4,
    "ångström": 1e-4,
    "nm": 1e-3,
    "um": 1.0,
    "µm": 1.0,
    "μm": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "mm": 1e3,
    "cm": 1e4,
    "dm": 1e5,
    "m": 1e6,
    "inch": 25400.0,
    "in": 25400.0,
    "foot": 304800.0,
    "yard": 914400.0,
}


def micrometres(unit: str | None) -> float | None:
    """Return how many micrometres one ``unit`` is, or None when it is no unit of length.

    Parameters
    ----------
    unit : str or None
        "nanometer", "nm", "µm", "micron", "angstrom" and so on, as OME, ImageJ and TIFF write
        them.
    """
    if not unit:
        return None
    # ImageJ writes the micro sign as an escape sequence.
    word = unit.strip().replace("\\u00B5", "µ").lower()
    if word in _SHORT:
        return _SHORT[word]
    for ending in ("metres", "meters", "metre", "meter"):
        if word.endswith(ending):
            return _PREFIXES.get(word.removesuffix(ending))
    return None
