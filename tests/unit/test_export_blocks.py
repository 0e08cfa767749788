"""Blocks of an export: bounded, and in the form in which a format stores them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brushfire.export.targets import cell_of
from brushfire.geometry import Box, Grid
from brushfire.volumes import open_volume
from brushfire.volumes.reduce import halve, plan_steps
from support.exporting import VOXEL_SIZE as VOXEL
from support.exporting import export, some_labels

SHAPES = st.tuples(st.integers(1, 3000), st.integers(1, 9000), st.integers(1, 9000))
BUDGETS = st.integers(2**23, 2**34)


@given(shape=SHAPES, budget=BUDGETS)
def test_a_tiff_block_is_one_piece_of_the_file(shape: tuple[int, int, int], budget: int) -> None:
    z, y, x = cell_of("tiff", shape, budget)
    assert x == shape[2]
    assert y == shape[1] or z == 1
    assert z * y * x * 4 <= budget


@given(shape=SHAPES, budget=BUDGETS)
def test_a_zarr_block_is_whole_chunks(shape: tuple[int, int, int], budget: int) -> None:
    cell = cell_of("ome-zarr", shape, budget)
    chunk = [min(c, n) for c, n in zip((16, 256, 256), shape, strict=True)]
    assert all(n % c == 0 for n, c in zip(cell, chunk, strict=True))
    assert cell[0] * cell[1] * cell[2] <= max(budget // 16, chunk[0] * chunk[1] * chunk[2])


@pytest.mark.parametrize("format", ["ome-zarr", "tiff"])
def test_a_large_volume_is_few_blocks(format: str) -> None:
    cell = cell_of(format, (2160, 2560, 2560), 2**28)
    assert 100 < len(Grid((2160, 2560, 2560), cell)) < 2000


@settings(max_examples=12, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 300), st.integers(513, 600)),
    budget=st.integers(1, 2**26),
    format=st.sampled_from(["ome-zarr", "tiff"]),
)
def test_an_export_of_many_blocks_is_that_of_one(
    shape: tuple[int, int, int], budget: int, format: str
) -> None:
    labels = some_labels(shape)
    with tempfile.TemporaryDirectory() as folder:
        report = export(labels, Path(folder), format, budget_bytes=budget)
        volume = open_volume(report.path)
        assert len(volume.levels) == (1 if format == "tiff" else 1 + len(plan_steps(shape, VOXEL)))
        wanted = labels[None]
        for level, described in enumerate(volume.levels):
            if level:
                wanted = halve(wanted, plan_steps(shape, VOXEL)[level - 1], labels=True)
            found = volume.read(Box.of_shape(described.shape), level=level)
            np.testing.assert_array_equal(found, wanted)
        volume.close()


GROWTH = """
import sys
from pathlib import Path
import numpy as np
from brushfire.geometry import Box
from support.exporting import ArraySource, export

def memory(key):
    text = Path("/proc/self/status").read_text()
    return int(text.split(key + ":")[1].split()[0]) * 1024

class Bands(ArraySource):
    def __init__(self):
        pass

    shape = (40, 2048, 2048)  # larger than the budget

    def read(self, box):
        block = np.empty(box.shape, np.uint8)
        y, x = (axis.astype(np.int16) for axis in np.ogrid[box.slices[1:]])
        for z, plane in enumerate(block, start=box.start[0]):
            plane[...] = (z + y) // 50 % 2 + (3 * y + 7 * x) // 40 % 2
        return block

bands = Bands()
bands.read(Box((0, 0, 0), (1, 2048, 2048)))
Path("/proc/self/clear_refs").write_text("5")
before = memory("VmRSS")
export(bands, Path(sys.argv[1]), sys.argv[2], budget_bytes=int(sys.argv[3]))
print(memory("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Peaks are read from /proc.")
@pytest.mark.parametrize("format", ["ome-zarr", "tiff"])
def test_an_export_keeps_to_its_budget(tmp_path: Path, format: str) -> None:
    budget = 128 << 20
    tests = os.path.dirname(os.path.dirname(__file__))
    told = subprocess.run(
        [sys.executable, "-c", GROWTH, tmp_path, format, str(budget)],
        env={**os.environ, "PYTHONPATH": tests},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(told.stdout) < budget
