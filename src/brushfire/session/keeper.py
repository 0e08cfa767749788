"""Keep a project's small files on disk, away from the window's thread."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from brushfire.jobs import Clerk

if TYPE_CHECKING:
    from brushfire.networks.snapshot import ModelSnapshot
    from brushfire.project import Project, ProjectState


class Keeper:
    """Writes settings and models of one project, or keeps nothing without one.

    Parameters
    ----------
    project : Project or None
        Where to write.
    """

    def __init__(self, project: Project | None) -> None:
        self.project = project
        self._errors: list[Exception] = []
        self._clerk = Clerk(self._errors.append)
        self._kept = set(project.models()) if project else set()
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    @property
    def folder(self) -> Path:
        """Where large files go: the project, or a scratch folder that `close` removes."""
        if self.project is not None:
            return self.project.folder
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="brushfire-")
        return Path(self._scratch.name)

    def save(self, state: ProjectState) -> None:
        """Write the project's settings; returns at once."""
        project = self.project
        if project is not None:
            self._clerk.do(lambda: project.save(state))

    def keep_model(self, snapshot: ModelSnapshot) -> None:
        """Write a model that is not on disk yet; returns at once."""
        project = self.project
        if project is not None and snapshot.revision not in self._kept:
            self._kept.add(snapshot.revision)
            self._clerk.do(lambda: project.save_model(snapshot))

    def errors(self) -> list[Exception]:
        """Return what went wrong since the last call."""
        errors, self._errors[:] = list(self._errors), []
        return errors

    def close(self) -> None:
        """Finish what is to be written; safe to call again."""
        self._clerk.close()
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None
