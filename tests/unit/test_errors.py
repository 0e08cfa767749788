"""Errors say rule, value and next move, and survive a trip between processes."""

from __future__ import annotations

import pickle

import pytest

from brushfire import errors

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.BrushfireError)
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_an_error_names_rule_value_and_next_move(kind: type[errors.BrushfireError]) -> None:
    error = kind("Axes are three.", got=(1, 2), do="Drop one.")
    assert str(error) == "Axes are three. Got: (1, 2). Drop one."


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_an_error_survives_pickling(kind: type[errors.BrushfireError]) -> None:
    error = kind("Axes are three.", got=(1, 2), do="Drop one.")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert str(back) == str(error)
