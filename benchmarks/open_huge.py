"""Open a sparse 2160x2560x2560 uint16 OME-Zarr in the real window: first slice, zoom, memory."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from brushfire.samples import make_sparse_huge
from brushfire.session import Session
from reporting import note, parser, report, rss_mb
from window import open_window, settle, wait_until

SHAPE = (2160, 2560, 2560)


def main() -> None:
    args = parser(__doc__).parse_args()
    shape = tuple(n // 4 for n in SHAPE) if args.quick else SHAPE
    with tempfile.TemporaryDirectory() as folder:
        path = make_sparse_huge(Path(folder) / "huge.ome.zarr", shape=shape)
        session = Session(autosave=False)
        viewer, dock = open_window(session)
        before = rss_mb()
        drawn = []
        viewer.window._qt_viewer.canvas._scene_canvas.events.draw.connect(
            lambda event: drawn.append(time.perf_counter())
        )
        began = time.perf_counter()
        dock.volume.open_path(str(path))
        assert wait_until(lambda: any(layer.loaded for layer in viewer.layers), 30)
        drawn.clear()
        viewer.window._qt_viewer.canvas._scene_canvas.update()
        assert wait_until(lambda: bool(drawn), 30)
        first_slice = drawn[0] - began
        session.confirm_volume()
        settle(1.0)

        image = dock.controller.layers.reference()
        zooms, slices = [], []
        fitted = viewer.scene.camera.zoom
        for _ in range(2 if args.quick else 5):
            began = time.perf_counter()
            viewer.scene.camera.zoom = 2.0
            assert wait_until(lambda: image.data_level == 0 and image.loaded, 30)
            drawn.clear()
            assert wait_until(lambda: bool(drawn), 30)
            zooms.append(time.perf_counter() - began)
            viewer.scene.camera.zoom = fitted
            settle(0.5)
        viewer.scene.camera.zoom = 2.0
        settle(0.5)
        for z in range(shape[0] // 2, shape[0] // 2 + 20):
            began = time.perf_counter()
            viewer.dims.set_current_step(0, z)
            drawn.clear()
            assert wait_until(lambda: bool(drawn), 30)
            slices.append(time.perf_counter() - began)
        figures = {
            "first_slice_s": first_slice,
            "zoom_to_level_0_s": statistics.median(zooms),
            "next_slice_s": statistics.median(slices),
            "rss_growth_mb": rss_mb() - before,
        }
        for name, value in figures.items():
            note(args, f"{name:20} {value:9.3f}")
        goals = {"first_slice_s": "< 3", "zoom_to_level_0_s": "< 0.3", "rss_growth_mb": "< 500"}
        report("open_huge", figures, goals)
        viewer.close()
        session.close()


if __name__ == "__main__":
    main()
