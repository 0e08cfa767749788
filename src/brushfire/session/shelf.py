"""What the library offers for a volume, read in a thread."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from brushfire.jobs import Jobs
from brushfire.library import Library, fingerprint_of, rank
from brushfire.library.fingerprints import RELATED

if TYPE_CHECKING:
    from pathlib import Path

    from brushfire.library import Fingerprint, ModelCard
    from brushfire.volumes import Volume


@dataclass(frozen=True, slots=True)
class Offer:
    """A model of the library, as a start for the volume that is open.

    Parameters
    ----------
    name : str
        By which it is asked for.
    path : Path
        Its folder or zip.
    card : ModelCard or None
        What is known of it; None where it cannot be read.
    problem : str
        Why it is no start here, or "".
    apart : float or None
        How unlike its data are, see `brushfire.library.distance`; None where nobody knows.
    proposed : bool
        Whether it is the one to take: the nearest, where its data have something in common.
    """

    name: str
    path: Path
    card: ModelCard | None
    problem: str = ""
    apart: float | None = None
    proposed: bool = False


class Shelf:
    """The newest offers.

    They are read apart from other jobs, which may take minutes, since somebody waits for them.
    """

    def __init__(self) -> None:
        self.offers: tuple[Offer, ...] = ()
        self._threads = Jobs()
        self._newest = 0
        self._known: tuple[object, Fingerprint] | None = None  # used by one thread at a time

    def look(self, volume: Volume) -> None:
        """Read what there is; `fetch` tells when that is done."""
        self._threads.cancel(self._newest)
        self._newest += 1
        self._threads.start(self._newest, lambda progress, cancelled: self._read(volume))

    def fetch(self) -> tuple[bool, Exception | None]:
        """Take in what was read; return whether something was, and what went wrong."""
        read, error = False, None
        for report in self._threads.fetch():
            if report.job == self._newest and report.state in ("finished", "failed"):
                read, error = True, report.error
                self.offers = report.result or ()
        return read, error

    def close(self) -> None:
        """Drop everything and end the thread."""
        self._threads.close()
        self._threads.fetch()
        self.offers, self._known = (), None

    def _read(self, volume: Volume) -> tuple[Offer, ...]:
        entries = Library().entries()
        if not entries:
            return ()
        here = self._fingerprint(volume)
        paths = {entry.name: entry.path for entry in entries}
        ranked = rank([entry.card for entry in entries if entry.card is not None], here)
        offers = [Offer(card.name, paths[card.name], card, apart=apart) for card, apart in ranked]
        offers += [Offer(one.name, one.path, None, one.problem) for one in entries if one.problem]
        offers.sort(key=lambda one: bool(one.problem))  # those that can be taken come first
        near = next((one for one in offers if not one.problem and one.apart is not None), None)
        if near is None or near.apart is None or near.apart > RELATED:
            return tuple(offers)
        return tuple(replace(one, proposed=one is near) for one in offers)

    def _fingerprint(self, volume: Volume) -> Fingerprint:
        """Return what the volume is like; measured once."""
        which = (volume.fingerprint, volume.voxel_size, volume.voxel_size_known)
        if self._known is None or self._known[0] != which:
            self._known = (which, fingerprint_of(volume))
        return self._known[1]
