"""What a project holds, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from brushfire.annotations import LabelClass, check_classes
from brushfire.errors import SettingsError
from brushfire.learning.settings import LearningSettings
from brushfire.networks.settings import NetworkSettings

if TYPE_CHECKING:
    from brushfire.geometry import Scale, Triple
    from brushfire.learning.restoring import RestorationSettings
    from brushfire.volumes import Statistics

Task = Literal["segment", "restore"]
TASKS: tuple[Task, ...] = ("segment", "restore")


@dataclass(frozen=True, slots=True)
class VolumeReference:
    """What a project notes of its volume, to find and to recognise it.

    Parameters
    ----------
    source : str or None
        Path or address; None for an array that was in memory only.
    fingerprint : str
        Digest of the volume's shape, type and some of its voxels.
    axes : str
        Axes of what it was read from.
    voxel_size : tuple of float
        Micrometres z, y, x.
    shape : tuple of int
        Voxels z, y, x at level 0.
    dtype : str
        Numpy's name of the type.
    time : int or None
        The time point chosen out of several.
    confirmed : bool
        Whether the user has said that axes and voxel size are right.
    """

    source: str | None
    fingerprint: str
    axes: str
    voxel_size: Scale
    shape: Triple
    dtype: str
    time: int | None = None
    confirmed: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a user can set.

    Parameters
    ----------
    network : NetworkSettings
        Shape of the network.
    learning : LearningSettings
        How it learns.
    memory_budget_bytes : int
        What Brushfire may take in all; above 0.
    tile : int
        Edge of a streamed tile in voxels, 32 to 4096.

    Raises
    ------
    SettingsError
        If the budget or the tile is outside its range.
    """

    network: NetworkSettings = field(default_factory=NetworkSettings)
    learning: LearningSettings = field(default_factory=LearningSettings)
    memory_budget_bytes: int = 4 << 30
    tile: int = 256

    def __post_init__(self) -> None:
        if self.memory_budget_bytes < 1:
            raise SettingsError(
                "The memory budget is above 0 bytes.",
                got=self.memory_budget_bytes,
                do="Give it at least a gigabyte.",
            )
        if not 32 <= self.tile <= 4096:
            raise SettingsError(
                "A tile has an edge of 32 to 4096 voxels.", got=self.tile, do="Use 256."
            )


@dataclass(frozen=True, slots=True)
class ScanReference:
    """A further scan of a series, and what it should look like where pairs are learned from."""

    scan: VolumeReference
    clean: VolumeReference | None = None


@dataclass(frozen=True, slots=True)
class RestorationState:
    """How the volume is restored, and what it is learned from.

    Parameters
    ----------
    network : NetworkSettings
        Shape of the network that restores.
    learning : RestorationSettings
        How it learns, and in which way.
    target : VolumeReference or None
        What the volume should look like, in the way "pairs".
    splits : tuple of VolumeReference
        Reconstructions of parts of the scan, in the way "splits"; none where these are the
        channels of the volume.
    offset : tuple of float or None
        Where the target is a zoomed scan: micrometres z, y, x from the first corner of the volume
        to its own.
    shown_model : int or None
        Revision of the model that restores.
    others : tuple of ScanReference
        Further scans of a series that are learned from.
    """

    network: NetworkSettings
    learning: RestorationSettings
    target: VolumeReference | None = None
    splits: tuple[VolumeReference, ...] = ()
    offset: Scale | None = None
    shown_model: int | None = None
    others: tuple[ScanReference, ...] = ()

    @property
    def volumes(self) -> tuple[VolumeReference, ...]:
        """All that is learned from beside the project's own volume."""
        pairs = [one for other in self.others for one in (other.scan, other.clean)]
        return tuple(one for one in (self.target, *self.splits, *pairs) if one is not None)


@dataclass(frozen=True, slots=True)
class DenoisedState:
    """Which denoised volume is segmented in place of the volume as it is.

    Parameters
    ----------
    model : int
        Revision of the model that denoises.
    splits : tuple of VolumeReference
        Reconstructions of parts of the scan that it denoises; none where that is the volume.
    statistics : Statistics
        Of what comes out: measured once, so that it is the same volume whenever it is made again.
    """

    model: int
    splits: tuple[VolumeReference, ...]
    statistics: Statistics


@dataclass(frozen=True, slots=True)
class ProjectState:
    """What `project.json` holds.

    Parameters
    ----------
    volume : VolumeReference
        The volume that the labels are for.
    classes : tuple of LabelClass
        In the order shown; values and names differ.
    settings : Settings
        What the user set.
    shown_model : int or None
        Revision of the model whose predictions are shown.
    restoration : RestorationState or None
        How the volume is restored; None before anybody asked for that.
    task : {"segment", "restore"}
        What was worked on last.
    denoised : DenoisedState or None
        What is segmented; None for the volume as it is.
    """

    volume: VolumeReference
    classes: tuple[LabelClass, ...]
    settings: Settings
    shown_model: int | None = None
    restoration: RestorationState | None = None
    task: Task = "segment"
    denoised: DenoisedState | None = None

    def __post_init__(self) -> None:
        check_classes(self.classes)
