"""Brushfire: paint a few strokes on a huge volume; a small network learns while you paint."""

__version__ = "0.1.0"
