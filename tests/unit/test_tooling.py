"""The files around the code keep what they promise: pins and scripts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DISPLAY = ROOT / "tools" / "display.sh"

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="The script is for Linux.")


def requirements() -> list[Requirement]:
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    found = [Requirement(text) for group in groups for text in group]
    return [one for one in found if one.name != PROJECT["name"]]  # one extra names another


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


# -- dependencies ----------------------------------------------------------------------------


def test_every_dependency_is_pinned_within_its_bounds() -> None:
    pinned = pins()
    for requirement in requirements():
        assert pinned[canonicalize_name(requirement.name)] in requirement.specifier


def test_torch_is_pinned_without_a_build() -> None:
    assert pins()["torch"] == "2.13.0"
    assert not [name for name in pins() if name.startswith(("nvidia", "cuda"))]
    assert pins()["triton"] == "3.7.1"  # that of this torch for CUDA, so that both builds fit


def test_only_napari_has_an_upper_bound() -> None:
    bounded = [r.name for r in requirements() if any("<" in s.operator for s in r.specifier)]
    assert bounded == ["napari"]


def test_the_core_needs_neither_napari_nor_qt() -> None:
    core = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
    assert not core & {"napari", "pyside6", "pyside6-essentials", "pyqt6", "pyqt5"}


# -- scripts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script", [".ci/run", "tools/check.sh", "tools/display.sh", "tools/venv.sh"]
)
def test_scripts_can_be_run(script: str) -> None:
    path = ROOT / script
    assert path.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")
    if os.name == "posix":
        assert os.access(path, os.X_OK)
    if bash := shutil.which("bash"):
        subprocess.run([bash, "-n", path], check=True)


def display(
    arguments: list[str], folder: Path, commands: dict[str, str], **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run display.sh where the ``commands`` say what kind of machine it is."""
    for name, body in commands.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    keep = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return subprocess.run(
        [DISPLAY, *arguments],
        env={**keep, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


BARE = {
    "dpkg-query": r"printf 'ii \tlibegl1, \nii \tlibglib2.0-0t64, libglib2.0-0 (= 2.80)\n'",
    "apt-get": 'echo "apt-get $*" >>"$LOG"',
    "xvfb-run": 'shift 3; echo virtual; exec "$@"',
}


@needs_linux
def test_a_screen_is_used_as_it_is(tmp_path: Path) -> None:
    done = display(["echo", "hello"], tmp_path, BARE, DISPLAY=":7")
    assert (done.returncode, done.stdout) == (0, "hello\n")


@needs_linux
def test_without_root_the_missing_line_is_printed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = display(["echo", "hello"], tmp_path, {**BARE, "id": "echo 1000"}, LOG=str(log))
    assert done.returncode == 1
    assert done.stdout == ""
    line = done.stderr.splitlines()[1]
    assert re.match(r"  sudo apt-get update && sudo apt-get install .* xvfb xauth ", line)
    assert "libegl1" not in line.split()  # is there already
    assert "libglib2.0-0" not in line  # another package provides it
    assert not log.exists()


@needs_linux
def test_root_installs_and_runs_on_a_virtual_screen(tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = display(["echo", "hello"], tmp_path, {**BARE, "id": "echo 0"}, LOG=str(log))
    assert done.returncode == 0
    assert done.stdout.splitlines()[-2:] == ["virtual", "hello"]
    update, install = log.read_text().splitlines()
    assert update.startswith("apt-get update")
    assert "xvfb" in install.split()


@needs_linux
def test_tests_get_a_screen_of_their_own(tmp_path: Path) -> None:
    everything = {**BARE, "dpkg-query": "exit 1", "id": "echo 0"}
    done = display(
        ["--virtual", "echo", "hello"], tmp_path, everything, DISPLAY=":7", LOG=os.devnull
    )
    assert done.stdout.splitlines()[-2:] == ["virtual", "hello"]


@needs_linux
def test_it_tells_whether_there_is_a_screen(tmp_path: Path) -> None:
    assert display(["--has-screen"], tmp_path, {}).returncode == 1
    assert display(["--has-screen"], tmp_path, {}, DISPLAY=":7").returncode == 0
