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
    from collections.abc import Callable, Iterator, Sequence

# What allocators and kernels take beside what can be counted, as measured.
_ALWAYS = 1.05

SPARE = 1.5
"""Times its bytes that a step is given.

The C library keeps what was freed between blocks of other sizes: up to half of all, as measured.
"""

_BLOCK = 16
"""Channels that lie side by side in the copies that convolutions compute on."""

_CONVOLUTION = torch.ops.aten.convolution.default
_GRADIENTS = torch.ops.aten.convolution_backward.default
_TRANSPOSED = 3  # its place after the stride, the padding and the dilation


class Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of what operations make, while it lives, and what they take beside."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._live: int = 0
        self._peak: int = 0
        self._known: set[int] = set()

    @property
    def bytes(self) -> int:
        """About the most that was taken at a time."""
        return round(_ALWAYS * self._peak)

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
            if isinstance(value, Tensor) and _key(value) not in given | self._known:
                self._note(value.untyped_storage())
        beside = 0
        if func is _CONVOLUTION:
            beside = _beside(result, *args)
        elif func is _GRADIENTS:
            beside = _beside_gradients(*args)
        self._peak = max(self._peak, self._live + beside)
        return result

    def _note(self, memory: torch.UntypedStorage) -> None:
        key, size = int(memory._cdata), memory.nbytes()
        self._live += size
        self._known.add(key)
        # It stays while anything keeps the memory, autograd included.
        weakref.finalize(memory, self._gone, key, size).atexit = False

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._live -= size


def _beside(result: Tensor, x: Tensor, weight: Tensor, _: Any, *how: Any) -> int:
    """Return the bytes that a convolution on a processor takes beside operands and result.

    Torch chooses by shapes: oneDNN, which copies what it reads and writes into an order of its
    own, or the product of the weights with all inputs that outputs see, laid side by side. The
    latter is what maps of few rows, slices and channels get in three dimensions.
    """
    transposed = how[_TRANSPOSED]
    if not _in_columns(x, weight, how):
        # What is transposed is copied twice on its way out.
        return max(_blocked(x), 2 * result.nbytes if transposed else _blocked(result))
    if max(weight.shape[2:]) == 1:
        return 0
    return _columns(weight, x if transposed else result)


def _beside_gradients(gradient: Tensor, x: Tensor, weight: Tensor, _: Any, *how: Any) -> int:
    """Return what the gradients of a convolution take beside operands and results."""
    if _in_columns(x, weight, how[:-1]):  # without the last, which says what is wanted
        return _columns(weight, x if how[_TRANSPOSED] else gradient)
    return _blocked(x) + max(_blocked(x), _blocked(gradient))


def _in_columns(x: Tensor, weight: Tensor, how: Sequence[Any]) -> bool:
    shapes = (torch.empty((), device="cpu").expand(one.shape) for one in (x, weight))
    return "Slow" in str(torch._C._select_conv_backend(*shapes, None, *how))


def _columns(weight: Tensor, seen: Tensor) -> int:
    columns: int = 4 * weight[0].numel() * seen[:, 0].numel()
    return columns


def _blocked(maps: Tensor) -> int:
    channels = -(-maps.shape[1] // _BLOCK) * _BLOCK
    copied: int = 4 * channels * maps[:, 0].numel()
    return copied


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
    ledger = Ledger()
    with ledger:
        run(x)
    return ledger.bytes


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
    x = torch.empty(shape, device="meta")
    ledger = Ledger()
    with torch.enable_grad(), ledger:
        torch.autograd.backward(run(x).mean())
    return ledger.bytes
