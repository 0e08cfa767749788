"""How is learned to denoise, and by which network: folded away in the Denoise step."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from brushfire.learning.restoring import LOSS_TEXTS, reshaped
from brushfire.learning.restoring.settings import check_way
from brushfire.ui.panels.shape import ShapeForm, why_not
from brushfire.ui.widgets import Choice, label

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from brushfire.learning.restoring import RestorationSettings
    from brushfire.networks.settings import NetworkSettings
    from brushfire.session.restoration import Restoration


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
            super().update_settings()

    def _fill(self) -> None:
        super()._fill()
        self.loss.choose(self._restoration.state.learning.loss)

    def _grey(self) -> None:
        super()._grey()
        state, channels = self._restoration.state, len(self._restoration.source.channels)
        for loss in LOSS_TEXTS:
            self.loss.refuse(loss, why_not(replace, state.learning, loss=loss))
        self.said.setText(LOSS_TEXTS[self.loss.chosen].text)

        def fits(network: NetworkSettings) -> None:
            check_way(state.learning, network, channels)

        for name in ...:
            pass

    # ------------------------------------------------------------------ asking and acting
    @property
    def _restoration(self) -> Restoration:
        found = self._controller.session.restoration
        assert found is not None  # the form is hidden otherwise
        return found
