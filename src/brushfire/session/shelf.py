"""What the library offers for a volume, read in a thread."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from brushfire.errors import BrushfireError
from brushfire.library import Library, fingerprint_of, rank, read_model_file
from brushfire.library.fingerprints import RELATED
from brushfire.session.newest import Newest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from brushfire.annotations import AnnotationSnapshot
    from brushfire.library import Fingerprint, ModelCard
    from brushfire.volumes import Volume

_COMPARED = 12  # models that are asked about strokes, those of the most alike data first
_CHANCE = 0.005  # of mean Dice: less is no reason to propose anything


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
    score : float or None
        Mean Dice of linear fits on what its layers see at strokes that they were not taught, see
        `brushfire.learning.transfer.ranking`; None while there are too few strokes.
    gain : tuple of float or None
        Ends between which that less the same of no start lies with 90 % certainty; None where the
        strokes are too few to tell.
    proposed : bool
        Whether it is the one to take: the best by its score where that is better than from scratch;
        else, unless the strokes tell with certainty that it is worse, the nearest, where its data
        have something in common.
    """

    name: str
    path: Path
    card: ModelCard | None
    problem: str = ""
    apart: float | None = None
    score: float | None = None
    gain: tuple[float, float] | None = None
    proposed: bool = False

    @property
    def sure(self) -> bool:
        """Whether the strokes tell with certainty that it is better, or worse, than no start."""
        return self.gain is not None and (self.gain[0] > 0 or self.gain[1] < 0)


class Shelf:
    """The newest offers."""

    def __init__(self) -> None:
        self.offers: tuple[Offer, ...] = ()
        self.scratch: float | None = None
        self._reading = Newest()
        self._known: tuple[object, Fingerprint] | None = None  # used by one thread at a time

    def look(self, volume: Volume, labels: AnnotationSnapshot) -> None:
        """Read what there is; `fetch` tells when that is done.

        Parameters
        ----------
        volume : Volume
            That is open.
        labels : AnnotationSnapshot
            Its strokes, on which starts are compared.
        """
        self._reading.start(lambda progress, cancelled: self._read(volume, labels, cancelled))

    def fetch(self) -> tuple[bool, Exception | None]:
        """Take in what was read; return whether something was, and what went wrong."""
        report = self._reading.fetch()
        if report is None:
            return False, None
        self.offers, self.scratch = report.result or ((), None)
        return True, report.error

    def close(self) -> None:
        """Drop everything and end the thread."""
        self._reading.close()
        self.offers, self.scratch, self._known = (), None, None

    def _read(
        self, volume: Volume, labels: AnnotationSnapshot, cancelled: Callable[[], bool]
    ) -> tuple[tuple[Offer, ...], float | None]:
        entries = Library().entries()
        if not entries:
            return (), None
        here = self._fingerprint(volume)
        paths = {entry.name: entry.path for entry in entries}
        ranked = rank([entry.card for entry in entries if entry.card is not None], here)
        offers = [Offer(card.name, paths[card.name], card, apart=apart) for card, apart in ranked]
        offers, scratch = _scored(offers, volume, labels, cancelled)
        best = proposed_among(offers, scratch)
        offers = [replace(one, proposed=one is best) for one in offers]
        offers += [Offer(one.name, one.path, None, one.problem) for one in entries if one.problem]
        return tuple(offers), scratch

    def _fingerprint(self, volume: Volume) -> Fingerprint:
        """Return what the volume is like; measured once."""
        which = (volume.fingerprint, volume.voxel_size, volume.voxel_size_known)
        if self._known is None or self._known[0] != which:
            self._known = (which, fingerprint_of(volume))
        return self._known[1]


def _scored(
    offers: list[Offer],
    volume: Volume,
    labels: AnnotationSnapshot,
    cancelled: Callable[[], bool],
) -> tuple[list[Offer], float | None]:
    """Return offers by their scores on strokes, and that of a start from scratch."""
    from brushfire.learning.transfer.ranking import StartScores
    from brushfire.networks import SegmentationModel

    scores = StartScores(volume, labels)
    scratch = scores.scratch
    if scratch is None:
        return offers, None
    found = []
    for place, offer in enumerate(offers):
        if place < _COMPARED and not cancelled():
            with suppress(BrushfireError):  # damaged since it was listed: taking it will tell
                model = SegmentationModel.from_snapshot(read_model_file(offer.path).model)
                if (score := scores.of(model)) is not None:
                    offer = replace(offer, score=score.dice, gain=score.gain)
        found.append(offer)
    # Those that tie stay in the order of their data.
    return sorted(found, key=lambda one: -1.0 if one.score is None else -one.score - 1), scratch


def proposed_among(offers: Sequence[Offer], scratch: float | None) -> Offer | None:
    """Return the offer that is proposed, if any, see `Offer`.

    Parameters
    ----------
    offers : sequence of Offer
        By their scores, then by how alike their data are.
    scratch : float or None
        The score of no start.
    """
    first = offers[0] if offers else None
    if first is not None and scratch is not None and first.score is not None:
        if first.score > scratch + _CHANCE:
            return first
        if first.sure:
            return None
    # Strokes that cannot tell are no reason against alike data.
    near = next((one for one in offers if one.apart is not None and not one.sure), None)
    return near if near is not None and (near.apart or 0) <= RELATED else None
