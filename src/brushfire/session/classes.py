"""The class table: named, coloured label values, one of them active."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from brushfire.annotations import LabelClass, check_classes, next_class
from brushfire.errors import AnnotationError

if TYPE_CHECKING:
    from collections.abc import Iterable


class ClassTable:
    """Classes by value, and the one that the brush paints.

    Parameters
    ----------
    classes : iterable of LabelClass
        To begin with.
    retired : iterable of int
        Values that a model may still predict with a meaning they no longer have.
    """

    def __init__(self, classes: Iterable[LabelClass] = (), retired: Iterable[int] = ()) -> None:
        self.classes: tuple[LabelClass, ...] = tuple(sorted(classes, key=lambda c: c.value))
        self.active = self.classes[0].value if self.classes else 0
        self._retired = set(retired)

    def replace(self, classes: Iterable[LabelClass]) -> None:
        """Take other classes; the active one stays active if it is among them."""
        self.classes = tuple(sorted(classes, key=lambda c: c.value))
        if self.active and self.active not in {one.value for one in self.classes}:
            self.active = self.classes[0].value if self.classes else 0

    def find(self, value: int) -> LabelClass:
        """Return the class of ``value``.

        Raises
        ------
        AnnotationError
            There is none.
        """
        for found in self.classes:
            if found.value == value:
                return found
        values = ", ".join(str(c.value) for c in self.classes) or "none yet"
        raise AnnotationError(
            "Strokes carry the value of a class.",
            got=value,
            do=f"Use one of these: {values}; or add a class.",
        )

    def add(self, name: str | None = None, color: str | None = None) -> LabelClass:
        """Add a class with the next free value.

        Raises
        ------
        AnnotationError
            The name is taken, or there is no value left.
        """
        new = next_class(self.classes, name or None, color or None, retired=self._retired)
        self.classes = tuple(sorted((*self.classes, new), key=lambda c: c.value))
        return new

    def change(self, value: int, *, name: str | None = None, color: str | None = None) -> None:
        """Give a class another name or color; what is not given stays.

        Raises
        ------
        AnnotationError
            There is no such class, or the name is taken.
        """
        old = self.find(value)
        changed = replace(
            old,
            name=old.name if name is None else name,
            color=old.color if color is None else color,
        )
        classes = tuple(changed if c.value == value else c for c in self.classes)
        check_classes(classes)
        self.classes = classes

    def remove(self, value: int) -> None:
        """Remove a class; another becomes active where it was the active one."""
        self.find(value)
        self.replace(c for c in self.classes if c.value != value)
        self._retired.add(value)
