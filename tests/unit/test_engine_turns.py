"""The division of time between kinds of work."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from brushfire.engine.turns import Turns

WEIGHTS = {"learning": 1.0, "visible": 1.0, "region": 1 / 3}


def spend(turns: Turns, able: list, count: int, cost: float = 0.1, **how) -> dict:
    spent = dict.fromkeys(WEIGHTS, 0.0)
    for _ in range(count):
        kind = turns.choose(able, **how)
        turns.charge(kind, cost)
        spent[kind] += cost
    return spent


@given(st.floats(0.01, 2.0))
def test_time_is_shared_by_weight(cost) -> None:
    spent = spend(Turns(WEIGHTS), ["learning", "visible", "region"], 700, cost)
    total = sum(spent.values())
    assert abs(spent["region"] / total - 1 / 7) < 0.02
    assert abs(spent["learning"] - spent["visible"]) < 2.1 * cost


def test_who_had_nothing_to_do_has_saved_nothing_up() -> None:
    turns = Turns(WEIGHTS)
    spend(turns, ["learning"], 1000)
    spent = spend(turns, ["learning", "visible"], 100)
    assert abs(spent["learning"] - spent["visible"]) < 0.3


def test_what_goes_first_starves_nobody() -> None:
    turns = Turns(WEIGHTS)
    spend(turns, ["learning"], 50)
    able = ["learning", "visible"]
    assert turns.choose(able, first="visible", ahead=1.0) == "visible"
    spent = spend(turns, able, 100, first="visible", ahead=1.0)
    assert 0.9 < spent["visible"] - spent["learning"] < 1.2
