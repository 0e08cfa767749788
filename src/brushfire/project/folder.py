"""A project's folder: its settings, models and log."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brushfire import __version__
from brushfire.annotations.files import storage_error, sync_folder, write_atomically
from brushfire.errors import BrushfireError, ProjectError
from brushfire.learning.examples import Examples
from brushfire.learning.patches import FILE_BYTES, Patches
from brushfire.networks.snapshot import ModelSnapshot
from brushfire.project.format import FORMAT, dump, from_json, migrate, now, to_json

if TYPE_CHECKING:
    from brushfire.project.state import ProjectState

SUFFIX = ".brushfire"

_FILE = "project.json"
_MODELS = "models"
_RESTORERS = "restorers"
_EXAMPLES = "examples.safetensors"
_PATCHES = "patches.safetensors"
_WEIGHTS = "start.safetensors"
_LOG = "log.jsonl"
_OURS = {
    "annotations.zarr",
    _EXAMPLES,
    "journal",
    "lock",
    _LOG,
    _MODELS,
    _PATCHES,
    "predictions",
    "pyramid",
    _RESTORERS,
    _WEIGHTS,
}


class Project:
    """An open project folder; made by `create_project` and `open_project`.

    Its methods may be called from any thread, one at a time.

    Parameters
    ----------
    folder : Path
        The folder.
    state : ProjectState
        What `project.json` holds.
    """

    def __init__(self, folder: Path, state: ProjectState) -> None:
        self.folder = folder
        self.state = state
        self._log_lock = threading.Lock()

    def save(self, state: ProjectState) -> None:
        """Replace `project.json`; after a crash it holds the old state or the new one.

        Raises
        ------
        StorageError
            If the disk refuses; the old state is then still there.
        """
        _write(self.folder / _FILE, to_json(state, self.folder), "project settings")
        self.state = state

    def save_model(self, snapshot: ModelSnapshot) -> None:
        """Keep a model as safetensors, with what is known of it as JSON beside it.

        Raises
        ------
        StorageError
            If the disk refuses.
        """
        weights, about = self._model_files(snapshot.revision, bool(snapshot.settings.restored))
        note = {
            "revision": snapshot.revision,
            "classes": snapshot.classes,
            "channels": snapshot.channels,
            "halo": snapshot.halo,
            "settings": asdict(snapshot.settings),
            "metrics": snapshot.metrics,
            "sha256": hashlib.sha256(snapshot.weights).hexdigest(),
            "volume": self.state.volume.fingerprint,
            "saved": now(),
            "brushfire": __version__,
        }
        try:
            weights.parent.mkdir(exist_ok=True)
            # Without its note a file of weights is not checked: so no note may outlive its file.
            about.unlink(missing_ok=True)
        except OSError as error:
            raise _refusal(error, weights, "models") from error
        _write(weights, snapshot.weights, "models")
        _write(about, dump(note), "models")

    def load_model(self, revision: int, *, restores: bool = False) -> ModelSnapshot:
        """Return a model that was kept, of those that segment or of those that restore.

        Raises
        ------
        ProjectError
            If there is none of that revision, or its file is damaged.
        ModelError
            If its weights are not of this version's format.
        StorageError
            If the disk refuses.
        """
        weights, about = self._model_files(revision, restores)
        if not weights.is_file():
            kept = ", ".join(map(str, self.models(restores=restores))) or "none"
            raise ProjectError(
                "A model is one of those that the project keeps.",
                got=f"revision {revision}",
                do=f"Choose one of: {kept}.",
            )
        try:
            data = weights.read_bytes()
            note = about.read_bytes() if about.is_file() else b"{}"
        except OSError as error:
            raise _refusal(error, weights, "models") from error
        _check_model(weights, data, note)
        snapshot = ModelSnapshot.from_bytes(data)
        if snapshot.revision != revision:
            raise ProjectError(
                "A model's file is named after its revision.",
                got=f"revision {snapshot.revision} in {weights.name}",
                do="Give the file its own name back.",
            )
        return snapshot

    def remove_model(self, revision: int, *, restores: bool = False) -> None:
        """Remove a model; nothing happens where there is none.

        Raises
        ------
        StorageError
            If the disk refuses.
        """
        weights, about = self._model_files(revision, restores)
        try:
            weights.unlink(missing_ok=True)
            about.unlink(missing_ok=True)
        except OSError as error:
            raise _refusal(error, weights, "models") from error

    def models(self, *, restores: bool = False) -> tuple[int, ...]:
        """Return the revisions of all models that are kept, in rising order.

        Parameters
        ----------
        restores : bool
            Of those that restore intensities, which are numbered by themselves.
        """
        names = (path.stem for path in self._model_folder(restores).glob("*.safetensors"))
        return tuple(sorted(int(name) for name in names if name.isdecimal()))

    def save_start(
        self, examples: Examples | None, patches: Patches | None, weights: ModelSnapshot | None
    ) -> None:
        """Keep what the project starts from, or nothing.

        Parameters
        ----------
        examples : Examples or None
            Labelled voxels of other volumes, which are learned beside the strokes.
        patches : Patches or None
            Labelled crops of them.
        weights : ModelSnapshot or None
            What a new network begins with.

        Raises
        ------
        StorageError
            If the disk refuses.
        """
        parts = {
            _EXAMPLES: None if examples is None else examples.to_bytes(),
            _WEIGHTS: None if weights is None else weights.weights,
            _PATCHES: None if patches is None else patches.to_bytes(_digest(weights)),
        }
        for name, data in parts.items():
            path = self.folder / name
            if data is not None:
                _write(path, data, "what it started from")
                continue
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise _refusal(error, path, "what it started from") from error

    def load_weights(self) -> ModelSnapshot | None:
        """Return what a new network begins with; None where there is nothing.

        Raises
        ------
        ModelError
            If the file is damaged, or of a newer version.
        StorageError
            If the disk refuses.
        """
        data = self._read_start(_WEIGHTS)
        return None if data is None else ModelSnapshot.from_bytes(data)

    def load_examples(self) -> Examples | None:
        """Return the labelled voxels that the project started from; None where there are none.

        Raises
        ------
        ModelError
            If their file is damaged, or of a newer version.
        StorageError
            If the disk refuses.
        """
        data = self._read_start(_EXAMPLES)
        return None if data is None else Examples.from_bytes(data).thinned()  # a file of any size

    def load_patches(self) -> Patches | None:
        """Return the labelled crops that the project started from; None where there are none.

        Those of an earlier start are none: older versions leave them when they start anew.

        Raises
        ------
        ModelError
            If a file is damaged, too large, or of a newer version.
        StorageError
            If the disk refuses.
        """
        data = self._read_start(_PATCHES, FILE_BYTES + 1)
        return None if data is None else Patches.from_bytes(data, _digest(self.load_weights()))

    def _read_start(self, name: str, most: int = -1) -> bytes | None:
        path = self.folder / name
        try:
            if not path.is_file():
                return None
            with path.open("rb") as file:
                return file.read(most)
        except OSError as error:
            raise _refusal(error, path, "what it started from") from error

    def log(self, event: str, **values: object) -> None:
        """Add a line to `log.jsonl`: the time, ``event`` and ``values`` (as text if need be).

        Raises
        ------
        StorageError
            If the disk refuses.
        """
        line = json.dumps({"time": now(), "event": event, **values}, default=str) + "\n"
        path = self.folder / _LOG
        try:
            with self._log_lock, path.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise _refusal(error, path, "a log") from error

    def last_logged(self, event: str) -> dict[str, Any]:
        """Return the last line of `log.jsonl` about an event; {} where there is none to be read."""
        found: dict[str, Any] = {}
        path = self.folder / _LOG
        # What is logged is for people: nothing depends on it, and any line may be damaged.
        with suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                with suppress(ValueError, RecursionError):
                    values = json.loads(line)
                    if isinstance(values, dict) and values.get("event") == event:
                        found = values
        return found

    def _model_folder(self, restores: bool) -> Path:
        return self.folder / (_RESTORERS if restores else _MODELS)

    def _model_files(self, revision: int, restores: bool) -> tuple[Path, Path]:
        stem = self._model_folder(restores) / f"{revision:04d}"
        return stem.with_suffix(".safetensors"), stem.with_suffix(".json")


def create_project(folder: Path, state: ProjectState) -> Project:
    """Make a project folder.

    Parameters
    ----------
    folder : Path
        New or empty, or one with a project's files but without its `project.json`, which
        then keeps its labels and models.
    state : ProjectState
        What it starts with.

    Raises
    ------
    ProjectError
        If the folder is a project already, or holds other files.
    StorageError
        If it cannot be written.
    """
    folder = Path(folder)
    if (folder / _FILE).exists():
        raise ProjectError("A new project has a new folder.", got=folder, do="Open this one.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        foreign = sorted(path.name for path in folder.iterdir() if not _is_ours(path.name))
        if not foreign:
            sync_folder(folder.parent)
    except (FileExistsError, NotADirectoryError) as error:
        raise ProjectError(
            "A project is a folder.", got=f"the file {folder}", do="Choose another name."
        ) from error
    except OSError as error:
        raise _refusal(error, folder, "projects") from error
    if foreign:
        raise ProjectError(
            "A new project has a folder of its own.",
            got=f"{folder}, which holds {foreign[0]}"
            + (f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""),
            do="Choose an empty folder or a new name.",
        )
    project = Project(folder, state)
    project.save(state)
    return project


def open_project(folder: Path) -> Project:
    """Open a project folder, whatever version of Brushfire wrote it up to this one.

    Nothing is written: settings of an older format are migrated when they are next saved.

    Raises
    ------
    ProjectError
        If it is no project folder, of a newer version, or its `project.json` is damaged.
    StorageError
        If it cannot be read.
    """
    folder = Path(folder)
    path = folder / _FILE
    if not path.is_file():
        what = "which does not exist" if not folder.exists() else f"which has no {_FILE}"
        raise ProjectError(
            f"A project is a folder with a {_FILE}, usually named NAME{SUFFIX}.",
            got=f"{folder}, {what}",
            do="Choose such a folder, or open a volume to begin a project.",
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _refusal(error, path, "project settings") from error
    try:
        found = json.loads(data)
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise ValueError(f'it does not say "format": "{FORMAT}"')
        return Project(folder, from_json(migrate(found), folder))
    except ProjectError:
        raise
    except (
        # Whatever a damaged file can hold: numbers beyond all bounds, brackets without end.
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
        BrushfireError,
    ) as error:
        raise _damaged(folder, error) from error


def _digest(weights: ModelSnapshot | None) -> str:
    return "" if weights is None else hashlib.sha256(weights.weights).hexdigest()


def _is_ours(name: str) -> bool:
    # A damaged project.json that was renamed, and files that were being written, are ours too.
    return name in _OURS or name.lstrip(".").startswith(_FILE)


def _damaged(folder: Path, error: Exception) -> ProjectError:
    kept = []
    if (folder / "annotations.zarr").exists() or (folder / "journal").exists():
        kept.append("all strokes")
    count = len(list((folder / _MODELS).glob("*.safetensors")))
    if count:
        kept.append("1 model" if count == 1 else f"{count} models")
    can = f"{' and '.join(kept)} can still be saved" if kept else "it holds no strokes yet"
    said = str(error) or type(error).__name__
    return ProjectError(
        f"The {_FILE} of a project holds its classes and settings.",
        got=f"{folder / _FILE}, which is damaged ({said}); {can}",
        do=f"Rename {_FILE}, then open the volume with this project folder: names and colours"
        " of classes and the settings start afresh, the rest is kept.",
    )


def _check_model(weights: Path, data: bytes, note: bytes) -> None:
    try:
        expected = json.loads(note).get("sha256")
    except (ValueError, AttributeError) as error:
        raise ProjectError(
            "A model has a note in JSON beside it.",
            got=f"{weights.with_suffix('.json')}, which is damaged",
            do="Remove that note to load the model unchecked, or choose another model.",
        ) from error
    if expected is not None and expected != hashlib.sha256(data).hexdigest():
        raise ProjectError(
            "A model's file is what was saved.",
            got=f"{weights}, which has changed since",
            do="Choose another model of the project, or learn anew: the strokes are kept.",
        )


def _write(path: Path, data: bytes, what: str) -> None:
    try:
        write_atomically(path, data)
    except OSError as error:
        raise _refusal(error, path, what) from error


def _refusal(error: OSError, path: Path, what: str) -> BrushfireError:
    rule = f"A project folder is read and written: it keeps {what}."
    return storage_error(error, path, rule, "Then try again; nothing that was saved is lost.")
