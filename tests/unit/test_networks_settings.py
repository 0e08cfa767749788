from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import pytest

from brushfire.errors import SettingsError
from brushfire.learning.settings import LearningSettings
from brushfire.networks.settings import NetworkSettings, suggest_settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"depth": 0}, {"depth": 401}, {"depth": 2.5}, {"depth": True}, {"width": 0},
        {"dilations": ()}, {"dilations": (0,)}, {"dilations": (65,)},
        {"slices": 2}, {"slices": 17}, {"slices": 0}, {"border": "mirror"}, {"border": None},
        {"restored": -1, "features": False}, {"restored": 1}, {"splits": "x:1", "features": False},
        {"restored": 1, "splits": "2:1", "features": False},
    ],
)  # fmt: skip
def test_wrong_network_settings_say_what_is_right(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        NetworkSettings(**wrong)
    assert caught.value.rule
    assert caught.value.do


@pytest.mark.parametrize(
    "wrong",
    [
        {"patch": 8}, {"batch": 0}, {"learning_rate": 0.0}, {"learning_rate": float("nan")},
        {"weight_decay": -1.0}, {"average": 1.0}, {"held_out": 0.9}, {"cache_bytes": 0},
    ],
)  # fmt: skip
def test_wrong_learning_settings_say_what_is_right(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="from"):
        LearningSettings(**wrong)


def test_settings_from_json_equal_those_written() -> None:
    settings = NetworkSettings(dilations=[1, 2, 4])  # type: ignore[arg-type]
    assert settings == NetworkSettings(dilations=(1, 2, 4))
    assert hash(settings) == hash(pickle.loads(pickle.dumps(settings)))
    assert [settings.dilation(layer) for layer in range(4)] == [1, 2, 4, 1]


def test_slices_are_suggested_where_neighbours_are_near() -> None:
    shape = (30, 512, 512)
    assert suggest_settings(shape, 1.0).slices == 3
    assert suggest_settings(shape, 12.5).slices == 1
    assert suggest_settings((1, 512, 512), 1.0).slices == 1


def test_settings_and_snapshots_need_no_torch() -> None:
    code = (
        "import sys; from brushfire.networks import ModelSnapshot, NetworkSettings; "
        "from brushfire.learning import LearningSettings; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
