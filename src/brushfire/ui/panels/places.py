"""Where to paint next: small pictures of the places that would teach most."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QRect, QSize, Qt
from qtpy.QtGui import QColor, QImage, QPainter, QPen
from qtpy.QtWidgets import QAbstractButton, QHBoxLayout, QSizePolicy, QWidget

from brushfire.session import SURROUNDINGS
from brushfire.ui.widgets import column, label

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qtpy.QtGui import QEnterEvent, QPaintEvent

    from brushfire.learning.places import Place
    from brushfire.ui.connections import Connections
    from brushfire.ui.controller import Controller
    from brushfire.ui.style import Palette

SIDE = 52
"""Side of a picture on the screen; less in a narrow dock."""
GAP = 6
FRAME = 2
MOST = 5

WORDS = {"unsure": "unsure", "disagreement": "disputed", "novelty": "new"}
REASONS = {
    "unsure": "The model is unsure here.",
    "disagreement": "The last few models disagree here.",
    "novelty": "Here it looks unlike everything that you painted.",
}


class PlacesPanel(QWidget):
    """Pictures of the suggested places in a row; a click shows the place.

    Parameters
    ----------
    controller : Controller
        The window's controller.
    connections : Connections
        Where connections are remembered until the dock goes.
    """

    def __init__(self, controller: Controller, connections: Connections) -> None:
        super().__init__()
        self.setProperty("role", "plain")
        self._controller = controller
        self.title = label("Where to paint next", role="value")
        self.empty = label("Places that would teach most appear here while it learns.")
        self.pictures = [PlaceButton() for _ in range(MOST)]
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(GAP)
        for picture in self.pictures:
            picture.clicked.connect(self._show_place)
            row.addWidget(picture, 1)
        row.addStretch(0)
        layout = column(self, margins=(10, 0, 10, 10), spacing=4)
        layout.addWidget(self.title)
        layout.addWidget(self.empty)
        layout.addLayout(row)
        events = controller.session.events
        connections.connect(events.places_changed, self.update_view)
        connections.connect(events.model_changed, self.update_view)
        connections.connect(events.classes_changed, self.update_view)
        connections.connect(events.volume_changed, self.update_view)
        self.update_view()

    def set_palette(self, palette: Palette) -> None:
        """Take the colours of the theme."""
        for picture in self.pictures:
            picture.set_palette(palette)

    def update_view(self, *_: object) -> None:
        """Show the places of the session."""
        session = self._controller.session
        places = session.places
        names = {entry.value: entry.name for entry in session.classes}
        for at, picture in enumerate(self.pictures):
            if at < len(places):
                place = places[at]
                picture.show_place(place, session.picture_of(place), _tip(place, names))
            picture.setVisible(at < len(places))
        self.empty.setVisible(not places)
        self.setVisible(bool(places) or session.learning.shown_model is not None)

    def _show_place(self) -> None:
        button = self.sender()
        if isinstance(button, PlaceButton) and button.place is not None:
            self._controller.go_to_place(button.place)


class PlaceButton(QAbstractButton):
    """A picture with the place outlined in it, its slice, and a word for why."""

    def __init__(self) -> None:
        super().__init__()
        self.place: Place | None = None
        self._image: QImage | None = None
        self._palette: Palette | None = None
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.setMinimumWidth(24)
        self.setMaximumWidth(SIDE)

    def sizeHint(self) -> QSize:
        """Ask for the picture and two lines under it."""
        return QSize(SIDE, SIDE + 2 * self.fontMetrics().height() + 4)

    def set_palette(self, palette: Palette) -> None:
        """Take the colours of the theme."""
        self._palette = palette
        self.update()

    def show_place(self, place: Place, picture: NDArray[np.uint8] | None, tip: str) -> None:
        """Show ``place``; without a picture its frame stays empty."""
        self.place = place
        self._image = None
        if picture is not None:
            grey = np.ascontiguousarray(picture)
            height, width = grey.shape
            whole = QImage(grey.data, width, height, width, QImage.Format.Format_Grayscale8)
            self._image = whole.copy()  # Qt does not keep the array
        self.setToolTip(tip)
        self.setAccessibleName(f"Slice {place.z}. {REASONS[place.reason]}")
        self.update()

    def enterEvent(self, event: QEnterEvent) -> None:
        """Draw the frame of a picture under the mouse."""
        super().enterEvent(event)
        self.update()

    def leaveEvent(self, event: object) -> None:
        """Draw the frame as before."""
        super().leaveEvent(event)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw picture, outline, frame and words."""
        if self._palette is None or self.place is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        side = min(self.width(), SIDE)
        square = QRect(0, 0, side, side)
        self._draw_picture(painter, square)
        height = self.fontMetrics().height()
        for line, (text, colour) in enumerate(
            ((f"z {self.place.z}", self._palette.text),
             (WORDS[self.place.reason], self._palette.muted))
        ):  # fmt: skip
            painter.setPen(QColor(colour))
            where = QRect(0, side + 3 + line * height, self.width(), height)
            painter.drawText(where, Qt.AlignmentFlag.AlignHCenter, text)
        painter.end()

    def _draw_picture(self, painter: QPainter, square: QRect) -> None:
        assert self._palette is not None
        chosen = self.underMouse() or self.hasFocus()
        frame = self._palette.accent if chosen else self._palette.line
        painter.fillRect(square, QColor(frame))
        inside = square.adjusted(FRAME, FRAME, -FRAME, -FRAME)
        painter.fillRect(inside, QColor(self._palette.background))
        if self._image is not None:
            painter.drawImage(inside, self._image)
        away = round(inside.width() * (1 - 1 / SURROUNDINGS) / 2)
        place = inside.adjusted(away, away, -away - 1, -away - 1)
        # Dark and light, so that it is seen on any grey.
        for colour, width in ((QColor(0, 0, 0, 110), 3), (QColor(255, 255, 255, 220), 1)):
            painter.setPen(QPen(colour, width))
            painter.drawRect(place)


def _tip(place: Place, names: dict[int, str]) -> str:
    now = names.get(place.value) if place.value is not None else None
    parts = [REASONS[place.reason]]
    if now is not None:
        parts.append(f"Now it would be mostly “{now}”.")
    parts.append("Click to go there, then paint what it is.")
    return f"Slice {place.z}, row {place.y}, column {place.x}\n" + " ".join(parts)
