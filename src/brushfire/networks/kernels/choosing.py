"""Which kernel this machine uses, and why."""

from __future__ import annotations

import atexit
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from brushfire.networks.kernels.grouped import GroupedKernel
from brushfire.networks.kernels.layout import FlatLayout
from brushfire.networks.kernels.named import VARIABLE, make_kernel, pinned_kernel, pinned_name
from brushfire.networks.kernels.protocol import Kernel, Layers

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch import Tensor

_TRIALS = 5
_DEPTH = 20
_FASTER = 0.9  # of the grouped kernel's time: a change for less is not worth it
_ON_CARDS = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}


@dataclass(frozen=True)
class _Candidate:
    """A kernel that may be faster than the grouped one for values of a type on a device."""

    name: str
    missing: str  # what to do where it cannot be imported
    device: torch.device
    dtype: torch.dtype
    tolerance: float  # of the largest value
    side: int  # of the image that it is tried with, large enough that its pixels take the time


def _candidate(device: torch.device, dtype: torch.dtype) -> _Candidate | None:
    """Return what may be faster there."""
    if device.type == "cpu" and dtype == torch.float32:
        missing = 'pip install "napari-brushfire[fast]" makes a faster one'
        return _Candidate("compiled", missing, device, dtype, 1e-4, 128)
    if device.type == "cuda" and dtype in _ON_CARDS and getattr(torch.version, "hip", None) is None:
        missing = "triton, which comes with torch for CUDA on Linux, makes a faster one"
        return _Candidate("fused", missing, device, dtype, _ON_CARDS[dtype], 512)
    return None


