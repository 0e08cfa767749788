"""How much memory a network takes, told by a run without values.

Tensors on the device "meta" have shapes and no contents: running a network on them takes
milliseconds and no memory, and says which tensors live at the same time.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

if TYPE_CHECKING:
    from collections.abc import Callable

# What convolutions keep for themselves: a little always, and sometimes columns, as measured.
_ALWAYS = 1.1
_SOMETIMES = 0.5


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


def peak_bytes(run: Callable[[Tensor], object], shape: tuple[int, ...]) -> int:
    """Return about the bytes that a run takes at most beside its input and its weights.

    Parameters
    ----------
    run : callable
        Takes a tensor; with weights on the device "meta".
    shape : tuple of int
        Of the tensor.
    """
    x = torch.empty(shape, device="meta")
    with _Ledger() as ledger:
        run(x)
    found: float = _ALWAYS * (ledger.peak + _SOMETIMES * ledger.scratch)
    return round(found)
