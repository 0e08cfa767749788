"""How large the patches of a step are and how many: as much as fits, told by real steps."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BACKWARD = 3  # times what the loss keeps: its gradient, and a copy of that, lie beside it


@dataclass(frozen=True)
class Workload:
    """What one step works on.

    Parameters
    ----------
    patch : int
        Side of the square patches in pixels.
    batch : int
        Patches.
    """

    patch: int
    batch: int

    @property
    def pixels(self) -> int:
        """Pixels of all patches."""
        return self.batch * self.patch**2


def choose_workload(
    measure: Callable[[Workload], int], wanted: Workload, *, smallest: int, limit: float
) -> Workload:
    """Return the largest workload up to ``wanted`` whose step fits into memory.

    A step on the smallest patch tells what a pixel costs; then each larger workload that fits by
    that is tried itself. A pixel costs the less the more there are, so that nothing is tried that
    does not fit.

    Parameters
    ----------
    measure : callable
        Runs a real step and returns the bytes that it took.
    wanted : Workload
        As large as this if it fits: large patches go before many.
    smallest : int
        Side of the smallest patches, taken whether they fit or not.
    limit : float
        Bytes that a step may take.
    """
    sizes = _up_to(wanted, smallest)
    chosen = 0
    while True:
        each = measure(sizes[chosen]) / sizes[chosen].pixels
        fitting = [n for n, size in enumerate(sizes) if each * size.pixels <= limit]
        largest = fitting[-1] if fitting else 0
        if largest <= chosen:
            return sizes[chosen]
        chosen = largest


def _up_to(wanted: Workload, smallest: int) -> list[Workload]:
    """Return workloads that double or halve into each other, the smallest first."""
    sizes = [wanted]
    while sizes[-1].batch > 1:
        sizes.append(Workload(wanted.patch, sizes[-1].batch // 2))
    while sizes[-1].patch >= 2 * smallest:
        sizes.append(Workload(sizes[-1].patch // 2, 1))
    return sizes[::-1]


class Count:
    """The bytes that were counted, once that has ended."""

    bytes = 0


@contextmanager
def counted(device: torch.device) -> Iterator[Count]:
    """Count the memory that a loss and its gradients take while the block runs.

    CUDA tells its peak. Elsewhere it is what the loss keeps for its gradients, three times.
    """
    count = Count()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield count
        count.bytes = torch.cuda.max_memory_allocated(device) - before
        return
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        memory = tensor.untyped_storage()
        kept[memory.data_ptr()] = memory.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield count
    count.bytes = _BACKWARD * sum(kept.values())
