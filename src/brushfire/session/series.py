"""Further scans of a series, to restore from beside the first: what was given, and what fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brushfire.errors import ProjectError, VolumeError
from brushfire.learning.restoring.scans import called
from brushfire.project import ScanReference
from brushfire.session.opening import reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brushfire.learning.restoring import Scan, Way

Given = tuple[Any, Any]
"""A scan, and its clean one or None; each a path, an array or a volume."""


def given_scans(others: Sequence[Any], way: Way, *, zoomed: bool) -> list[Given]:
    """Return what was given as scans, each with its clean one or None.

    Parameters
    ----------
    others : sequence
        Scans, and pairs of a scan and its clean one.
    way : {"pairs", "splits", "blind", "neighbours"}
        What is learned from.
    zoomed : bool
        Whether that is a zoomed scan.

    Raises
    ------
    ProjectError
        If they do not belong to this way.
    """
    given = [one if isinstance(one, tuple) else (one, None) for one in others]
    if given and zoomed:
        raise ProjectError(
            "From a zoomed scan one volume is restored: another one has a grid of its own.",
            got=f"{len(given)} further scan(s)",
            do="Leave them out.",
        )
    for at, (scan, clean) in enumerate(given):
        if scan is None or (clean is None) == (way == "pairs"):
            what = "a clean one" if clean is not None else "no clean one"
            raise ProjectError(
                "In the way 'pairs' each further scan has a clean one; in no other.",
                got=f"{what if scan is not None else 'no scan'} for further scan {at + 1} in the"
                f" way {way!r}",
                do="Give one for each, or choose another way.",
            )
    return given


def noted_scans(others: Sequence[Scan]) -> tuple[ScanReference, ...]:
    """Return what a project notes of scans."""
    return tuple(
        ScanReference(reference(one.volume), None if one.target is None else reference(one.target))
        for one in others
    )


def check_distinct(scans: Sequence[Scan]) -> None:
    """Check that no scan is learned from twice, and that none is its own clean one.

    Raises
    ------
    VolumeError
        If one is.
    """
    seen: dict[str, str] = {}
    for scan in scans:
        name, digest = called(scan.volume), scan.volume.fingerprint
        if digest in seen:
            raise VolumeError(
                "Each scan of a series is learned from once.",
                got=f"{name}, whose voxels are those of {seen[digest]}",
                do="Leave one of them out, or choose the scan that is meant.",
            )
        seen[digest] = name
        if scan.target is not None and scan.target.fingerprint == digest:
            raise VolumeError(
                "A clean volume is not the noisy one.",
                got=f"{called(scan.target)} for {name}",
                do="Choose the clean one of that scan.",
            )
