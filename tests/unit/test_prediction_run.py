"""Regions on their way into an export: labels, and restored intensities."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from brushfire.errors import StorageError
from brushfire.geometry import Box
from brushfire.prediction.run import PredictedRegion, RegionRun, can_be_continued

if TYPE_CHECKING:
    from pathlib import Path

REGION = Box((2, 3, 4), (4, 603, 44))


@pytest.mark.parametrize("restored", [0, 1, 2])
def test_a_region_is_filled_tile_by_tile_and_goes_on_where_it_was(
    tmp_path: Path, restored: int
) -> None:
    rng = np.random.default_rng(0)
    lead = (restored,) if restored else ()
    values = rng.normal(100, 30, (*lead, *REGION.shape)).astype("f4" if restored else "u1")

    def fill(most: int) -> int:
        with RegionRun(tmp_path / "run", REGION, key="k", restored=restored) as run:
            before = run.done
            for index, box in list(run.pending())[:most]:
                run.write(index, values[(..., *box.slices_in(REGION))])
            return before

    assert fill(3) == 0
    assert can_be_continued(tmp_path / "run", "k")
    with pytest.raises(StorageError, match="3 of 4 tiles"):
        PredictedRegion(tmp_path / "run", REGION, key="k", cache_bytes=0, restored=restored)
    assert fill(3) == 3
    source = PredictedRegion(tmp_path / "run", REGION, key="k", cache_bytes=0, restored=restored)
    with closing(source):
        found = source.read(Box.of_shape(source.shape))
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


def test_intensities_never_go_on_where_labels_were_begun(tmp_path: Path) -> None:
    with RegionRun(tmp_path / "run", REGION, key="k") as run:
        index, box = next(run.pending())
        run.write(index, np.ones(box.shape, np.uint8))
    with RegionRun(tmp_path / "run", REGION, key="k", restored=1) as run:
        assert run.done == 0
