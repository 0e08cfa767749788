"""Which weights may move, how fast and when; importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from brushfire.errors import SettingsError
from brushfire.networks.architectures import architecture_of

if TYPE_CHECKING:
    from brushfire.networks.settings import NetworkSettings

Schedule = Literal["all", "frozen", "graded", "head", "low-rank"]
SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)


@dataclass(frozen=True)
class ScheduleText:
    """A schedule as people read it."""

    title: str
    text: str


SCHEDULE_TEXTS: dict[Schedule, ScheduleText] = {
    "all": ScheduleText("all weights", "Everything learns at the same rate."),
    "frozen": ScheduleText(
        "frozen at first", "The last layer learns alone for some steps, then everything."
    ),
    "graded": ScheduleText(
        "slower towards the input",
        "Each stage learns slower than the one after it (Howard & Ruder 2018).",
    ),
    "head": ScheduleText("last layer only", "Quick, and nothing that was learned is lost."),
    "low-rank": ScheduleText(
        "low-rank updates", "Linear layers change by a few directions only (LoRA, Hu 2022)."
    ),
}


def check_schedule(schedule: Schedule, network: NetworkSettings) -> None:
    """Check that a schedule can be of use to a network.

    Raises
    ------
    SettingsError
        With the reason why it is not.
    """
    reason = why_not(schedule, network)
    if reason:
        raise SettingsError(
            reason, got=SCHEDULE_TEXTS[schedule].title, do="Choose another schedule."
        )


def why_not(schedule: Schedule, network: NetworkSettings) -> str:
    """Return why a schedule is of no use to a network; empty where it is of use."""
    kind = architecture_of(network.architecture)
    if schedule == "low-rank" and not kind.transformer:
        return f"{kind.title} has no linear layers but the last one."
    return ""
