"""The project folder: settings dataclasses, versioned save and load, models, a log."""

from __future__ import annotations

from brushfire.project.folder import SUFFIX, Project, create_project, open_project
from brushfire.project.places import default_folder
from brushfire.project.state import (
    DenoisedState,
    ProjectState,
    RestorationState,
    ScanReference,
    Settings,
    Task,
    VolumeReference,
)

__all__ = [
    "SUFFIX",
    "DenoisedState",
    "Project",
    "ProjectState",
    "RestorationState",
    "ScanReference",
    "Settings",
    "Task",
    "VolumeReference",
    "create_project",
    "default_folder",
    "open_project",
]
