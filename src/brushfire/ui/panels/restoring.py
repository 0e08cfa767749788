"""How is learned to denoise, and by which network: folded away in the Denoise step."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from brushfire.learning.restoring import LOSS_TEXTS, reshaped
from brushfire.learning.restoring.settings import check_way
from brushfire.networks.architectures import ARCHITECTURES
from brushfire.ui.panels.shape import ShapeForm, why_not
from brushfire.ui.widgets import Choice, label

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from brushfire.learning.restoring import RestorationSettings
    from brushfire.networks.settings import NetworkSettings
    from brushfire.session import Appraisal
    from brushfire.session.restoration import Restoration

ONE_SLICE = "A network that predicts the slice beside its own sees that one alone."


class RestoringForm(ShapeForm):
    """The loss, and which network restores; see `ShapeForm`. Empty until something is restored."""

    SLICES = {2: (1, 3, 5, 9), 3: (7, 15, 31)}  # noqa: RUF012
    SLICES_TIP = "Neighbouring slices that the network sees, to restore the middle one"
    NOTE = (
        "Another network starts afresh, with random weights; with another loss learning goes on"
        " from what it has."
    )

    # ------------------------------------------------------------------ building
    def _make_fields(self) -> None:
        super()._make_fields()
        self.loss = Choice("How differences from the target count")
        for loss, text in LOSS_TEXTS.items():
            self.loss.add(text.title, loss, text.text)
        self.said = label("")
        self.loss.currentIndexChanged.connect(self._on_change)

    def _rows(self) -> list[tuple[str, QWidget]]:
        return [("Loss", self.loss), ("", self.said), *super()._rows()]

    # ------------------------------------------------------------------ showing
    def update_settings(self) -> None:
        """Show the settings of what is restored."""
        if self._controller.session.restoration is not None:
            self._look_for_packages()
            super().update_settings()

    def _look_for_packages(self) -> None:
        super()._look_for_packages()
        if self._controller.session.restoration is None:
            return
        for name in ARCHITECTURES:  # what no package would help comes first
            never = why_not(self._check, architecture=name)
            if never:
                self.architecture.refuse(name, never)

    def _check(self, **shape: Any) -> None:
        """Raise where a network of this kind cannot restore what is restored."""
        state = self._restoration.state
        check_way(
            state.learning, reshaped(state.network, **shape), len(self._restoration.source.channels)
        )

    def _fill(self) -> None:
        super()._fill()
        self.loss.choose(self._restoration.state.learning.loss)

    def _fill_slices(self, wanted: int) -> None:
        super()._fill_slices(wanted)
        if self._restoration.state.learning.way == "neighbours":
            for number in self.SLICES[self.axes.chosen]:
                if number != 1:
                    self.slices.refuse(number, ONE_SLICE)

    def _grey(self) -> None:
        super()._grey()
        learning, name = self._restoration.state.learning, self.architecture.chosen
        for loss in LOSS_TEXTS:
            self.loss.refuse(loss, why_not(replace, learning, loss=loss))
        self.said.setText(LOSS_TEXTS[self.loss.chosen].text)
        self.axes.refuse(3, why_not(self._check, architecture=name, axes=3))

    # ------------------------------------------------------------------ asking and acting
    @property
    def _restoration(self) -> Restoration:
        found = self._controller.session.restoration
        assert found is not None  # the form is hidden otherwise
        return found

    @property
    def _now(self) -> NetworkSettings:
        return self._restoration.state.network

    def _another(self, architecture: str) -> NetworkSettings:
        return reshaped(self._now, architecture)

    def _usual_slices(self, axes: int) -> int:
        return reshaped(self._now, self.architecture.chosen, axes).slices

    @property
    def chosen(self) -> tuple[NetworkSettings, RestorationSettings]:
        """What the fields say, with what they do not ask for as it is; see `ShapeForm`."""
        learning = self._restoration.state.learning
        return self._network, replace(learning, loss=self.loss.chosen)

    def _appraise(self, network: NetworkSettings, learning: RestorationSettings) -> None:
        self._controller.attempt(self._controller.session.appraise_restoration, network, learning)

    def _on_appraised(self, found: Appraisal) -> None:
        if self._controller.session.restoration is not None:
            super()._on_appraised(found)

    def _configure(self, network: NetworkSettings, learning: RestorationSettings) -> None:
        session = self._controller.session
        self._controller.attempt(session.configure_restoration, network, learning)
