"""Drives the real window, panel and session: open, paint, learn, export, and measure it."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer

from brushfire.errors import VolumeError
from brushfire.prediction import STALE
from brushfire.volumes import open_volume

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from brushfire.ui.dock import BrushfireDock
    from brushfire.volumes import Volume

FRACTION = 0.02
"""Share of a slice's pixels that the strokes may cover."""
BRUSH = 3
SCORED_SLICES = 24
"""Unannotated slices that are predicted and compared; more are sampled evenly."""
MOVE_MS = 1500
WAIT_S = 120.0
OPENING = "opening"
"""The phase before the volume is first shown; most of it is napari adding its first layer."""


def run_demo(
    volume: str | Path | None = None,
    truth: str | Path | None = None,
    slices: int = 3,
    seconds: float = 120,
    out: str | Path = "demo_output",
    headless: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Run the whole main job in a real window by script.

    Parameters
    ----------
    volume, truth : path, optional
        A volume and its true classes, of the same shape; the foam sample by default. The sorted
        values of the truth become classes 1, 2, ...
    slices : int
        How many slices get strokes, spread evenly.
    seconds : float
        How long it learns after the first tile is on the canvas.
    out : path
        Folder for ``summary.json``, the exports and the screenshots.
    headless : bool
        Close the window at the end; otherwise it stays open and this returns when it is closed.
    seed : int
        Of strokes, patches and weights.

    Returns
    -------
    dict
        What is in ``summary.json``.

    Raises
    ------
    VolumeError
        If the volume or its truth cannot be opened, or their shapes differ.
    """
    import napari

    from brushfire.session import Session
    from brushfire.ui.dock import BrushfireDock

    source, answers = _sources(volume, truth)
    folder = Path(out).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    viewer = napari.Viewer(title="Brushfire demo")
    session = Session(project_folder=_fresh(folder, "project.brushfire"), seed=seed)
    dock = BrushfireDock(viewer, session)
    viewer.window.add_dock_widget(dock, name="Brushfire", add_vertical_stretch=False)
    viewer.window.resize(1280, 800)
    demo = _Demo(viewer, dock, answers, folder, np.random.default_rng(seed))
    try:
        summary = demo.run(source, slices, seconds)
    except BaseException:
        viewer.close()
        raise
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    if headless:
        viewer.close()
    else:
        napari.run()
    return summary


@dataclass
class _Answers:
    """The truth, slice by slice, as class values 1, 2, ...; a volume itself, read lazily."""

    volume: Volume
    values: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        # Every class should be in a few slices; a huge truth is never read whole.
        some = np.linspace(0, self.volume.shape[0] - 1, 9).round().astype(int)
        found = np.unique([v for z in some for v in np.unique(self._raw(int(z)))])
        self.values = tuple(int(v) for v in found)

    def plane(self, z: int) -> NDArray[np.uint8]:
        """Return class values 1, 2, ... of slice ``z``."""
        place = np.searchsorted(self.values, self._raw(z))
        found: NDArray[np.uint8] = (place + 1).astype(np.uint8)
        return found

    def _raw(self, z: int) -> NDArray[Any]:
        found: NDArray[Any] = np.asarray(self.volume.view()[z])
        return found


class _Demo:
    """One run; keeps what was measured on the way."""

    def __init__(
        self,
        viewer: Viewer,
        dock: BrushfireDock,
        answers: _Answers,
        folder: Path,
        rng: np.random.Generator,
    ) -> None:
        self.viewer = viewer
        self.dock = dock
        self.session = dock.session
        self.answers = answers
        self.folder = folder
        self.rng = rng
        self.screenshots: list[str] = []
        self.first_tile_s = float("nan")
        self.heart = _Heartbeat()

    def run(self, source: str, slices: int, seconds: float) -> dict[str, Any]:
        """Open, paint, learn, score and export."""
        with self.heart as heart:
            first_pixel_s = self._open(source)
            heart.enter("confirming")
            self._confirm()
            self._name_classes()
            heart.enter("painting")
            shown = self._paint(slices)
            heart.enter("learning")
            self._learn(shown, seconds)
            heart.enter("scoring")
            scores = self._score(shown)
            heart.enter("exporting")
            exports = self._export(shown[0])
            self._shoot("end")
        assert self.session.labels is not None
        return {
            "volume": source,
            "shape": list(self.session.labels.shape),
            "annotated_slices": shown,
            "first_pixel_s": round(first_pixel_s, 3),
            "first_tile_s": round(self.first_tile_s, 3),
            "seconds": seconds,
            "steps": self.session.learning.step,
            "shown_model": self.session.learning.shown_model,
            "device": self.session.learning.device,
            "annotated_fraction": self._annotated_fraction(shown),
            **scores,
            "peak_rss_mb": round(_peak_rss_mb(), 1),
            # From the first picture of the volume to the end; opening it is told apart.
            "longest_stall_ms": max(ms for name, ms in heart.stalls.items() if name != OPENING),
            "stalls_ms": heart.stalls,
            "exports": exports,
            "screenshots": self.screenshots,
        }

    # ------------------------------------------------------------------ the steps
    def _open(self, source: str) -> float:
        began = time.perf_counter()
        self.dock.volume.open_path(source)
        if self.session.volume is None:
            raise VolumeError(
                "The demo opens a volume.", got=self.dock.notice.text, do="Name another --volume."
            )
        if self.session.volume.shape != self.answers.volume.shape:
            raise VolumeError(
                f"The truth has the shape of the volume, {self.session.volume.shape}.",
                got=self.answers.volume.shape,
                do="Name the truth of this volume.",
            )
        self.wait(lambda: bool(self.dock.controller.layers.image), WAIT_S)
        self.viewer.screenshot(flash=False)  # what it shows has been drawn when this returns
        took = time.perf_counter() - began
        self.settle()
        return took

    def _confirm(self) -> None:
        self.dock.volume.confirm.click()
        self.settle(0.5)
        self._shoot("start")

    def _name_classes(self) -> None:
        for at, value in enumerate(self.answers.values):
            if at >= len(self.session.classes):
                self.session.add_class()
            self.session.rename_class(self.session.classes[at].value, f"class {value}")

    def _paint(self, slices: int) -> list[int]:
        """Paint strokes taken from the truth on some slices, as a user's brush would."""
        from brushfire.scribbles import scribbles

        depth = self.answers.volume.shape[0]
        count = min(slices, depth)
        chosen = [int((at + 0.5) * depth / count) for at in range(count)]
        self.began = time.perf_counter()
        self.dock.controller.paint()
        for at, z in enumerate(chosen):
            self.dock.controller.go_to_slice(z)
            self.settle()
            with self.heart.excused():
                marks = scribbles(self.answers.plane(z), 0.7 * FRACTION, self.rng)
            self._stroke(z, marks)
            if at == 0:
                # Learning begins with the first slice, as it would with a user.
                self.dock.learn.start_button.click()
        return chosen

    def _stroke(self, z: int, marks: NDArray[np.uint8]) -> None:
        """Put one undoable stroke of each class on slice ``z`` through napari's layer."""
        layer = self.dock.controller.layers.show_strokes()
        assert layer is not None
        for entry in self.session.classes:
            ys, xs = np.nonzero(marks == entry.value)
            if len(ys) == 0:
                continue
            self.session.set_active_class(entry.value)
            layer.data_setitem((np.full(len(ys), z), ys, xs), entry.value)
            self.settle()

    def _learn(self, shown: list[int], seconds: float) -> None:
        # The slice with the first strokes is the one that gets the first tiles.
        self.dock.controller.go_to_slice(shown[-1])
        self.wait(self._has_tile, WAIT_S)
        self.first_tile_s = time.perf_counter() - self.began
        until = time.perf_counter() + seconds
        depth = self.answers.volume.shape[0]
        path = [*shown, *(int(z) for z in np.linspace(0, depth - 1, 7))]
        at = 0
        halfway = time.perf_counter() + seconds / 2
        while time.perf_counter() < until:
            at += 1
            self.dock.controller.go_to_slice(path[at % len(path)])
            left = until - time.perf_counter()
            self.settle(min(MOVE_MS / 1000, max(left, 0.01)))
            if halfway < time.perf_counter() and len(self.screenshots) < 2:
                self._shoot("training")
        if len(self.screenshots) < 2:
            self._shoot("training")
        self.session.pause()
        self.wait(lambda: self.session.learning.phase == "paused", WAIT_S)

    def _has_tile(self) -> bool:
        layer = self.dock.controller.layers.prediction
        return layer is not None and bool(np.any(layer.data[self._slice()]))

    def _slice(self) -> int:
        return int(self.viewer.dims.current_step[self.viewer.dims.ndim - 3])

    # ------------------------------------------------------------------ scores and exports
    def _score(self, shown: list[int]) -> dict[str, Any]:
        """Compare the shown model with the truth on slices that hold no stroke."""
        depth = self.answers.volume.shape[0]
        unseen = [z for z in range(depth) if z not in shown]
        if len(unseen) > SCORED_SLICES:
            unseen = [unseen[i] for i in np.linspace(0, len(unseen) - 1, SCORED_SLICES).astype(int)]
        n = len(self.answers.values)
        table = np.zeros((n, n), np.int64)
        for z in unseen:
            found = self._predicted(z).ravel()
            with self.heart.excused():
                expected = self.answers.plane(z).ravel()
                pairs = (expected.astype(int) - 1) * n + np.clip(found, 1, n).astype(int) - 1
                table += np.bincount(pairs, minlength=n * n).reshape(n, n)
        hit = np.diag(table).astype(float)
        total = table.sum(0) + table.sum(1)
        present = table.sum(1) > 0
        iou = hit / np.maximum(total - hit, 1)
        dice = 2 * hit / np.maximum(total, 1)
        names = [entry.name for entry in self.session.classes]
        return {
            "scored_slices": unseen,
            "miou_unseen": round(float(iou[present].mean()), 4) if present.any() else None,
            "dice": {names[i]: round(float(dice[i]), 4) for i in range(n) if present[i]},
        }

    def _predicted(self, z: int) -> NDArray[np.uint8]:
        """Go to slice ``z`` and wait until all of it is predicted by the shown model."""
        self.dock.controller.go_to_slice(z)
        self.viewer.reset_view()
        store = self.session.predictions
        assert store is not None

        def fresh() -> bool:
            with self.heart.excused():
                plane = store.labels[z]
                return bool(((plane > 0) & (plane < STALE)).all())

        self.wait(fresh, WAIT_S)
        plane: NDArray[np.uint8] = store.labels[z]
        return plane

    def _export(self, z: int) -> list[dict[str, Any]]:
        """Export the slice on show through the panel, in both formats."""
        self.dock.open_step("result")
        self.dock.controller.go_to_slice(z)
        self.settle()
        made = []
        result = self.dock.result
        for name, suffix in (("OME-Zarr", ".ome.zarr"), ("BigTIFF", ".tif")):
            result.export.region.setCurrentIndex(0)
            result.export.format.setCurrentText(name)
            target = _fresh(self.folder, f"masks-z{z}{suffix}")
            result.export.path.setText(str(target))
            result.export.button.click()
            self.wait(
                lambda: bool(self.session.jobs) and self.session.jobs[-1].state != "running", WAIT_S
            )
            job = self.session.jobs[-1]
            made.append({"format": name, "path": str(target), "state": job.state})
        return made

    def _annotated_fraction(self, shown: list[int]) -> float:
        """Return the share of the painted slices' pixels that hold a stroke."""
        labels = self.session.labels
        assert labels is not None
        voxels = sum(entry.voxels for entry in labels.counts().values())
        return round(voxels / (len(shown) * labels.shape[1] * labels.shape[2]), 5)

    # ------------------------------------------------------------------ the window
    def _shoot(self, name: str) -> None:
        self.settle()
        path = self.folder / f"{len(self.screenshots) + 1}-{name}.png"
        with self.heart.excused():
            self.viewer.screenshot(str(path), canvas_only=False, flash=False)
        self.screenshots.append(str(path))

    def settle(self, seconds: float = 0.1) -> None:
        """Let the window live for a while."""
        self.wait(lambda: False, seconds, must=False)

    def wait(self, condition: Callable[[], bool], timeout: float, *, must: bool = True) -> None:
        """Run the event loop until ``condition()`` holds.

        Raises
        ------
        TimeoutError
            It did not within ``timeout`` seconds, and it must.
        """
        from napari.qt import get_qapp
        from qtpy.QtCore import QEventLoop

        application = get_qapp()
        until = time.perf_counter() + timeout
        while not condition():
            if time.perf_counter() > until:
                if must:
                    raise TimeoutError(f"nothing for {timeout:g} s; {self.session.status}")
                return
            application.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 20)
            time.sleep(0.001)


