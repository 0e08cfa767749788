"""Resolve what restoring means: which volumes on which grid, which network, what is doubtful."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brushfire.engine.messages import LearnToRestore
from brushfire.errors import Cancelled, ProjectError, VolumeError
from brushfire.geometry import Box, Triple, triple
from brushfire.learning.restoring import RestorationSettings, Scan, suggest_restoration_network
from brushfire.learning.restoring.fitness import check_series, region_of
from brushfire.learning.restoring.scans import called
from brushfire.learning.restoring.settings import check_way
from brushfire.project import RestorationState
from brushfire.session.memory import shares
from brushfire.session.opening import open_reference, reference
from brushfire.session.series import check_distinct, given_scans, noted_scans
from brushfire.volumes import Volume, open_volume
from brushfire.volumes.resampling import grid_around, resampled
from brushfire.volumes.stacking import check_same_grid, stack_channels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from brushfire.geometry import Scale
    from brushfire.jobs import Work
    from brushfire.learning.restoring import Way
    from brushfire.learning.restoring.checks import Finding
    from brushfire.networks.settings import NetworkSettings
    from brushfire.networks.snapshot import ModelSnapshot
    from brushfire.project import Project, VolumeReference
    from brushfire.session.session import Session

_LEAST_SPLITS = 2
READING_SHARE = 4
"""Of what learning may keep: that part goes to volumes beside the first."""


@dataclass(frozen=True)
class Restoration:
    """What is restored, and what it is learned from, on one grid.

    Parameters
    ----------
    state : RestorationState
        What the project keeps of it: settings, and where the volumes are.
    source : Volume
        What is restored: the session's volume, that on a finer grid, or parts of a scan as
        channels. Tiles, regions and exports of what is restored count its voxels.
    target : Volume or None
        What it should look like.
    target_origin : tuple of int
        Voxel of the source, z, y, x, where the target begins.
    warnings : tuple of str
        What is doubtful about them, in sentences.
    others : tuple of Scan
        Further scans of a series that it is learned from.
    """

    state: RestorationState
    source: Volume
    target: Volume | None = None
    target_origin: Triple = (0, 0, 0)
    warnings: tuple[str, ...] = ()
    others: tuple[Scan, ...] = ()

    @property
    def outputs(self) -> int:
        """Channels that are restored."""
        return self.state.network.restored

    @property
    def channels(self) -> tuple[str, ...]:
        """A name for each of them."""
        names = self.source.channels if self.target is None else self.target.channels
        if len(names) == self.outputs:
            return names
        return tuple(f"restored {at + 1}" for at in range(self.outputs))

    def given(self, key: Any) -> NDArray[np.float32]:
        """Return what is restored as it was given, indexed z, y, x; any thread may call it.

        Of parts of a scan that is their mean, else the first channel.
        """
        parts = self.state.learning.way == "splits"
        channels = range(len(self.source.channels) if parts else 1)
        total = sum(np.asarray(self.source.view(0, at)[key], np.float32) for at in channels)
        mean: NDArray[np.float32] = np.asarray(total / len(channels), np.float32)
        return mean

    @property
    def corner(self) -> Scale:
        """Micrometres from the first corner of the volume to that of the source, z, y, x."""
        offset, sizes = self.state.offset, self.source.voxel_size
        if offset is None:
            return 0.0, 0.0, 0.0
        z, y, x = (a - n * d for a, n, d in zip(offset, self.target_origin, sizes, strict=True))
        return z, y, x

    @property
    def scans(self) -> tuple[Scan, ...]:
        """All that it is learned from, the source and its target first."""
        return Scan(self.source, self.target, self.target_origin), *self.others

    @property
    def paths(self) -> tuple[str, ...]:
        """The files that it is learned from, beside the volume itself."""
        return tuple(one.source for one in self.state.volumes if one.source is not None)

    def command(self, revision: int, cache_bytes: int) -> LearnToRestore:
        """Return what the engine is told.

        Parameters
        ----------
        revision : int
            Newest revision in use of models that restore.
        cache_bytes : int
            What learning may keep of all volumes.
        """
        return LearnToRestore(
            self.source,
            self.state.network,
            self.learning(cache_bytes),
            self.target,
            self.target_origin,
            revision,
            self.others,
        )

    def learning(self, cache_bytes: int) -> RestorationSettings:
        """Return how it is learned under a bound of memory, see `command`."""
        each = (cache_bytes - cache_bytes // READING_SHARE) // (1 if self.target is None else 2)
        return replace(self.state.learning, cache_bytes=each)

    def on_source(self, box: Box, volume: Volume) -> Box:
        """Return a box of the volume as one of the source, which may have finer voxels."""
        if self.source.shape == volume.shape:
            return box
        ratio = [n / m for n, m in zip(self.source.shape, volume.shape, strict=True)]
        start = [int(a * r) for a, r in zip(box.start, ratio, strict=True)]
        # What is one voxel thick stays so: a view shows one slice.
        sizes = [1 if n == 1 else round(n * r) for n, r in zip(box.shape, ratio, strict=True)]
        stop = [a + n for a, n in zip(start, sizes, strict=True)]
        return Box(triple(start), triple(stop)).clip(self.source.shape)


def prepare_restoring(
    session: Session,
    way: Way,
    *,
    target: Any,
    splits: Sequence[Any],
    offset: Scale | None,
    refine: bool,
    others: Sequence[Any],
    network: NetworkSettings | None,
    learning: RestorationSettings | None,
) -> Work:
    """Return the work of opening and checking what is restored from, which gives a `Restoration`.

    Parameters
    ----------
    session : Session
        With an open volume.
    way, target, splits, offset, refine, others, network, learning
        As of `Session.restore_from`.

    Raises
    ------
    ProjectError
        What was given does not belong to this way.
    """
    volume, budget = session.volume, session.settings.memory_budget_bytes
    assert volume is not None
    settings = RestorationSettings(way) if learning is None else learning
    if settings.way != way:
        raise ProjectError(
            "Settings are of the way in which is learned.", got=settings.way, do=f"Choose {way}."
        )
    _check_given(way, target, splits, offset)
    further = given_scans(others, way, zoomed=offset is not None)
    count = len(splits) + len(further) * (2 if way == "pairs" else 1)
    each = bytes_each(budget, count + (target is not None))

    def work(progress: Callable[[int, int], None], cancelled: Callable[[], bool]) -> Restoration:
        clean = None if target is None else _opened(target, each)
        parts = [_opened(one, each) for one in splits]
        scans = [
            Scan(_opened(one, each), None if its is None else _opened(its, each))
            for one, its in further
        ]
        remarks = []
        place = offset
        if clean is not None and offset is not None and refine:
            from brushfire.volumes.aligning import align_region

            found = align_region(volume, clean, offset)
            place = found.offset
            remarks.append(found.remark)
        made = _arranged(volume, settings, clean, parts, place, network, scans)
        for scan in made.scans:
            if cancelled():
                raise Cancelled
            scan.volume.statistics()  # says in a sentence when there is nothing to learn from
            if scan.target is not None:
                scan.target.statistics()
            _ = scan.volume.fingerprint  # read here, not when it is first needed
            remarks += _remarks(made, scan, volume)
        return replace(made, warnings=tuple(text for text in remarks if text))

    return work


def reopen(
    volume: Volume, state: RestorationState, project: Project | None, *, budget_bytes: int
) -> tuple[Restoration, ModelSnapshot | None]:
    """Return what a project was restored from, open again, and the model that restores.

    Parameters
    ----------
    volume : Volume
        Of the project.
    state : RestorationState
        What the project kept.
    project : Project or None
        Which keeps the model.
    budget_bytes : int
        Of the whole session.

    Raises
    ------
    BrushfireError
        Something of it is gone, or has changed.
    """
    each = bytes_each(budget_bytes, len(state.volumes))
    target = None if state.target is None else found_again(state.target, each)
    splits = [found_again(one, each) for one in state.splits]
    others = [
        Scan(
            found_again(one.scan, each), None if one.clean is None else found_again(one.clean, each)
        )
        for one in state.others
    ]
    made = _arranged(volume, state.learning, target, splits, state.offset, state.network, others)
    shown = None
    if project is not None and state.shown_model is not None:
        shown = project.load_model(state.shown_model, restores=True)
    return made, shown


def _check_given(way: Way, target: Any, splits: Sequence[Any], offset: Scale | None) -> None:
    if (target is None) == (way == "pairs"):
        raise ProjectError(
            "In the way 'pairs' the volume is learned to look like another one; in no other.",
            got=f"{'no' if target is None else 'a'} target in the way {way!r}",
            do="Choose the clean volume or the zoomed scan, or another way.",
        )
    if splits and way != "splits":
        raise ProjectError(
            "Reconstructions of parts of a scan are learned from in the way 'splits'.",
            got=f"{len(splits)} of them in the way {way!r}",
            do="Choose 'splits', or give none.",
        )
    if offset is not None and target is None:
        raise ProjectError(
            "An offset says where a zoomed scan lies in the volume.",
            got="no zoomed scan",
            do="Choose one, or give no offset.",
        )


def bytes_each(budget: int, count: int) -> int:
    """Return what each further volume may keep decoded: it is taken from what learning keeps."""
    return shares(budget).learning // READING_SHARE // max(1, count)


def _opened(given: Any, cache_bytes: int) -> Volume:
    return given if isinstance(given, Volume) else open_volume(given, cache_bytes=cache_bytes)


def found_again(noted: VolumeReference, cache_bytes: int) -> Volume:
    """Return a volume beside the first that a project noted.

    Raises
    ------
    VolumeError
        It is gone, or has changed.
    """
    if noted.source is None:
        raise VolumeError(
            "What a project was restored from is read again from its file.",
            got="an array that was in memory only",
            do="Give it again.",
        )
    volume = open_reference(noted, cache_bytes)
    if volume.fingerprint != noted.fingerprint:
        raise VolumeError(
            "What a project was restored from has not changed since.",
            got=f"{noted.source} with other voxels",
            do="Choose it again if that is meant.",
        )
    return volume


def _arranged(
    volume: Volume,
    learning: RestorationSettings,
    target: Volume | None,
    splits: Sequence[Volume],
    offset: Scale | None,
    network: NetworkSettings | None,
    others: Sequence[Scan],
) -> Restoration:
    """Return volumes on one grid, and a network for them; few voxels are read.

    Raises
    ------
    VolumeError, LearningError, SettingsError
        They do not lie on one grid, or do not fit the way or the network.
    """
    source, origin = volume, None
    if learning.way == "splits":
        source = _parts(volume, splits)
    elif target is not None and offset is not None:
        grid, origin = grid_around(volume, target.shape, target.voxel_size, offset)
        source = resampled(volume, grid)
    outputs = 1 if target is None else len(target.channels)
    network = network or suggest_restoration_network(
        source, learning.way, outputs=outputs, zoomed=offset is not None
    )
    check_way(learning, network, len(source.channels))
    region = region_of(source, target, learning, network, origin)
    if others:
        scans = (Scan(source, target), *others)
        check_series(scans)
        check_distinct(scans)
    for one in others:
        region_of(one.volume, one.target, learning, network, one.origin)
    state = RestorationState(
        network=network,
        learning=learning,
        target=None if target is None else reference(target),
        splits=tuple(reference(one) for one in splits),
        offset=offset,
        others=noted_scans(others),
    )
    return Restoration(state, source, target, region.start, others=tuple(others))


def _parts(volume: Volume, splits: Sequence[Volume]) -> Volume:
    """Return reconstructions of parts of a scan as channels; one file may hold all of them."""
    count = sum(len(one.channels) for one in splits or (volume,))
    if count < _LEAST_SPLITS:
        raise VolumeError(
            "Learning from parts of one scan takes two reconstructions of them or more, each from"
            " other projections.",
            got="one" if count else "none",
            do="Give the others too, or learn from the volume alone.",
        )
    if not splits:
        return volume
    check_same_grid(volume, splits[0])
    return stack_channels(splits)


def _remarks(made: Restoration, scan: Scan, volume: Volume) -> list[str]:
    """Return what to warn of in a scan, of several by name.

    Raises
    ------
    VolumeError
        Nothing can be learned from it.
    """
    # What a zoomed scan is restored from is interpolated: the voxels that were scanned are asked.
    asked = scan.volume if made.state.offset is None else volume
    name = f"{called(asked)}: " if made.others else ""
    texts = [_passed(finding, name) for finding in _findings(made, scan, asked)]
    return [f"{name}{text}" for text in texts if text]


def _findings(made: Restoration, scan: Scan, asked: Volume) -> list[Finding]:
    from brushfire.learning.restoring.checks import check_noise, check_pair, check_values

    found = check_values(asked)
    if scan.target is not None:
        found += check_values(scan.target)
        if made.state.offset is None:
            found.append(check_pair(scan.volume, scan.target))
    if made.state.learning.way == "blind":
        found.append(check_noise(asked))
    return found


def _passed(found: Finding, name: str) -> str:
    """Return what to warn of, "" for nothing.

    Raises
    ------
    VolumeError
        Nothing can be learned from what was given.
    """
    if found.severity == "refusal":
        raise VolumeError(
            "What is learned from shows the same at the same place.",
            got=f"{name}{found.text}",
            do="Choose other volumes, or align these.",
        )
    return found.text if found.severity == "warning" else ""


def is_among(path: Path, restoration: Restoration | None) -> bool:
    """Whether ``path`` is, or holds, a file that is learned from."""
    places = []
    for noted in () if restoration is None else restoration.paths:
        with suppress(OSError):
            places.append(Path(noted).resolve())
    return any(path == place or path in place.parents for place in places)
