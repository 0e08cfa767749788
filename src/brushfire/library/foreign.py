"""Models of other programs as model files, and back; torch is loaded when they are read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from brushfire.annotations import next_class
from brushfire.errors import ModelError
from brushfire.library import packing
from brushfire.library.card import Making
from brushfire.library.files import ModelFile, model_file, read_model_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brushfire.annotations import LabelClass
    from brushfire.networks.exchange import ForeignKind

_WEIGHTS = (".pt", ".pth", ".ckpt", ".bin", ".yaml", ".yml")  # and descriptions beside such
_INSIDE = (
    "configs",
    "rdf.yaml",
    "bioimageio.yaml",
    "model.yaml",
)  # of folders: bundles, and packages of the zoo
_MORE = ("authors", "cite")  # of what others say of a model, kept in its description


def is_foreign(path: Path) -> bool:
    """Whether a path leads to what another program wrote, as far as its outside tells."""
    if not path.exists():
        return False
    if path.is_dir():
        return any((path / name).exists() for name in _INSIDE)
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        return not _has_description(path)
    if suffix == ".zip":
        return packing.CARD not in packing.names_in_zip(path)
    return suffix in _WEIGHTS


def read_any(
    path: Path, network: tuple[str, Mapping[str, Any]] | None = None
) -> tuple[ModelFile, tuple[str, ...]]:
    """Return the model of a file of ours or of another program, and what is to know of it.

    Parameters
    ----------
    path : Path
        A model file, a bundle of MONAI, a package of the BioImage Model Zoo, or weights.
    network : (str, mapping), optional
        For a file of weights: MONAI's name of its network, and what its class is called with.

    Raises
    ------
    ModelError
        If it is none, damaged, or of a network that is not known.
    StorageError
        If it cannot be read.
    """
    if not is_foreign(path):
        return read_model_file(path), ()
    from brushfire.networks.exchange import read_foreign

    found = read_foreign(path, network=network)
    classes: tuple[LabelClass, ...] = ()
    for value, name in sorted(found.classes.items()):
        taken = {one.name.casefold() for one in classes}
        made = next_class(classes, None if name.casefold() in taken else name)
        classes = (*classes, replace(made, value=value))
    # A network whose head has learned nothing tells no classes apart.
    metrics = {"answers": bool(found.model.head_weight.any())}
    about = dict(found.about)
    texts = [
        about.get("description", ""),
        *(f"{key}: {about[key]}" for key in _MORE if about.get(key)),
    ]
    file = model_file(
        about.get("name") or path.stem,
        found.model.snapshot(1, metrics),
        classes,
        licence=about.get("licence", "unknown"),
        description="\n".join(text for text in texts if text),
        metrics=metrics,
        made=Making(project=about.get("source", path.name)),
    )
    return file, found.report


def write_for(file: ModelFile, out: Path, kind: ForeignKind, *, overwrite: bool = False) -> None:
    """Write a model for another program, see `brushfire.networks.exchange.write_foreign`.

    Raises
    ------
    ModelError
        If that program has no network that computes the same, or something is there.
    StorageError
        If the disk refuses.
    """
    from brushfire.networks import SegmentationModel
    from brushfire.networks.exchange import write_foreign

    if out.exists() and overwrite:
        raise ModelError(
            "What was written for other programs is not replaced.",
            got=out,
            do="Remove it, or choose another name.",
        )
    card = file.card
    write_foreign(
        SegmentationModel.from_snapshot(file.model),
        out,
        kind,
        classes={one.value: one.name for one in card.classes},
        about={
            "name": card.name,
            "description": card.description,
            "licence": "" if card.licence == "unknown" else card.licence,
        },
    )


def _has_description(path: Path) -> bool:
    """Whether a safetensors file is one of ours."""
    from brushfire.networks.snapshot import ModelSnapshot

    try:
        ModelSnapshot.from_bytes(packing.read_bare(path))
    except ModelError:
        return False
    return True
