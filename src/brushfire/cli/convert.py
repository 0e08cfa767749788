"""Model files from and for other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from brushfire.annotations.files import storage_error, write_atomically
from brushfire.errors import ModelError, SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from brushfire.networks import ModelSnapshot
    from brushfire.networks.exchange import Layout

OURS = "brushfire"


def convert_model(
    path: Path, out: Path, source: str, target: str, *, overwrite: bool, **options: Any
) -> ModelSnapshot:
    """Read a model as one program writes it, and write it as another reads it.

    Parameters
    ----------
    path, out : Path
        Files; an ``out`` named .safetensors becomes such a file in any case.
    source, target : str
        "brushfire" or a layout of `brushfire.networks.exchange`.
    overwrite : bool
        Whether ``out`` may be there already.
    **options
        As for `brushfire.networks.exchange.import_weights`; None for those not given.

    Returns
    -------
    ModelSnapshot
        What was converted.

    Raises
    ------
    SettingsError
        The two programs are the same, or options are given for a file that needs none.
    ModelError, StorageError
        A file cannot be read or written, or one program computes what the other cannot.
    """
    from brushfire.networks.exchange import export_weights

    _check(out, source, target, overwrite=overwrite, options=options)
    snapshot = read_model(path, source, options)
    data = snapshot.weights
    if target != OURS:
        data = export_weights(
            snapshot, cast("Layout", target), safetensors=out.suffix == ".safetensors"
        )
    write_model(out, data)
    return snapshot


def write_model(out: Path, data: bytes) -> None:
    """Write a model to a file; StorageError where the disk refuses."""
    try:
        write_atomically(out, data)
    except OSError as error:
        rule = "A model is written to a file in a folder that exists."
        raise storage_error(error, out, rule, "Choose another place.") from error


def check_new(out: Path, *, overwrite: bool) -> None:
    """Check that a model may be written to a file.

    Raises
    ------
    ModelError
        If something is there that is not to be replaced.
    """
    if out.exists() and not overwrite:
        raise ModelError(
            "A model is written to a new file.",
            got=f"{out}, which exists",
            do="Choose another name, or add --overwrite.",
        )


def _check(
    out: Path, source: str, target: str, *, overwrite: bool, options: dict[str, Any]
) -> None:
    given = [f"--{name}" for name, value in options.items() if value is not None]
    if source == target:
        raise SettingsError(
            "A model is converted from one program's file to another's.",
            got=f"--from {source} --to {target}",
            do="Name the other program with --from or --to.",
        )
    if source == OURS and given:
        raise SettingsError(
            "A model file of Brushfire says itself what its network is.",
            got=", ".join(given),
            do="Leave that out, or say with --from which program the file is of.",
        )
    check_new(out, overwrite=overwrite)


def read_model(path: Path, source: str, options: dict[str, Any]) -> ModelSnapshot:
    """Return the model in a file, as `convert_model` reads it.

    Raises
    ------
    ModelError, StorageError
        The file cannot be read, or holds no model that can be used here.
    """
    from brushfire.networks import ModelSnapshot
    from brushfire.networks.exchange import import_weights

    try:
        data = path.read_bytes()
    except OSError as error:
        raise storage_error(
            error, path, "A model is a file that can be read.", "Choose such a file."
        ) from error
    if source == OURS:
        return ModelSnapshot.from_bytes(data)
    return import_weights(data, cast("Layout", source), **options)
