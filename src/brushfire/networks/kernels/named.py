"""Kernels by name, for whoever wants a certain one."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from brushfire.errors import SettingsError
from brushfire.networks.kernels.grouped import GroupedKernel
from brushfire.networks.kernels.plain import PlainKernel

if TYPE_CHECKING:
    from brushfire.networks.kernels.protocol import Kernel

VARIABLE = "BRUSHFIRE_KERNEL"
"""Names the kernel to use for everything; where it is not set, the fastest is chosen."""

NAMES = ("plain", "grouped", "compiled", "fused")


def pinned_name() -> str | None:
    """Return the name of the kernel that must be used, if one must."""
    return os.environ.get(VARIABLE) or None


def pinned_kernel(device: torch.device, dtype: torch.dtype) -> Kernel | None:
    """Return the kernel that must be used, if one must.

    Parameters
    ----------
    device, dtype
        Of the values that it will be used for.

    Raises
    ------
    SettingsError
        If there is no such kernel, or not on this machine, or not for such values.
    """
    name = pinned_name()
    if name is None:
        return None
    kernel = _pinned(name)
    values = f"{str(dtype).removeprefix('torch.')} on {device.type}"
    floats = (torch.float32, torch.float64)
    if name == "compiled" and not (device.type == "cpu" and dtype in floats):
        raise _refusal("The compiled kernel computes float32 and float64 on the processor.", values)
    if name == "fused" and device.type != "cuda":
        raise _refusal("The fused kernel computes on CUDA devices.", values)
    return kernel


@cache
def _pinned(name: str) -> Kernel:
    if name not in NAMES:
        raise _refusal(f"A kernel is one of {', '.join(NAMES)}.", name)
    try:
        return make_kernel(name)
    except ImportError as error:
        needs = {"compiled": 'numba (pip install "napari-brushfire[fast]")', "fused": "triton"}
        raise _refusal(f"The {name} kernel needs {needs[name]}.", str(error)) from error


def make_kernel(name: str) -> Kernel:
    """Return a kernel of `NAMES`.

    Raises
    ------
    ImportError
        If what it needs is not installed, or cannot be loaded here.
    """
    if name == "compiled":
        from brushfire.networks.kernels.compiled import CompiledKernel

        return CompiledKernel()
    if name == "fused":
        if "triton" not in sys.modules and draws_with_llvm():
            raise ImportError("not in a process that draws with Mesa's LLVM: loading both ends it")
        from brushfire.networks.kernels.fused import FusedKernel

        return FusedKernel()
    return PlainKernel() if name == "plain" else GroupedKernel()


def draws_with_llvm() -> bool:
    """Whether a window is drawn by Mesa's software renderer, with whose LLVM triton's collides."""
    maps = Path("/proc/self/maps")
    return maps.exists() and "libLLVM" in maps.read_text()


def _refusal(rule: str, got: str) -> SettingsError:
    return SettingsError(rule, got=got, do=f"Set {VARIABLE} to another, or leave it out.")
