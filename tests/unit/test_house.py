"""The core does not know that it is being watched: no napari and no Qt below the interface."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import brushfire

WINDOW = (
    "napari",
    "qtpy",
    "PySide6",
    "PyQt5",
    "PyQt6",
    "superqt",
    "magicgui",
    "pyqtgraph",
    "vispy",
)
OUTSIDE = ("brushfire.ui", "brushfire.cli")
if find_spec("triton") is None:  # which is made for Linux only
    OUTSIDE += ("brushfire.networks.kernels.fused", "brushfire.networks.kernels.fused_loops")

LOOK = """
import importlib, sys
for name in sys.argv[2:]:
    importlib.import_module(name)
window = sys.argv[1].split(",")
print(*sorted({name.partition(".")[0] for name in sys.modules} & set(window)))
"""


def modules() -> list[str]:
    """Return every module of Brushfire below the interface, found by its file."""
    root = Path(brushfire.__file__).parent
    names = set()
    for path in root.rglob("*.py"):
        parts = path.relative_to(root.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if not any(name == one or name.startswith(f"{one}.") for one in OUTSIDE):
            names.add(name)
    return sorted(names)


def loaded_with(*names: str) -> list[str]:
    """Return the parts of the window that a fresh interpreter has loaded after importing."""
    ended = subprocess.run(
        [sys.executable, "-c", LOOK, ",".join(WINDOW), *names],
        check=True,
        capture_output=True,
        text=True,
    )
    return ended.stdout.split()


def test_every_module_below_the_interface_is_looked_at() -> None:
    found = modules()
    assert {"brushfire.geometry", "brushfire.annotations.store", "brushfire.project"} <= set(found)
    assert len(found) > 20
    assert not [name for name in found if ".ui" in name]


def test_nothing_below_the_interface_loads_napari_or_qt() -> None:
    assert loaded_with(*modules()) == []


def test_the_look_finds_a_window_that_is_there() -> None:
    # Without this the test above could pass because it sees nothing.
    assert "qtpy" in loaded_with("brushfire.geometry", "qtpy")


def test_settings_and_snapshots_do_not_load_torch() -> None:
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, brushfire.annotations, brushfire.volumes, brushfire.project\n"
            "import brushfire.library\n"
            "print('torch' in sys.modules)",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    assert ended.stdout == "False\n"
