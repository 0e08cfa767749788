"""How a network learns to restore, and what each way assumes; importable without torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from brushfire.errors import SettingsError
from brushfire.networks.architectures import MSD, architecture_of
from brushfire.networks.settings import NetworkSettings

if TYPE_CHECKING:
    from brushfire.networks.architectures import Norm
    from brushfire.volumes import Volume

Way = Literal["pairs", "splits", "blind", "neighbours"]
WAYS: tuple[Way, ...] = get_args(Way)
Loss = Literal["mse", "l1", "ssim"]
LOSSES: tuple[Loss, ...] = get_args(Loss)

MOST_MASKED = 0.25  # no two masked pixels touch
_NEAR = 1.5  # pixels between slices up to which neighbours help
_ZOOM_SLICES = 9
_SLAB = 7  # slices that a network in three dimensions sees, where nobody says
_IN_SIGHT: Norm = "instance"
_USUAL = NetworkSettings(
    depth=40, width=1, dilations=tuple(range(1, 11)), features=False, restored=1
)


@dataclass(frozen=True)
class WayFacts:
    """What users are told of a way to learn.

    Parameters
    ----------
    title : str
        What it is called.
    text : str
        What it learns from, in a sentence.
    assumption : str
        What has to hold for the answer to be right, in a sentence.
    """

    title: str
    text: str
    assumption: str


FACTS: dict[Way, WayFacts] = {
    "pairs": WayFacts(
        "From pairs",
        "Learns what a clean volume looks like from a noisy one of the same object.",
        "Both show the same object voxel by voxel, without a shift.",
    ),
    "splits": WayFacts(
        "From parts of one scan",
        "Learns to predict the reconstruction of some projections from that of the others.",
        "The noise of each projection is independent of the others' and zero on average.",
    ),
    "blind": WayFacts(
        "From the volume alone",
        "Learns to predict hidden pixels from those around them.",
        "The noise of each pixel is independent of its neighbours' and zero on average; in"
        " reconstructions from projections it is not.",
    ),
    "neighbours": WayFacts(
        "From neighbouring slices",
        "Learns to predict the slice above or below from each slice.",
        "Neighbouring slices show nearly the same, and their noise is independent.",
    ),
}


@dataclass(frozen=True)
class LossText:
    """A loss as people read it, and a sentence on it."""

    title: str
    text: str


LOSS_TEXTS: dict[Loss, LossText] = {
    "mse": LossText(
        "squared differences",
        "Leads to the mean of what may be there, which is what noise leaves alone.",
    ),
    "l1": LossText(
        "absolute differences",
        "Leads to the median, and cares less for a few voxels that are far off.",
    ),
    "ssim": LossText(
        "structural similarity",
        "Cares for edges and texture, mixed with absolute differences; needs a clean target.",
    ),
}


@dataclass(frozen=True)
class RestorationSettings:
    """How gradient steps are made.

    Parameters
    ----------
    way : {"pairs", "splits", "blind", "neighbours"}
        What is learned from, see `FACTS`.
    loss : {"mse", "l1", "ssim"}
        Squared or absolute differences, or a mix of structural similarity and the latter. Where
        the target is noisy, squared ones lead to the mean, which is what noise leaves alone;
        "ssim" needs a clean target.
    patch : int
        Side of the square patches in pixels, 32 to 1024; less where memory is short.
    batch : int or None
        Patches in a step, 1 to 64; fewer where memory is short. None is one on a processor, and
        up to 8 elsewhere.
    learning_rate : float
        Step size of AdamW in the beginning, above 0 and at most 1.
    weight_decay : float
        Decay of AdamW, 0 to 1.
    average : float
        Decay of the moving average of weights that is shown, 0 (none) to below 1.
    augment : bool
        Whether patches are flipped and turned by right angles.
    held_out : float
        Share of the slices that is kept for validation, 0 to 0.5.
    masked : float
        Share of the pixels that is hidden in the way "blind", 0.001 to 0.25.
    cache_bytes : int
        Bytes of what is restored that are kept in memory for learning, of all scans together, and
        as many of what they should look like.

    Raises
    ------
    SettingsError
        If a value is outside its range.
    """

    way: Way
    loss: Loss = "mse"
    patch: int = 128
    batch: int | None = None
    learning_rate: float = 1e-2
    weight_decay: float = 1e-4
    average: float = 0.98
    augment: bool = True
    held_out: float = 0.1
    masked: float = 0.06
    cache_bytes: int = 256 * 2**20

    def __post_init__(self) -> None:
        if self.way not in WAYS:
            raise SettingsError(
                "There are four ways to learn to restore.",
                got=repr(self.way),
                do=f"Choose one of: {', '.join(WAYS)}.",
            )
        if self.loss not in LOSSES:
            raise SettingsError(
                "Differences are squared, absolute, or of structure.",
                got=repr(self.loss),
                do=f"Choose one of: {', '.join(LOSSES)}.",
            )
        if self.loss == "ssim" and self.way != "pairs":
            raise SettingsError(
                "Structural similarity is learned from a clean target.",
                got=f"the way {self.way!r}, whose targets are noisy",
                do="Choose mse.",
            )
        _check("The patch side", self.patch, 32, 1024)
        if self.batch is not None:
            _check("The batch", self.batch, 1, 64)
        _check("The learning rate", self.learning_rate, 1e-8, 1.0)
        _check("The weight decay", self.weight_decay, 0.0, 1.0)
        _check("The averaging decay", self.average, 0.0, 0.9999)
        _check("The held-out share", self.held_out, 0.0, 0.5)
        _check("The masked share", self.masked, 0.001, MOST_MASKED)
        _check("The cache in bytes", self.cache_bytes, 2**20, 2**40)


def check_way(settings: RestorationSettings, network: NetworkSettings, channels: int) -> None:
    """Check that a network can learn so from a volume of so many channels.

    Raises
    ------
    SettingsError
        If it restores nothing, or other channels than there are targets for, or its patches are
        too small for it, or it would be nothing without weights that were learned elsewhere.
    """
    if network.encoder is not None:
        raise SettingsError(
            "A network that restores begins with random weights.",
            got=f"{architecture_of(network.architecture).title}, for the sake of its weights",
            do="Choose U-Net or MS-D.",
        )
    if not network.restored:
        raise SettingsError(
            "A network that restores gives at least one channel.",
            got="one that tells classes apart",
            do="Set `restored` to the number of channels.",
        )
    if (settings.way == "splits") != bool(network.splits):
        raise SettingsError(
            "Parts of one scan are learned from, and by a network that is made for them.",
            got=f"the way {settings.way!r} and splits {network.splits!r}",
            do="Choose the way 'splits' and splits 'x:1', or neither.",
        )
    if network.splits and channels < 2:
        raise SettingsError(
            "Learning from parts of one scan takes two reconstructions of them or more.",
            got=f"{channels}",
            do="Add those of the other parts, or learn from the volume alone.",
        )
    if settings.way == "neighbours" and network.slices != 1:
        raise SettingsError(
            "A network that predicts the slice beside its own sees that one alone.",
            got=f"{network.slices} slices",
            do="Choose 1 slice.",
        )
    if settings.way in ("blind", "neighbours") and network.restored != channels:
        raise SettingsError(
            "A volume that is its own target is restored in all of its channels.",
            got=f"{network.restored} restored of {channels}",
            do=f"Restore {channels}.",
        )
    if settings.patch < network.least_patch:
        raise SettingsError(
            f"A training patch of this network is at least {network.least_patch} pixels wide.",
            got=f"{settings.patch}",
            do="Choose larger patches, or smaller dilations or windows.",
        )


def suggest_restoration_network(
    volume: Volume, way: Way, *, outputs: int = 1, zoomed: bool = False
) -> NetworkSettings:
    """Return a network that suits a volume and a way to learn.

    Parameters
    ----------
    volume : Volume
        What is restored.
    way : {"pairs", "splits", "blind", "neighbours"}
        What is learned from.
    outputs : int
        Channels of the target, in the way "pairs".
    zoomed : bool
        Whether the volume was resampled to the finer grid of its target: then more slices tell
        where the voxels in between are.
    """
    restored = outputs
    if way in ("blind", "neighbours"):
        restored = len(volume.channels)
    depth = volume.shape[0]
    slices = 1
    if way != "neighbours":
        if zoomed:
            slices = _ZOOM_SLICES
        elif volume.spacing() <= _NEAR:
            slices = 5
    while slices > 1 and slices > depth:
        slices -= 2
    return replace(
        _USUAL,
        slices=slices,
        restored=1 if way == "splits" else restored,
        splits="x:1" if way == "splits" else "",
    )


def reshaped(
    network: NetworkSettings, architecture: str | None = None, axes: int | None = None
) -> NetworkSettings:
    """Return a network of another kind that restores the same, of its usual size.

    Its layers are normalised by what is in sight, where they can be: with one patch a step, what
    was seen while learning says too little.

    Parameters
    ----------
    network : NetworkSettings
        One that restores.
    architecture : str, optional
        A name of `ARCHITECTURES`; as it is by default, and then its size is kept.
    axes : int, optional
        2, or 3 where it convolves across slices too; with another architecture 2 by default.

    Raises
    ------
    SettingsError
        If there is no such network.
    """
    name = architecture or network.architecture
    made = network
    if name != network.architecture:
        kind = architecture_of(name)
        depth, width = kind.depth.usual, kind.width.usual
        if name == MSD:
            depth, width = _USUAL.depth, _USUAL.width
        made = replace(
            _USUAL, architecture=name, depth=depth, width=width, border=network.border,
            restored=network.restored, splits=network.splits,
            norm=_IN_SIGHT if name != MSD and _IN_SIGHT in kind.norms else _USUAL.norm,
        )  # fmt: skip
        axes = axes or 2
    axes = axes or made.axes
    slices = network.slices
    if axes != network.axes:
        slices = _SLAB if axes == 3 else _USUAL.slices
    return replace(made, axes=axes, slices=slices)


def _check(what: str, value: float, lowest: float, highest: float) -> None:
    # Written so that NaN fails too.
    if not lowest <= value <= highest:
        raise SettingsError(
            f"{what} is from {lowest:g} to {highest:g}.", got=value, do="Choose one in that range."
        )
