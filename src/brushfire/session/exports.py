"""An export in two stages: predict the region to disk, then write and check the target."""

from __future__ import annotations

import hashlib
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from brushfire.engine.messages import PredictRegion
from brushfire.errors import ExportError
from brushfire.export import Conversion, check_target, export_intensities, export_labels
from brushfire.geometry import Box
from brushfire.prediction.run import PredictedRegion, can_be_continued
from brushfire.session.restoration import is_among

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from brushfire.annotations import LabelClass
    from brushfire.export import ExportReport
    from brushfire.networks.snapshot import ModelSnapshot
    from brushfire.session.restoration import Restoration
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
    restoration : Restoration or None
        What is restored, whose voxels the region then counts; None for labels.
    conversion : Conversion
        How restored intensities become numbers of the file.
    denoised : Volume or None
        What is segmented in place of the volume as it is.
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
    restoration: Restoration | None = None
    conversion: Conversion = field(default_factory=Conversion)
    denoised: Volume | None = None

    def command(self) -> PredictRegion:
        """Return what the engine must do first."""
        rows = self._class_rows()
        source = self.denoised if self.restoration is None else self.restoration.source
        return PredictRegion(self.job, self.model, self.region, self.folder, self.key, rows, source)

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
        restored = self.model.settings.restored
        source = PredictedRegion(
            self.folder, self.region, key=self.key, cache_bytes=cache, restored=restored
        )
        name = volume.name
        if self.restoration is not None and self.restoration.source.shape != volume.shape:
            volume = self.restoration.source  # of finer voxels
        common: dict[str, Any] = {
            "format": self.format,
            "origin": self.region.start,
            "voxel_size": volume.voxel_size if volume.voxel_size_known else None,
            "budget_bytes": budget_bytes - cache,
            "progress": progress,
            "cancelled": cancelled,
            "overwrite": self.overwrite,
        }
        with closing(source):
            if self.restoration is None:
                return export_labels(
                    source, self.path, classes=self.classes, name=f"{name} labels", **common
                )
            return export_intensities(
                source,
                self.path,
                channels=self.restoration.channels,
                conversion=self.conversion,
                name=f"{name} restored",
                **common,
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
    segmented: Volume,
    restoration: Restoration | None = None,
    conversion: Conversion | None = None,
) -> Export:
    """Check what was asked and fill in the rest; ``restoration`` is None for labels.

    ``segmented`` is ``volume``, or what labels are predicted on in place of it.

    Raises
    ------
    ExportError, StorageError
        There is no model or it predicts a class that was removed, the format is unknown, the
        region lies outside the volume, or the target cannot be written.
    """
    if model is None:
        restores = restoration is not None
        raise ExportError(
            f"{'Intensities' if restores else 'Masks'} are exported from the model that is shown.",
            got="no model",
            do=f"{'Start' if restores else 'Paint two classes and start'} learning; export once the"
            " first prediction is there.",
        )
    if restoration is None and conversion is not None:
        raise ExportError(
            "Masks hold values of classes as they are.",
            got=f"a conversion to {conversion.dtype}",
            do="Leave it out, or export what is restored.",
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
            "Exports are written as 'ome-zarr' or 'tiff'.", got=format, do="Choose one of these."
        )
    grid = segmented if restoration is None else restoration.source
    whole = Box.of_shape(grid.shape)
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
    _spare(volume, restoration, target)
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
        classes=classes if restoration is None else (),
        folder=predictions_folder / name,
        model=model,
        key=f"{grid.fingerprint} {digest}",
        overwrite=overwrite,
        restoration=restoration,
        conversion=conversion or Conversion(),
        denoised=None if segmented is volume else segmented,
    )


def _spare(volume: Volume, restoration: Restoration | None, target: Path) -> None:
    """Raise where an export would replace a volume that it is made of."""
    place = target.resolve()
    source = None if volume.source is None else Path(volume.source).resolve()
    own = source is not None and (place == source or place in source.parents)
    if own or is_among(place, restoration):
        raise ExportError(
            "An export never replaces its own volume.", got=target, do="Choose another name."
        )
