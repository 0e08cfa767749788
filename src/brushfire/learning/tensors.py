"""Read files of tensors that came with a start, as data and without torch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.numpy import load

from brushfire.errors import ModelError
from brushfire.networks.snapshot import read_header

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

KEY = "brushfire"
"""Of what a file says of itself, in its metadata."""


def read_tensors(
    data: bytes, kind: str, version: int, refusal: Callable[[str], ModelError]
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return what a safetensors file says of itself, and its tensors; none of another format's.

    Parameters
    ----------
    data : bytes
        The file.
    kind : str
        Its format; "brushfire-examples", say.
    version : int
        The newest that can be read.
    refusal : callable
        Makes the error for what was found instead.

    Raises
    ------
    ModelError
        If it is damaged, or of a newer version.
    """
    try:
        about = dict(json.loads(read_header(data)["__metadata__"][KEY]))
        known, found = about["format"] == kind, int(about["version"])
        arrays: dict[str, NDArray[Any]] = load(data) if known and found <= version else {}
    except (
        # Whatever a damaged file can hold: numbers beyond all bounds, brackets without end.
        ModelError, SafetensorError, KeyError, TypeError, ValueError,
        OverflowError, RecursionError,
    ) as error:  # fmt: skip
        raise refusal(f"{type(error).__name__}: {str(error)[:200]}") from error
    if known and found > version:
        raise ModelError(
            f"This version reads files of {kind} up to format version {version}.",
            got=found,
            do="Update Brushfire.",
        )
    return about, arrays
