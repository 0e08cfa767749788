"""Model files: a folder or a zip with a card, weights, and what else was taught by strokes."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brushfire.annotations import next_class
from brushfire.errors import BrushfireError, ModelError
from brushfire.learning.examples import Examples
from brushfire.learning.patches import Patches
from brushfire.library import packing
from brushfire.library.card import Making, ModelCard
from brushfire.library.packing import CARD, EXAMPLES, PATCHES, WEIGHTS
from brushfire.networks.settings import NetworkSettings
from brushfire.networks.snapshot import ModelSnapshot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from brushfire.annotations import LabelClass
    from brushfire.library.fingerprints import Fingerprint

SUFFIX = ".bfmodel"
ZIP_SUFFIX = f"{SUFFIX}.zip"
BARE_SUFFIX = ".safetensors"

_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
_ZIP_BEGINS = (b"PK\x03\x04", b"PK\x05\x06")
_NEXT = "Choose another model file, or save that model again."


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A model with its card; all that it takes to start from it.

    Parameters
    ----------
    card : ModelCard
        What is known of it.
    model : ModelSnapshot
        Its weights.
    examples : Examples or None
        Labelled voxels as features, which are learned beside the strokes of who starts from it.
    patches : Patches or None
        Labelled crops of the same images, which are replayed.
    """

    card: ModelCard
    model: ModelSnapshot
    examples: Examples | None = None
    patches: Patches | None = None

    def named(self, name: str) -> ModelFile:
        """Return it with another name; ModelError where that cannot be one."""
        return replace(self, card=replace(self.card, name=name))

    def without_patches(self) -> ModelFile:
        """Return it without parts of the images that it was learned on."""
        return replace(self, card=replace(self.card, patches_sha256=None), patches=None)


def model_file(
    name: str,
    model: ModelSnapshot,
    classes: Iterable[LabelClass],
    *,
    examples: Examples | None = None,
    patches: Patches | None = None,
    data: Fingerprint | None = None,
    made: Making | None = None,
    **about: Any,
) -> ModelFile:
    """Return a model with a card that describes it.

    Parameters
    ----------
    name : str
        What to call it.
    model : ModelSnapshot
        The model.
    classes : iterable of LabelClass
        Names and colours; those that the model does not tell are left out.
    examples : Examples, optional
        What it was taught by.
    patches : Patches, optional
        The same as parts of the images.
    data : Fingerprint, optional
        What it was learned on.
    made : Making, optional
        How it was made.
    **about
        Further values of `ModelCard`: ``licence``, ``description``, ``metrics``.

    Raises
    ------
    ModelError
        If the name cannot be one, or a class of the model has no name.
    """
    known = {one.value: one for one in classes}
    nameless = [value for value in model.classes if value not in known]
    if nameless:
        raise ModelError(
            "Each class of a model has a name.", got=f"none for {nameless[0]}", do=_NEXT
        )
    card = ModelCard(
        name=name,
        network=asdict(model.settings),
        channels=model.channels,
        classes=tuple(known[value] for value in model.classes),
        halo=model.halo,
        weights_sha256=_digest(model.weights),
        examples_sha256=None if examples is None else _digest(examples.to_bytes()),
        patches_sha256=None if patches is None else _digest(patches.to_bytes()),
        data=data,
        made=made or Making(),
        **about,
    )
    return ModelFile(card, model, examples, patches)


def is_model_file(path: Path) -> bool:
    """Whether a path looks like a model: by its name, or as a folder with a card."""
    name = path.name.lower()
    known = (SUFFIX, ".zip", BARE_SUFFIX, *_PICKLES)
    return name.endswith(known) or (path / CARD).is_file()


def bare_name(path: Path) -> str:
    """Return the name of a file or folder without what says that it is a model."""
    for suffix in (ZIP_SUFFIX, SUFFIX):
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem


