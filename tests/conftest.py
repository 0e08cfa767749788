"""What must hold before any test."""

from __future__ import annotations

from contextlib import suppress

# After a window that Mesa has drawn it ends the program, since both bring LLVM along. torch
# loads it together with its compiler, whether anybody asked for it or not.
with suppress(ImportError):
    import triton  # noqa: F401
