"""An export in two stages: predict the region to disk, then write and check the target."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from brushfire.engine.messages import PredictRegion
from brushfire.errors import ExportError
from brushfire.export import check_target, export_labels
from brushfire.geometry import Box
from brushfire.prediction.run import RegionRun

if TYPE_CHECKING:
    from collections.abc import Callable

    from brushfire.annotations import LabelClass
    from brushfire.networks.snapshot import ModelSnapshot
    from brushfire.volumes import Volume

Format = Literal["ome-zarr", "tiff"]
_REGION = "region-"
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
    key: str
    overwrite: bool = False

    def command(self) -> PredictRegion:
        """Return what the engine must do first."""
        return PredictRegion(self.job, self.region, self.folder, self.key, self._class_rows())

    def write(
        self,
        volume: Volume,
        budget_bytes: int,
        progress: Callable[[int, int], None],
        cancelled: Callable[[], bool],
        in_use: Callable[[], set[Path]],
    ) -> Any:
        """Write the target from the predicted region, reopen it and compare; return the report.

        The predicted region stays, for the same in another format or after a failure; those of
        other exports are removed once this one is complete, but those that ``in_use`` names.
        """
        with RegionRun(
            self.folder,
            self.region,
            key=self.key,
            voxel_size=volume.voxel_size,
            classes=self._class_rows(),
        ) as source:
            report = export_labels(
                source,
                self.path,
                format=self.format,
                origin=self.region.start,
                voxel_size=volume.voxel_size,
                classes=self.classes,
                name=f"{volume.name} labels",
                budget_bytes=budget_bytes,
                progress=progress,
                cancelled=cancelled,
                overwrite=self.overwrite,
            )
        others = set(self.folder.parent.glob(f"{_REGION}*")) - {self.folder} - in_use()
        for other in others:
            shutil.rmtree(other, ignore_errors=True)
        return report

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
) -> Export:
    """Check what was asked and fill in the rest.

    Raises
    ------
    ExportError, StorageError
        There is no model, the format is unknown, the region lies outside the volume, or the
        target cannot be written.
    """
    if model is None:
        raise ExportError(
            "Masks are exported from the model that is shown.",
            got="no model",
            do="Paint two classes and press Start; export once the first prediction is there.",
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
    check_target(target, kind, overwrite=overwrite)
    digest = hashlib.sha256(model.weights).hexdigest()[:16]
    name = hashlib.sha256(f"{digest} {region}".encode()).hexdigest()[:12]
    return Export(
        job=job,
        path=target,
        format=kind,
        region=region,
        classes=classes,
        folder=predictions_folder / f"{_REGION}{name}",
        key=f"{volume.fingerprint} {digest}",
        overwrite=overwrite,
    )
