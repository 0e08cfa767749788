"""Which kernel this machine uses, and why."""

from __future__ import annotations

import atexit
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
_FASTER = 0.9  # of the grouped kernel's time: a change for less is not worth it
_TOLERANCE = 1e-4  # of the largest value


class KernelChoice:
    """Takes the grouped kernel at first, and the compiled one once it has proved right and faster.

    Compiling takes some seconds on the first use ever, so that it goes on in a thread.
    """

    def __init__(self) -> None:
        self._grouped = GroupedKernel()
        self._chosen: Kernel = self._grouped
        self._reason = "the compiled kernel has not been tried yet"
        self._lock = threading.Lock()
        self._trial: threading.Thread | None = None
        self._ending = threading.Event()

    def kernel_for(self, x: Tensor) -> Kernel:
        """Return the fastest kernel for values like these, of those that are ready."""
        if x.device.type != "cpu" or x.dtype != torch.float32:
            return self._grouped
        self.prepare()
        return self._chosen

    def explain(self) -> tuple[Kernel, str]:
        """Return the kernel for this processor and why it was chosen; waits until that is known."""
        self.prepare()
        if self._trial is not None:
            self._trial.join()
        return self._chosen, self._reason

    def prepare(self) -> None:
        """Start the trial if that has not happened yet; returns at once."""
        with self._lock:
            if self._trial is not None or self._ending.is_set():
                return
            trial = threading.Thread(target=self._try, name="kernel", daemon=True)
            try:
                trial.start()
            except RuntimeError as error:  # no more threads, or the program is ending
                self._ending.set()
                self._reason = f"the compiled kernel could not be tried: {error}"
                return
            self._trial = trial
            # torch ends the program with an error where a thread is inside it at the very end.
            atexit.register(self._end)

    def _end(self) -> None:
        self._ending.set()
        if self._trial is not None:
            self._trial.join()

    def _try(self) -> None:
        try:
            from brushfire.networks.kernels.compiled import CompiledKernel

            self._compare(CompiledKernel())
        except ImportError as error:
            self._reason = f'pip install "napari-brushfire[fast]" makes a faster one ({error})'
        except Exception as error:  # noqa: BLE001  a kernel that fails is one not to be used
            self._reason = f"the compiled kernel fails here: {type(error).__name__}: {error}"

    def _compare(self, compiled: Kernel) -> None:
        """Take the compiled kernel if it gives the same numbers in clearly less time."""
        times: list[list[float]] = [[], []]
        for _ in range(_TRIALS + 1):
            results = []
            for kernel, mine in zip((self._grouped, compiled), times, strict=True):
                if self._ending.is_set():
                    return
                seconds, result = _run(kernel)
                mine.append(seconds)
                results.append(result)
            for expected, found in zip(*results, strict=True):
                if not (found - expected).abs().max() <= _TOLERANCE * expected.abs().max():
                    self._reason = "the compiled kernel gives other numbers here: please report it"
                    return
        # The first turn compiles; the least of the others is what other work disturbed least.
        slow, fast = (min(mine[1:]) for mine in times)
        if fast < _FASTER * slow:
            self._chosen = compiled
            self._reason = f"{slow / fast:.1f} times as fast as the grouped one"
        else:
            self._reason = f"the compiled one takes {fast / slow:.1f} times as long"


def _run(kernel: Kernel) -> tuple[float, list[Tensor]]:
    """Return the seconds of a kernel for a small network, and all maps and gradients."""
    generator = torch.Generator().manual_seed(0)
    dilations = [1 + layer % 10 for layer in range(_DEPTH)]
    weights = [torch.randn(1, 1 + n, 3, 3, generator=generator) / 10 for n in range(_DEPTH)]
    layers = Layers(1, dilations, weights, torch.zeros(_DEPTH))
    layout = FlatLayout(1, (_SIDE, _SIDE), max(dilations))
    buffer = torch.zeros(layers.row(_DEPTH), layout.total)
    layout.images_of(buffer[:1]).copy_(torch.randn(_SIDE, _SIDE, generator=generator))
    began = time.perf_counter()
    kernel.fill(buffer, layers, layout)
    found = kernel.gradients(buffer, buffer.clone(), layers, layout, input_too=False)
    return time.perf_counter() - began, [buffer, found.biases, *found.weights]
