"""Brushfire: paint a few strokes on a huge volume; a small network learns while you paint."""

import os

# torch reads these when it is first imported, which nothing here does before it is needed.
# Idle threads of a matrix product must not burn the core that the window draws with.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Buffers of many megabytes in large pages (Linux): up to a third of a small network's time is
# otherwise spent on getting them page by page.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

__version__ = "0.1.0"
