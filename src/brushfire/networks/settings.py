"""What describes a network before any weight exists; importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from brushfire.errors import SettingsError

if TYPE_CHECKING:
    from brushfire.geometry import Triple

Border = Literal["zero", "reflect", "symmetric"]
BORDERS: tuple[Border, ...] = get_args(Border)

MAX_DEPTH = 400
MAX_WIDTH = 64
MAX_DILATION = 64
MAX_SLICES = 7
_NEAR = 1.5  # pixels between slices up to which neighbours help


@dataclass(frozen=True)
class NetworkSettings:
    """Shape of a mixed-scale dense network.

    Parameters
    ----------
    depth : int
        Layers, 1 to 400.
    width : int
        Maps that each layer adds, 1 to 64.
    dilations : tuple of int
        Dilations that the layers cycle through, each 1 to 64 pixels.
    slices : int
        Neighbouring slices given as input channels, odd, 1 to 7; the middle one is segmented.
    features : bool
        Whether multi-scale features of the middle slice are fitted, and the layers correct what
        comes of that, class by class. Otherwise the layers see intensities and give all classes.
    border : str
        What the layers see beyond the edges of a slice: "zero" for zeros, "reflect" for the maps
        mirrored at their outermost pixels, "symmetric" for the maps mirrored at their edges, so
        that the outermost pixels are seen twice.

    Raises
    ------
    SettingsError
        If a value is outside its range.
    """

    depth: int = 24
    width: int = 1
    dilations: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8, 10)
    slices: int = 1
    features: bool = True
    border: Border = "zero"

    def __post_init__(self) -> None:
        # Settings read from JSON bring lists; a frozen value compares and hashes with tuples.
        object.__setattr__(self, "dilations", tuple(self.dilations))
        _check_range("Depth", self.depth, MAX_DEPTH)
        _check_range("Width", self.width, MAX_WIDTH)
        if not self.dilations:
            raise SettingsError(
                "A network needs at least one dilation.", got="none", do="Use 1 to 10."
            )
        for dilation in self.dilations:
            _check_range("A dilation", dilation, MAX_DILATION)
        _check_range("The number of slices", self.slices, MAX_SLICES)
        if self.slices % 2 == 0:
            raise SettingsError(
                "The number of slices is odd, so that one of them is in the middle.",
                got=self.slices,
                do=f"Use {self.slices - 1} or {self.slices + 1}.",
            )
        if self.border not in BORDERS:
            raise SettingsError(
                "Beyond the edges of a slice lie zeros, or the slice mirrored in one of two ways.",
                got=repr(self.border),
                do=f"Choose one of: {', '.join(BORDERS)}.",
            )

    @property
    def context(self) -> int:
        """Slices that a prediction needs on each side of its own."""
        return self.slices // 2

    def dilation(self, layer: int) -> int:
        """Return the dilation of ``layer``, counted from 0, in pixels."""
        return self.dilations[layer % len(self.dilations)]

    @property
    def largest_dilation(self) -> int:
        """The largest dilation of any layer, in pixels."""
        return max(self.dilations[: self.depth])

    @property
    def reach(self) -> int:
        """Largest distance in pixels over which the layers can pass a value on."""
        return sum(self.dilation(layer) for layer in range(self.depth))


def _check_range(what: str, value: object, highest: int) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not 1 <= int(str(value)) <= highest:
        raise SettingsError(
            f"{what} is a whole number from 1 to {highest}.",
            got=repr(value),
            do="Choose one in that range.",
        )


def suggest_settings(shape: Triple, spacing: float) -> NetworkSettings:
    """Return a network that suits a volume.

    Parameters
    ----------
    shape : tuple of int
        Voxels of the volume at level 0, z, y, x.
    spacing : float
        Distance of two slices over that of two pixels.

    Returns
    -------
    NetworkSettings
        Three slices where neighbours are about as near as pixels, else one.
    """
    near = spacing <= _NEAR and shape[0] >= 3
    return NetworkSettings(slices=3 if near else 1)
