"""Connections that end together, when the widget or window they serve goes away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Connections:
    """Remembers what was connected, so that all of it can be undone at once.

    Qt deletes a widget while Python may still hold it; a signal that then reaches it fails. Docks
    are deleted without a ``closeEvent``, so each dock ends its connections when Qt says that it
    was destroyed.
    """

    def __init__(self) -> None:
        self._made: list[tuple[Any, Callable[..., Any]]] = []

    def connect(self, signal: Any, slot: Callable[..., Any], **options: Any) -> None:
        """Connect ``slot`` to a psygnal or napari ``signal`` and remember it."""
        signal.connect(slot, **options)
        self._made.append((signal, slot))

    def close(self, *_: object) -> None:
        """Disconnect everything; harmless when called again."""
        made, self._made = self._made, []
        for signal, slot in made:
            # The other side may have gone first and have dropped the slot already.
            try:
                signal.disconnect(slot)
            except (ValueError, RuntimeError):
                continue
