"""Classes: what they accept, and which class comes next."""

from __future__ import annotations

import pytest

from brushfire.annotations import (
    DEFAULT_COLORS,
    MAX_CLASS,
    LabelClass,
    check_classes,
    next_class,
)
from brushfire.errors import AnnotationError


@pytest.mark.parametrize("value", [0, -1, 128, 1.0, True, "1"])
def test_a_value_is_1_to_127(value):
    with pytest.raises(AnnotationError, match=r"127|whole number"):
        LabelClass(value, "pore", "#000000")


@pytest.mark.parametrize("name", ["", "  ", None])
def test_a_class_has_a_name(name):
    with pytest.raises(AnnotationError, match="name"):
        LabelClass(1, name, "#000000")


@pytest.mark.parametrize("color", ["red", "#12345", "#1234567", "#12345g", "", None])
def test_a_color_has_six_digits(color):
    with pytest.raises(AnnotationError, match="rrggbb"):
        LabelClass(1, "pore", color)


def test_classes_differ_in_value_and_name():
    one = LabelClass(1, "Pore", "#000000")
    with pytest.raises(AnnotationError, match="value"):
        check_classes([one, LabelClass(1, "other", "#000000")])
    with pytest.raises(AnnotationError, match="name"):
        check_classes([one, LabelClass(2, "pore ", "#000000")])
    check_classes([one, LabelClass(2, "grain", "#000000")])


def test_classes_made_one_after_another_fill_the_range_and_no_more():
    made: list[LabelClass] = []
    for _ in range(MAX_CLASS):
        made.append(next_class(made))
    check_classes(made)
    assert [one.value for one in made] == list(range(1, MAX_CLASS + 1))
    assert [one.color for one in made[: len(DEFAULT_COLORS)]] == list(DEFAULT_COLORS)
    with pytest.raises(AnnotationError, match="at most 127"):
        next_class(made)


def test_a_removed_value_is_used_again_last():
    made = [LabelClass(1, "a", "#000000"), LabelClass(3, "b", "#000001")]
    assert next_class(made).value == 4
    made.append(LabelClass(127, "c", "#000002"))
    assert next_class(made).value == 2


def test_a_new_class_takes_a_free_name_and_an_unused_color():
    made = [LabelClass(1, "class 2", DEFAULT_COLORS[0].upper())]
    following = next_class(made)
    assert (following.name, following.color) == ("Class 3", DEFAULT_COLORS[1])
    assert next_class(made, name="grain", color="#123456") == LabelClass(2, "grain", "#123456")
    with pytest.raises(AnnotationError, match="name"):
        next_class(made, name="Class 2")
