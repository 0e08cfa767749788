"""One thread that learns and predicts: commands go in, events come out."""

from brushfire.engine.engine import Engine

__all__ = ["Engine"]
