"""Files of tensors, as torch or safetensors wrote them; reading them runs no code from them."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from brushfire.errors import ModelError
from brushfire.networks.snapshot import read_header

if TYPE_CHECKING:
    from torch import Tensor

NOTE = "brushfire"
"""Where files that Brushfire wrote say what tensors cannot."""

_SAFE_TORCH = (2, 6)  # before it, even files that are read as weights only could run code
_UNDER = ("state_dict", "model_state_dict", "model")
_PLAIN = "Where it was made, save the tensors alone: torch.save(network.state_dict(), PATH)."


def read_saved(data: bytes) -> tuple[Mapping[str, Tensor], object]:
    """Return the tensors of a file by name, and what Brushfire noted in it.

    Parameters
    ----------
    data : bytes
        A file that torch saved, a state dict or a dict with one under ``state_dict``, or a
        safetensors file.

    Returns
    -------
    mapping of str to Tensor
        Not checked further, see `Tensors`.
    object
        The note, None where there is none.

    Raises
    ------
    ModelError
        If the file is damaged, or holds more than weights.
    """
    return _read_safetensors(data) if data[8:9] == b"{" else _read_torch(data)


def _read_safetensors(data: bytes) -> tuple[Mapping[str, Tensor], object]:
    metadata = read_header(data).get("__metadata__") or {}
    try:
        state = load_tensors(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise _damaged(data, error) from error
    return state, metadata.get(NOTE) if isinstance(metadata, dict) else None


def _read_torch(data: bytes) -> tuple[Mapping[str, Tensor], object]:
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < _SAFE_TORCH:
        raise ModelError(
            "Reading a file of torch runs no code from it since torch 2.6.",
            got=f"torch {torch.__version__}",
            do="Update torch, or save the tensors as safetensors.",
        )
    _check_archive(data)
    try:
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            "A file of weights holds tensors and plain values only, so that reading it runs no"
            " code from it.",
            got="a file with other objects, or none that torch saved",
            do=_PLAIN,
        ) from error
    except Exception as error:  # whatever the reader stumbles over where a file is cut or damaged
        raise _damaged(data, error) from error
    state, note = found, None
    if isinstance(found, Mapping):
        under = next((name for name in _UNDER if isinstance(found.get(name), Mapping)), None)
        if under is not None:
            state, note = found[under], found.get(NOTE)
    if not isinstance(state, Mapping) or not state:
        raise ModelError(
            "A file of weights holds a state dict, or a dict with one under 'state_dict'.",
            got=type(state).__name__,
            do=_PLAIN,
        )
    return state, note


def _check_archive(data: bytes) -> None:
    """Refuse programs, and what would take more memory than the file has bytes."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return  # of torch before 1.6, or damaged, which it says itself
    if any(info.filename.endswith("/constants.pkl") for info in infos):
        raise ModelError(
            "A file of weights holds tensors and plain values only, so that reading it runs no"
            " code from it.",
            got="a TorchScript file, which holds a program",
            do=_PLAIN,
        )
    if sum(info.file_size for info in infos) > len(data):
        raise ModelError(
            "A file of weights holds its tensors as they are.",
            got="compressed ones, which torch does not write",
            do=_PLAIN,
        )


def _damaged(data: bytes, error: Exception) -> ModelError:
    return ModelError(
        "A file of weights is a whole file that torch or safetensors wrote.",
        got=f"{len(data)} bytes that cannot be read ({type(error).__name__})",
        do="Copy the file again, or save it once more where it was made.",
    )
