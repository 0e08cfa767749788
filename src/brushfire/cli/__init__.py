"""The command `brushfire`: the same session without a window, and a way to open the window."""

from brushfire.cli.app import main

__all__ = ["main"]
