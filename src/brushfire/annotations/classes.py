"""Classes: named, coloured label values. 0 is not a class, it means unlabelled."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brushfire.errors import AnnotationError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

MAX_CLASS = 127
"""Largest class value: predictions mark stale voxels by adding 128 in the same byte."""

DEFAULT_COLORS = (
    # Okabe and Ito's palette without black, which vanishes on dark images, then Paul Tol's
    # muted one: both stay apart for readers with a colour vision deficiency.
    "#56b4e9",
    "#e69f00",
    "#009e73",
    "#f0e442",
    "#d55e00",
    "#cc79a7",
    "#0072b2",
    "#882255",
    "#44aa99",
    "#ddcc77",
    "#332288",
    "#aa4499",
    "#999933",
    "#88ccee",
    "#117733",
    "#cc6677",
)

_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True, slots=True)
class LabelClass:
    """One class that voxels can be labelled with.

    Parameters
    ----------
    value : int
        The label value, 1 to 127.
    name : str
        What the user calls it; not blank.
    color : str
        "#rrggbb".

    Raises
    ------
    AnnotationError
        If the value, name or colour is not of that form.
    """

    value: int
    name: str
    color: str

    def __post_init__(self) -> None:
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            raise AnnotationError(
                "A class value is a whole number.", got=repr(self.value), do="Use 1 to 127."
            )
        if not 1 <= self.value <= MAX_CLASS:
            raise AnnotationError(
                "A class value is between 1 and 127; 0 means unlabelled.",
                got=self.value,
                do="Choose a free value in that range.",
            )
        if not isinstance(self.name, str) or not self.name.strip():
            raise AnnotationError(
                "A class has a name.", got=repr(self.name), do="Type at least one letter."
            )
        if not isinstance(self.color, str) or not _COLOR.fullmatch(self.color):
            raise AnnotationError(
                'A colour is written "#rrggbb".',
                got=repr(self.color),
                do='Use six hexadecimal digits, for example "#e69f00".',
            )


def check_classes(classes: Sequence[LabelClass]) -> None:
    """Check that no two classes share a value or a name.

    Raises
    ------
    AnnotationError
        Names the first value or name that occurs twice.
    """
    values: set[int] = set()
    names: set[str] = set()
    for one in classes:
        if one.value in values:
            raise AnnotationError(
                "Each class has its own value.",
                got=f"{one.value} twice",
                do="Give one of the classes another value.",
            )
        if one.name.strip().casefold() in names:
            raise AnnotationError(
                "Each class has its own name.",
                got=f'"{one.name}" twice',
                do="Give one of the classes another name.",
            )
        values.add(one.value)
        names.add(one.name.strip().casefold())


def next_class(
    existing: Sequence[LabelClass],
    name: str | None = None,
    color: str | None = None,
    *,
    retired: Collection[int] = (),
) -> LabelClass:
    """Return a class that can join ``existing``, with a free value, name and colour.

    A value of ``retired`` is used again only when all others are taken, since models that were
    trained before still predict it with its old meaning.

    Raises
    ------
    AnnotationError
        If all 127 values are taken, or ``name`` is.
    """
    used = {one.value for one in existing}
    value = max(used.union(retired), default=0) + 1
    if value > MAX_CLASS:
        free = [v for v in range(1, MAX_CLASS + 1) if v not in used]
        if not free:
            raise AnnotationError(
                "A project has at most 127 classes.",
                got=f"{len(used)} classes and one more",
                do="Remove a class that you do not need.",
            )
        value = free[0]
    colors = {one.color.lower() for one in existing}
    unused = [c for c in DEFAULT_COLORS if c not in colors]
    made = LabelClass(
        value,
        name if name is not None else _free_name(value, existing),
        color or (unused[0] if unused else DEFAULT_COLORS[value % len(DEFAULT_COLORS)]),
    )
    check_classes((*existing, made))
    return made


def _free_name(number: int, existing: Sequence[LabelClass]) -> str:
    names = {one.name.strip().casefold() for one in existing}
    while f"class {number}" in names:
        number += 1
    return f"Class {number}"
