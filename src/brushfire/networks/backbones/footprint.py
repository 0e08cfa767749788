"""How much memory a network takes, told by a run without values.

Tensors on the device "meta" have shapes and no contents: running a network on them takes
milliseconds and no memory, and says which tensors live at the same time.
"""

from __future__ import annotations

import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from brushfire.networks.loading import load_compiler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What convolutions keep for themselves: a little always, and sometimes columns, as measured.
_ALWAYS = 1.1
_SOMETIMES = 0.5

BACKWARD = 3
"""Times what a loss keeps that a step takes: its gradient, and a copy of that, lie beside it."""


class _Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors that operations have made and that are still alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live: int = 0
        self.peak: int = 0
        self.scratch: int = 0
        self._users: dict[int, int] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {_key(value) for value in tree_iter(args) if isinstance(value, Tensor)}
        for value in tree_iter(result):
            if isinstance(value, Tensor) and (_key(value) not in given or self._known(value)):
                self._note(value)
        self.peak = max(self.peak, self.live)
        if func is torch.ops.aten.convolution.default:
            self.scratch = max(self.scratch, _columns(args, result))
        return result

    def _known(self, value: Tensor) -> bool:
        return _key(value) in self._users

    def _note(self, value: Tensor) -> None:
        key, size = _key(value), value.untyped_storage().nbytes()
        if key not in self._users:
            self.live += size
        self._users[key] = self._users.get(key, 0) + 1
        weakref.finalize(value, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._users[key] -= 1
        if self._users[key] == 0:
            del self._users[key]
            self.live -= size


def _columns(args: tuple[Any, ...], result: Tensor) -> int:
    """Return the bytes of all inputs that the outputs of a convolution with strides see.

    In three dimensions processors lay them side by side for some sizes, not for others, and keep
    that memory.
    """
    _, weight, _, strides, _, _, transposed, *_ = args
    if transposed or result.ndim < 5 or max(strides) == 1:
        return 0
    columns: int = 4 * weight[0].numel() * result[0, 0].numel()
    return columns


def _key(value: Tensor) -> int:
    return int(value.untyped_storage()._cdata)


class _Unfilled(TorchFunctionMode):
    """Leaves out the random numbers that weights begin with, and keeps those that say a shape."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        if func in _RANDOM:
            return args[0]
        if func is torch.randn:
            return torch.empty(*args)
        if func is torch.linspace:  # SwinUNETR reads numbers from it while it is built
            return func(*args, **{**given, "device": "cpu"})
        return func(*args, **given)


_RANDOM = (Tensor.normal_, Tensor.uniform_)


@contextmanager
def without_values() -> Iterator[None]:
    """Build what is built inside on the device "meta", and with nothing in it."""
    load_compiler()
    with torch.device("meta"), _Unfilled():
        yield


def peak_bytes(run: Callable[[Tensor], object], shape: tuple[int, ...]) -> int:
    """Return about the bytes that a run takes at most beside its input and its weights.

    Parameters
    ----------
    run : callable
        Takes a tensor; with weights on the device "meta".
    shape : tuple of int
        Of the tensor.
    """
    load_compiler()
    x = torch.empty(shape, device="meta")
    with _Ledger() as ledger:
        run(x)
    found: float = _ALWAYS * (ledger.peak + _SOMETIMES * ledger.scratch)
    return round(found)


def step_bytes(run: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> int:
    """Return about the bytes that a run and its gradients take, its weights' included.

    Parameters
    ----------
    run : callable
        Takes a tensor; with weights on the device "meta".
    shape : tuple of int
        Of the tensor.
    """
    load_compiler()
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[_key(tensor)] = tensor
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda one: one):
        result = run(torch.empty(shape, device="meta"))
    keep(result)  # held until all is counted, and what the last layer keeps
    return BACKWARD * sum(one.untyped_storage().nbytes() for one in kept.values())
