"""What the network's kernels load must not end a program that has a window."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import napari
viewer = napari.Viewer()
from brushfire.networks.kernels import choice
kernel, reason = choice.explain("cuda")
print(kernel.name, reason)
from brushfire.networks import NetworkSettings
from brushfire.networks.facts import describe_network
print(describe_network(NetworkSettings(), 1, 2))
viewer.close()
"""


def test_asking_for_a_card_s_kernel_and_for_memory_beside_a_window_ends_well() -> None:
    pytest.importorskip("triton", reason="Triton is made for Linux only.")
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] in ("grouped", "fused")
