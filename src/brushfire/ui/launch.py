"""Open a napari window with the panel in it, from outside napari."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import napari

from brushfire.session import Session
from brushfire.ui.dock import BrushfireDock

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from brushfire.geometry import Scale


def open_window(
    path: str | Path | None = None,
    *,
    axes: str | None = None,
    voxel_size: Scale | None = None,
    time: int | None = None,
) -> Viewer:
    """Open a window with the panel, and a volume or a project in it.

    Parameters
    ----------
    path : path, optional
        A volume, or a project folder.
    axes, voxel_size, time : optional
        As for `Session.open_volume`; a project knows them.

    Returns
    -------
    Viewer
        Its event loop is not running yet; see `launch`.

    Raises
    ------
    BrushfireError
        What cannot be opened leaves no window behind.
    """
    session = Session()
    viewer = napari.Viewer(title="Brushfire")
    try:
        dock = BrushfireDock(viewer, session)
        viewer.window.add_dock_widget(dock, name="Brushfire", add_vertical_stretch=False)
        if path is not None and (Path(path) / "project.json").is_file():
            session.open_project(path)
        elif path is not None:
            session.open_volume(path, axes=axes, voxel_size=voxel_size, time=time)
    except BaseException:
        session.close()
        viewer.close()
        raise
    return viewer


def launch(
    path: str | Path | None = None,
    *,
    axes: str | None = None,
    voxel_size: Scale | None = None,
    time: int | None = None,
) -> None:
    """Open a window as `open_window` does, and return when it is closed."""
    open_window(path, axes=axes, voxel_size=voxel_size, time=time)
    napari.run()
