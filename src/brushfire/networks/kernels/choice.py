"""Which kernel this machine uses, and why."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import torch

from brushfire.networks.kernels.grouped import GroupedKernel
from brushfire.networks.kernels.layout import FlatLayout
from brushfire.networks.kernels.protocol import Kernel, Layers

if TYPE_CHECKING:
    from torch import Tensor

_TRIALS = 5
_SIDE = 128
_DEPTH = 20


class KernelChoice:
    """Takes the grouped kernel at first, and the compiled one once it has proved faster.

    Compiling takes some seconds on the first use ever, so that it goes on beside the work.
    """

    def __init__(self) -> None:
        self._grouped = GroupedKernel()
        self._chosen: Kernel = self._grouped
        self._reason = "the compiled kernel has not been tried yet"
        self._lock = threading.Lock()
        self._trial: threading.Thread | None = None

    def kernel_for(self, x: Tensor) -> Kernel:
        """Return the fastest kernel for values like these, of those that are ready."""
        compilable = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
        if not compilable:
            return self._grouped
        self._begin()
        return self._chosen

    def explain(self) -> tuple[str, str]:
        """Return the name of the kernel for this processor and why it was chosen; waits for it."""
        self._begin().join()
        return self._chosen.name, self._reason

    def _begin(self) -> threading.Thread:
        """Start the trial if that has not happened yet."""
        with self._lock:
            if self._trial is None:
                self._trial = threading.Thread(target=self._try, name="kernel", daemon=True)
                self._trial.start()
            return self._trial

    def _try(self) -> None:
        try:
            from brushfire.networks.kernels.compiled import CompiledKernel
        except ImportError as error:
            hint = 'pip install "napari-brushfire[fast]" makes a faster one'
            self._reason = f"{hint} ({error})"
            return
        try:
            compiled = CompiledKernel()
            slow, fast = _best_times(self._grouped, compiled)
        except Exception as error:  # noqa: BLE001  a kernel that fails is one not to be used
            self._reason = f"the compiled kernel fails here: {type(error).__name__}: {error}"
            return
        if fast < slow:
            self._chosen = compiled
            self._reason = f"{slow / fast:.1f} times as fast as the grouped one"
        else:
            self._reason = f"the compiled one takes {fast / slow:.1f} times as long"


def _best_times(*kernels: Kernel) -> list[float]:
    """Return the least seconds of each kernel for all maps and gradients of a small network.

    The least is the one that other work disturbed least. The first turn of each, which compiles
    it, is not counted.
    """
    generator = torch.Generator().manual_seed(0)
    dilations = [1 + layer % 10 for layer in range(_DEPTH)]
    weights = [torch.randn(1, 1 + n, 3, 3, generator=generator) / 10 for n in range(_DEPTH)]
    layers = Layers(1, dilations, weights, torch.zeros(_DEPTH))
    layout = FlatLayout(1, (_SIDE, _SIDE), max(dilations))
    times: list[list[float]] = [[] for _ in kernels]
    for trial in range(_TRIALS + 1):
        for kernel, mine in zip(kernels, times, strict=True):
            buffer = torch.zeros(layers.row(_DEPTH), layout.total)
            layout.images_of(buffer).fill_(1)
            began = time.perf_counter()
            kernel.fill(buffer, layers, layout)
            kernel.gradients(buffer, buffer.clone(), layers, layout, input_too=False)
            if trial > 0:
                mine.append(time.perf_counter() - began)
    return [min(mine) for mine in times]
