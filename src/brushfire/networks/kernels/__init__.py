"""Ways to compute the layers of a mixed-scale dense network, behind one protocol."""

from __future__ import annotations

from brushfire.networks.kernels.buffers import forget_buffer, lent_buffer
from brushfire.networks.kernels.choosing import KernelChoice
from brushfire.networks.kernels.grouped import GroupedKernel
from brushfire.networks.kernels.layout import FlatLayout
from brushfire.networks.kernels.plain import PlainKernel, plain_maps
from brushfire.networks.kernels.protocol import Gradients, Kernel, Layers
from brushfire.networks.settings import Border

__all__ = [
    "Border",
    "FlatLayout",
    "Gradients",
    "GroupedKernel",
    "Kernel",
    "KernelChoice",
    "Layers",
    "PlainKernel",
    "choice",
    "forget_buffer",
    "lent_buffer",
    "plain_maps",
]

choice = KernelChoice()
"""What this process uses."""
