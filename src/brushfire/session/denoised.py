"""Resolve what is segmented in place of the volume as it is: what a model makes of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brushfire.errors import Cancelled, ProjectError
from brushfire.prediction.restored import restored_volume
from brushfire.project.state import DenoisedState
from brushfire.session.memory import shares
from brushfire.session.restoration import READING_SHARE, bytes_each, found_again
from brushfire.volumes.stacking import stack_channels
from brushfire.volumes.statistics import measure

if TYPE_CHECKING:
    from collections.abc import Callable

    from brushfire.jobs import Work
    from brushfire.networks.snapshot import ModelSnapshot
    from brushfire.project import Project
    from brushfire.session.restoration import Restoration
    from brushfire.volumes import Statistics, Volume

_SAMPLE_BYTES = 4 << 20  # each voxel of it is restored first


@dataclass(frozen=True)
class Denoised:
    """A denoised volume that is segmented, whatever denoising learns meanwhile.

    Parameters
    ----------
    state : DenoisedState
        What the project keeps of it.
    volume : Volume
        On the grid of the session's, restored where it is read.
    """

    state: DenoisedState
    volume: Volume

    @property
    def revision(self) -> int:
        """The model that denoises."""
        return self.state.model


def prepare_denoised(
    volume: Volume,
    restoration: Restoration | None,
    model: ModelSnapshot | None,
    *,
    started: bool,
    device: str,
    budget_bytes: int,
) -> Work:
    """Return the work of looking at a denoised volume, which gives a `Denoised`.

    Parameters
    ----------
    volume : Volume
        As it is.
    restoration : Restoration or None
        What is restored.
    model : ModelSnapshot or None
        What restores it now.
    started : bool
        Whether segmentation started from what was learned elsewhere.
    device : str
        Where the model runs.
    budget_bytes : int
        Of the whole session.

    Raises
    ------
    ProjectError
        Nothing is denoised yet, or its voxels are not those of the volume, or what was learned
        elsewhere would be lost.
    """
    restoration, model = check_denoised(volume, restoration, model)
    check_not_started(started)
    source, splits = restoration.source, restoration.state.splits

    def work(progress: Callable[[int, int], None], cancelled: Callable[[], bool]) -> Denoised:
        made = _made(source, model, device, budget_bytes)
        found = measure(made, sample_bytes=_SAMPLE_BYTES)
        if cancelled():
            raise Cancelled
        state = DenoisedState(model.revision, splits, found)
        return Denoised(state, _made(source, model, device, budget_bytes, found))

    return work


def check_denoised(
    volume: Volume | None, restoration: Restoration | None, model: ModelSnapshot | None
) -> tuple[Restoration, ModelSnapshot]:
    """Return what is restored, and the model, where strokes can be learned on what it makes.

    Raises
    ------
    ProjectError
        They cannot.
    """
    if volume is None or restoration is None or model is None:
        raise ProjectError(
            "A denoised volume is segmented once there is a model that denoises.",
            got="none",
            do="Choose Denoise, and start learning there first.",
        )
    if restoration.source.shape != volume.shape:
        raise ProjectError(
            "Strokes are painted on the voxels of the volume, and learned from the same.",
            got="a denoised volume with finer voxels, learned from a zoomed scan",
            do="Export what is denoised, open that, and paint there.",
        )
    return restoration, model


def check_not_started(started: bool) -> None:
    """Raise where another volume is segmented than what was taken over is for.

    Raises
    ------
    ProjectError
        It was taken over.
    """
    if started:
        raise ProjectError(
            "What was learned elsewhere was taken over for the volume that is segmented.",
            got="another one to segment",
            do="Reset learning first: the strokes stay. Then start from elsewhere again.",
        )


def reopen_denoised(
    volume: Volume, project: Project, *, device: str, budget_bytes: int
) -> Denoised | None:
    """Return the denoised volume that a project segments; None where that is its own.

    Parameters
    ----------
    volume : Volume
        Of the project.
    project : Project
        Which keeps the model.
    device : str
        Where the model runs.
    budget_bytes : int
        Of the whole session.

    Raises
    ------
    BrushfireError
        The model, or a part of the scan, is gone or has changed.
    """
    state = project.state.denoised
    if state is None:
        return None
    model = project.load_model(state.model, restores=True)
    source = volume
    if state.splits:
        each = bytes_each(budget_bytes, len(state.splits))
        source = stack_channels([found_again(one, each) for one in state.splits])
    return Denoised(state, _made(source, model, device, budget_bytes, state.statistics))


def learning_bytes(budget_bytes: int, denoised: Denoised | None) -> int:
    """Return what learning may keep of what it reads, less what the denoised volume keeps."""
    all_of_it = shares(budget_bytes).learning
    return all_of_it - (0 if denoised is None else all_of_it // READING_SHARE)


def _made(
    source: Volume,
    snapshot: ModelSnapshot,
    device: str,
    budget_bytes: int,
    statistics: Statistics | None = None,
) -> Volume:
    from brushfire.networks.restoration import RestorationModel

    parts = shares(budget_bytes)
    # What it is computed from says which volume it is: to read it takes a network.
    known = f"{source.fingerprint} {hashlib.sha256(snapshot.weights).hexdigest()}"
    return restored_volume(
        source,
        RestorationModel.from_snapshot(snapshot, device),
        cache_bytes=parts.learning // READING_SHARE,
        budget_bytes=parts.network,
        statistics=statistics,
        fingerprint=hashlib.sha256(known.encode()).hexdigest()[:32],
    )
