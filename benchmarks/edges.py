"""Does denoising blur edges? Their widths along the same lines, as given and restored, on foam.

Lines are laid across the walls of bubbles where the truth has one edge and is flat on both sides.
Each is measured as in the window: along one line a mean over 5 voxels. Beside the median of all
stands the width in the mean of all profiles, in which there is hardly any noise left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

import brushfire  # noqa: F401  before torch: sets what torch reads when it is loaded

import torch  # isort: skip

from brushfire.learning.restoring import RestorationSettings, suggest_restoration_network
from brushfire.learning.restoring.edges import EdgeProfile, edge_profile, find_edge
from brushfire.samples import SCANS, scan_foam
from brushfire.session.judging import ACROSS, EdgeComparison, EdgeLine
from brushfire.volumes import open_volume
from denoise import QUICK_SHAPE, SHAPE, SPAN, TAUGHT, TESTED
from reporting import note, parser, report
from restorers import Measure, Tests, learned, restored, total_variation

if TYPE_CHECKING:
    from argparse import Namespace

    from restorers import Array

REACH = 6.0  # voxels on each side of an edge
SIDES = 4  # samples at each end of a line that are flat in the truth
FLAT = 0.03  # of the contrast: they deviate by less
LEAST = 0.5  # of contrast: what is between pores and solid
PHOTONS = 1e9  # of a scan that hardly has noise
NOWHERE = EdgeLine((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 0)


@dataclass(frozen=True)
class Crossing:
    """A line across one edge, whose middle is that of the edge in the truth."""

    z: int
    start: np.ndarray
    stop: np.ndarray

    def profile(self, image: Array) -> EdgeProfile:
        return edge_profile(image[self.z], self.start, self.stop, across=ACROSS)


def crossings(clean: Array, count: int, seed: int) -> list[Crossing]:
    """Return lines across edges that are single in the truth, in random places."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(clean, (0, 1, 1))
    slope = np.stack(np.gradient(smooth, axis=(1, 2)))
    steep = np.hypot(*slope)
    margin = int(REACH) + ACROSS
    inner = np.zeros(clean.shape, bool)
    inner[:, margin:-margin, margin:-margin] = True
    places = np.argwhere(inner & (steep > LEAST / 4))
    found: list[Crossing] = []
    for z, y, x in rng.permutation(places):
        ahead = slope[:, z, y, x] / steep[z, y, x]
        line = _centred(clean, z, np.array([y, x], float), ahead)
        if line is not None:
            found.append(line)
        if len(found) == count:
            break
    return found


def _centred(clean: Array, z: int, middle: np.ndarray, ahead: np.ndarray) -> Crossing | None:
    line = Crossing(int(z), middle - REACH * ahead, middle + REACH * ahead)
    truth = line.profile(clean)
    if truth.middle is None or (truth.contrast or 0) < LEAST:
        return None
    moved = (truth.middle - REACH) * ahead
    line = Crossing(int(z), line.start + moved, line.stop + moved)
    values = line.profile(clean).values
    ends = values[:SIDES], values[-SIDES:]
    flat = max(float(np.ptp(end)) for end in ends) < FLAT * (truth.contrast or 0)
    return line if flat else None


def widths(profiles: list[EdgeProfile], given: list[EdgeProfile]) -> dict[str, float]:
    """Return figures of all lines, and the edge in the mean of their profiles; in voxels.

    "error" is half of what a width lies in with 90 % certainty, the median of all.
    "wider" and "narrower" are the shares of lines of which the window would say so.
    """
    told = [one for one in profiles if one.width is not None]
    values = [max(one.width or 0.0, one.voxel) / one.voxel for one in told]
    errors = [((one.high or 0.0) - (one.low or 0.0)) / 2 / one.voxel for one in told]
    shortest = min(len(one.values) for one in profiles)
    mean = np.mean([one.values[:shortest] for one in profiles], axis=0)
    voxel = float(np.mean([one.voxel for one in profiles]))
    whole = find_edge(voxel * np.arange(shortest), mean, voxel)
    texts = [
        EdgeComparison(NOWHERE, before, after, "voxels").text
        for before, after in zip(given, profiles, strict=True)
    ]
    return {
        "width": float(np.median(values)),
        "error": float(np.median(errors)),
        "told": len(told) / len(profiles),
        "mean_width": (whole.width or float("nan")) / voxel,
        "wider": float(np.mean([text.endswith("wider.") for text in texts])),
        "narrower": float(np.mean([text.endswith("narrower.") for text in texts])),
    }


def images_of(args: Namespace) -> dict[str, Array]:
    """Return the tested foam as it is, scanned without noise, scanned, and restored."""
    shape = QUICK_SHAPE if args.quick else SHAPE
    scan = SCANS["noise"]
    taught, tested = (
        scan_foam(scan, shape=shape, seed=seed + args.seed) for seed in (TAUGHT, TESTED)
    )
    quiet = scan_foam(replace(scan, photons=PHOTONS), shape=shape, seed=TESTED + args.seed)
    made = {"truth": tested.clean, "noise_free": quiet.noisy, "given": tested.noisy}
    made["tv"] = total_variation(Tests(tested.noisy, tested.clean, Measure(SPAN)))
    noisy, clean, given = (
        open_volume(one, axes="zyx") for one in (taught.noisy, taught.clean, tested.noisy)
    )
    parts = open_volume(tested.splits, axes="czyx")
    for who, way, source, target, tried in (
        ("pairs", "pairs", noisy, clean, given),
        ("x:1", "splits", parts, None, parts),
    ):
        model, _ = learned(
            source, target, suggest_restoration_network(source, way), RestorationSettings(way),
            seconds=args.seconds, seed=args.seed,
        )  # fmt: skip
        made[who] = restored(model, tried)
    return made


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--seconds", type=float, default=30, help="of each network")
    options.add_argument("--lines", type=int, default=200, help="across edges")
    options.add_argument("--seed", type=int, default=0, help="of foams, weights and places")
    args = options.parse_args()
    if args.quick:
        args.seconds, args.lines = 2.0, 40
    torch.set_num_threads(1)
    images = images_of(args)
    lines = crossings(images["truth"], args.lines, args.seed)
    figures: dict[str, float] = {"lines": len(lines)}
    given = [line.profile(images["given"]) for line in lines]
    for who, image in images.items():
        found = widths([line.profile(image) for line in lines], given)
        figures |= {f"{who}_{name}": value for name, value in found.items()}
        note(
            args,
            f"{who:10} {found['width']:5.2f} ± {found['error']:.2f} voxels, told of"
            f" {found['told']:4.0%}; mean profile {found['mean_width']:5.2f};"
            f" said to be wider {found['wider']:.0%}, narrower {found['narrower']:.0%}",
        )
    report("edges", figures, {})


if __name__ == "__main__":
    main()
