"""Who needs the fewest strokes and the least waiting: a simulated user on real volumes.

The user paints a few strokes of each class, and every 15 s one more in the largest wrong region of
the prediction that is shown then. Mean IoU and Dice on slices that nobody paints, against time and
against strokes. Every run is a line of the results file; a run that is there is not repeated.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from arena import FIRST, NAMES, User, load_case, scores
from contestants import CONTESTANTS, Ours
from curves import Curve, draw
from reporting import needed_data_folder, note, parser, report

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

    from contestants import Contestant

TICK = 15.0  # seconds between corrections
MARKS = (0.0, 15.0, 30.0, 60.0, 120.0, 180.0)


def make_contestant(name: str, case, seed: int, now) -> Contestant:
    """Return a contestant; "ours-part-part" is ours with those parts switched off."""
    kind, *without = name.split("-")
    if kind == "ours":
        return Ours(case, seed, now, tuple(without))
    return CONTESTANTS[kind](case, seed, now)


def play(name: str, volume: str, seed: int, args: Namespace) -> Iterator[dict]:
    """Play one contestant on one volume; yield what it reaches at each mark."""
    case = load_case(needed_data_folder(), volume, seed, tuning=args.tuning)
    user = User(case, seed, first=args.first)
    now = time.process_time if args.processor_time else time.perf_counter
    player = make_contestant(name, case, seed, now)
    about = {"contestant": name, "volume": volume, "seed": seed, "first": args.first}
    player.take(user.labels)
    player.learn(0.1)  # as long as the first answer takes, however long
    clock = 0.0
    while True:
        if clock in MARKS:
            yield about | {
                "seconds": clock,
                "strokes": user.strokes,
                "voxels": int((user.labels > 0).sum()),
                "steps": player.steps,
                "first_seconds": player.first_seconds,
                **scores(case, player.predict),
            }
        if clock >= args.seconds:
            return
        if clock and user.correct(player.predict):
            player.take(user.labels)
        player.learn(TICK)
        clock += TICK


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--volumes", nargs="+", default=list(NAMES), choices=NAMES)
    options.add_argument("--contestants", nargs="+", default=list(CONTESTANTS))
    options.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options.add_argument("--seconds", type=float, default=MARKS[-1])
    options.add_argument("--first", type=int, default=FIRST, help="strokes of each class at first")
    options.add_argument(
        "--tuning", action="store_true", help="play on what settings are chosen on"
    )
    options.add_argument("--results", type=Path, help="a file of lines to add to")
    options.add_argument("--pictures", type=Path, help="a folder for a curve of each volume")
    options.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    options.add_argument("--processor-time", action="store_true", help="count one thread's time")
    args = options.parse_args()
    if args.quick:
        args.volumes, args.seeds, args.seconds = ["brain_slab_jlf"], [0], TICK
        args.contestants = ["forest", "ours"]
    needed_data_folder()  # says so before anything is measured
    torch.set_num_threads(1 if args.processor_time else args.threads)
    rows = read_rows(args.results)
    for volume in args.volumes:
        for seed in args.seeds:
            for name in args.contestants:
                if any(same(row, name, volume, seed, args) for row in rows):
                    continue
                new = []
                for row in play(name, volume, seed, args):
                    note(args, describe(row))
                    new.append(row)
                rows += new
                if args.results:
                    with args.results.open("a", encoding="utf-8") as file:
                        file.writelines(json.dumps(row) + "\n" for row in new)
    found = table(rows, args)
    if args.pictures:
        for volume in {volume for volume, _ in found}:
            curves = [Curve(name, curve) for (one, name), curve in found.items() if one == volume]
            draw(args.pictures / f"{volume}.svg", volume, curves, x="seconds", y="mean IoU")
    measured = figures(rows, found, args)
    report("few_strokes", measured, {key: goal for key, goal in GOALS.items() if key in measured})


GOALS = {
    "first_seconds": "< 2",
    "worst_start_over_forest": ">= -0.01",
    "worst_from_15_s_over_forest": ">= 0",
    "mean_at_180_s_over_forest": ">= 0.05",
    "strokes_over_forest": "<= 0.5",
}


def table(rows: list[dict], args: Namespace) -> dict[tuple[str, str], dict[float, list[float]]]:
    """Return for each volume and contestant the mean IoU of all seeds at each mark."""
    found: dict[tuple[str, str], dict[float, list[float]]] = {}
    for row in rows:
        if row["volume"] in args.volumes and row["first"] == args.first:
            curve = found.setdefault((row["volume"], row["contestant"]), {})
            curve.setdefault(row["seconds"], []).append(row["iou"])
    for (volume, name), curve in found.items():
        marks = "  ".join(f"{mark:g} s {np.mean(curve[mark]):.3f}" for mark in sorted(curve))
        note(args, f"{volume:20} {name:12} {len(next(iter(curve.values())))} seed(s)  {marks}")
    return found


def figures(rows: list[dict], found: dict, args: Namespace) -> dict[str, float]:
    """Return what the goals ask for, of the volumes that both have played."""
    both = [v for v in args.volumes if (v, "ours") in found and (v, "forest") in found]
    if not both:
        return {}
    ahead = {
        (volume, mark): float(np.mean(ours) - np.mean(found[volume, "forest"][mark]))
        for volume in both
        for mark, ours in found[volume, "ours"].items()
        if mark in found[volume, "forest"]
    }
    result = {
        "first_seconds": max(row["first_seconds"] for row in rows if row["contestant"] == "ours"),
        "worst_start_over_forest": min(ahead[volume, 0.0] for volume in both),
    }
    later = {mark for _, mark in ahead if mark >= TICK}
    if later:
        result["worst_from_15_s_over_forest"] = min(
            value for (_, mark), value in ahead.items() if mark >= TICK
        )
    if max(later, default=0) >= MARKS[-1]:
        result["mean_at_180_s_over_forest"] = float(
            np.mean([ahead[volume, MARKS[-1]] for volume in both])
        )
        result["strokes_over_forest"] = float(
            np.median([share for volume in both for share in strokes_needed(rows, volume)])
        )
    return result


def strokes_needed(rows: list[dict], volume: str) -> list[float]:
    """Return for each seed the strokes to the forest's last mean IoU, over the forest's strokes.

    A seed that never reaches it counts as needing twice as many.
    """
    shares = []
    mine = [row for row in rows if row["volume"] == volume]
    for seed in {row["seed"] for row in mine}:
        of = {
            name: [r for r in mine if (r["contestant"], r["seed"]) == (name, seed)]
            for name in ("ours", "forest")
        }
        if not of["ours"] or not of["forest"]:
            continue
        last = max(of["forest"], key=lambda row: row["seconds"])
        enough = [row["strokes"] for row in of["ours"] if row["iou"] >= last["iou"]]
        shares.append(min(enough, default=2 * last["strokes"]) / last["strokes"])
    return shares


def same(row: dict, name: str, volume: str, seed: int, args: Namespace) -> bool:
    wanted = (name, volume, seed, args.first)
    return (row["contestant"], row["volume"], row["seed"], row["first"]) == wanted


def read_rows(path: Path | None) -> list[dict]:
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def describe(row: dict) -> str:
    first = row["first_seconds"] or 0
    return (
        f"{row['volume']:20} seed {row['seed']} {row['contestant']:12} {row['seconds']:4.0f} s "
        f"{row['strokes']:3d} strokes {row['steps']:4d} steps  IoU {row['iou']:.3f} "
        f"Dice {row['dice']:.3f}  first {first:.1f} s"
    )


if __name__ == "__main__":
    main()