class _Heartbeat(QObject):
    """The longest time, in each phase, for which a 5 ms timer on the main thread did not tick."""

    def __init__(self) -> None:
        super().__init__()
        self.stalls: dict[str, float] = {}
        self._phase = OPENING
        self._last = time.perf_counter()
        self._timer = QTimer(self)
        self._timer.setInterval(5)
        self._timer.timeout.connect(self._tick)

    def __enter__(self) -> _Heartbeat:
        self._last = time.perf_counter()
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._tick()
        self._timer.stop()

    def enter(self, phase: str) -> None:
        """Count what follows for ``phase``."""
        self._tick()
        self._phase = phase

    @contextmanager
    def excused(self) -> Iterator[None]:
        """Leave out what only the script does, such as writing a picture."""
        self._tick()
        try:
            yield
        finally:
            self._last = time.perf_counter()

    def _tick(self) -> None:
        now = time.perf_counter()
        gap = round(1000 * (now - self._last), 1)
        self.stalls[self._phase] = max(self.stalls.get(self._phase, 0.0), gap)
        self._last = now


def _sources(volume: str | Path | None, truth: str | Path | None) -> tuple[str, _Answers]:
    if volume is not None and truth is not None:
        return str(volume), _Answers(open_volume(truth))
    # scikit-image takes a second to load; only the sample needs it.
    from brushfire.samples import sample_paths

    made = sample_paths()
    return str(made.volume), _Answers(open_volume(made.truth))


def _fresh(folder: Path, name: str) -> Path:
    """Return a path in ``folder`` that nothing is at, so that no result is overwritten."""
    path = folder / name
    at = 2
    while path.exists():
        stem, dot, rest = name.partition(".")
        path = folder / f"{stem}-{at}{dot}{rest}"
        at += 1
    return path


def _peak_rss_mb() -> float:
    import resource
    import sys

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
