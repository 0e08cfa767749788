"""Slices are cut into parts that fit, and the memory of one pass serves the next."""

from __future__ import annotations

import subprocess
import sys
import threading
import weakref
from contextlib import suppress

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brushfire.networks.kernels import FlatLayout, forget_buffer, lent_buffer
from brushfire.networks.msd import MixedScaleDense
from brushfire.networks.pieces import LEAST, best_cut

SIDES = st.tuples(st.integers(1, 900), st.integers(1, 900))


@given(size=SIDES, halo=st.integers(0, 90), most=st.integers(1_000, 400_000))
@settings(max_examples=100, deadline=None)
def test_parts_fit_and_are_not_smaller_than_need_be(
    size: tuple[int, int], halo: int, most: int
) -> None:
    def fits(height: int, width: int) -> bool:
        return height * width <= most

    cell = best_cut(size, halo, fits)
    if cell is None:
        assert not fits(*(min(side, LEAST) + 2 * halo for side in size))
        return
    assert fits(cell[0] + 2 * halo, cell[1] + 2 * halo)
    assert all(1 <= part <= side for part, side in zip(cell, size, strict=True))
    assert cell == size or not fits(size[0] + 2 * halo, size[1] + 2 * halo)


def test_parts_of_a_long_slice_are_as_square_as_they_can_be() -> None:
    assert best_cut((2560, 2560), 64, lambda h, w: h * w <= 1408**2) == (1280, 1280)
    assert best_cut((100, 5000), 10, lambda h, w: h * w <= 120 * 1100) == (100, 1000)


@pytest.mark.parametrize("border", ["zero", "reflect"])
def test_memory_that_held_other_maps_does_not_show(border: str) -> None:
    torch.manual_seed(0)
    layers = MixedScaleDense(2, 5, 1, (1, 3, 9), outputs=2, border=border)  # type: ignore[arg-type]
    for size in ((40, 70), (40, 70), (33, 80), (90, 90), (10, 12), (33, 80)):
        x = torch.randn(1, 2, *size)
        expected = layers(x).detach()
        with layers.lent_maps(x) as (buffer, layout):
            torch.testing.assert_close(layout.images_of(buffer).transpose(0, 1), expected)


def test_more_maps_of_the_same_layout_have_clean_margins() -> None:
    layout = FlatLayout(1, (20, 30), 4)
    like = torch.zeros(1)
    with lent_buffer(40, FlatLayout(1, (21, 30), 4), like) as buffer:
        buffer[:] = 7
    with lent_buffer(15, layout, like) as buffer:
        assert not buffer.any()
    with lent_buffer(30, layout, like) as buffer:
        assert not buffer.any()


def test_mirrored_margins_of_the_last_pass_are_cleared() -> None:
    layout, like = FlatLayout(1, (20, 30), 4, "reflect"), torch.zeros(1)
    with lent_buffer(5, layout, like) as buffer:
        buffer[:] = 1
        layout.fill_margins(buffer)
    with lent_buffer(5, layout, like) as buffer:
        assert not buffer.any()


def test_memory_of_inference_mode_does_not_come_back_outside_of_it() -> None:
    layout, like = FlatLayout(1, (20, 30), 4), torch.zeros(1)
    with torch.inference_mode(), lent_buffer(5, layout, like) as buffer:
        buffer[:] = 1
    with lent_buffer(6, FlatLayout(1, (19, 30), 4), like) as buffer:
        assert not buffer.is_inference()
        buffer[:] = 2


def test_memory_can_be_given_back() -> None:
    layout, like = FlatLayout(1, (20, 30), 4), torch.zeros(1)
    with lent_buffer(5, layout, like) as buffer:
        gone = weakref.ref(buffer.untyped_storage())
        buffer[:] = 1
    del buffer
    assert gone() is not None
    forget_buffer()
    assert gone() is None


def test_memory_is_used_again_by_its_thread_alone() -> None:
    layout, like = FlatLayout(1, (20, 30), 4), torch.zeros(1)
    with lent_buffer(10, layout, like) as first:
        with lent_buffer(10, layout, like) as inner:
            assert inner.data_ptr() != first.data_ptr()
        place = inner.data_ptr()
    with lent_buffer(10, layout, like) as again:
        assert again.data_ptr() in (place, first.data_ptr())
        found: list[int] = []

        def other() -> None:
            with lent_buffer(10, layout, like) as theirs:
                found.append(theirs.data_ptr())

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert found != [again.data_ptr()]


def test_an_error_gives_the_memory_back() -> None:
    layout, like = FlatLayout(1, (20, 30), 4), torch.zeros(1)
    with suppress(ValueError), lent_buffer(10, layout, like) as buffer:
        buffer[:] = 3
        raise ValueError
    with lent_buffer(10, layout, like) as buffer:
        assert not buffer.any()


_PREDICT = """
import resource, sys
import brushfire
import numpy as np
import torch
from brushfire.networks import NetworkSettings, SegmentationModel
depth, features, side, budget = int(sys.argv[1]), sys.argv[2] == "1", int(sys.argv[3]), 2**20
torch.set_num_threads(1)
model = SegmentationModel(NetworkSettings(depth=depth, features=features), 1, (1, 2))
model.halo = 60
block = np.zeros((1, 1, side, side), np.float32)
model.probabilities(block[:, :, :64, :64])
from brushfire.networks.kernels import choice
choice.explain()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model.probabilities(block, budget_bytes=int(sys.argv[4]) * budget)
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
print(grown - 2 * side**2 * 4 / 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read as Linux tells it")
@pytest.mark.parametrize(
    ("depth", "features", "side", "budget"),
    [(30, True, 1200, 128), (100, False, 700, 128)],
)
def test_a_prediction_keeps_within_its_budget(
    depth: int, features: bool, side: int, budget: int
) -> None:
    args = [str(depth), str(int(features)), str(side), str(budget)]
    command = [sys.executable, "-c", _PREDICT, *args]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < budget
