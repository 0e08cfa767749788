"""Set up what learning needs before the first stroke: torch, scikit-learn and compiled loops."""

from __future__ import annotations

import atexit
import threading
from contextlib import suppress

import torch

from brushfire.learning.convex import fit_linear
from brushfire.learning.growing import grow_trees
from brushfire.networks.trees import Trees

_lock = threading.Lock()
_begun = threading.Event()
_done = threading.Event()


def warm_up() -> None:
    """Set up everything, in a second or two; who comes while that goes on waits for it."""
    with _lock:
        if _done.is_set():
            return
        values = torch.tensor([[0.0], [1.0]])
        start = torch.zeros(2, 1), torch.zeros(2)
        fit_linear(values, torch.tensor([0, 1]), torch.ones(2), start, penalty=1.0)
        with torch.enable_grad():  # a script may have switched gradients off
            torch.autograd.backward(torch.zeros(1, requires_grad=True).sum())
        trees = Trees(2)
        grow_trees(trees, values, torch.tensor([0, 1]))
        trees(values.t())
        _done.set()


def begin_to_warm_up() -> None:
    """Do the same in a thread, once; returns at once.

    What fails there fails again where it is needed, and is told there.
    """
    if _begun.is_set() or _done.is_set():
        return
    _begun.set()
    thread = threading.Thread(target=_try, name="brushfire-warming", daemon=True)
    with suppress(RuntimeError):  # no more threads, or the program is ending
        thread.start()
        # torch ends the program with an error where a thread is inside it at the very end.
        atexit.register(thread.join)


def _try() -> None:
    with suppress(Exception):
        warm_up()
