"""Files of other programs: which kind one is, and reading and writing each."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from brushfire.errors import ModelError
from brushfire.networks.exchange.bundle_export import write_bundle
from brushfire.networks.exchange.bundles import is_bundle, read_bundle
from brushfire.networks.exchange.imported import Imported, told
from brushfire.networks.exchange.package import Package, read_bytes
from brushfire.networks.exchange.parts import read_weights
from brushfire.networks.exchange.saved import read_saved
from brushfire.networks.exchange.zoo import DESCRIPTIONS, is_package, read_package
from brushfire.networks.exchange.zoo_export import write_zoo_package

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brushfire.networks.model import SegmentationModel

ForeignKind = Literal["bioimageio", "monai"]
FOREIGN_KINDS: tuple[ForeignKind, ...] = get_args(ForeignKind)
"""What models can be written as: packages of the BioImage Model Zoo, bundles of MONAI."""

_WEIGHTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")


def read_foreign(
    path: Path | str, *, network: tuple[str, Mapping[str, Any]] | None = None
) -> Imported:
    """Return the model of another program's file; nothing of it is run, and nothing downloaded.

    Parameters
    ----------
    path : Path or str
        A bundle of MONAI or a package of the BioImage Model Zoo, each a folder or zip, or the
        description of a package beside its files; or a file of weights.
    network : (str, mapping), optional
        For a file of weights: MONAI's name of its network, and what its class is called with.

    Raises
    ------
    ModelError
        If it is none of these, damaged, or what no network here computes.
    StorageError
        If it cannot be read.
    """
    name, path = str(path), Path(path)
    if not os.path.exists(path):
        raise ModelError(
            "A model is imported from a file or folder of this computer: Brushfire downloads"
            " nothing.",
            got=f"{name[:200]}, which is not there",
            do="Download it in a browser, as a zip where there is a choice, and choose that file.",
        )
    if path.suffix.lower() in _WEIGHTS and path.is_file():
        state, _ = read_saved(read_bytes(path))
        model, report = read_weights(state, network)
        classes = {value: f"Class {value}" for value in model.classes}
        return Imported(model, classes, told(name=path.stem, source=path.name), report)
    package = Package(path.parent if path.name in DESCRIPTIONS else path)
    if is_bundle(package):
        return read_bundle(package)
    if is_package(package):
        return read_package(package)
    raise ModelError(
        "Brushfire imports bundles of MONAI (with configs/inference.json), packages of the BioImage"
        f" Model Zoo (with {DESCRIPTIONS[0]}) and files of weights ({', '.join(_WEIGHTS)}).",
        got=f"{path} without such files",
        do="Choose another file or folder.",
    )


def write_foreign(
    model: SegmentationModel,
    path: Path | str,
    kind: ForeignKind,
    *,
    classes: Mapping[int, str],
    about: Mapping[str, str] | None = None,
) -> None:
    """Write a model for other programs.

    Parameters
    ----------
    model : SegmentationModel
        The model.
    path : Path or str
        A new folder, or NAME.zip for a zip.
    kind : str
        "bioimageio" for a package of the BioImage Model Zoo, "monai" for a bundle of MONAI, which
        holds MONAI's networks alone.
    classes : mapping of int to str
        Names of its classes.
    about : mapping of str to str, optional
        See `brushfire.networks.exchange.imported.ABOUT`.

    Raises
    ------
    ModelError
        If the kind is unknown or has no network that computes the same, or something is there.
    StorageError
        If the disk refuses.
    """
    writers = {"bioimageio": write_zoo_package, "monai": write_bundle}
    if kind not in writers:
        raise ModelError(
            f"A model is exported as one of: {', '.join(FOREIGN_KINDS)}.",
            got=repr(kind),
            do="Choose one of them; 'brushfire convert' writes files of msd_pytorch and dlsia.",
        )
    writers[kind](model, Path(path), classes, about or {})
