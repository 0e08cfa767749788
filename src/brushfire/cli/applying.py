"""What a project learned to restore, applied to other volumes: the scans of a series, say."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from brushfire.cli.headless import project_of
from brushfire.cli.terminal import interruptible, progress_bar
from brushfire.errors import ExportError, ModelError, ProjectError
from brushfire.project import open_project

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from brushfire.export import Conversion
    from brushfire.networks.restoration import RestorationModel

_SUFFIXES = {"ome-zarr": ".ome.zarr", "tiff": ".tif"}


def predict_volumes(
    place: Path,
    volumes: Sequence[Path],
    folder: Path,
    *,
    format: str,
    conversion: Conversion,
    overwrite: bool,
    axes: str | None,
    time: int | None,
    device: str | None,
    budget: int | None,
) -> list[tuple[str, str]]:
    """Restore volumes by the model of a project, one after the other; return what was written.

    Intensities are normalised as those that the model was learned on. An export that was ended
    goes on when the same is asked for again.

    Parameters
    ----------
    place : Path
        The project, or its volume.
    volumes : sequence of Path
        What is restored; as many channels each as the model was learned on.
    folder : Path
        Where ``NAME-restored.ome.zarr``, or ``.tif``, of each goes; made if missing.
    format, conversion, overwrite
        As of `Session.export`.
    axes, time
        How to read the volumes.
    device, budget
        As for `Session`.

    Raises
    ------
    ProjectError
        It has learned to restore nothing, or voxels of another size.
    ModelError
        A volume has other channels; those before it are written.
    ExportError, VolumeError, StorageError
        A target cannot be, or a volume cannot be read.
    Cancelled
        Ctrl-C was pressed.
    """
    from brushfire.engine.device import choose_device
    from brushfire.export import check_target
    from brushfire.session.memory import default_budget

    model = _model_of(project_of(place, None, None), choose_device(device))
    folder.mkdir(parents=True, exist_ok=True)
    targets = [folder / f"{_bare(path)}-restored{_SUFFIXES[format]}" for path in volumes]
    if len(set(targets)) < len(targets):
        raise ExportError(
            "Each volume has a name of its own, which its target gets.",
            got=", ".join(path.name for path in volumes),
            do="Restore those of the same name one by one, into other folders.",
        )
    for target in targets:
        check_target(target, format, overwrite=overwrite)
    return [
        (path.name, _write(model, path, target, format, conversion, axes, time,
                           budget or default_budget(), overwrite=overwrite))
        for path, target in zip(volumes, targets, strict=True)
    ]  # fmt: skip


def _model_of(folder: Path, device: str) -> RestorationModel:
    """Return the model that a project shows of what it restores."""
    from brushfire.networks.restoration import RestorationModel

    project = open_project(folder)
    state = project.state.restoration
    if state is None or state.shown_model is None:
        raise ProjectError(
            "Other volumes are restored by what a project has learned.",
            got=f"{folder}, which has learned to restore nothing",
            do="Run 'brushfire denoise' on it first, or denoise it in the window.",
        )
    if state.offset is not None:
        raise ProjectError(
            "Other volumes are restored voxel by voxel.",
            got=f"{folder}, whose model was learned from a zoomed scan",
            do="Run 'brushfire denoise' with --clean and --offset on each.",
        )
    return RestorationModel.from_snapshot(
        project.load_model(state.shown_model, restores=True), device
    )


def _write(
    model: RestorationModel,
    path: Path,
    target: Path,
    format: str,
    conversion: Conversion,
    axes: str | None,
    time: int | None,
    budget: int,
    *,
    overwrite: bool,
) -> str:
    from brushfire.export import export_intensities
    from brushfire.prediction.restored import restored_volume
    from brushfire.session.memory import shares
    from brushfire.volumes import open_volume

    parts = shares(budget)
    with closing(open_volume(path, axes=axes, time=time, cache_bytes=parts.reading)) as volume:
        if len(volume.channels) != model.channels:
            raise ModelError(
                f"The model was learned on {model.channels} channel(s).",
                got=f"{path} with {len(volume.channels)}",
                do="Leave that one out, or choose another project.",
            )
        names = volume.channels
        if len(names) != model.outputs:
            names = tuple(f"restored {at + 1}" for at in range(model.outputs))
        restored = restored_volume(
            volume, model, cache_bytes=parts.predictions, budget_bytes=parts.network, channels=names
        )
        with interruptible() as stop, progress_bar(f"Restoring {path.name}") as update:
            report = export_intensities(
                restored,
                target,
                format="tiff" if format == "tiff" else "ome-zarr",
                origin=(0, 0, 0),
                voxel_size=volume.voxel_size if volume.voxel_size_known else None,
                channels=names,
                conversion=conversion,
                name=restored.name,
                budget_bytes=parts.blocks,
                progress=lambda done, total: update(done, total, f"Restoring {path.name}"),
                cancelled=stop.is_set,
                overwrite=overwrite,
            )
    return str(report.path)


def _bare(path: Path) -> str:
    """Return a volume's name without its endings."""
    return path.name.partition(".")[0]
