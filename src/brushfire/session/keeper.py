"""Keep a project's small files on disk, away from the window's thread."""

from __future__ import annotations

import queue
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from brushfire.jobs import Clerk

if TYPE_CHECKING:
    from brushfire.learning.examples import Examples
    from brushfire.learning.patches import Patches
    from brushfire.networks.snapshot import ModelSnapshot
    from brushfire.project import Project, ProjectState

KEPT_MODELS = 100
"""Models on disk; at one every few seconds, older ones would fill it."""


class Keeper:
    """Writes settings and models of one project, or keeps nothing without one.

    Parameters
    ----------
    project : Project or None
        Where to write.
    """

    def __init__(self, project: Project | None) -> None:
        self.project = project
        self.failing = False
        """Whether the last settings or model could not be written."""
        self._errors: queue.SimpleQueue[Exception] = queue.SimpleQueue()
        self._clerk = Clerk(self._errors.put)
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        # Used by the clerk's thread only.
        self._kept = {
            restores: set(project.models(restores=restores) if project else ())
            for restores in (False, True)
        }

    @property
    def folder(self) -> Path:
        """Where large files go: the project, or a scratch folder that `close` removes."""
        if self.project is not None:
            return self.project.folder
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="brushfire-")
        return Path(self._scratch.name)

    def save(
        self,
        state: ProjectState,
        shown: ModelSnapshot | None,
        restorer: ModelSnapshot | None = None,
    ) -> None:
        """Write the project's settings, the model that is shown and that which restores.

        Returns at once. The settings never name a model that is not on disk.
        """
        project = self.project
        if project is not None:
            self._clerk.do(lambda: self._save(project, state, shown, restorer))

    def save_start(
        self, examples: Examples | None, patches: Patches | None, weights: ModelSnapshot | None
    ) -> None:
        """Write what the project starts from, or remove it; returns at once."""
        project = self.project
        if project is not None:
            self._clerk.do(lambda: project.save_start(examples, patches, weights))

    def note(self, event: str, **values: object) -> None:
        """Add a line to the project's log; returns at once."""
        project = self.project
        if project is not None:
            self._clerk.do(lambda: project.log(event, **values))

    def errors(self) -> list[Exception]:
        """Return what went wrong since the last call."""
        errors = []
        while not self._errors.empty():
            errors.append(self._errors.get())
        return errors

    def close(self) -> None:
        """Finish what is to be written; safe to call again."""
        self._clerk.close()
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def _save(self, project: Project, state: ProjectState, *shown: ModelSnapshot | None) -> None:
        try:
            self._write(project, state, *shown)
        except BaseException:
            self.failing = True
            raise
        self.failing = False

    def _write(
        self,
        project: Project,
        state: ProjectState,
        shown: ModelSnapshot | None,
        restorer: ModelSnapshot | None,
    ) -> None:
        before, restoration = project.state, state.restoration
        named, restoring = before.shown_model, None
        if before.restoration is not None:
            restoring = before.restoration.shown_model
        try:
            named = self._keep(project, shown)
            restoring = self._keep(project, restorer)
            if restoration is not None and restorer is None:
                restoring = restoration.shown_model  # of what could not be opened again
        finally:
            if restoration is not None:
                restoration = replace(restoration, shown_model=restoring)
            project.save(replace(state, shown_model=named, restoration=restoration))
        for restores, kept in self._kept.items():
            for old in sorted(kept)[:-KEPT_MODELS]:
                project.remove_model(old, restores=restores)
                kept.discard(old)

    def _keep(self, project: Project, model: ModelSnapshot | None) -> int | None:
        """Write a model that is not on disk yet; return its revision."""
        if model is None:
            return None
        kept = self._kept[bool(model.settings.restored)]
        if model.revision not in kept:
            project.save_model(model)
            kept.add(model.revision)
        return model.revision
