"""How a source is read that does not say so itself: its axes, and the time point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QRegularExpression, QTimer, Signal
from qtpy.QtGui import QRegularExpressionValidator
from qtpy.QtWidgets import QLineEdit, QSpinBox, QVBoxLayout, QWidget

from brushfire.ui.widgets import button, column, field_name, form_in, label, row

if TYPE_CHECKING:
    from collections.abc import Callable

    from brushfire.ui.controller import Unread
    from brushfire.volumes import Volume

APPLY_MS = 400
"""The source is opened again when nothing was changed for this long."""
LAST_TIME = 99_999
AXES_TIP = "One letter for each axis, in the order of the file: t, c, z, y, x"
TIME_TIP = "Which time point to open, counted from 0"


class AxesField(QLineEdit):
    """The letters of the axes of a source, in its order."""

    def __init__(self) -> None:
        super().__init__()
        self.setToolTip(AXES_TIP)
        self.setAccessibleName(AXES_TIP)
        self.setPlaceholderText("such as zyx or tzyx")
        self.setMinimumWidth(1)
        allowed = QRegularExpression("[tczyxTCZYX?, ]{0,16}")
        self.setValidator(QRegularExpressionValidator(allowed, self))

    def axes(self) -> str | None:
        """Return the letters, None where there are none."""
        return "".join(self.text().lower().replace(",", "").split()) or None


class TimeField(QSpinBox):
    """A time point; where it may be left open, the first value says "none"."""

    def __init__(self, *, optional: bool) -> None:
        super().__init__()
        self.setRange(-1 if optional else 0, LAST_TIME)
        if optional:
            self.setSpecialValueText("none")
        self.setToolTip(TIME_TIP)
        self.setAccessibleName(TIME_TIP)
        self.setMinimumWidth(1)
        self.setKeyboardTracking(False)

    def time(self) -> int | None:
        """Return the time point, None for "none"."""
        return None if self.value() < 0 else self.value()


class ReadingRows(QWidget):
    """Axes and time point of the open volume, where the file leaves them open; applied at rest."""

    changed = Signal(object, object)
    """axes and time point"""

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "plain")
        self.axes, self.time = AxesField(), TimeField(optional=False)
        self._form = form_in(self)
        self._form.addRow(field_name("Axes"), self.axes)
        self._form.addRow(field_name("Time point"), self.time)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(APPLY_MS)
        self._rest.timeout.connect(self._apply)
        self._shown: tuple[str | None, int | None] = (None, None)
        self.axes.editingFinished.connect(self._rest.start)
        self.time.valueChanged.connect(lambda _: self._rest.start())

    def show_volume(self, volume: Volume, *, wanted: bool) -> tuple[str, ...]:
        """Show how ``volume`` is read; return the rows of its summary that this replaces."""
        self._rest.stop()
        axes, series = wanted and leaves_axes_open(volume), volume.time is not None
        self._form.setRowVisible(self.axes, axes)
        self._form.setRowVisible(self.time, wanted and series)
        self.setVisible(axes or (wanted and series))
        self.axes.setText(volume.axes)
        self.time.blockSignals(True)
        self.time.setValue(volume.time or 0)
        self.time.blockSignals(False)
        self._shown = (self.axes.axes(), volume.time)
        return ("Axes",) if axes else ()

    def _apply(self) -> None:
        axes = self.axes.axes()
        series = axes is not None and "t" in axes
        wanted = (axes, self.time.time() if series else None)
        if wanted != self._shown:
            self.changed.emit(*wanted)


class AskReading(QWidget):
    """Asks for the axes of a source that could not be opened without them."""

    opened = Signal(object, object)
    """the source and its options"""

    def __init__(self, dismissed: Callable[[], object]) -> None:
        super().__init__()
        self.setProperty("role", "plain")
        self._unread: Unread | None = None
        self.text = label("", role="value")
        self.axes, self.time = AxesField(), TimeField(optional=True)
        self.open_button = button("Open", self._open, role="primary")
        self.cancel = button("Cancel", dismissed, role="link")
        self.axes.returnPressed.connect(self._open)
        fields = QWidget()
        fields.setProperty("role", "plain")
        form = form_in(fields)
        form.addRow(field_name("Axes"), self.axes)
        form.addRow(field_name("Time point"), self.time)
        layout = column(self)
        for part in (self.text, fields, self.open_button):
            layout.addWidget(part)
        layout.addLayout(row(self.cancel, QVBoxLayout(), stretch=1))

    def ask(self, unread: Unread) -> None:
        """Ask how to read a source; what was said before stays in the fields."""
        self._unread = unread
        self.text.setText(f"Say how “{unread.name}” is to be read.")
        self.axes.setText(unread.options.get("axes") or "")
        time = unread.options.get("time")
        self.time.setValue(time if time is not None else 0 if unread.wants_time else -1)

    def _open(self) -> None:
        assert self._unread is not None
        options: dict[str, Any] = dict(self._unread.options)
        options.update(axes=self.axes.axes(), time=self.time.time())
        self.opened.emit(self._unread.source, options)


def leaves_axes_open(volume: Volume) -> bool:
    """Whether the metadata of the source of ``volume`` may not say what its axes are."""
    return volume.source is not None and not volume.format.startswith("OME")


def can_be_read_otherwise(volume: Volume) -> bool:
    """Whether there is a choice of axes or time point."""
    return leaves_axes_open(volume) or (volume.source is not None and volume.time is not None)
