"""How a start takes over what was learned: folded away under the list of starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QSpinBox, QWidget

from brushfire.errors import SettingsError
from brushfire.learning.transfer.schedules import SCHEDULE_TEXTS, SCHEDULES, check_schedule
from brushfire.learning.transfer.strategies import CHANNELS, STRATEGIES, StartSettings, check_start
from brushfire.networks.settings import NetworkSettings
from brushfire.ui.widgets import Choice, column, field_name, form_in, label

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qtpy.QtWidgets import QLabel

    from brushfire.learning.transfer.schedules import Schedule
    from brushfire.session import Offer

BY_STAGES = ("lower", "slim")
CHANNEL_TEXTS = {
    "mean": ("their mean", "Each weight is the mean of what the channels there had."),
    "copy": ("copies in turn", "Channels here take the weights of those there, in turn."),
    "adapter": ("a learned layer", "A layer makes as many channels of these as there were."),
}


class HowForm(QWidget):
    """Which weights a start takes over, and which learn; it holds for the next start.

    Parameters
    ----------
    changed : callable
        Called after a choice.
    """

    def __init__(self, changed: Callable[[], object]) -> None:
        super().__init__()
        self.setProperty("role", "plain")
        self.weights = Choice("Which weights are taken over")
        for way, (title, text) in STRATEGIES.items():
            self.weights.add(title, way, text)
        self.stages = QSpinBox()
        self.stages.setRange(1, 12)
        self.stages.setValue(StartSettings().stages)
        self.stages.setToolTip("How many stages are taken over, counted from the image")
        self.stages.setMinimumWidth(1)
        self.schedule = Choice("Which weights learn, and when")
        for schedule in SCHEDULES:
            words = SCHEDULE_TEXTS[schedule]
            self.schedule.add(words.title, schedule, words.text)
        self.channels = Choice("What becomes of weights for another number of channels")
        for kind in CHANNELS:
            self.channels.add(CHANNEL_TEXTS[kind][0], kind, CHANNEL_TEXTS[kind][1])
        self.text = label("")
        layout = column(self, margins=(4, 0, 0, 0))
        fields = QWidget()
        fields.setProperty("role", "plain")
        form = form_in(fields)
        self._names: dict[QWidget, QLabel] = {}
        for name, field in (
            ("Take over", self.weights), ("Stages", self.stages),
            ("Channels", self.channels), ("Learns", self.schedule),
        ):  # fmt: skip
            self._names[field] = field_name(name)
            form.addRow(self._names[field], field)
        layout.addWidget(fields)
        layout.addWidget(self.text)
        self._changed = changed
        for choice in (self.weights, self.schedule, self.channels):
            choice.currentIndexChanged.connect(self._on_change)
        self._show(self.channels, False)
        self._on_change()

    @property
    def start(self) -> StartSettings:
        """Which weights the next start takes over."""
        return StartSettings(self.weights.chosen, self.stages.value(), self.channels.chosen)

    @property
    def learns(self) -> Schedule:
        """Which of them learn then, and when."""
        schedule: Schedule = self.schedule.chosen
        return schedule

    def reset(self, schedule: Schedule) -> None:
        """Go back to all weights, and to what learns now."""
        self.weights.choose(StartSettings().weights)
        self.channels.choose(StartSettings().channels)
        self.schedule.choose(schedule)

    def show_offers(self, offers: Sequence[Offer], channels: int) -> None:
        """Grey out the ways that work for none of these offers.

        Parameters
        ----------
        offers : sequence of Offer
            What may be started from, the most fitting first.
        channels : int
            Of the volume.
        """
        cards = [one.card for one in offers if one.card is not None and not one.problem]
        networks = [network for card in cards if (network := network_of(card.network)) is not None]
        usual: Schedule = "all"
        for way in STRATEGIES:
            self.weights.refuse(way, _reason(StartSettings(way), usual, networks))
        for schedule in SCHEDULES:
            self.schedule.refuse(schedule, _reason(StartSettings(), schedule, networks))
        for kind in CHANNELS:
            self.channels.refuse(kind, _reason(StartSettings(channels=kind), usual, networks))
        self._show(self.channels, any(card.channels != channels for card in cards))

    def why_not(self, offer: Offer) -> str:
        """Return why an offer cannot be started from so, or ""."""
        network = None if offer.card is None else network_of(offer.card.network)
        return "" if network is None else _reason(self.start, self.learns, [network])

    def _on_change(self, *_: object) -> None:
        self.text.setText(STRATEGIES[self.weights.chosen][1])
        self._show(self.stages, self.weights.chosen in BY_STAGES)
        self._changed()

    def _show(self, field: QWidget, shown: bool) -> None:
        field.setVisible(shown)
        self._names[field].setVisible(shown)


def network_of(plain: dict[str, Any]) -> NetworkSettings | None:
    """Return the network of a card; None where a newer version knows more of it."""
    try:
        return NetworkSettings(**plain)
    except (SettingsError, TypeError):
        return None


def _reason(start: StartSettings, schedule: Schedule, networks: Sequence[NetworkSettings]) -> str:
    """Return what is in the way of the first of these networks where it is of all, else ""."""
    reasons = []
    for network in networks:
        try:
            check_start(start, network)
            check_schedule(schedule, network)
        except SettingsError as error:
            reasons.append(error.rule)
        else:
            return ""
    return reasons[0] if reasons else ""
