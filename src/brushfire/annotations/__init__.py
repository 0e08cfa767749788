"""Classes, strokes, the sparse label store and its journal; hands out immutable snapshots."""

from __future__ import annotations

from brushfire.annotations.classes import (
    DEFAULT_COLORS,
    MAX_CLASS,
    LabelClass,
    check_classes,
    next_class,
)
from brushfire.annotations.opening import open_annotations
from brushfire.annotations.snapshot import AnnotationSnapshot
from brushfire.annotations.store import LabelStore
from brushfire.annotations.tally import ClassCount

__all__ = [
    "DEFAULT_COLORS",
    "MAX_CLASS",
    "AnnotationSnapshot",
    "ClassCount",
    "LabelClass",
    "LabelStore",
    "check_classes",
    "next_class",
    "open_annotations",
]
