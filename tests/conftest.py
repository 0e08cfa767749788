"""What must hold before any test."""

from __future__ import annotations

from contextlib import suppress

import pytest

# After a window that Mesa has drawn it ends the program, since both bring LLVM along. torch
# loads it together with its compiler, whether anybody asked for it or not.
with suppress(ImportError):
    import triton  # noqa: F401


@pytest.fixture(autouse=True)
def nobodys_library(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep tests away from the library of who runs them; those that need one name their own."""
    monkeypatch.setenv("BRUSHFIRE_LIBRARY", str(tmp_path_factory.getbasetemp() / "no library"))
