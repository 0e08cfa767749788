"""Models to and from files of other programs, where both compute the same.

`msd_pytorch` and `dlsia` say what each of the two programs for mixed-scale dense networks computes
and how that is mapped; `convert` reads and writes their files. `foreign` does it for networks of
MONAI, whose files are `bundles`, packages of the BioImage Model Zoo (`zoo`), or weights of a whole
network or a part (`parts`); `kinds` finds out which. Reading a file never runs code from it.
"""

from __future__ import annotations

from brushfire.networks.exchange.convert import (
    LAYOUTS,
    Layout,
    export_weights,
    import_weights,
)
from brushfire.networks.exchange.dlsia import dlsia_dilations, from_dlsia, to_dlsia
from brushfire.networks.exchange.imported import ABOUT, Imported
from brushfire.networks.exchange.kinds import (
    FOREIGN_KINDS,
    ForeignKind,
    read_foreign,
    write_foreign,
)
from brushfire.networks.exchange.msd_pytorch import from_msd_pytorch, to_msd_pytorch
from brushfire.networks.exchange.parts import Match, take_matching

__all__ = [
    "ABOUT",
    "FOREIGN_KINDS",
    "LAYOUTS",
    "ForeignKind",
    "Imported",
    "Layout",
    "Match",
    "dlsia_dilations",
    "export_weights",
    "from_dlsia",
    "from_msd_pytorch",
    "import_weights",
    "read_foreign",
    "take_matching",
    "to_dlsia",
    "to_msd_pytorch",
    "write_foreign",
]
