"""Threads that kernels share their work among."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOST_THREADS = 256

Call = tuple["Callable[..., None]", "tuple[Any, ...]"]


def run_together(calls: Sequence[Call]) -> None:
    """Make all calls at once, the first of them in this thread; return when all have ended.

    Parameters
    ----------
    calls : sequence of tuple
        At least one: what is called, which holds no lock of the interpreter, and with what.
    """
    others: list[Future[None]] = []
    try:
        others.extend(_pool().submit(call, *args) for call, args in calls[1:])
        call, args = calls[0]
        call(*args)
    finally:
        wait(others)
    for other in others:
        other.result()


@cache
def _pool() -> ThreadPoolExecutor:
    # Threads begin when they are needed, as many as all callers together ask for.
    return ThreadPoolExecutor(MOST_THREADS, "brushfire-kernel")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a fork has no threads but its own
