"""Errors that a caller can act on: each names the rule, the value received and the next move."""

from __future__ import annotations


class BrushfireError(Exception):
    """A mistake in what was asked, or a limit that was met, told in one plain sentence or three.

    Parameters
    ----------
    rule : str
        What holds, as a sentence: "A volume has three axes, z, y and x."
    got : object
        The value that broke the rule, shown with ``str``.
    do : str
        The next move, as a sentence: "Choose a time point when opening."
    """

    def __init__(self, rule: str, *, got: object, do: str) -> None:
        self.rule = rule
        self.got = str(got)
        self.do = do
        super().__init__(f"{rule} Got: {self.got}. {do}")

    def __reduce__(self) -> tuple[object, ...]:
        # Events carry errors between threads, and may one day carry them between processes.
        return _rebuild, (type(self), self.rule, self.got, self.do)


def _rebuild(kind: type[BrushfireError], rule: str, got: str, do: str) -> BrushfireError:
    return kind(rule, got=got, do=do)


class VolumeError(BrushfireError):
    """A volume cannot be opened, read or built."""


class AxesError(VolumeError):
    """The caller has to say what the axes of a volume are, or which time point is wanted."""


class AnnotationError(BrushfireError):
    """Labels or classes do not fit the volume or each other."""


class ModelError(BrushfireError):
    """Weights or network settings do not fit."""


class LearningError(BrushfireError):
    """The strokes or the data do not allow learning."""


class ProjectError(BrushfireError):
    """A project folder cannot be read or written."""


class StorageError(BrushfireError):
    """A disk is full, read-only or gone."""


class ExportError(BrushfireError):
    """An export cannot be made, or did not survive its check."""


class SettingsError(BrushfireError):
    """A setting is outside what is allowed."""


class Cancelled(Exception):
    """Work ended because somebody asked for it."""
