"""How large the patches of a step are and how many: as much as fits, told by real steps."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from brushfire.errors import LearningError
from brushfire.networks.backbones.footprint import SPARE, Ledger
from brushfire.networks.loading import load_compiler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_BACKWARD = 3  # times what a loss keeps: its gradient, and a copy of that, lie beside it


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

    A step on the smallest patch tells what a pixel costs; then the largest workload that fits by
    that is tried itself, and so on. A pixel costs less the more there are, as a rule.

    Parameters
    ----------
    measure : callable
        Runs a real step and returns the bytes that it took.
    wanted : Workload
        As large as this if it fits: large patches go before many.
    smallest : int
        Side of the smallest patches in pixels.
    limit : float
        Bytes that a step may take.

    Raises
    ------
    LearningError
        If a step on one of the smallest patches takes more than that.
    """
    sizes = _up_to(wanted, smallest)
    fitting: Workload | None = None
    size = sizes[0]
    while (cost := measure(size)) <= limit:
        fitting = size
        size = [one for one in sizes if cost * one.pixels <= limit * size.pixels][-1]
        if size.pixels <= fitting.pixels:
            return fitting
    if fitting is None:
        raise LearningError(
            "A step on a small patch fits into the memory that the network gets.",
            got=f"{limit / 2**20:.0f} MiB for {cost / 2**20:.0f} MiB",
            do="Give the session more memory, or choose a network of less depth and width.",
        )
    return fitting


def _up_to(wanted: Workload, smallest: int) -> list[Workload]:
    """Return workloads that double or halve into each other, the smallest first."""
    sizes = [wanted]
    while sizes[-1].batch > 1:
        sizes.append(Workload(wanted.patch, sizes[-1].batch // 2))
    while sizes[-1].patch > smallest:
        sizes.append(Workload(max(sizes[-1].patch // 2, smallest), 1))
    return sizes[::-1]


class Count:
    """The bytes that were counted, once that has ended."""

    bytes = 0


@contextmanager
def counted(device: torch.device, *, whole: bool) -> Iterator[Count]:
    """Count the memory that a loss and its gradients take while the block runs.

    CUDA tells its peak.

    Parameters
    ----------
    device : torch.device
        Where.
    whole : bool
        Whether to count all that operations make elsewhere, and some to spare, see `SPARE`. That
        loads torch's compiler, 160 MB. Otherwise it is what the loss keeps for its gradients, three
        times: right for MS-D, all of whose layers are one operation.
    """
    count = Count()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield count
        count.bytes = torch.cuda.max_memory_allocated(device) - before
        return
    if whole:
        load_compiler()  # torch imports it by itself, Triton and all, once something is counted
        with Ledger() as ledger:
            yield count
        count.bytes = round(SPARE * ledger.bytes)
        return
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        memory = tensor.untyped_storage()
        kept[memory.data_ptr()] = memory.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield count
    count.bytes = _BACKWARD * sum(kept.values())
