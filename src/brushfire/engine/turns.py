"""Whose turn it is: time is divided by weight among the kinds of work that have some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

Work = Literal["visible", "learning", "region", "beyond", "places"]


class Turns:
    """Start-time fair queueing (Goyal et al. 1997) over kinds of work.

    Whatever is asked for and however often, a kind of work that has something to do gets its
    share of the time. One that had nothing to do has not saved anything up.

    Parameters
    ----------
    weights : mapping
        The share of each kind, relative to the others.
    """

    def __init__(self, weights: Mapping[Work, float]) -> None:
        self._weights = dict(weights)
        self._spent: dict[Work, float] = dict.fromkeys(weights, 0.0)
        self._now = 0.0

    def choose(
        self, able: Collection[Work], *, first: Work | None = None, ahead: float = 0.0
    ) -> Work:
        """Return which of the kinds in ``able`` works next.

        Parameters
        ----------
        able : collection
            The kinds that have something to do; not empty.
        first : str, optional
            A kind that goes before its turn...
        ahead : float
            ...until it is this many weighted seconds ahead of the others.
        """
        for kind in able:
            self._spent[kind] = max(self._spent[kind], self._now)
        chosen = min(able, key=self._spent.__getitem__)
        self._now = self._spent[chosen]
        if first is not None and first in able and self._spent[first] < self._now + ahead:
            return first
        return chosen

    def charge(self, kind: Work, seconds: float) -> None:
        """Note that ``kind`` has worked for so long."""
        self._spent[kind] += seconds / self._weights[kind]