def read_card(path: Path) -> ModelCard:
    """Return the card of a model's folder or zip; its weights are not looked at.

    Raises
    ------
    ModelError, StorageError
        If it is none, damaged, of a newer version, or cannot be read.
    """
    return _card(path, _files(path, (CARD,)))


def read_model_file(path: Path) -> ModelFile:
    """Return the model in a folder, a zip, or a bare safetensors file of Brushfire.

    Nothing is extracted, and nothing that is read is run. Card, weights and examples have to agree,
    and the weights to fit the network.

    Raises
    ------
    ModelError
        If it is no model file, damaged, of a newer version, or its parts do not agree.
    StorageError
        If it cannot be read.
    """
    path = Path(path)
    if not os.path.exists(path):  # where Path.exists would raise, that is a no too
        raise ModelError(
            f"A model file is a folder NAME{SUFFIX}, a NAME{ZIP_SUFFIX} or a NAME{BARE_SUFFIX}.",
            got=f"{path}, which does not exist",
            do="Choose one that is there.",
        )
    if path.is_dir() or _begin(path).startswith(_ZIP_BEGINS):
        files = _files(path, (CARD, WEIGHTS, EXAMPLES, PATCHES))
        card = _card(path, files)
        if WEIGHTS not in files:
            raise ModelError(f"A model file holds {WEIGHTS}.", got=f"{path} without it", do=_NEXT)
        model = ModelSnapshot.from_bytes(files[WEIGHTS])
        _check_digest(path, WEIGHTS, files[WEIGHTS], card.weights_sha256)
        voxels = _part(EXAMPLES, card.examples_sha256, files, path)
        crops = _part(PATCHES, card.patches_sha256, files, path)
        examples = None if voxels is None else Examples.from_bytes(voxels)
        patches = None if crops is None else Patches.from_bytes(crops)
        _check_agreement(card, model, path)
        # What is written of them again may be in another order of the same tensors.
        if examples is not None:
            card = replace(card, examples_sha256=_digest(examples.to_bytes()))
        written = None if patches is None else _digest(patches.to_bytes())
        found = ModelFile(replace(card, patches_sha256=written), model, examples, patches)
    else:
        found = _bare(path)
    _check_weights(found, path)
    return found


def write_model_file(path: Path, file: ModelFile, *, overwrite: bool = False) -> None:
    """Write a model to a folder, or to a zip where the name says so.

    Parameters
    ----------
    path : Path
        ``NAME.bfmodel`` or ``NAME.bfmodel.zip``, in a folder that exists.
    file : ModelFile
        The model.
    overwrite : bool
        Whether a model that is there is replaced, once the new one is complete.

    Raises
    ------
    ModelError
        If the name is another, or something is there that is not to be replaced.
    StorageError
        If the disk refuses.
    """
    files = {CARD: file.card.to_json(), WEIGHTS: file.model.weights}
    if file.examples is not None:
        files[EXAMPLES] = file.examples.to_bytes()
    if file.patches is not None:
        files[PATCHES] = file.patches.to_bytes()
    name = path.name.lower()
    if name.endswith(ZIP_SUFFIX):
        packing.write_zip(path, files, overwrite=overwrite)
    elif name.endswith(SUFFIX):
        packing.write_folder(path, files, overwrite=overwrite)
    else:
        raise ModelError(
            f"A model is written to a folder NAME{SUFFIX} or a file NAME{ZIP_SUFFIX}.",
            got=path,
            do=f"Add {SUFFIX} to the name, or {ZIP_SUFFIX}.",
        )


