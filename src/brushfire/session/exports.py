"""An export in two stages: predict the region to disk, then write and check the target."""

from __future__ import annotations

import hashlib
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from brushfire.engine.messages import PredictRegion
from brushfire.errors import ExportError
from brushfire.export import check_target, export_labels
from brushfire.geometry import Box
from brushfire.prediction.run import PredictedRegion, can_be_continued

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from brushfire.annotations import LabelClass
    from brushfire.export import ExportReport
    from brushfire.networks.snapshot import ModelSnapshot
    from brushfire.volumes import Volume

Format = Literal["ome-zarr", "tiff"]
_REGION = "region-"
_ASIDE = "aside-"
FORMATS: tuple[Format, ...] = ("ome-zarr", "tiff")


@dataclass(frozen=True, slots=True)
class Export:
    """One resolved export: what, of what, to where.

    Parameters
    ----------
    job : int
        The session's job.
    path : Path
        Target.
    format : {"ome-zarr", "tiff"}
        Of the target.
    region : Box
        Voxels of the volume, level 0.
    classes : tuple of LabelClass
        Names and colours that go into the target.
    folder : Path
        Where the predicted region is kept until the target is checked.
    model : ModelSnapshot
        What predicts.
    key : str
        Names the model and the volume, so that a half-finished region is only ever continued
        with the same two.
    overwrite : bool
        Whether an earlier export there is replaced.
    """

    job: int
    path: Path
    format: Format
    region: Box
    classes: tuple[LabelClass, ...]
    folder: Path
    model: ModelSnapshot
    key: str
    overwrite: bool = False

    def command(self) -> PredictRegion:
        """Return what the engine must do first."""
        rows = self._class_rows()
        return PredictRegion(self.job, self.model, self.region, self.folder, self.key, rows)

    def write(
        self,
        volume: Volume,
        budget_bytes: int,
        progress: Callable[[int, int], None],
        cancelled: Callable[[], bool],
    ) -> ExportReport:
        """Write the target from the predicted region, reopen it and compare; return the report.

        The predicted region stays, for the same in another format or after a failure.
        """
        cache = budget_bytes // 4
        source = PredictedRegion(self.folder, self.region, key=self.key, cache_bytes=cache)
        with closing(source):
            return export_labels(
                source,
                self.path,
                format=self.format,
                origin=self.region.start,
                voxel_size=volume.voxel_size if volume.voxel_size_known else None,
                classes=self.classes,
                name=f"{volume.name} labels",
                budget_bytes=budget_bytes - cache,
                progress=progress,
                cancelled=cancelled,
                overwrite=self.overwrite,
            )

    def set_aside(self, running: Collection[Export]) -> list[Path]:
        """Rename the predicted regions that nobody needs any more; return them, to be removed.

        Needed are this one's, those of exports that run, and those that the same model can
        continue. Renaming is quick, and from then on nobody can begin to use them.
        """
        needed = {self.folder, *(export.folder for export in running)}
        aside = [*self.folder.parent.glob(f"{_ASIDE}*")]
        for other in set(self.folder.parent.glob(f"{_REGION}*")) - needed:
            if not can_be_continued(other, self.key):
                name = f"{_ASIDE}{other.name}-{time.monotonic_ns()}"
                with suppress(OSError):  # the next export tries again
                    aside.append(other.rename(other.with_name(name)))
        return aside

    def _class_rows(self) -> tuple[tuple[int, str, str], ...]:
        return tuple((c.value, c.name, c.color) for c in self.classes)


def resolve_export(
    job: int,
    path: str | Path,
    *,
    format: str,
    region: Box | None,
    overwrite: bool,
    volume: Volume,
    model: ModelSnapshot | None,
    classes: tuple[LabelClass, ...],
    predictions_folder: Path,
    running: Collection[Export],
) -> Export:
    """Check what was asked and fill in the rest.

    Raises
    ------
    ExportError, StorageError
        There is no model or it predicts a class that was removed, the format is unknown, the
        region lies outside the volume, or the target cannot be written.
    """
    if model is None:
        raise ExportError(
            "Masks are exported from the model that is shown.",
            got="no model",
            do="Paint two classes and start learning; export once the first prediction is there.",
        )
    removed = sorted(set(model.classes) - {c.value for c in classes})
    if removed:
        raise ExportError(
            "Masks hold the classes of the table.",
            got=f"model {model.revision}, which still predicts class {removed[0]} that was removed",
            do="Start learning to go on without that class, then export.",
        )
    if format not in FORMATS:
        raise ExportError(
            "Masks are exported as 'ome-zarr' or 'tiff'.", got=format, do="Choose one of these."
        )
    whole = Box.of_shape(volume.shape)
    region = whole if region is None else region
    if region.size == 0 or not whole.contains(region):
        raise ExportError(
            f"The region lies inside the volume ({whole}) and holds at least one voxel.",
            got=region,
            do="Choose a smaller region.",
        )
    kind: Format = "tiff" if format == "tiff" else "ome-zarr"
    target = Path(path).expanduser().absolute()
    if any(target == export.path for export in running):
        raise ExportError(
            "Each export has a target of its own.",
            got=f"{target}, which is being written",
            do="Wait until that export is done, or choose another name.",
        )
    _spare(volume, target)
    check_target(target, kind, overwrite=overwrite)
    digest = hashlib.sha256(model.weights).hexdigest()[:16]
    name = _REGION + hashlib.sha256(f"{digest} {region}".encode()).hexdigest()[:12]
    if any(name == export.folder.name for export in running):
        name = f"{name}-{job}"  # the same once more, to another target: each has its own files
    return Export(
        job=job,
        path=target,
        format=kind,
        region=region,
        classes=classes,
        folder=predictions_folder / name,
        model=model,
        key=f"{volume.fingerprint} {digest}",
        overwrite=overwrite,
    )


def _spare(volume: Volume, target: Path) -> None:
    """Raise where an export would replace the volume that it is made of."""
    if volume.source is None:
        return
    source, place = Path(volume.source).resolve(), target.resolve()
    if place == source or place in source.parents:
        raise ExportError(
            "An export never replaces its own volume.", got=target, do="Choose another name."
        )
