"""Judge what is restored without a truth, in threads: edges along a line, and what was removed."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from math import floor, hypot, log10
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brushfire.errors import ProjectError, StorageError
from brushfire.geometry import Box, triple
from brushfire.learning.restoring.edges import MARGIN, EdgeProfile, edge_profile, voxels_along
from brushfire.session.newest import Newest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from brushfire.geometry import Scale
    from brushfire.jobs import Work
    from brushfire.learning.restoring.checks import Finding
    from brushfire.prediction import RestoredStore
    from brushfire.session.restoration import Restoration
    from brushfire.session.states import TileUpdate
    from brushfire.volumes import Volume

LONGEST = 1000
"""Voxels that a line may cross: what is read around it stays small."""

ACROSS = 5
"""Voxels at right angles to a line over which the mean is taken."""

NOT_YET = "Not restored there yet."

_REST = 0.25  # seconds between two answers while tiles stream in


@dataclass(frozen=True)
class EdgeLine:
    """A line across an edge, in one plane of a volume.

    Parameters
    ----------
    start, stop : tuple of float
        Its ends in voxels of the volume's level 0, z, y, x; 0 is the middle of the first voxel.
    axis : int
        At right angles to the plane: 0, 1 or 2.
    """

    start: Scale
    stop: Scale
    axis: int

    @property
    def inside(self) -> tuple[int, int]:
        """The axes of its plane."""
        one, other = (axis for axis in range(3) if axis != self.axis)
        return one, other


@dataclass(frozen=True, eq=False)
class EdgeComparison:
    """An edge as it was given, and as it is restored.

    Parameters
    ----------
    line : EdgeLine
        Along which.
    given, restored : EdgeProfile
        The same line; a zoomed scan has voxels of its own.
    unit : str
        Of distances: "µm", or "voxels" where the voxel size is unknown.
    """

    line: EdgeLine
    given: EdgeProfile
    restored: EdgeProfile
    unit: str

    @property
    def text(self) -> str:
        """How wide the edge is in both, and what restoring did to it."""
        given, restored = self.given, self.restored
        if given.problem and given.problem == restored.problem:
            return given.problem
        lines = [f"As given: {self._width(given)}", f"Denoised: {self._width(restored)}"]
        if not given.problem and not restored.problem:
            lines.append(_verdict(given, restored))
        return "\n".join(lines)

    def _width(self, found: EdgeProfile) -> str:
        if found.width is None or found.low is None or found.high is None:
            return found.problem
        if found.width < found.voxel:
            most = max(found.high, found.voxel)
            told, voxels = f"under {most:.2g} {self.unit}", f"under {most / found.voxel:.1f} voxels"
        else:
            # Two digits, and more where the fit is that sure.
            finest = min(found.width / 10, max((found.high - found.low) / 2, found.width / 100))
            digits = max(0, -floor(log10(finest)))
            width, low, high = (f"{one:.{digits}f}" for one in (found.width, found.low, found.high))
            told = f"{width} {self.unit} ({low} to {high})"
            voxels = f"{found.width / found.voxel:.1f} voxels"
        return f"{told}." if self.unit == "voxels" else f"{told}, {voxels}."

    def save(self, path: str | Path) -> None:
        """Write the profiles as comma-separated values, with the widths in comments above.

        Raises
        ------
        StorageError
            The file cannot be written.
        """
        rows = [f"# {line}" for line in self.text.splitlines()]
        rows.append(f"which,distance ({self.unit}),intensity")
        for which, found in (("given", self.given), ("denoised", self.restored)):
            rows += [
                f"{which},{at:.6g},{value:.8g}"
                for at, value in zip(found.distances, found.values, strict=True)
            ]
        try:
            Path(path).write_text("\n".join(rows) + "\n", encoding="utf-8")
        except OSError as error:
            raise StorageError(
                "The values are saved to a folder that can be written to.",
                got=f"{path}: {error.strerror or error}",
                do="Choose another place.",
            ) from error


def _verdict(given: EdgeProfile, restored: EdgeProfile) -> str:
    # Below a voxel there is nothing to compare.
    (before, low, high), (after, least, most) = (
        [max(one or 0.0, found.voxel) for one in (found.width, found.low, found.high)]
        for found in (given, restored)
    )
    wider = after > before
    unsure = hypot(after - least, high - before) if wider else hypot(most - after, before - low)
    if abs(after - before) <= unsure:
        return "The fits cannot tell them apart."
    change = 100 * abs(after / before - 1)
    return f"Denoising made it {change:.0f} % {'wider' if wider else 'narrower'}."


class EdgeWatch:
    """Measures the edge along one line, again whenever something new is restored there."""

    def __init__(self) -> None:
        self.newest: EdgeComparison | None = None
        self._line: EdgeLine | None = None
        self._due = self._running = False
        self._started = 0.0
        self._box: Box | None = None
        self._kept: tuple[tuple[object, ...], EdgeProfile] | None = None
        self._measuring = Newest()

    def follow(self, line: EdgeLine | None) -> None:
        """Measure along this line from now on; along none with None."""
        self._line, self._due, self.newest = line, line is not None, None

    def see_tiles(self, tiles: Sequence[TileUpdate]) -> None:
        """Measure again if one of these tiles touches the line."""
        if self._box is not None and any(tile.box.intersect(self._box) for tile in tiles):
            self.see_all()

    def see_all(self) -> None:
        """Measure again: anything may have changed."""
        self._due = self._line is not None

    def work(self, volume: Volume, restoration: Restoration, store: RestoredStore) -> None:
        """Begin to measure, if that is due and nothing is measured just now."""
        rested = time.monotonic() - self._started > _REST
        if self._line is None or not self._due or self._running or not rested:
            return
        self._due, self._running, self._started = False, True, time.monotonic()
        self._measuring.start(self._prepared(self._line, volume, restoration, store))

    def _prepared(
        self, line: EdgeLine, volume: Volume, restoration: Restoration, store: RestoredStore
    ) -> Work:
        own, fine = _on_volume(line, volume), _on_source(line, volume, restoration)
        # The store belongs to the session's thread; what lies around a line is copied at once.
        restored = store.channel(0)[fine.box.slices]
        self._box = fine.box
        asked = (line, volume, restoration.source)
        known = self._kept[1] if self._kept is not None and self._kept[0] == asked else None

        def work(progress: object, cancelled: object) -> tuple[object, EdgeComparison]:
            given = known
            if given is None:
                zoomed, key = restoration.state.offset is not None, own.box.slices
                read = np.asarray(volume.view()[key]) if zoomed else restoration.given(key)
                given = own.profile(read)
            after = fine.profile(restored)
            if not np.isfinite(after.values).all():
                after = replace(after, problem=NOT_YET)
            unit = "µm" if volume.voxel_size_known else "voxels"
            return asked, EdgeComparison(line, given, after, unit)

        return work

    def fetch(self) -> tuple[bool, Exception | None]:
        """Take in what was measured; return whether something was, and what went wrong."""
        report = self._measuring.fetch()
        if report is None:
            return False, None
        self._running = False
        if report.result is None:
            return False, report.error
        asked, found = report.result
        self._kept = asked, found.given
        if found.line != self._line:
            return False, None
        self.newest = found
        return True, None

    def close(self) -> None:
        """Drop everything and end the thread."""
        self._measuring.close()
        self.follow(None)
        self._running, self._box, self._kept = False, None, None


@dataclass(frozen=True)
class _Laid:
    """A line on one grid of voxels: what is read for it, and how."""

    line: EdgeLine  # in voxels of the grid
    sizes: Scale
    across: float
    box: Box

    def profile(self, block: NDArray[np.float32]) -> EdgeProfile:
        """Return the profile that ``block``, of the shape of the box, gives."""
        start, stop, first = map(self._inside, (self.line.start, self.line.stop, self.box.start))
        return edge_profile(
            block.squeeze(self.line.axis), np.subtract(start, first), np.subtract(stop, first),
            voxel_size=self._inside(self.sizes), across=self.across,
        )  # fmt: skip

    @property
    def voxels(self) -> float:
        """How many the line crosses."""
        return voxels_along(*map(self._inside, (self.line.start, self.line.stop, self.sizes)))

    def _inside(self, values: Sequence[float]) -> list[float]:
        return [values[axis] for axis in self.line.inside]


def check_line(line: EdgeLine, volume: Volume, restoration: Restoration) -> None:
    """Refuse a line that is no line in a plane of the volume, or too long.

    Raises
    ------
    ProjectError
        With what to draw instead.
    """
    if abs(line.start[line.axis] - line.stop[line.axis]) > 0.5:
        raise ProjectError(
            "An edge is measured along a line in one slice.",
            got="a line through several",
            do="Draw it in the slice that you see.",
        )
    for laid in (_on_volume(line, volume), _on_source(line, volume, restoration)):
        start, stop, sizes = (
            [of[axis] for axis in line.inside]
            for of in (laid.line.start, laid.line.stop, laid.sizes)
        )
        length = voxels_along(start, stop, sizes)
        if length > LONGEST:
            raise ProjectError(
                f"A line across an edge crosses at most {LONGEST} voxels.",
                got=f"one of {length:.0f}",
                do="Draw a shorter one, just across the edge.",
            )
        if not laid.box.size:
            raise ProjectError(
                "A line across an edge lies in the volume.",
                got="one outside",
                do="Draw it where the volume is.",
            )


def _on_volume(line: EdgeLine, volume: Volume) -> _Laid:
    return _laid(line, volume, _across(line, volume))


def _on_source(line: EdgeLine, volume: Volume, restoration: Restoration) -> _Laid:
    """Return a line on the grid of what is restored, which may be finer."""
    if restoration.state.offset is None:
        return _on_volume(line, volume)
    source = restoration.source

    def moved(end: Scale) -> Scale:
        z, y, x = (
            ((at + 0.5) * size - corner) / fine - 0.5
            for at, size, corner, fine in zip(
                end, volume.voxel_size, restoration.corner, source.voxel_size, strict=True
            )
        )
        return z, y, x

    fine = EdgeLine(moved(line.start), moved(line.stop), line.axis)
    return _laid(fine, source, _across(line, volume))


def _across(line: EdgeLine, volume: Volume) -> float:
    return ACROSS * min(volume.voxel_size[axis] for axis in line.inside)


def _laid(line: EdgeLine, volume: Volume, across: float) -> _Laid:
    start, stop = [0, 0, 0], [0, 0, 0]
    for axis in line.inside:
        low, high = sorted((line.start[axis], line.stop[axis]))
        reach = MARGIN + across / volume.voxel_size[axis] / 2
        start[axis], stop[axis] = floor(low - reach), floor(high + reach) + 2
    start[line.axis] = floor(line.start[line.axis] + 0.5)
    stop[line.axis] = start[line.axis] + 1
    box = Box(triple(start), triple(stop)).clip(volume.shape)
    return _Laid(line, volume.voxel_size, across, box)


def residual_check(restoration: Restoration, store: RestoredStore, box: Box) -> Work | None:
    """Return the work of checking what was removed from a slice, which gives a `Finding`.

    Parameters
    ----------
    restoration, store : Restoration, RestoredStore
        What is restored.
    box : Box
        Voxels of ``restoration.source``, one thick along one axis.

    Returns
    -------
    callable or None
        None where nothing is restored yet.
    """
    thin = box.shape.index(1)
    restored = store.channel(0)[box.slices]
    if not np.isfinite(restored).any():
        return None

    def work(progress: object, cancelled: object) -> Finding:
        from brushfire.learning.restoring.checks import check_residual

        given = restoration.given(box.slices)
        return check_residual(np.moveaxis(given, thin, 0), np.moveaxis(restored, thin, 0))

    return work
