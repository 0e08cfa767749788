"""Where a project is kept unless the user says otherwise."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_data_path

from brushfire.errors import BrushfireError
from brushfire.project.folder import SUFFIX, open_project

if TYPE_CHECKING:
    from brushfire.volumes import Volume


def default_folder(volume: Volume) -> Path:
    """Return where the project of ``volume`` is kept unless the user says otherwise.

    Returns
    -------
    Path
        ``NAME.brushfire`` beside the volume. Where that may not be written, or the volume is
        not a local file, a folder in the user's data with the fingerprint in its name.
    """
    name = re.sub(r"[^\w.() -]+", "_", volume.name).strip(" .") or "volume"
    marked = f"{name}-{volume.fingerprint[:12]}{SUFFIX}"
    if volume.source is not None:
        source = Path(volume.source).absolute()
        if source.exists():
            beside = source.parent / f"{name}{SUFFIX}"
            if _is_of_another(beside, volume):
                beside = source.parent / marked
            if os.access(beside if beside.exists() else beside.parent, os.W_OK):
                return beside
    return user_data_path("brushfire", appauthor=False) / "projects" / marked


def _is_of_another(folder: Path, volume: Volume) -> bool:
    """Whether a project of another volume with the same name is in ``folder``."""
    try:
        noted = open_project(folder).state.volume
    except BrushfireError:
        return False  # opening it will tell what is wrong
    # The same file read with other axes or at another time is another volume. Where it is read
    # as before but holds other voxels, opening the project says so.
    same = (noted.source, noted.axes, noted.time) == (volume.source, volume.axes, volume.time)
    return noted.fingerprint != volume.fingerprint and not same
