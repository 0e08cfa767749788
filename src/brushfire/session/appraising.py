"""What a network would be for the volume, found in a thread before anybody learns with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brushfire.engine.device import network_budget
from brushfire.errors import BrushfireError, SettingsError
from brushfire.networks.architectures import architecture_of, check_installed
from brushfire.session.newest import Newest

if TYPE_CHECKING:
    from collections.abc import Callable

    from brushfire.learning.restoring import RestorationSettings
    from brushfire.learning.settings import LearningSettings
    from brushfire.networks.facts import NetworkFacts
    from brushfire.networks.settings import NetworkSettings


@dataclass(frozen=True, slots=True)
class Appraisal:
    """What a network would be.

    Parameters
    ----------
    network : NetworkSettings
        Which.
    learning : LearningSettings or RestorationSettings
        How it would learn, to tell classes apart or to restore.
    facts : NetworkFacts or None
        What it would be; None where it cannot be made.
    problem : str
        Why it cannot be learned with here, or "".
    """

    network: NetworkSettings
    learning: LearningSettings | RestorationSettings
    facts: NetworkFacts | None
    problem: str = ""


class Appraiser:
    """The newest appraisal; the network's packages are imported in its thread."""

    def __init__(self) -> None:
        self.newest: Appraisal | None = None
        self._appraising = Newest()

    def look(
        self,
        network: NetworkSettings,
        learning: LearningSettings | RestorationSettings,
        *,
        channels: int,
        classes: int,
        device: str,
        network_bytes: int,
        check: Callable[[], None],
    ) -> None:
        """Find out what a network would be; `fetch` tells when that is done.

        Parameters
        ----------
        network, learning : NetworkSettings, LearningSettings or RestorationSettings
            What it is, and how it would learn.
        channels, classes : int
            Of the volume, and how many classes there are; none where it restores.
        device : str
            Where it would compute.
        network_bytes : int
            What the session's budget gives to the network.
        check : callable
            Raises what else is in the way of both.
        """

        def work(progress: object, cancelled: object) -> Appraisal:
            facts = None
            try:
                check_installed(architecture_of(network.architecture))
                from brushfire.networks.facts import describe_network

                facts = describe_network(network, channels, classes)
                check()
                _check_room(facts, network_budget(device, network_bytes))
            except BrushfireError as error:
                return Appraisal(network, learning, facts, str(error))
            return Appraisal(network, learning, facts)

        self._appraising.start(work)

    def fetch(self) -> tuple[bool, Exception | None]:
        """Take in what was found; return whether something was, and what went wrong."""
        report = self._appraising.fetch()
        if report is None:
            return False, None
        self.newest = report.result
        return report.result is not None, report.error

    def close(self) -> None:
        """Drop everything and end the thread."""
        self._appraising.close()
        self.newest = None


def _check_room(facts: NetworkFacts, room: int) -> None:
    if facts.least_bytes > room:
        raise SettingsError(
            f"The network may take {room / 2**20:.0f} MiB of memory.",
            got=f"one that takes {facts.least_bytes / 2**20:.0f} MiB at least",
            do="Choose fewer channels, fewer slices or a smaller window.",
        )
