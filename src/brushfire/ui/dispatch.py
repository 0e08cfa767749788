"""Hands what the engine made to the main thread, and ends the session with its window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QCoreApplication, QEvent, QObject, QTimer

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QMainWindow

INTERVAL_MS = 50


class Dispatcher(QObject):
    """Calls ``process_events`` from one timer, 20 times a second at most.

    Parameters
    ----------
    process_events : callable
        Bounded work on the main thread.
    parent : QObject
        Owner of the timer.
    """

    def __init__(self, process_events: Callable[[], object], parent: QObject) -> None:
        super().__init__(parent)
        self._process = process_events
        self._timer = QTimer(self)
        self._timer.setInterval(INTERVAL_MS)
        self._timer.timeout.connect(self._tick)
        self._timer.start()

    def _tick(self) -> None:
        self._process()

    def close(self) -> None:
        """Stop the timer."""
        self._timer.stop()


class ClosingWatch(QObject):
    """Calls ``ended`` once, when the window closes, is destroyed, or the application quits.

    napari sends no ``closeEvent`` to plugin docks, so the window itself is watched. A close that
    the user takes back leaves everything running.
    """

    def __init__(self, window: QMainWindow, ended: Callable[[], object]) -> None:
        super().__init__(window)
        self._window: QMainWindow | None = window
        self._ended = ended
        window.installEventFilter(self)
        window.destroyed.connect(self._quit)
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self._quit)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Look after a close event whether the window really went away."""
        if event.type() == QEvent.Type.Close:
            QTimer.singleShot(0, self._look)
        return False

    def close(self) -> None:
        """Stop watching, and hold on to the window no longer."""
        window, self._window = self._window, None
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.disconnect(self._quit)
        if window is not None:
            window.removeEventFilter(self)
            self.setParent(None)

    def _look(self) -> None:
        if self._window is not None and not self._window.isVisible():
            self._ended()

    def _quit(self, *_: object) -> None:
        self._ended()
