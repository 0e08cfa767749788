"""The few keys of Brushfire; none of them is one of napari's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari.viewer import Viewer

NEXT_CLASS = "N"
NEXT_SLICE = "J"
PREVIOUS_SLICE = "Shift-J"
TOGGLE_PREDICTION = "H"
START_OR_PAUSE = "G"

MEANINGS = {
    NEXT_CLASS: "next class",
    NEXT_SLICE: "next annotated slice",
    PREVIOUS_SLICE: "previous annotated slice",
    TOGGLE_PREDICTION: "show or hide the prediction, or what is denoised",
    START_OR_PAUSE: "start or pause learning",
}


def bind(viewer: Viewer, actions: Mapping[str, Callable[[], object]]) -> list[str]:
    """Bind keys on this viewer only, leaving alone those that somebody already uses.

    Parameters
    ----------
    viewer : Viewer
        Whose keys to bind; the manifest cannot carry key bindings.
    actions : mapping
        Callback by key.

    Returns
    -------
    list of str
        The keys that were bound.
    """
    bound = []
    for key, act in actions.items():
        if any(str(taken) == key.replace("-", "+") for taken in viewer.keymap):
            continue
        viewer.bind_key(key, _ignoring_viewer(act))
        bound.append(key)
    return bound


def release(viewer: Viewer, keys: list[str]) -> None:
    """Unbind ``keys``."""
    for key in keys:
        viewer.bind_key(key, None)


def _ignoring_viewer(act: Callable[[], object]) -> Callable[[Viewer], None]:
    def pressed(viewer: Viewer) -> None:
        act()

    return pressed
