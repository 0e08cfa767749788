"""Large packages, loaded beside a window: without what would stop it, or end it."""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from brushfire.networks.kernels.named import draws_with_llvm

if TYPE_CHECKING:
    from collections.abc import Iterator


def load_monai() -> None:
    """Import MONAI's networks, which takes seconds the first time.

    Raises
    ------
    ImportError
        If it, or something that it needs, is not installed.
    """
    if "monai.networks.nets" not in sys.modules:
        with _without_pauses():
            import monai.networks.nets  # noqa: F401


def load_timm() -> None:
    """Import timm, which takes seconds the first time.

    Raises
    ------
    ImportError
        If it is not installed, or torchvision, which it needs, is not or was made for another
        torch.
    """
    if "timm" not in sys.modules:
        try:
            with _without_pauses():
                import timm  # noqa: F401
        except (AttributeError, OSError, RuntimeError) as error:
            raise ImportError(f"timm cannot be imported: {error}") from error


def load_compiler() -> None:
    """Import what torch computes shapes with, where tensors have no values.

    That would load Triton, for which there is no use in this. Its LLVM and that of Mesa's software
    renderer end the program together, so that it is kept away where a window is drawn so.
    """
    if "torch._dynamo" in sys.modules:
        return
    ends_it = "triton" not in sys.modules and draws_with_llvm()
    with _without_pauses():
        if ends_it:
            sys.modules["triton"] = None  # type: ignore[assignment]
        try:
            import torch._dynamo  # noqa: F401
        finally:
            if ends_it:
                sys.modules.pop("triton", None)  # another thread may have done both meanwhile


@contextmanager
def _without_pauses() -> Iterator[None]:
    """Collect no garbage meanwhile: each time all threads wait for it, beside a window for long.

    An import makes so many objects that there would be several such times, and one at its end.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        # Together they make what is new old, unseen: modules stay anyway.
        gc.freeze()
        gc.unfreeze()
        if collecting:
            gc.enable()