def _files(path: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    if path.is_dir():
        files = packing.read_folder(path, names)
    else:
        _check_no_pickle(path)
        files = packing.read_zip(path, names)
    if CARD not in files:
        other = "; it is a project" if (path / "project.json").is_file() else ""
        raise ModelError(
            f"A model file holds a {CARD}.", got=f"{path} without one{other}", do=_NEXT
        )
    return files


def _card(path: Path, files: dict[str, bytes]) -> ModelCard:
    try:
        return ModelCard.from_json(files[CARD])
    except ModelError as error:
        raise ModelError(error.rule, got=f"{error.got}, in {path}", do=error.do) from error


def _part(name: str, digest: str | None, files: dict[str, bytes], path: Path) -> bytes | None:
    """Return a file that a model may have, if it has; where its card says the same."""
    if (name in files) != (digest is not None):
        raise ModelError(
            "Card and files of a model agree.",
            got=f"{path} with {name} in one of them only",
            do=_NEXT,
        )
    if digest is not None:
        _check_digest(path, name, files[name], digest)
    return files.get(name)


def _bare(path: Path) -> ModelFile:
    """Return the model of a safetensors file, with what its metadata tell as the card."""
    _check_no_pickle(path)
    model = ModelSnapshot.from_bytes(packing.read_bare(path))
    classes: tuple[LabelClass, ...] = ()
    for value in sorted(model.classes):
        made = next_class(classes, f"Class {value}")
        classes = (*classes, replace(made, value=value))
    metrics = model.metrics
    making = Making(steps=_count(metrics.get("step")))
    return model_file(path.stem, model, classes, metrics=metrics, made=making)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _check_no_pickle(path: Path) -> None:
    """Refuse what could run code when it is loaded, before anything of it is read."""
    begin = _begin(path)
    zipped = begin.startswith(_ZIP_BEGINS)
    inside = zipped and any(name.endswith(".pkl") for name in packing.names_in_zip(path))
    # Every protocol since the second begins so; and so may safetensors, whose ninth byte tells.
    pickled = begin[:1] == b"\x80" and begin[8:9] != b"{"
    if path.suffix.lower() in _PICKLES or pickled or inside:
        raise ModelError(
            "A model is read without running code, which a pickle could hold: from a card and"
            " safetensors.",
            got=path,
            do="Save its weights as safetensors; 'brushfire convert' reads those of two programs.",
        )


def _begin(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(9)
    except OSError as error:
        raise packing.unreadable(error, path) from error


def _check_agreement(card: ModelCard, model: ModelSnapshot, path: Path) -> None:
    """Refuse weights that the card does not describe."""
    try:
        # By value: a card of before knows nothing of settings that were added since.
        settings = NetworkSettings(**card.network)
    except (TypeError, BrushfireError) as error:
        raise ModelError(
            "A card names the settings of a network that this version knows.",
            got=f"{error}, in {path}",
            do="Update Brushfire, or choose another model.",
        ) from error
    values = tuple(one.value for one in card.classes)
    pairs = {
        "settings": (settings, model.settings),
        "channels": (card.channels, model.channels),
        "classes": (values, model.classes),
        "halo": (card.halo, model.halo),
    }
    for what, (said, found) in pairs.items():
        if said != found:
            raise ModelError(
                "Card and weights of a model agree.",
                got=f"{what} {said} and {found}, in {path}",
                do=_NEXT,
            )


def _check_weights(file: ModelFile, path: Path) -> None:
    """Refuse weights that are not finite or do not fit, and examples of other features."""
    from brushfire.networks import SegmentationModel  # which needs torch

    model = SegmentationModel.from_snapshot(file.model)
    if file.examples is not None and file.examples.features.shape[1] != model.inputs:
        raise ModelError(
            "Labelled voxels have the features that their model sees.",
            got=f"{file.examples.features.shape[1]} for {model.inputs}, in {path}",
            do=_NEXT,
        )
    if file.patches is not None and not file.patches.fits(model.settings, model.channels):
        raise ModelError(
            "Labelled crops have the channels and slices that their model sees.",
            got=f"others than {model.channels} and {model.settings.slices}, in {path}",
            do=_NEXT,
        )


def _check_digest(path: Path, name: str, data: bytes, expected: str | None) -> None:
    if _digest(data) != expected:
        raise ModelError(
            "The files of a model are what its card says.",
            got=f"another {name} in {path}",
            do=_NEXT,
        )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
