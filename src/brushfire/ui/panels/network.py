"""Which network learns, and how large it is: folded away in the Learn step."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QCheckBox, QWidget

from brushfire.learning.transfer.schedules import SCHEDULE_TEXTS, SCHEDULES
from brushfire.learning.transfer.schedules import why_not as why_no_schedule
from brushfire.networks.architectures import MSD, architecture_of
from brushfire.networks.settings import NetworkSettings
from brushfire.ui.panels.shape import ShapeForm
from brushfire.ui.widgets import Choice

if TYPE_CHECKING:
    from brushfire.learning.settings import LearningSettings
    from brushfire.ui.connections import Connections
    from brushfire.ui.controller import Controller

NO_FEATURES = "Networks in 3D see intensities; multi-scale input is of single slices."
PRETRAINED_TIP = (
    "The encoder begins with what it learned on photographs, which is fetched once from the"
    " Hugging Face Hub; otherwise with random weights"
)
FEATURES_TIP = "Gives a first answer in a second; leave on unless you compare."


class NetworkForm(ShapeForm):
    """Which network tells classes apart, and which of its weights learn; see `ShapeForm`."""

    SLICES = {2: (1, 3, 5, 7), 3: (7, 15, 31)}  # noqa: RUF012
    SLICES_TIP = "Neighbouring slices that the network sees, to segment the middle one"
    NOTE = "Another network starts afresh; strokes and classes stay."

    def __init__(self, controller: Controller, connections: Connections) -> None:
        super().__init__(controller, connections)
        self.schedule.currentIndexChanged.connect(self._on_change)
        for box in (self.features, self.pretrained):
            box.toggled.connect(self._on_change)

    # ------------------------------------------------------------------ building
    def _make_fields(self) -> None:
        super()._make_fields()
        self.pretrained = QCheckBox("ImageNet weights")
        self.pretrained.setToolTip(PRETRAINED_TIP)
        self.schedule = Choice("Which weights learn, and when")
        for schedule in SCHEDULES:
            text = SCHEDULE_TEXTS[schedule]
            self.schedule.add(text.title, schedule, text.text)
        self.features = QCheckBox("multi-scale input")

    def _rows(self) -> list[tuple[str, QWidget]]:
        network, encoder, *others = super()._rows()
        more: list[tuple[str, QWidget]] = [("Learns", self.schedule), ("", self.features)]
        return [network, encoder, ("", self.pretrained), *others, *more]

    # ------------------------------------------------------------------ showing
    def _fill(self) -> None:
        super()._fill()
        settings = self._controller.session.settings
        self.pretrained.setChecked(settings.learning.pretrained)
        self.features.setChecked(settings.network.features)
        self.schedule.choose(settings.learning.schedule)

    def _grey(self) -> None:
        super()._grey()
        name = self.architecture.chosen
        # Which schedules are of use depends on the architecture alone.
        plain = self._another(name)
        for schedule in SCHEDULES:
            self.schedule.refuse(schedule, why_no_schedule(schedule, plain))
        deep = self.axes.chosen == 3
        self.features.setEnabled(not deep)
        self.features.setToolTip(NO_FEATURES if deep else FEATURES_TIP)
        if deep:
            self.features.setChecked(False)
        self._show_rows({self.pretrained: self._encodes})

    def _follow_axes(self) -> None:
        super()._follow_axes()
        if self.axes.chosen == 2 and not self.features.isEnabled():
            self.features.setChecked(True)

    # ------------------------------------------------------------------ asking and acting
    @property
    def _now(self) -> NetworkSettings:
        return self._controller.session.settings.network

    def _another(self, architecture: str) -> NetworkSettings:
        kind, plain = architecture_of(architecture), NetworkSettings(border=self._now.border)
        if architecture == MSD:
            return plain
        return replace(
            plain, architecture=architecture, depth=kind.depth.usual, width=kind.width.usual
        )

    def _usual_slices(self, axes: int) -> int:
        return 1 if axes == 2 else 15

    @property
    def _more(self) -> dict[str, Any]:
        now, features = self._now, self.features.isChecked()
        alike = self.architecture.chosen == now.architecture
        return {"features": features, "adapter": 0 if features or not alike else now.adapter}

    @property
    def chosen(self) -> tuple[NetworkSettings, LearningSettings]:
        """What the fields say, with what they do not ask for as it is; see `ShapeForm`."""
        settings = self._controller.session.settings
        pretrained = settings.learning.pretrained
        if self._encodes:
            pretrained = self.pretrained.isChecked()
        elif settings.network.encoder is not None:
            pretrained = True  # what is no longer seen was said of that encoder
        return self._network, replace(
            settings.learning, schedule=self.schedule.chosen, pretrained=pretrained
        )

    def _appraise(self, network: NetworkSettings, learning: LearningSettings) -> None:
        self._controller.session.appraise(network, learning)

    def _configure(self, network: NetworkSettings, learning: LearningSettings) -> None:
        session = self._controller.session
        self._controller.attempt(session.configure, network=network, learning=learning)
