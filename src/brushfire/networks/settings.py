"""What describes a network before any weight exists; importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from brushfire.errors import SettingsError
from brushfire.networks.architectures import (
    MSD,
    NORMS,
    UNETR,
    WINDOW,
    Architecture,
    Encoder,
    Norm,
    architecture_of,
    encoder_of,
    read_arguments,
)

if TYPE_CHECKING:
    from brushfire.geometry import Triple

Border = Literal["zero", "reflect", "symmetric"]
BORDERS: tuple[Border, ...] = get_args(Border)
Splits = Literal["", "x:1", "1:x"]
SPLITS: tuple[Splits, ...] = get_args(Splits)

MAX_DILATION = 64
MAX_SLICES = {2: 15, 3: 63}
MAX_WINDOW = 512
_MOST_CHANNELS = 64
_WINDOW_STEP = 32
_LEAST_PATCH = 64  # of networks with several resolutions; smaller ones are not tried for others
_NEAR = 1.5  # pixels between slices up to which neighbours help


@dataclass(frozen=True)
class NetworkSettings:
    """Shape of a network.

    Parameters
    ----------
    depth : int
        Layers of MS-D, 1 to 400; resolutions of other networks.
    width : int
        Maps that each layer of MS-D adds, 1 to 64; channels of others at their finest resolution.
    dilations : tuple of int
        Dilations that the layers of MS-D cycle through, each 1 to 64 pixels.
    slices : int
        Neighbouring slices that the network sees, odd; the middle one is segmented. In two
        dimensions they are input channels, 1 to 15; in three a slab, 3 to 63.
    features : bool
        Whether multi-scale features of the middle slice are fitted, and the layers correct what
        comes of that, class by class. Otherwise the layers see intensities and give all classes.
    border : str
        Of MS-D:
        What the layers see beyond the edges of a slice: "zero" for zeros, "reflect" for the maps
        mirrored at their outermost pixels, "symmetric" for the maps mirrored at their edges, so
        that the outermost pixels are seen twice.
    architecture : str
        A name of `ARCHITECTURES`.
    axes : int
        2, or 3 where the network convolves across slices too.
    norm : str
        How layers of networks other than MS-D are normalised: "batch" by what was seen while
        learning, "instance" and "group" by what is in sight, so that they need fixed windows.
    window : int
        Side in pixels of such windows, a multiple of 32 up to 512.
    adapter : int
        Channels that a learned 1x1 layer makes of the volume's, where the layers were learned on
        as many; 0 for no such layer.
    arguments : str
        Further arguments of the network's definition, a JSON object.
    restored : int
        Channels that are restored; 0 for a network that tells classes apart.
    splits : str
        Of a network that restores, where the volume's channels are reconstructions from parts of
        one scan (Hendriksen, Pelt & Batenburg 2020): "x:1" for the mean of all parts but one as the
        input, "1:x" for one part; what comes of each way to leave one out is averaged. "" where
        channels are channels.

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
    architecture: str = MSD
    axes: int = 2
    norm: Norm = "batch"
    window: int = WINDOW
    arguments: str = "{}"
    adapter: int = 0
    restored: int = 0
    splits: Splits = ""

    def __post_init__(self) -> None:
        # Settings read from JSON bring lists; a frozen value compares and hashes with tuples.
        object.__setattr__(self, "dilations", tuple(self.dilations))
        kind = architecture_of(self.architecture)
        for what, value in (("Depth", self.depth), ("Width", self.width)):
            _check_whole(what, value)
        kind.depth.check(f"Depth of {kind.title}", self.depth)
        kind.width.check(f"Width of {kind.title}", self.width)
        read_arguments(kind, self.arguments)
        if not self.dilations:
            raise SettingsError(
                "A network needs at least one dilation.", got="none", do="Use 1 to 10."
            )
        for dilation in self.dilations:
            _check_range("A dilation", dilation, MAX_DILATION)
        self._check_dimensions(kind)
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

    def _check_dimensions(self, kind: Architecture) -> None:
        if self.axes not in kind.axes:
            raise SettingsError(
                f"{kind.title} computes in {' or '.join(map(str, kind.axes))} dimensions.",
                got=self.axes,
                do=f"Choose {kind.axes[0]}.",
            )
        _check_range("The number of slices", self.slices, MAX_SLICES[self.axes])
        if self.axes == 3 and (self.slices == 1 or self.features):
            raise SettingsError(
                "A network in three dimensions sees intensities of three slices or more.",
                got=f"{self.slices} slice(s), {'features' if self.features else 'intensities'}",
                do="Choose 15 slices, say, without multi-scale input; or two dimensions.",
            )
        if not 0 <= self.adapter <= _MOST_CHANNELS or (self.adapter and self.features):
            raise SettingsError(
                f"Layers that see intensities may be given 1 to {_MOST_CHANNELS} other channels.",
                got=f"{self.adapter}{' with multi-scale input' if self.features else ''}",
                do="Choose 0 for no such layer.",
            )
        if self.norm not in kind.norms:
            raise SettingsError(
                "Layers are normalised by what was seen while learning, or by what is in sight."
                if kind.norms == NORMS
                else f"Layers of {kind.title} are normalised by what was seen while learning.",
                got=repr(self.norm),
                do=f"Choose one of: {', '.join(kind.norms)}.",
            )
        self._check_restoration()
        _check_range("The side of a window", self.window, MAX_WINDOW)
        if self.window % _WINDOW_STEP:
            raise SettingsError(
                f"The side of a window is a multiple of {_WINDOW_STEP}.",
                got=self.window,
                do=f"Choose {-(-self.window // _WINDOW_STEP) * _WINDOW_STEP}.",
            )

    def _check_restoration(self) -> None:
        if not 0 <= self.restored <= _MOST_CHANNELS or (self.restored and self.features):
            raise SettingsError(
                f"A network that restores gives 1 to {_MOST_CHANNELS} channels, and sees"
                " intensities.",
                got=f"{self.restored}{' with multi-scale input' if self.features else ''}",
                do="Choose 1, without multi-scale input; or 0 to tell classes apart.",
            )
        if self.splits not in SPLITS or (self.splits and self.restored != 1):
            raise SettingsError(
                "Parts of one scan restore one channel, from all parts but one or from one part.",
                got=f"{self.splits!r} for {self.restored} channel(s)",
                do="Choose x:1 or 1:x for one channel, or nothing.",
            )

    @property
    def context(self) -> int:
        """Slices that a prediction needs on each side of its own."""
        return self.slices // 2

    def dilation(self, layer: int) -> int:
        """Return the dilation of ``layer``, counted from 0, in pixels."""
        return self.dilations[layer % len(self.dilations)]

    @property
    def encoder(self) -> Encoder | None:
        """The encoder that learned on ImageNet, of networks that have one."""
        return encoder_of(self.architecture, self.arguments)

    @property
    def layer_dilations(self) -> tuple[int, ...]:
        """The dilation of each layer of MS-D, in pixels."""
        return tuple(self.dilation(layer) for layer in range(self.depth))

    @property
    def largest_dilation(self) -> int:
        """The largest dilation of any layer of MS-D, in pixels; 0 in other networks."""
        return max(self.dilations[: self.depth]) if self.architecture == MSD else 0

    @property
    def least_patch(self) -> int:
        """Side in pixels of the smallest patches that the network can learn from."""
        if self.architecture == MSD:
            return self.largest_dilation + 1
        return self.window if self.architecture == UNETR else _LEAST_PATCH

    @property
    def smallest_patch(self) -> int:
        """Side in pixels of the patches that are left where memory is short."""
        return max(_LEAST_PATCH, self.least_patch)

    @property
    def reach(self) -> int:
        """Largest distance in pixels over which the layers of MS-D can pass a value on."""
        return sum(self.dilation(layer) for layer in range(self.depth))


def _check_whole(what: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise SettingsError(
            f"{what} is a whole number.", got=repr(value), do="Choose such a number."
        )


def _check_range(what: str, value: object, highest: int) -> None:
    _check_whole(what, value)
    if not 1 <= int(str(value)) <= highest:
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
