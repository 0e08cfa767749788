"""Brushfire: paint a few strokes on a huge volume; a small network learns while you paint."""

import os

# torch reads it when it is first imported, which nothing here does before it is needed: idle
# threads of a matrix product must not burn the core that the window draws with.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
