"""Models to and from the weights of other mixed-scale dense networks, where all agree.

`msd_pytorch` and `dlsia` say what each of the two programs computes and how that is mapped;
`convert` reads and writes their files. Reading a file never runs code from it.
"""

from __future__ import annotations

from brushfire.networks.exchange.convert import (
    LAYOUTS,
    Layout,
    export_weights,
    import_weights,
)
from brushfire.networks.exchange.dlsia import dlsia_dilations, from_dlsia, to_dlsia
from brushfire.networks.exchange.msd_pytorch import from_msd_pytorch, to_msd_pytorch

__all__ = [
    "LAYOUTS",
    "Layout",
    "dlsia_dilations",
    "export_weights",
    "from_dlsia",
    "from_msd_pytorch",
    "import_weights",
    "to_dlsia",
    "to_msd_pytorch",
]
