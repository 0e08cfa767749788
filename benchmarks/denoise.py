"""What does restoring reach? PSNR and SSIM beside total variation, non-local means and a U-Net.

Foam that is spoiled in three ways, learned from one phantom and tested on another, and from the
parts of the test scan alone; a scan with voxels that are too large; series that change from scan to
scan, learned from their ends and tested between; and two sets of real pairs.
Every network has the same processor time of one thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from scipy.ndimage import zoom as resized
from skimage.io import imread

import brushfire  # noqa: F401  before torch: sets what torch reads when it is loaded

import torch  # isort: skip

from brushfire.learning.restoring import (
    RestorationSettings,
    Scan,
    reshaped,
    suggest_restoration_network,
)
from brushfire.learning.restoring.settings import LOSSES
from brushfire.samples import SCANS, scan_foam, zoom_foam
from brushfire.volumes import open_volume
from reporting import data_folder, note, parser, report
from restorers import (
    Measure,
    Tests,
    UNet,
    calibrated_variation,
    learned,
    non_local_means,
    restored,
    total_variation,
)

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence
    from pathlib import Path

    from brushfire.geometry import Triple
    from brushfire.samples import FoamScan
    from brushfire.volumes import Volume
    from restorers import Array

PARTS = (*SCANS, "losses", "zoom", "series", "fmd", "w2s")
WAYS = ("pairs", "nothing")
SHAPE = (40, 128, 128)
QUICK_SHAPE = (12, 96, 96)
TAUGHT, TESTED = 0, 100  # seeds of the foams
ENDLESS = 1e12  # photons, without noise to speak of
SPAN = 1.5  # from pores to inclusions
ZOOMED = (96, 256, 256)
QUICK_ZOOMED = (32, 96, 96)
SHARE = 0.45  # of each side that the region of interest has: 9 % of the voxels
STAGES = 5  # scans of a series; the first and the last teach
FADING = np.geomspace(2000, 100, STAGES)  # photons
COARSENING = np.linspace(5, 1, STAGES)  # how fine the foam is: radii of 0.5 to 5, then 2.5 to 26
GOALS = {
    **{f"{name}_pairs_over_tv": ">= 2" for name in SCANS},
    **{f"{name}_pairs_over_unet": ">= -0.1" for name in SCANS},
    "weights_share": "<= 0.05",
    "noise_x:1_over_1:x": "> 0",
    "noise_x:1_over_tv": ">= 1",
    "noise_x:1_over_blind": ">= 2",
    "noise_x:1_over_pairs": ">= -1",
    "noise_x:1_over_pairs_of_scans": ">= -1",
    "zoom_pairs_over_cubic": ">= 2",
    **{
        f"series_{what}_{way}_{taught}": "> 0"
        for what in ("noise", "size")
        for way in ("pairs", "x:1")
        for taught in ("over_first", "over_last")
    },
}


@dataclass
class Table:
    """Scores of one part of the benchmark."""

    name: str
    args: Namespace
    figures: dict[str, float] = field(default_factory=dict)

    def add(self, who: str, scores: tuple[float, float], more: str = "") -> None:
        psnr, ssim = scores
        self.figures[f"{self.name}_{who}_psnr"] = psnr
        self.figures[f"{self.name}_{who}_ssim"] = ssim
        note(self.args, f"{self.name:7} {who:12} {psnr:6.2f} dB  {ssim:.3f}  {more}")

    def compare(self, one: str, *others: str) -> None:
        psnr = {who: self.figures.get(f"{self.name}_{who}_psnr") for who in (one, *others)}
        for other in others:
            if (ours := psnr[one]) is not None and (theirs := psnr[other]) is not None:
                self.figures[f"{self.name}_{one}_over_{other}"] = ours - theirs


def classical(table: Table, tests: Tests) -> None:
    """Score what needs no learning."""
    table.add("given", tests.measure(tests.noisy, tests.clean))
    for who, restore in (
        ("tv", total_variation),
        ("tv_blindly", calibrated_variation),
        ("nlm", non_local_means),
    ):
        table.add(who, tests.measure(restore(tests), tests.clean))


def from_pairs(table: Table, noisy: Array, clean: Array, tests: Tests, args: Namespace) -> None:
    """Score the U-Net and ours, learned from pairs."""
    volume, target, tested = (open_volume(a, axes="zyx") for a in (noisy, clean, tests.noisy))
    network = suggest_restoration_network(volume, "pairs")
    if tests.flat:
        network = replace(network, slices=1)
    unet = UNet(noisy, clean, slices=network.slices, seed=args.seed)
    steps = unet.learn(args.seconds)
    table.add("unet", tests.measure(unet.restore(tests.noisy), tests.clean), f"{steps} steps")
    model, steps = learned(
        volume, target, network, RestorationSettings("pairs"), seconds=args.seconds, seed=args.seed
    )
    table.add("pairs", tests.measure(restored(model, tested), tests.clean), f"{steps} steps")
    weights = sum(one.numel() for one in model.parameters())
    table.figures["weights_share"] = weights / unet.weights


def from_nothing(table: Table, tests: Tests, args: Namespace, splits: Array | None = None) -> None:
    """Score ours, learned from what is restored."""
    volume = open_volume(tests.noisy, axes="zyx")
    network = suggest_restoration_network(volume, "blind")
    ways = {"blind": (volume, replace(network, slices=1) if tests.flat else network)}
    if splits is not None:
        parts = open_volume(splits, axes="czyx")
        network = suggest_restoration_network(parts, "splits")
        ways["x:1"] = parts, network
        ways["1:x"] = parts, replace(network, splits="1:x")
    for who, (source, shape) in ways.items():
        settings = RestorationSettings("splits" if shape.splits else "blind")
        model, steps = learned(source, None, shape, settings, seconds=args.seconds, seed=args.seed)
        table.add(who, tests.measure(restored(model, source), tests.clean), f"{steps} steps")


def foam(table: Table, args: Namespace) -> None:
    """Score every way on a foam."""
    shape = QUICK_SHAPE if args.quick else SHAPE
    taught, tested = (
        scan_foam(SCANS[table.name], shape=shape, seed=seed + args.seed)
        for seed in (TAUGHT, TESTED)
    )
    tests = Tests(tested.noisy, tested.clean, Measure(SPAN))
    classical(table, tests)
    if "pairs" in args.ways:
        from_pairs(table, taught.noisy, taught.clean, tests, args)
        from_better_scan(table, taught.noisy, tests, args, shape)
    if "nothing" in args.ways:
        from_nothing(table, tests, args, tested.splits)
    table.compare("pairs", "tv", "unet")
    table.compare("x:1", "1:x", "tv", "blind", "pairs", "pairs_of_scans")


def from_better_scan(
    table: Table, noisy: Array, tests: Tests, args: Namespace, shape: tuple[int, ...]
) -> None:
    """Score ours, taught by a scan of the same projections without noise.

    Parts of a scan teach no more than that; the foam itself also has what no projection showed.
    """
    settings = replace(SCANS[table.name], photons=ENDLESS)
    better = scan_foam(settings, shape=shape, seed=TAUGHT + args.seed).noisy
    volume, target = open_volume(noisy, axes="zyx"), open_volume(better, axes="zyx")
    network = suggest_restoration_network(volume, "pairs")
    model, steps = learned(
        volume, target, network, RestorationSettings("pairs"), seconds=args.seconds, seed=args.seed
    )
    found = restored(model, open_volume(tests.noisy, axes="zyx"))
    table.add("pairs_of_scans", tests.measure(found, tests.clean), f"{steps} steps")


def losses(table: Table, args: Namespace) -> None:
    """Score each loss, and other networks that learn as ours does, from pairs of noisy foam."""
    taught, tested = (
        scan_foam(SCANS["noise"], shape=QUICK_SHAPE if args.quick else SHAPE, seed=seed + args.seed)
        for seed in (TAUGHT, TESTED)
    )
    volume, target = open_volume(taught.noisy, axes="zyx"), open_volume(taught.clean, axes="zyx")
    ours = suggest_restoration_network(volume, "pairs")
    unet = reshaped(ours, "basic_unet")
    tried = [(f"msd_{loss}", ours, loss) for loss in LOSSES]
    tried += [("msd_1_slice", replace(ours, slices=1), "mse"), ("basic_unet", unet, "mse")]
    tried += [("unet_in_3d", reshaped(unet, axes=3), "mse")]
    measure = Measure(SPAN)
    for who, network, loss in tried:
        settings = RestorationSettings("pairs", loss=loss)
        model, steps = learned(
            volume, target, network, settings, seconds=args.seconds, seed=args.seed
        )
        found = restored(model, open_volume(tested.noisy, axes="zyx"))
        table.add(who, measure(found, tested.clean), f"{steps} steps")


def zoom(table: Table, args: Namespace) -> None:
    """Score what a region of interest with small voxels teaches of the rest of a foam."""
    made = zoom_foam(shape=QUICK_ZOOMED if args.quick else ZOOMED, seed=TAUGHT + args.seed)
    cubic = resized(made.low, made.zoom, order=3, mode="nearest", grid_mode=True)
    nearest = resized(made.low, made.zoom, order=0, mode="nearest", grid_mode=True)
    origin, roi = _middle(made.high)
    apart = ~np.any(_inside(made.high.shape, origin, roi.shape), axis=(1, 2))
    measure = Measure(SPAN)

    def add(who: str, found: Array, more: str = "") -> None:
        table.add(who, measure(found[apart], made.high[apart]), more)

    add("nearest", nearest)
    add("cubic", cubic)
    volume = open_volume(cubic, axes="zyx")
    network = suggest_restoration_network(volume, "pairs", zoomed=True)
    for who, shape in (("pairs", network), ("1_slice", replace(network, slices=1))):
        model, steps = learned(
            volume, open_volume(roi, axes="zyx"), shape, RestorationSettings("pairs"),
            seconds=args.seconds, seed=args.seed, origin=origin,
        )  # fmt: skip
        add(who, restored(model, volume), f"{steps} steps")
    table.compare("pairs", "cubic")


def _middle(high: Array) -> tuple[Triple, Array]:
    """Return where the region of interest begins, and what it shows."""
    sizes = [round(SHARE * n) for n in high.shape]
    z, y, x = ((n - size) // 2 for n, size in zip(high.shape, sizes, strict=True))
    return (z, y, x), np.ascontiguousarray(
        high[z : z + sizes[0], y : y + sizes[1], x : x + sizes[2]]
    )


def _inside(shape: tuple[int, ...], origin: Triple, size: tuple[int, ...]) -> np.ndarray:
    within = np.zeros(shape, bool)
    within[tuple(slice(a, a + n) for a, n in zip(origin, size, strict=True))] = True
    return within


def series(table: Table, args: Namespace) -> None:
    """Score what the ends of a series teach of the scans between, in the time of one of them."""
    shape = QUICK_SHAPE if args.quick else SHAPE
    noise = SCANS["noise"]
    for what, stages in (
        ("noise", [(replace(noise, photons=float(one)), {}) for one in FADING]),
        ("size", [(noise, {"fineness": float(one)}) for one in COARSENING]),
    ):
        scans = [
            scan_foam(settings, shape=shape, seed=TESTED * args.seed + at, **options)
            for at, (settings, options) in enumerate(stages)
        ]
        between = scans[1:-1]
        measured = [Measure(SPAN)(scan.noisy, scan.clean) for scan in between]
        table.add(f"{what}_given", _mean(measured), _each(measured))
        for way in [{"pairs": "pairs", "nothing": "x:1"}[way] for way in args.ways]:
            for who, chosen in (
                ("first", scans[:1]), ("last", scans[-1:]), ("ends", [scans[0], scans[-1]]),
            ):  # fmt: skip
                scores, steps = _applied(chosen, between, way, args)
                table.add(f"{what}_{way}_{who}", _mean(scores), f"{_each(scores)} {steps} steps")
            for other in ("first", "last"):
                ends, alone = (
                    table.figures[f"series_{what}_{way}_{who}_psnr"] for who in ("ends", other)
                )
                table.figures[f"series_{what}_{way}_over_{other}"] = ends - alone


def _applied(
    taught: Sequence[FoamScan], tested: Sequence[FoamScan], way: str, args: Namespace
) -> tuple[list[tuple[float, float]], int]:
    """Return the scores of scans by what others taught, and the number of steps."""

    def seen(scan: FoamScan) -> Volume:
        if way == "pairs":
            return open_volume(scan.noisy, axes="zyx")
        return open_volume(scan.splits, axes="czyx")

    scans = [
        Scan(seen(one), open_volume(one.clean, axes="zyx") if way == "pairs" else None)
        for one in taught
    ]
    settings = RestorationSettings("pairs" if way == "pairs" else "splits")
    first, *others = scans
    network = suggest_restoration_network(first.volume, settings.way)
    model, steps = learned(
        first.volume, first.target, network, settings, seconds=args.seconds, seed=args.seed,
        others=others,
    )  # fmt: skip
    return [Measure(SPAN)(restored(model, seen(one)), one.clean) for one in tested], steps


def _mean(scores: Sequence[tuple[float, float]]) -> tuple[float, float]:
    psnr, ssim = np.mean(scores, axis=0)
    return float(psnr), float(ssim)


def _each(scores: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{psnr:.2f}" for psnr, _ in scores)


def real(table: Table, args: Namespace) -> None:
    """Score every way that takes no projections on pairs of images, divided by image."""
    data = data_folder()
    if data is None or not (data / f"denoise_{table.name}").is_dir():
        note(args, f"{table.name}: left out, since BRUSHFIRE_DATA names no folder that has it")
        return
    noisy, clean, tested = (_fmd if table.name == "fmd" else _w2s)(data)
    if args.quick:
        noisy, clean = noisy[:, :256, :256], clean[:, :256, :256]
    tests = Tests(noisy[tested], clean[tested], Measure(255, affine=table.name == "w2s"), flat=True)
    classical(table, tests)
    if "pairs" in args.ways:
        from_pairs(table, noisy[~tested], clean[~tested], tests, args)
    if "nothing" in args.ways:
        from_nothing(table, tests, args)
    table.compare("pairs", "tv", "unet")
    table.compare("blind", "tv", "pairs")


def _fmd(data: Path) -> tuple[Array, Array, np.ndarray]:
    """Return noisy and clean images, and which are tested: the fourth field of each sample."""
    names = sorted(path.name for path in (data / "denoise_fmd" / "gt").glob("*.png"))
    noisy, clean = (
        np.stack([imread(data / "denoise_fmd" / folder / name) for name in names])
        for folder in ("raw", "gt")
    )
    tested = np.array([name.endswith("_4.png") for name in names])
    return noisy.astype(np.float32), clean.astype(np.float32), tested


def _w2s(data: Path) -> tuple[Array, Array, np.ndarray]:
    """Return noisy and clean images, and which are tested: the last quarter of the fields."""
    noisy, clean = (
        tifffile.imread(data / "denoise_w2s" / f"{name}.tif").astype(np.float32)
        for name in ("noisy_avg1", "clean_avg400")
    )
    return noisy, clean, np.arange(len(noisy)) >= len(noisy) * 3 // 4


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--only", nargs="+", default=list(PARTS), choices=PARTS)
    options.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    options.add_argument("--seconds", type=float, default=120, help="of each network")
    options.add_argument("--seed", type=int, default=0, help="of foams, weights and patches")
    args = options.parse_args()
    if args.quick:
        args.seconds = 2.0
    torch.set_num_threads(1)
    figures: dict[str, float] = {}
    for name in args.only:
        table = Table(name, args)
        others = {"losses": losses, "zoom": zoom, "series": series, "fmd": real, "w2s": real}
        others.get(name, foam)(table, args)
        figures |= table.figures
    report("denoise", figures, {k: v for k, v in GOALS.items() if k in figures})


if __name__ == "__main__":
    main()
