"""Choose where the network runs, and set up the threads of that place."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress

import torch

from brushfire.errors import SettingsError

NICENESS = 5
"""How far the engine stands back for the window's thread on Linux, where threads have a rank."""


def choose_device(requested: str | None) -> str:
    """Return ``"cuda"``, ``"mps"``, ``"xpu"`` or ``"cpu"``.

    Parameters
    ----------
    requested : str or None
        A device that must be used, or None for the best one there is.

    Raises
    ------
    SettingsError
        The requested device is not in this machine.
    """
    found = [name for name in ("cuda", "xpu", "mps") if _available(name)] + ["cpu"]
    if requested is None:
        return found[0]
    if requested.split(":")[0] not in found:
        raise SettingsError(
            "The device must be one that this machine has.",
            got=requested,
            do=f"Choose one of: {', '.join(found)}.",
        )
    return requested


def cores() -> int:
    """Return the number of processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_up_thread() -> None:
    """Leave one core to the window, and let the window's thread go first.

    Called in the engine's own thread: torch keeps the number of threads per calling thread.
    """
    torch.set_num_threads(max(1, cores() - 1))
    if sys.platform == "linux":
        # On Linux a thread has a priority of its own; its OpenMP workers inherit it.
        # A process that already stands back further may not come forward, and need not.
        rank = max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0))
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), rank)


def network_budget(device: str, network_bytes: int) -> int:
    """Return the memory that a tile, or a training step, may take.

    Parameters
    ----------
    device : str
        Where the network runs.
    network_bytes : int
        What the session's budget gives to the network. A CUDA device has memory of its own: half
        of what is free there, since others may want some too.
    """
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(device)[0] // 2
    return network_bytes


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that a device or the machine has no memory left."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text
    )


def free_memory() -> None:
    """Give cached device memory back."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _available(name: str) -> bool:
    if name == "mps":
        return torch.backends.mps.is_available()
    module = getattr(torch, name, None)
    return bool(module is not None and module.is_available())
