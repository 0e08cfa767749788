"""What starting from learned networks is worth: Dice against gradient steps, one slice labelled.

For each seed a network learns other subjects, densely labelled, and one slice of a new subject is
then taught for the same steps from every start and by every schedule; the averaged weights, as they
are shown, are scored on all other slices. `transfer.py --what networks` runs it.
"""

from __future__ import annotations

import copy
import json
import statistics
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

import brushfire  # noqa: F401  before torch: sets what torch reads when it is loaded

import torch  # isort: skip

from arena import load_case
from brushfire.annotations import open_annotations
from brushfire.geometry import Box
from brushfire.learning import LearningSettings
from brushfire.learning.probe import find_sites
from brushfire.learning.regions import StrokeRegions
from brushfire.learning.sampler import PatchSampler, SlabCache
from brushfire.learning.training import Trainer
from brushfire.learning.transfer import schedules, strategies
from brushfire.learning.transfer.strategies import StartSettings
from brushfire.learning.transfer.weights import started
from brushfire.networks import NetworkSettings, SegmentationModel
from brushfire.networks.architectures import MSD
from brushfire.volumes import open_volume
from reporting import needed_data_folder, note, report

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator
    from pathlib import Path

    from arena import Case
    from brushfire.learning.sampler import Block

NETWORKS = {
    "unet": NetworkSettings(5, 8, features=False, architecture="basic_unet"),
    "msd": NetworkSettings(24, 1, features=False),
    "unetr": NetworkSettings(4, 8, features=False, architecture="unetr", window=64),
}


@dataclass(frozen=True)
class Source:
    """A volume with several subjects.

    So many of its subjects for tuning are learned first, and some of the others. ``first`` is added
    to class values, so that no two volumes share one. ``patch`` is a side in pixels, ``wide`` that
    of networks which are normalised by what a patch shows: it is to look like a slice.
    """

    tuning: int
    others: range
    first: int
    patch: int
    wide: int


SOURCES = {
    "msd_hippocampus": Source(10, range(0), 0, 64, 64),
    "brain_slab_jlf": Source(3, range(3, 8), 10, 64, 128),
}
OTHER = {"msd_hippocampus": "brain_slab_jlf", "brain_slab_jlf": "msd_hippocampus"}

MARKS = (0, 10, 20, 40, 80, 160, 240, 320)
SHOWN = (0, 20, 80, 160, 320)
FROZEN = 50
FIT_PIXELS = 300_000
GOAL = "<= 0.334"


@dataclass(frozen=True)
class Way:
    """A start and a schedule.

    ``other`` starts from what was learned on the other volume; ``anew`` fits the last layer on the
    labelled slice also where the source knows the classes, and on what all layers make of it also
    where they are random.
    """

    start: StartSettings
    schedule: schedules.Schedule = "all"
    other: bool = False
    anew: bool = False


SCRATCH = "from scratch"
ALL = StartSettings("all")
WAYS = {
    SCRATCH: Way(StartSettings("none")),
    "random, last layer on all maps": Way(StartSettings("none"), anew=True),
    "all weights": Way(ALL),
    "all, last layer fitted anew": Way(ALL, anew=True),
    **{f"lower {n}": Way(StartSettings("lower", n)) for n in (1, 2, 4)},
    "statistics": Way(StartSettings("statistics")),
    "slim 2": Way(StartSettings("slim", 2)),
    "gabor": Way(StartSettings("gabor")),
    **{f"all, {name}": Way(ALL, name) for name in schedules.SCHEDULES if name != "all"},
    "all, of the other volume": Way(ALL, other=True),
}

CONTROLS = (SCRATCH, "random, last layer on all maps", "all, of the other volume")


def patch_of(network: NetworkSettings, volume: str) -> int:
    """Return the side in pixels of the patches that a network learns from."""
    source = SOURCES[volume]
    return source.patch if network.architecture == MSD else source.wide


def possible(way: Way, network: NetworkSettings) -> bool:
    """Return whether a way works for a network, and is no other way too."""
    if strategies.why_not(way.start.weights, network) or schedules.why_not(way.schedule, network):
        return False
    if way.anew and way.start.weights == "none":  # others are fitted on all maps anyway
        return network.architecture == MSD
    stages = len(SegmentationModel(network, 1, (1, 2)).layers.stages())
    return way.start.weights != "lower" or way.start.stages < stages


