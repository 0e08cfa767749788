"""A new user learns on one hippocampus, keeps it, and starts the next from it: is that quicker?

All by the commands and the session that the window uses: a volume on disk, strokes painted one by
one on what is shown, `brushfire models save`, then on another subject `brushfire start --from` and
again strokes; beside it the same user from scratch. Who has a prediction corrects it from the first
stroke on; who has none paints two strokes of each class first. Mean Dice on slices that nobody
paints, by the number of strokes. At the end the library's score and `brushfire worth` are asked.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile

from arena import User, classes_of, load_case, scores
from brushfire.geometry import Box
from brushfire.networks import SegmentationModel
from brushfire.session import Session
from reporting import needed_data_folder, note, parser, report

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

    from arena import Case

PAIRS = ((10, 11), (20, 21), (30, 31))  # subjects: learned on, then started; fixed beforehand
STROKES = 18
MARKS = (0, 1, 3, 6, 9, 12, 15, 18)
NAMES = ("background", "anterior", "posterior")
_PACE = 20.0  # seconds at most until the next stroke
_LOOK = 1.0  # of learning on, once what is shown knows the last one


@contextmanager
def opened(volume: Path) -> Iterator[Session]:
    """Open a volume as the window does, its project beside it; close it in the end."""
    session = Session(suggest=False)
    try:
        session.open_volume(volume)
        yield session
    finally:
        session.close()


class Painter:
    """Paints a case through a session, and looks at what it shows."""

    def __init__(self, case: Case, session: Session, seed: int) -> None:
        self._case, self._session = case, session
        self._model: tuple[int, SegmentationModel] | None = None
        shows = session.model_revision is not None
        self.user = User(case, seed, first=0 if shows else 2)
        for name in NAMES[len(session.classes) :]:
            session.add_class(name)
        self.curve: dict[int, float] = {}
        if shows:
            self._note()

    def play(self) -> float:
        """Paint all strokes; return seconds from the first ones to the first model after them."""
        began = time.monotonic()
        first: float | None = None
        if self.user.strokes:
            self._learn()
            first = time.monotonic() - began
        while self.user.strokes < STROKES and self.user.correct(self._predict):
            self._learn()
            first = first or time.monotonic() - began
        self._session.stop()
        assert first is not None
        return first

    def _learn(self) -> None:
        session, (_, height, width) = self._session, self._case.truth.shape
        for z in self._case.painted:
            box = Box((z, 0, 0), (z + 1, height, width))
            session.paint(box, self.user.labels[z][None])
        session.start()
        assert session.labels is not None
        given = session.labels.snapshot().revision
        session.wait_for(lambda: session.learning.seen_annotations >= given, _PACE)
        session.wait_for(lambda: False, _LOOK)
        self._note()

    def _note(self) -> None:
        self.curve[self.user.strokes] = scores(self._case, self._predict)["dice"]

    def _predict(self, z: int) -> np.ndarray:
        session, shown = self._session, self._session.model_revision
        project = session.project
        assert shown is not None
        assert project is not None
        if self._model is None or self._model[0] != shown:
            session.wait_for(lambda: shown in project.models(), _PACE)
            self._model = shown, SegmentationModel.from_snapshot(project.load_model(shown))
        return classes_of(self._model[1], self._case, z)


def brushfire(*arguments: object) -> str:
    """Run a command and return what it printed."""
    run = [sys.executable, "-c", "from brushfire.cli import main; main()", *map(str, arguments)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"brushfire {' '.join(map(str, arguments))}: {done.stderr}")
    return " ".join(done.stdout.split())


def play(args: Namespace, data: Path, folder: Path, pair: int) -> dict[str, dict[int, float]]:
    """Play one pair of subjects; return both curves."""
    here, there = (load_case(data, "msd_hippocampus", subject) for subject in PAIRS[pair])
    curves, waits = {}, {}
    for name, case in (("first", here), ("scratch", there), ("started", there)):
        volume = folder / f"{name}.tif"
        image = case.volume.read(Box.of_shape(case.volume.shape))[0]
        tifffile.imwrite(volume, image, metadata={"axes": "ZYX"})
        if name == "started":
            brushfire("start", volume, "--from", "first")
        with opened(volume) as session:
            painter = Painter(case, session, pair)
            waits[name] = painter.play()
            curves[name] = painter.curve
            if name == "scratch":
                session.browse_library()
                session.wait_for(lambda: bool(session.offers), 60)
                offers, none = session.offers, session.scratch_score
                said = [f"{one.score} for {none}, {one.gain}" for one in offers]
                note(args, f"  library: {', '.join(said)}")
        if name == "first":
            note(args, "  " + brushfire("models", "save", volume, "first", "--replace"))
    note(args, "  " + brushfire("worth", folder / "started.tif"))
    for name, curve in curves.items():
        line = " ".join(f"{curve[mark]:.3f}" if mark in curve else "  -  " for mark in MARKS)
        note(args, f"pair {pair} {name:8} {line}  first answer {waits[name]:.1f} s")
    return {name: curves[name] for name in ("scratch", "started")}


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--pairs", nargs="+", type=int, default=list(range(len(PAIRS))))
    args = options.parse_args()
    data = needed_data_folder()
    figures: dict[str, list[float]] = {}
    for pair in args.pairs[:1] if args.quick else args.pairs:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["BRUSHFIRE_LIBRARY"] = str(Path(folder) / "library")
            for name, curve in play(args, data, Path(folder), pair).items():
                for mark in MARKS:
                    if mark in curve:
                        figures.setdefault(f"{name}_{mark}", []).append(curve[mark])
    report("newcomer", {key: float(np.mean(values)) for key, values in figures.items()}, {})


if __name__ == "__main__":
    main()