class KernelChoice:
    """Takes the grouped kernel at first, and a faster one once it has proved right and faster.

    There is one trial for each device and type of values that has such a kernel. Compiling takes
    some seconds on the first use ever, so that a trial goes on in a thread.
    """

    def __init__(self) -> None:
        self._grouped = GroupedKernel()
        self._trials: dict[tuple[torch.device, torch.dtype], _Trial] = {}
        self._lock = threading.Lock()

    def kernel_for(self, x: Tensor) -> Kernel:
        """Return the pinned kernel, or the fastest for values like these of those that are ready.

        Raises
        ------
        SettingsError
            If the pinned kernel cannot be used for them.
        """
        pinned = pinned_kernel(x.device, x.dtype)
        if pinned is not None:
            return pinned
        trial = self._trial(x.device, x.dtype)
        if trial is None:
            return self._grouped
        trial.prepare()
        return trial.chosen

    def explain(
        self, device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> tuple[Kernel, str]:
        """Return the kernel for a device and why it was chosen; waits until that is known.

        Parameters
        ----------
        device : str
            As torch names it.
        dtype : torch.dtype
            Of the values.

        Raises
        ------
        SettingsError
            If the pinned kernel cannot be used there.
        """
        pinned = pinned_kernel(torch.device(device), dtype)
        if pinned is not None:
            return pinned, f"{VARIABLE} says so"
        trial = self._trial(torch.device(device), dtype)
        if trial is None:
            return self._grouped, "the only one for such values there"
        return trial.explain()

    def prepare(self) -> None:
        """Start the trial on the processor if that has not happened yet; returns at once."""
        if pinned_name() is not None:
            return
        trial = self._trial(torch.device("cpu"), torch.float32)
        assert trial is not None
        trial.prepare()

    def _trial(self, device: torch.device, dtype: torch.dtype) -> _Trial | None:
        if str(device) == "cuda":
            device = torch.device("cuda", 0)  # as values there say it
        with self._lock:
            if (device, dtype) not in self._trials:
                candidate = _candidate(device, dtype)
                if candidate is None:
                    return None
                self._trials[device, dtype] = _Trial(self._grouped, candidate)
            return self._trials[device, dtype]


class _Trial:
    """Compares a kernel with the grouped one, once.

    Attributes
    ----------
    chosen : Kernel
        The one to use, as far as is known.
    """

    def __init__(self, grouped: GroupedKernel, candidate: _Candidate) -> None:
        self._grouped, self._candidate = grouped, candidate
        self.chosen: Kernel = grouped
        self._reason = f"the {candidate.name} kernel has not been tried yet"
        self._lock = threading.Lock()
        self._trial: threading.Thread | None = None
        self._ending = threading.Event()

    def explain(self) -> tuple[Kernel, str]:
        """Return the chosen kernel and why; waits until that is known."""
        self.prepare()
        if self._trial is not None:
            self._trial.join()
        return self.chosen, self._reason

    def prepare(self) -> None:
        """Start if that has not happened yet; returns at once."""
        with self._lock:
            if self._trial is not None or self._ending.is_set():
                return
            trial = threading.Thread(target=self._try, name="kernel", daemon=True)
            try:
                trial.start()
            except RuntimeError as error:  # no more threads, or the program is ending
                self._ending.set()
                self._reason = f"the {self._candidate.name} kernel could not be tried: {error}"
                return
            self._trial = trial
            # torch ends the program with an error where a thread is inside it at the very end.
            atexit.register(self._end)

    def _end(self) -> None:
        self._ending.set()
        if self._trial is not None:
            self._trial.join()

    def _try(self) -> None:
        name = self._candidate.name
        try:
            self._compare(make_kernel(name))
        except ImportError as error:
            self._reason = f"{self._candidate.missing} ({error})"
        except Exception as error:  # noqa: BLE001  a kernel that fails is one not to be used
            self._reason = f"the {name} kernel fails here: {type(error).__name__}: {error}"

    def _compare(self, kernel: Kernel) -> None:
        """Take the kernel if it gives the same numbers in clearly less time."""
        name = self._candidate.name
        times: list[list[float]] = [[], []]
        for _ in range(_TRIALS + 1):
            results = []
            for one, mine in zip((self._grouped, kernel), times, strict=True):
                if self._ending.is_set():
                    return
                seconds, result = _run(one, self._candidate)
                mine.append(seconds)
                results.append(result)
            for expected, found in zip(*results, strict=True):
                most = self._candidate.tolerance * expected.abs().max()
                if not (found - expected).abs().max() <= most:
                    self._reason = f"the {name} kernel gives other numbers here: please report it"
                    return
        # The first turn compiles; the least of the others is what other work disturbed least.
        slow, fast = (min(mine[1:]) for mine in times)
        if fast < _FASTER * slow:
            self.chosen = kernel
            self._reason = f"{slow / fast:.1f} times as fast as the grouped one"
        else:
            self._reason = f"the {name} one takes {fast / slow:.1f} times as long"


def _run(kernel: Kernel, candidate: _Candidate) -> tuple[float, list[Tensor]]:
    """Return the seconds of a kernel for a small network, and all maps and gradients."""
    generator = torch.Generator().manual_seed(0)
    like: dict[str, Any] = {"device": candidate.device, "dtype": candidate.dtype}
    dilations = [1 + layer % 10 for layer in range(_DEPTH)]
    weights = [torch.randn(1, 1 + n, 3, 3, generator=generator) / 10 for n in range(_DEPTH)]
    biases = torch.zeros(_DEPTH, **like)
    image = torch.randn(candidate.side, candidate.side, generator=generator)
    layout = FlatLayout(1, (candidate.side, candidate.side), max(dilations))
    with _aside(candidate.device):
        layers = Layers(1, dilations, [weight.to(**like) for weight in weights], biases)
        buffer = torch.zeros(layers.row(_DEPTH), layout.total, **like)
        layout.images_of(buffer[:1]).copy_(image)
        slope = buffer.clone()
        _wait(candidate.device)
        began = time.perf_counter()
        kernel.fill(buffer, layers, layout)
        found = kernel.gradients(buffer, slope, layers, layout, input_too=False)
        _wait(candidate.device)
        seconds = time.perf_counter() - began
        results = [one.float() for one in (buffer, found.biases, *found.weights)]
        _wait(candidate.device)
        return seconds, results


def _aside(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context whose work on a card waits for no other, and no other for it."""
    if device.type != "cuda":
        return nullcontext()
    return torch.cuda.stream(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]


def _wait(device: torch.device) -> None:
    """Wait for what this thread has begun on a card."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