class Lesson:
    """Labelled slices of a subject whose intensities have mean 0 and standard deviation 1."""

    def __init__(self, case: Case, slices: list[int], patch: int, seed: int) -> None:
        self._patch = patch
        self._rng = np.random.default_rng(seed)
        self._shape = case.volume.shape
        labels = np.zeros_like(case.truth)
        labels[slices] = case.truth[slices]
        store = open_annotations(None, self._shape)
        store[...] = labels
        self._regions = StrokeRegions(0.0, seed)
        self._regions.update(store.snapshot())
        self.cache = SlabCache(case.volume, 0, 2**28)
        self._sampler = PatchSampler(self.cache, self._regions, self._shape, self._rng)
        self.counts = self._regions.counts(held=False)
        depth, height, width = self._shape
        middle = Box((depth // 2, 0, 0), (depth // 2 + 1, height, width))
        self.slabs: list[Block] = [self.cache.read(middle)]

    def fit(self, trainer: Trainer) -> None:
        points = self._regions.points(held=False)
        sites = find_sites(points, self._shape, budget=FIT_PIXELS, rng=self._rng)
        trainer.fit(self.cache, sites, [])

    def step(self, trainer: Trainer, counts: dict[int, int]) -> None:
        patches = self._sampler.draw(1, self._patch, margin=trainer.margin, vary=True)
        trainer.step(patches, counts)


def subject(data: Path, volume: str, part: int, *, tuning: bool = False) -> Case:
    """Return a subject, standardised, its classes named apart from those of other volumes."""
    case = load_case(data, volume, part, tuning=tuning)
    seen = case.volume.statistics()
    image = case.volume.read(Box.of_shape(case.volume.shape))[0]
    standard = (np.asarray(image, np.float32) - seen.mean[0]) / seen.std[0]
    truth = np.where(case.truth > 0, case.truth + SOURCES[volume].first, 0).astype(np.uint8)
    return replace(case, volume=open_volume(standard, axes="zyx"), truth=truth)


def source_of(data: Path, name: str, volume: str, seed: int, args: Namespace) -> SegmentationModel:
    """Return what was learned on a volume's subjects, from the folder of sources if it is there."""
    if args.sources is None:
        return learned(data, NETWORKS[name], volume, seed, args)
    path = args.sources / f"{name}_{volume}_{seed}_{args.pretraining}.safetensors"
    if not path.exists():
        model = learned(data, NETWORKS[name], volume, seed, args)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(model.snapshot(0, {}).weights)
    classes = subject(data, volume, 0).classes
    like = SegmentationModel(NETWORKS[name], 1, classes).snapshot(0, {})
    return SegmentationModel.from_snapshot(replace(like, weights=path.read_bytes()))


def learned(
    data: Path, network: NetworkSettings, volume: str, seed: int, args: Namespace
) -> SegmentationModel:
    """Return a network that has learned several subjects, one after the other, again and again."""
    source, patch = SOURCES[volume], patch_of(network, volume)
    cases = [subject(data, volume, part, tuning=True) for part in range(source.tuning)]
    cases += [subject(data, volume, part) for part in source.others]
    lessons = [
        Lesson(case, list(range(len(case.truth))), patch, 1000 * seed + index)
        for index, case in enumerate(cases[: 3 if args.quick else None])
    ]
    counts = {value: sum(one.counts[value] for one in lessons) for value in cases[0].classes}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 500)  # not what a start from scratch begins with
        model = SegmentationModel(network, 1, cases[0].classes)
    settings = LearningSettings(patch=patch, held_out=0.0)
    slabs = [slab for one in lessons for slab in one.slabs]
    trainer = Trainer(model, settings, slabs, restored=False, seed=seed + 500)
    lessons[0].fit(trainer)
    for step in range(args.pretraining):
        lessons[step % len(lessons)].step(trainer, counts)
    return copy.deepcopy(trainer.average)


def taught_slice(case: Case) -> int:
    """Return the slice that is labelled: where the rarest class has most voxels."""
    fewest = [min(int((one == value).sum()) for value in case.classes) for one in case.truth]
    return int(np.argmax(fewest))


def dice(case: Case, model: SegmentationModel, taught: int) -> float:
    """Return mean Dice over classes but the first, of all slices but the taught one together."""
    whole = np.asarray(case.volume.read(Box.of_shape(case.volume.shape)), np.float32)
    found = np.asarray(model.classes)[model.probabilities(whole).argmax(0)]
    untaught = np.arange(len(case.truth)) != taught
    found, truth = found[untaught], case.truth[untaught]
    both = [((found == v) & (truth == v)).sum() for v in case.classes[1:]]
    sizes = [(found == v).sum() + (truth == v).sum() for v in case.classes[1:]]
    return float(np.mean([2 * a / b for a, b in zip(both, sizes, strict=True)]))


def play(case: Case, way: Way, source: SegmentationModel, seed: int, args: Namespace) -> dict:
    """Return Dice at the marks, and the share of weights that was taken over."""
    patch = patch_of(source.settings, case.name)
    taught = taught_slice(case)
    lesson = Lesson(case, [taught], patch, seed)
    model, taken = started(
        source, way.start, channels=1, classes=case.classes, mean=[0.0], std=[1.0], seed=seed
    )
    settings = LearningSettings(
        patch=patch, held_out=0.0, schedule=way.schedule, frozen_steps=FROZEN
    )
    ready = set(taken.classes) == set(case.classes) and not way.anew
    trainer = Trainer(
        model,
        settings,
        lesson.slabs,
        restored=ready,
        taught=way.anew or way.start.weights != "none",
        seed=seed,
    )
    lesson.fit(trainer)
    curve = []
    for mark in (mark for mark in MARKS if mark <= args.steps):
        while trainer.steps < mark:
            lesson.step(trainer, lesson.counts)
        curve.append((mark, round(dice(case, trainer.average, taught), 4)))
    return {"curve": curve, "taken": round(taken.weights / taken.all, 4)}


def measure(args: Namespace) -> Iterator[dict]:
    """Yield a row for each run that is not among the results yet."""
    data = needed_data_folder()
    done = {(r["network"], r["volume"], r["seed"], r["way"]) for r in read_rows(args.results)}
    for name in args.networks:
        network = NETWORKS[name]
        ways = [w for w in args.ways or WAYS if possible(WAYS[w], network)]
        sources: dict[tuple[str, int], SegmentationModel] = {}
        for seed in args.seeds:
            for volume in args.volumes:
                case = subject(data, volume, seed)
                for way in ways:
                    if (name, volume, seed, way) in done:
                        continue
                    origin = OTHER[volume] if WAYS[way].other else volume
                    if (origin, seed) not in sources:
                        sources[origin, seed] = source_of(data, name, origin, seed, args)
                    played = play(case, WAYS[way], sources[origin, seed], seed, args)
                    yield {"network": name, "volume": volume, "seed": seed, "way": way, **played}


def read_rows(path: Path | None) -> list[dict]:
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def first_reached(curve: list[list[float]], level: float) -> float:
    """Return the first mark at which Dice is as good; infinity where it never is."""
    return next((mark for mark, value in curve if value >= level), float("inf"))


def shares(curve: list, scratch: list) -> tuple[float, float]:
    """Return steps to scratch's final and to its best Dice, over the steps that scratch takes."""
    values = [value for _, value in scratch]
    return tuple(
        first_reached(curve, level) / max(first_reached(scratch, level), 1)
        for level in (values[-1], max(values))
    )


def share_text(values: list[float]) -> str:
    """Return the median of shares, and the least and the most."""
    middle, *ends = (
        "never" if value == float("inf") else f"{value:.2f}"
        for value in (statistics.median(values), min(values), max(values))
    )
    return middle if ends[0] == ends[1] else f"{middle} ({ends[0]} to {ends[1]})"


def table(rows: list[dict], network: str, volume: str, args: Namespace) -> dict[str, float]:
    """Print the table of a network and a volume; return the median shares of its ways."""
    mine = [row for row in rows if (row["network"], row["volume"]) == (network, volume)]
    scratch = {row["seed"]: row["curve"] for row in mine if row["way"] == SCRATCH}
    if not scratch:
        return {}
    marks = [int(mark) for mark, _ in next(iter(scratch.values()))]
    shown = [at for at, mark in enumerate(marks) if mark in SHOWN]
    note(args, f"\n{network}, {volume}, {len(scratch)} seed(s)\n")
    heads = ["", *(str(marks[at]) for at in shown), "range", "share, final", "share, best"]
    note(args, f"| {' | '.join(heads)} |")
    note(args, "|---" * len(heads) + "|")
    found: dict[str, float] = {}
    for way in WAYS:
        runs = [r for r in mine if r["way"] == way and r["seed"] in scratch]
        if not runs:
            continue
        each = list(zip(*([value for _, value in run["curve"]] for run in runs), strict=True))
        of_runs = [shares(run["curve"], scratch[run["seed"]]) for run in runs]
        final, best = ([share[index] for share in of_runs] for index in (0, 1))
        found[way] = statistics.median(final)
        medians = [f"{statistics.median(each[at]):.3f}" for at in shown]
        spread = f"{min(each[-1]):.3f}-{max(each[-1]):.3f}"
        texts = [way, *medians, spread, share_text(final), share_text(best)]
        note(args, f"| {' | '.join(texts)} |")
    return found


def networks(args: Namespace) -> None:
    """Measure what is missing, print tables, and report."""
    torch.set_num_threads(1)
    if args.quick:
        args.networks, args.volumes, args.seeds = ["unet"], ["msd_hippocampus"], [0]
        args.ways, args.pretraining, args.steps = [SCRATCH, "all weights", "lower 2"], 100, 20
    rows = read_rows(args.results)
    for row in measure(args):
        rows.append(row)
        line = " ".join(f"{value:.3f}" for _, value in row["curve"])
        note(
            args,
            f"{row['network']:5} {row['volume']:15} seed {row['seed']} {row['way']:28} {line}",
        )
        if args.results:
            with args.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    figures: dict[str, float] = {}
    for network in args.networks:
        for volume in args.volumes:
            found = table(rows, network, volume, args)
            for control in CONTROLS:
                found.pop(control, None)
            if found:
                figures[f"{network}_{volume}_share_of_steps"] = min(min(found.values()), 99.0)
    report("transfer_networks", figures, dict.fromkeys(figures, GOAL))
