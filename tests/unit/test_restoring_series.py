"""Several scans that one network learns to restore from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from tests.support.restoring import (
    NOISE,
    SHAPE,
    as_volume,
    blobs,
    decibels,
    learner_for,
    network_for,
    restored_by,
)

from brushfire.errors import LearningError, SettingsError
from brushfire.learning.restoring.scans import Scan
from brushfire.learning.restoring.settings import WAYS
from brushfire.networks import ModelSnapshot
from brushfire.networks.rebuilding import model_of
from brushfire.networks.restoration import RestorationModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from brushfire.learning.restoring.learner import RestorationLearner
    from brushfire.learning.restoring.settings import Way

PARTS = 3


def scan_for(way: Way, *, seed: int = 1, shape: tuple[int, int, int] = SHAPE) -> Scan:
    clean, noisy = blobs(PARTS if way == "splits" else 1, shape, seed)
    return Scan(as_volume(noisy, f"scan {seed}"), as_volume(clean) if way == "pairs" else None)


def learner_of(way: Way, others: list[Scan], **options: Any) -> RestorationLearner:
    clean, noisy = blobs(PARTS if way == "splits" else 1)
    target = clean if way == "pairs" else None
    return learner_for(way, noisy, target, others=others, **options)


def shown(learner: RestorationLearner, steps: int = 60) -> RestorationModel:
    learner.fit()
    for _ in range(steps):
        learner.step()
    snapshot = learner.propose().snapshot
    assert snapshot is not None
    model = model_of(ModelSnapshot.from_bytes(snapshot.weights))
    assert isinstance(model, RestorationModel)
    return model


@pytest.mark.parametrize("way", WAYS)
def test_scans_of_other_shapes_are_learned_together_and_models_restored(way: Way) -> None:
    scan = scan_for(way, shape=(6, 52, 96))
    learner = learner_of(way, [scan], batch=2, patch=64)
    model = shown(learner, 5)
    assert (model.intensity_std > 0).all()
    first = learner.shown
    assert first is not None
    assert [len(slices) for slices in first.metrics["held_out_of_others"]] == [1]
    again = learner_of(way, [scan], held_out=0.4, batch=2, patch=64)
    again.restore([first])
    assert [one.slices for one in again._lessons.divisions] == [
        one.slices for one in learner._lessons.divisions
    ]
    assert again.evaluate() == learner.evaluate()


@pytest.mark.parametrize("way", ["pairs", "blind"])
def test_all_scans_teach_in_equal_parts_and_are_judged_by(way: Way) -> None:
    """Each voxel of a target says of which slice and scan it is."""
    slices = [np.arange(n, dtype=np.float32) + 100 * at for at, n in enumerate((12, 4, 8))]
    values = [np.broadcast_to(one[:, None, None], (len(one), 64, 64)) for one in slices]
    scans = [Scan(as_volume(v), as_volume(v) if way == "pairs" else None) for v in values[1:]]
    target = values[0] if way == "pairs" else None
    learner = learner_for(way, values[0][None], target, others=scans, held_out=0.25, masked=0.2)
    model = learner._ready_trainer().average

    def told(lesson: Any) -> int:
        known = lesson.target[lesson.weight > 0] * model.target_std + model.target_mean
        (found,) = set(known.round().int().tolist())
        return int(found)

    rng = np.random.default_rng(0)
    taught = [told(learner._lessons.draw(model, 1, 48, rng)) for _ in range(150)]
    judged = [told(lesson) for lesson in learner._lessons.judged(model, 64, 9)]
    assert not set(taught) & set(judged)
    assert {value // 100 for value in judged} == {0, 1, 2}
    counts = np.bincount([value // 100 for value in taught], minlength=3)
    assert (counts > 30).all(), counts


def ripples(seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return stripes so narrow that no blob resembles them, and the same with noise."""
    rng = np.random.default_rng(seed)
    x = np.arange(SHAPE[2]) + rng.uniform(0, 3)
    clean = np.broadcast_to(np.sin(2 * np.pi * x / 3), SHAPE).astype(np.float32)
    return clean, (clean + NOISE * rng.standard_normal(SHAPE)).astype(np.float32)


def test_what_only_the_second_scan_holds_is_learned_from_it() -> None:
    clean, noisy = ripples(2)
    scan = Scan(as_volume(noisy[None]), as_volume(clean))
    truth, given = ripples(3)
    volume = as_volume(given[None])
    alone, both = (
        decibels(restored_by(shown(learner_of("pairs", others)), volume)[0], truth)
        for others in ([], [scan])
    )
    assert both > alone + 3
    assert both > decibels(given, truth) + 3


def test_one_normalisation_holds_for_all_scans() -> None:
    clean, noisy = blobs()
    brighter = Scan(as_volume(noisy + 10), as_volume(clean + 10))
    learner = learner_for("pairs", noisy, clean, others=[brighter])
    model = learner._ready_trainer().average
    assert_allclose(model.target_mean, clean.mean() + 5, atol=0.01)
    assert_allclose(model.target_std, np.hypot(clean.std(), 5), rtol=0.01)
    # Scans between, and the same one at another brightness, are told apart.
    model = shown(learner)
    for offset in (0, 10):
        found = restored_by(model, as_volume(noisy + offset))[0]
        assert abs(float(found.mean()) - offset - float(clean.mean())) < 0.3


def test_scans_that_do_not_belong_together_are_told_by_name() -> None:
    good = scan_for("pairs")
    assert good.target is not None
    coarse = Scan(good.volume.with_voxel_size((2.0, 1.0, 1.0)), good.target)
    with pytest.raises(LearningError, match=r"one voxel size.*scan 1"):
        learner_of("pairs", [good, coarse])
    with pytest.raises(LearningError, match=r"as many channels.*2 of two"):
        learner_of("blind", [Scan(as_volume(blobs(2)[1], "two"))])
    with pytest.raises(LearningError, match=r"one shape.*scan 1"):
        learner_of("pairs", [Scan(good.volume, as_volume(blobs()[0][:4]))])
    with pytest.raises(SettingsError, match=r"no clean one for scan 1"):
        learner_of("pairs", [Scan(good.volume)])
    with pytest.raises(SettingsError, match="Only pairs have a target"):
        learner_of("blind", [good])
    with pytest.raises(LearningError, match=r"1 slice\(s\) of short"):
        learner_of("neighbours", [Scan(as_volume(blobs()[1][:, :1], "short"))])


def test_all_scans_are_kept_under_one_bound() -> None:
    scans = [scan_for("pairs", seed=seed, shape=(6, 300, 300)) for seed in range(1, 5)]
    learner = learner_of("pairs", scans, network=network_for("pairs"), cache_bytes=2**20)
    model = learner._ready_trainer().average
    for seed in range(30):
        learner._lessons.draw(model, 1, 48, np.random.default_rng(seed))
    each = learner._lessons._lessons
    kept = {one._slabs._cells for one in each} | {one._target._cells for one in each}
    assert len(kept) == 2
    assert sum(one.nbytes for one in kept) <= 2 * 2**20
    assert len(learner._lessons.judged(model, 64, 2)) == 5
