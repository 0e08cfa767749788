"""Is a denoised volume segmented better? Mean IoU from the same scribbles on four volumes.

Noisy foam as it is; as a model restores it that learned from parts of the same scan; as total
variation restores it, with the weight that the truth says is best; and the foam itself. Scribbles
on one slice, scored on slices that nobody painted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import brushfire  # noqa: F401  before torch: sets what torch reads when it is loaded

import torch  # isort: skip

from brushfire.learning.restoring import RestorationSettings, suggest_restoration_network
from brushfire.prediction.restored import restored_volume
from brushfire.samples import SCANS, scan_foam
from brushfire.volumes import open_volume
from denoise import SPAN
from few_slices import Case, learn, paint
from reporting import note, parser, report
from restorers import Measure, Tests, learned, total_variation

if TYPE_CHECKING:
    from argparse import Namespace

    from brushfire.volumes import Volume

SHAPE = (24, 192, 192)
QUICK_SHAPE = (8, 96, 96)
BETWEEN = (0.5, 1.25)  # attenuations of pores, matrix and inclusions
GOALS = {"denoised_over_given": "> 0"}


def volumes(args: Namespace, seed: int) -> tuple[dict[str, Volume], np.ndarray]:
    """Return the volumes by name, and the classes of every voxel."""
    made = scan_foam(SCANS["noise"], shape=QUICK_SHAPE if args.quick else SHAPE, seed=seed)
    parts = open_volume(made.splits, axes="czyx")
    network = suggest_restoration_network(parts, "splits")
    model, steps = learned(
        parts, None, network, RestorationSettings("splits"), seconds=args.denoise, seed=seed
    )
    note(args, f"denoised after {steps} steps")
    smooth = total_variation(Tests(made.noisy, made.clean, Measure(SPAN)))
    found = {
        "given": open_volume(made.noisy, axes="zyx"),
        "denoised": restored_volume(parts, model, cache_bytes=1 << 28, budget_bytes=1 << 28),
        "tv": open_volume(smooth.astype(np.float32), axes="zyx"),
        "truth": open_volume(made.clean, axes="zyx"),
    }
    classes = 1 + np.digitize(made.clean, BETWEEN)
    return found, classes.astype(np.uint8)


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--denoise", type=float, default=30, help="seconds of learning to denoise")
    options.add_argument("--seconds", type=float, nargs="+", default=[3, 20], help="marks")
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = options.parse_args()
    args.processor_time = True
    if args.quick:
        args.denoise, args.seconds, args.seeds = 3.0, [2.0], [0]
    torch.set_num_threads(1)
    scores: dict[str, list[float]] = {}
    for seed in args.seeds:
        found, classes = volumes(args, seed)
        for name, volume in found.items():
            case = Case(name, volume, classes, stride=5)
            for row in learn(case, paint(case, 1, seed), 1, seed, args):
                note(args, f"seed {seed}  {name:9} {row}")
                scores.setdefault(f"{name}_{row['seconds']:g}_s", []).append(row["iou"])
    figures = {key: float(np.mean(values)) for key, values in scores.items()}
    last = f"{args.seconds[-1]:g}_s"
    figures["denoised_over_given"] = figures[f"denoised_{last}"] - figures[f"given_{last}"]
    report("segment_denoised", figures, GOALS)


if __name__ == "__main__":
    main()
