"""What every benchmark shares: its options, and the one JSON line at its end."""

from __future__ import annotations

import argparse
import json
import operator
import os
import resource
import sys
from pathlib import Path

import brushfire  # noqa: F401  before torch: sets what torch reads when it is loaded

COMPARE = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


def parser(purpose: str) -> argparse.ArgumentParser:
    """Return a parser with --json and --quick."""
    options = argparse.ArgumentParser(description=purpose)
    options.add_argument("--json", action="store_true", help="print nothing but the JSON line")
    options.add_argument("--quick", action="store_true", help="a pointer in under a minute")
    return options


def note(args: argparse.Namespace, text: str) -> None:
    """Print a line for people."""
    if not args.json:
        print(text, flush=True)


def report(name: str, figures: dict[str, float], goals: dict[str, str]) -> None:
    """Print the JSON line: what was measured, what was wanted, what was missed."""
    missed = []
    for key, goal in goals.items():
        sign, value = goal.split()
        if key not in figures or not COMPARE[sign](figures[key], float(value)):
            missed.append(key)
    rounded = {key: float(f"{value:.4g}") for key, value in figures.items()}
    print(json.dumps({"benchmark": name, "figures": rounded, "goals": goals, "missed": missed}))


def data_folder() -> Path | None:
    """Return the folder of real data, or None: BRUSHFIRE_DATA, or shared/data beside the clone."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("BRUSHFIRE_DATA", beside))
    return folder if folder.is_dir() else None


def needed_data_folder() -> Path:
    """Return the folder of real data, or end with a sentence."""
    data = data_folder()
    if data is None:
        print("The real data is not here. Set BRUSHFIRE_DATA to its folder.", file=sys.stderr)
        raise SystemExit(0)  # nothing failed
    return data


def rss_mb() -> float:
    """Return the resident memory of this process now, MB."""
    with open("/proc/self/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * resource.getpagesize() / 1e6


def peak_rss_mb() -> float:
    """Return the most resident memory that this process ever had, MB."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage counts what the parent held when it started this process, too.
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
