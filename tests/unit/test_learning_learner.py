from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from tests.support.memory import empty_labels, paint_bars, stripes, volume_of

from brushfire.errors import LearningError, ModelError, SettingsError
from brushfire.geometry import Box
from brushfire.learning import Learner, LearningSettings
from brushfire.learning.fitting import fit_pixels
from brushfire.learning.probe import picked, probe
from brushfire.learning.workload import Workload, choose_workload
from brushfire.networks import NetworkSettings, SegmentationModel
from support.models import turn_round

if TYPE_CHECKING:
    from brushfire.annotations import LabelStore
    from brushfire.networks import ModelSnapshot
    from brushfire.volumes import Volume

SHAPE = (3, 96, 80)
NETWORK = NetworkSettings(depth=4, dilations=(1, 2))
LEARNING = LearningSettings(patch=64)


def painted(shape: tuple[int, int, int] = SHAPE, z: int = 1) -> LabelStore:
    store = empty_labels(shape)
    paint_bars(store, stripes(shape), z)
    return store


def learner_of(
    volume: Volume,
    store: LabelStore,
    network: NetworkSettings = NETWORK,
    learning: LearningSettings = LEARNING,
    seed: int = 0,
    step_bytes: float = math.inf,
) -> Learner:
    learner = Learner(volume, network, learning, device="cpu", seed=seed, step_bytes=step_bytes)
    learner.set_annotations(store.snapshot())
    return learner


@pytest.fixture
def volume() -> Volume:
    return volume_of(stripes(SHAPE))


@pytest.fixture
def learner(volume: Volume) -> Learner:
    return learner_of(volume, painted())


def enter_only(learner: Learner, kind: str, *, turned: bool = False) -> None:
    """Let one model race only: the fitted one, or that one with every answer turned round."""
    trainer = learner._trainer
    assert trainer is not None
    model = copy.deepcopy(trainer.average)
    model.head_weight.zero_()
    if turned:
        turn_round(model)
    trainer.candidates = lambda: [(kind, model)]  # type: ignore[method-assign]
    learner._fit = None


def accuracy(snapshot: ModelSnapshot | None, volume: Volume, truth: np.ndarray) -> float:
    """Share of right voxels in the last slice, which nobody painted."""
    assert snapshot is not None
    model = SegmentationModel.from_snapshot(snapshot)
    z, context = truth.shape[0] - 1, model.context
    block = volume.read_padded(Box((z - context, 0, 0), (z + 1 + context, *truth.shape[1:])))
    found = np.asarray(model.classes)[model.probabilities(block)[:, 0].argmax(0)]
    return float((found == truth[z]).mean())


def test_what_is_missing_is_said(volume: Volume) -> None:
    store = empty_labels(SHAPE)
    learner = learner_of(volume, store)
    assert "strokes" in (learner.ready or "")
    store[0, 4:8, 4:8] = 1
    learner.set_annotations(store.snapshot())
    assert "second class" in (learner.ready or "")
    for act in (learner.fit, learner.step, learner.evaluate, learner.propose):
        with pytest.raises(LearningError, match="second class"):
            act()
    store[0, 20, 20] = 2
    learner.set_annotations(store.snapshot())
    assert learner.ready is None


def test_the_first_answer_needs_no_step(learner: Learner, volume: Volume) -> None:
    learner.fit()
    proposal = learner.propose()
    assert proposal.shown is None
    assert learner.step_count == 0
    assert learner.shown is proposal.snapshot
    assert proposal.snapshot is not None
    assert (proposal.snapshot.revision, proposal.snapshot.classes) == (1, (1, 2))
    assert proposal.evaluation.voxels > 0
    assert accuracy(proposal.snapshot, volume, stripes(SHAPE)) > 0.9


def test_steps_go_on_from_the_fit_and_learn(learner: Learner, volume: Volume) -> None:
    learner.fit()
    reports = [learner.step() for _ in range(30)]
    assert [report.step for report in reports] == list(range(1, 31))
    rates = [report.learning_rate for report in reports]
    assert rates[0] < rates[19] <= LEARNING.learning_rate, "softly at first"
    assert rates[-1] < rates[19], "it falls"
    learner.fit()
    assert learner.step().learning_rate == rates[0], "and begins again after new strokes"
    assert reports[0].loss < 0.7, "the first step starts where the fit ended"
    assert all(np.isfinite(report.loss) and report.seconds > 0 for report in reports)
    snapshot = learner.propose().snapshot or learner.shown
    assert accuracy(snapshot, volume, stripes(SHAPE)) > 0.9


@pytest.mark.parametrize(
    ("shape", "channels", "network"),
    [
        ((3, 60, 70), 1, NetworkSettings(depth=3, slices=3)),
        ((9, 60, 70), 2, NetworkSettings(depth=3, slices=7)),
        ((1, 60, 70), 1, NetworkSettings(depth=3, slices=5)),
        ((1, 60, 70), 3, NetworkSettings(depth=3)),
        ((4, 24, 150), 1, NetworkSettings(depth=2, width=3, features=False)),
        ((2, 150, 5), 1, NetworkSettings(depth=3)),
    ],
)
def test_every_shape_of_volume_and_network_learns(
    shape: tuple[int, int, int], channels: int, network: NetworkSettings
) -> None:
    truth = stripes(shape)
    store = empty_labels(shape)
    for y in range(1, shape[1] - 1, 5):
        store[0, y, 1 : min(60, shape[2] - 1) : 9] = truth[0, y, 1 : min(60, shape[2] - 1) : 9]
    volume = volume_of(truth, channels=channels)
    learner = learner_of(volume, store, network)
    learner.fit()
    for _ in range(3):
        assert np.isfinite(learner.step().loss)
    learner.fit()
    snapshot = learner.propose().snapshot
    assert snapshot is not None
    assert snapshot.channels == channels
    assert 0 <= accuracy(snapshot, volume, truth) <= 1


def test_one_voxel_of_each_class_is_enough(volume: Volume) -> None:
    store = empty_labels(SHAPE)
    store[0, 5, 5], store[2, 20, 5] = 1, 2
    learner = learner_of(volume, store)
    learner.fit()
    learner.step()
    evaluation = learner.evaluate()
    assert evaluation.dice == {1: None, 2: None}
    assert evaluation.mean is None
    assert evaluation.voxels == 0
    shown = learner.propose().snapshot
    assert shown is not None
    assert shown.metrics["kind"] == "fitted"
    learner.step()
    kept = learner.propose()
    assert kept.snapshot is None, "nothing can tell whether the trained network is better"
    assert kept.verdict.shown == "fitted"
    assert "too few" in kept.verdict.reason
    assert kept.now.wanting == {1: 1, 2: 1}


def test_new_strokes_join_without_a_restart(learner: Learner, volume: Volume) -> None:
    learner.fit()
    for _ in range(3):
        learner.step()
    store = painted()
    paint_bars(store, stripes(SHAPE), 0)
    before = learner.evaluate().voxels
    learner.set_annotations(store.snapshot())
    assert learner.step_count == 3
    assert learner.evaluate().voxels > before
    learner.fit()
    assert learner.step().step == 4


def test_a_new_stroke_is_seen_by_the_quick_fit(volume: Volume) -> None:
    store = painted()
    learner = learner_of(volume, store, learning=replace(LEARNING, held_out=0.0))
    learner.fit()
    for _ in range(5):
        learner.step()
    # What was class 1 in one place is now painted as class 2 there.
    store[1, 50:58, 10:60] = 3 - stripes(SHAPE)[1, 50:58, 10:60]
    learner.set_annotations(store.snapshot())

    def likely() -> float:
        model = SegmentationModel.from_snapshot(learner.propose().snapshot or learner.shown)  # type: ignore[arg-type]
        found = model.probabilities(volume.read_padded(Box((1, 0, 0), (2, *SHAPE[1:]))))
        wanted = 2 - int(stripes(SHAPE)[1, 52, 10])
        return float(found[wanted, 0, 50:58, 10:60].mean())

    before = likely()
    learner.fit()
    assert likely() > before


def test_a_model_says_which_strokes_its_last_fit_has_seen(learner: Learner) -> None:
    learner.fit()
    first = learner.propose().snapshot
    assert first is not None
    store = painted()
    assert first.metrics["annotations"] == store.revision
    store[0, 2:5, 2:30] = 7
    learner.set_annotations(store.snapshot())
    second = learner.propose().snapshot
    assert second is not None
    assert second.metrics["annotations"] == first.metrics["annotations"]
    learner.fit()
    third = learner.propose().snapshot
    assert third is not None
    assert third.metrics["annotations"] == store.revision


def test_every_fit_follows_all_strokes_from_nothing(volume: Volume) -> None:
    learner = learner_of(volume, painted(), learning=replace(LEARNING, held_out=0.0))
    learner.fit()
    for _ in range(3):
        learner.step()
    store = painted()
    store[1, 3, 3:6] = stripes(SHAPE)[1, 3, 3:6]
    paint_bars(store, stripes(SHAPE), 2)
    learner.set_annotations(store.snapshot())
    learner.fit()
    other = learner_of(volume, store, learning=replace(LEARNING, held_out=0.0))
    other.fit()
    assert learner._trainer is not None
    assert other._trainer is not None
    mine, theirs = learner._trainer.average.pixels, other._trainer.average.pixels
    assert mine is not None
    assert theirs is not None
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(mine.state_dict()[name], value, rtol=1e-3, atol=1e-3)
    assert learner.step().step == 4, "and what was trained goes on beside it"


def test_a_new_class_joins_the_head(learner: Learner, volume: Volume) -> None:
    learner.fit()
    learner.propose()
    for _ in range(3):
        learner.step()
    store = painted()
    store[0, 2:5, 2:30] = 7
    learner.set_annotations(store.snapshot())
    learner.fit()
    proposal = learner.propose()
    assert proposal.snapshot is not None, "the shown model does not know the class"
    assert proposal.snapshot.classes == (1, 2, 7)
    assert learner.step().step == 4
    store[0, 2:5, 2:30] = 0
    learner.set_annotations(store.snapshot())
    learner.fit()
    snapshot = learner.propose().snapshot
    assert snapshot is not None
    assert snapshot.classes == (1, 2)


def test_a_worse_model_is_not_shown(learner: Learner) -> None:
    learner.fit()
    shown = learner.propose().snapshot
    enter_only(learner, "trained", turned=True)
    proposal = learner.propose()
    assert proposal.snapshot is None
    assert proposal.shown is not None
    assert (proposal.evaluation.mean or 0) < (proposal.shown.mean or 0)
    assert proposal.now is proposal.shown
    assert proposal.verdict.shown == "fitted"
    assert "Kept: the trained network is worse" in proposal.verdict.reason
    assert (proposal.verdict.difference or 0) < -0.5
    assert learner.shown is shown


def test_undo_goes_back_and_learning_goes_on_from_there(learner: Learner) -> None:
    assert learner.undo() is None
    learner.fit()
    first = learner.propose().snapshot
    assert not learner.can_undo
    learner.step()
    store = painted()
    store[0, 2:5, 2:30] = 3
    learner.set_annotations(store.snapshot())
    second = learner.propose().snapshot
    assert second is not None
    assert learner.can_undo
    assert learner.undo() == first == learner.shown
    assert learner.undo() is None
    learner.fit()
    learner.step()
    kept = learner.propose()
    assert kept.snapshot is None, "what was left does not come back by itself"
    assert "You went back" in kept.verdict.reason
    store[0, 20:22, 2:30] = 3
    learner.set_annotations(store.snapshot())
    learner.fit()
    third = learner.propose().snapshot
    assert third is not None
    assert third.revision == second.revision + 1, "revisions only count up"


def test_a_restored_model_is_shown_and_trained_on(learner: Learner, volume: Volume) -> None:
    learner.fit()
    for _ in range(5):
        learner.step()
    snapshot = learner.propose().snapshot
    assert snapshot is not None
    other = Learner(volume, NETWORK, LEARNING, device="cpu", seed=9)
    other.restore([snapshot])
    other.set_annotations(painted().snapshot())
    assert other.shown == snapshot
    assert other.step_count == 5
    assert other._regions.counts(held=True) == learner._regions.counts(held=True)
    assert other.evaluate() == learner.evaluate()
    other.step()
    other.fit()
    following = other.propose().snapshot
    assert following is None or following.revision == snapshot.revision + 1


def fitted_on(learner: Learner, *kinds: bool) -> SegmentationModel:
    """Return a model that was fitted on these strokes: held out or not."""
    assert learner._trainer is not None
    model = copy.deepcopy(learner._trainer.average)
    sites = [site for held in kinds for site in learner._sites(held=held, budget=10**7)]
    fit_pixels(model, *probe(model, learner._cache, sites, picked(model.raw_inputs)))
    return model


def same_fit(one: SegmentationModel, other: SegmentationModel) -> bool:
    assert one.pixels is not None
    assert other.pixels is not None
    return torch.allclose(
        one.pixels.machine.weight, other.pixels.machine.weight, rtol=1e-2, atol=1e-3
    )


def judged_by_what_teaches(learner: Learner) -> bool:
    """Whether the shown model knows the held-out strokes, and its judged twin does not."""
    assert learner.shown is not None
    assert learner._race.shown is not None
    shown, twin = SegmentationModel.from_snapshot(learner.shown), learner._race.shown.model
    taught, informed = fitted_on(learner, False), fitted_on(learner, False, True)
    assert not same_fit(taught, informed)
    assert torch.equal(twin.head_weight, shown.head_weight), "they have the same layers"
    return same_fit(shown, informed) and same_fit(twin, taught)


@pytest.mark.parametrize("steps", [0, 5])
def test_held_out_strokes_are_known_to_what_is_shown_not_to_what_is_judged(
    learner: Learner, steps: int
) -> None:
    learner.fit()
    for _ in range(steps):
        learner.step()
    learner.propose()
    assert judged_by_what_teaches(learner)


def test_a_restored_model_is_judged_by_what_teaches(learner: Learner, volume: Volume) -> None:
    learner.fit()
    for _ in range(5):
        learner.step()
    snapshot = learner.propose().snapshot
    assert snapshot is not None
    expected = learner.evaluate()
    other = Learner(volume, NETWORK, LEARNING, device="cpu", seed=9)
    other.restore([snapshot])
    other.set_annotations(painted().snapshot())
    other.fit()
    assert other.shown == snapshot, "what is shown stays as it is"
    assert judged_by_what_teaches(other)
    found = other.evaluate()
    assert (found.voxels, found.mean) == (expected.voxels, pytest.approx(expected.mean, abs=0.02))


def test_after_going_back_the_earlier_model_is_judged_by_what_teaches() -> None:
    store = painted()
    learner = learner_of(volume_of(stripes(SHAPE), noise=3.0), store)
    learner.fit()
    first = learner.propose().snapshot
    paint_bars(store, stripes(SHAPE), 0)
    learner.set_annotations(store.snapshot())
    learner.fit()
    assert learner.propose().snapshot is not None
    assert learner.undo() == first == learner.shown
    assert first is not None
    earlier, judged = SegmentationModel.from_snapshot(first), learner._race.shown
    assert judged is not None
    assert same_fit(judged.model, fitted_on(learner, False)), "of the strokes as they are now"
    assert not same_fit(judged.model, earlier)
    assert not same_fit(judged.model, fitted_on(learner, False, True))


def test_a_model_of_other_settings_is_refused(learner: Learner, volume: Volume) -> None:
    learner.fit()
    snapshot = learner.propose().snapshot
    assert snapshot is not None
    other = Learner(volume, replace(NETWORK, depth=5), LEARNING, device="cpu")
    with pytest.raises(ModelError, match="settings"):
        other.restore([snapshot])
    damaged = replace(snapshot, weights=snapshot.weights[:500])
    with pytest.raises(ModelError, match="safetensors"):
        learner.restore([damaged])
    assert learner.shown == snapshot, "a damaged model changes nothing"


def test_labels_of_another_shape_are_refused(learner: Learner) -> None:
    with pytest.raises(LearningError, match="shape"):
        learner.set_annotations(empty_labels((3, 96, 81)).snapshot())


def test_shrinking_ends(volume: Volume) -> None:
    learner = learner_of(volume, painted(), learning=LearningSettings(patch=192, batch=4))
    count = 0
    while learner.shrink():
        count += 1
        assert np.isfinite(learner.step().loss)
    assert count == 3, "batch 4 to 2 to 1, patch 192 to 96"


def test_a_seed_decides_everything(volume: Volume) -> None:
    def run(seed: int) -> list[float]:
        learner = learner_of(volume, painted(), seed=seed)
        learner.fit()
        return [learner.step().loss for _ in range(3)]

    found = run(3)
    assert found == run(3)
    assert found != run(4)


def test_work_grows_into_the_memory_that_a_step_may_take(volume: Volume) -> None:
    wanted = LearningSettings(patch=128, batch=4)
    sizes = []
    for megabytes in (7, 12, 24, 10_000):
        learner = learner_of(volume, painted(), learning=wanted, step_bytes=megabytes * 2**20)
        assert np.isfinite(learner.step().loss)
        assert learner._workload is not None
        sizes.append(learner._workload)
    assert sizes[0] == Workload(64, 1)
    assert sizes[-1] == Workload(128, 4)
    assert sizes == sorted(sizes, key=lambda size: size.pixels)
    assert len(set(sizes)) > 2


def test_a_step_that_never_fits_is_refused_and_more_memory_helps(volume: Volume) -> None:
    learner = learner_of(volume, painted(), step_bytes=1000)
    with pytest.raises(LearningError, match="Give the session more memory"):
        learner.step()
    learner.limit(2**30)
    assert np.isfinite(learner.step().loss)


def test_less_memory_is_taken_up_while_learning(volume: Volume) -> None:
    learner = learner_of(volume, painted(), learning=LearningSettings(patch=128, batch=4))
    learner.step()
    assert learner._workload == Workload(128, 4)
    learner.limit(12 * 2**20)
    learner.step()
    assert learner._workload is not None
    assert learner._workload.pixels < 128**2


def test_running_out_of_memory_before_the_first_step_keeps_the_limit(volume: Volume) -> None:
    wanted = LearningSettings(patch=512, batch=8)
    learner = learner_of(volume, painted(), learning=wanted, step_bytes=7 * 2**20)
    learner.fit()
    before = learner._cell()
    assert learner.shrink()
    learner.step()
    assert learner._workload == Workload(64, 1)
    assert learner._cell() <= before


def test_a_step_that_takes_more_than_a_smaller_one_promised_is_not_chosen() -> None:
    costs = {64: 100, 128: 1000}
    wanted = Workload(128, 1)
    assert choose_workload(
        lambda work: costs[work.patch], wanted, smallest=64, limit=500
    ) == Workload(64, 1)
    exact = Workload(192, 3)
    assert (
        choose_workload(lambda work: 7 * work.pixels, exact, smallest=64, limit=7 * 3 * 192**2)
        == exact
    )
    asked = []

    def measure(work: Workload) -> int:
        asked.append(work)
        return work.pixels

    chosen = choose_workload(measure, Workload(150, 2), smallest=64, limit=2 * 75**2)
    assert chosen == Workload(75, 1)
    assert asked == [Workload(64, 1), Workload(75, 1)]


def test_little_memory_looks_at_strokes_in_small_squares(volume: Volume) -> None:
    learner = learner_of(volume, painted(), step_bytes=2**20)
    learner.fit()
    assert learner.propose().snapshot is not None
    assert learner._cell() == 64


def test_numbers_that_are_not_finite_end_in_the_last_good_model(volume: Volume) -> None:
    learner = learner_of(volume, painted())
    learner.fit()
    good = learner.propose().snapshot
    assert good is not None
    learner.step()
    trainer = learner._trainer
    assert trainer is not None
    with torch.no_grad():
        trainer._model.head_bias.fill_(float("nan"))
    with pytest.raises(LearningError, match="lower learning rate"):
        learner.step()
    assert learner.shown == good
    assert np.isfinite(learner.step().loss), "it can be started again"
    learner.fit()
    assert learner.evaluate().mean is not None


def test_gradients_that_are_not_finite_for_long_end_learning(volume: Volume) -> None:
    learner = learner_of(volume, painted())
    learner.step()
    trainer = learner._trainer
    assert trainer is not None
    trainer._model.head_bias.register_hook(lambda slope: slope * float("inf"))
    assert [learner.step().step for _ in range(4)] == [1] * 4, "nothing was learned"
    with pytest.raises(LearningError, match="gradients that are not, 5 times") as told:
        learner.step()
    assert "last good model" not in str(told.value), "there is none"


def test_numbers_that_are_not_finite_before_the_first_model_start_anew(volume: Volume) -> None:
    learner = learner_of(volume, painted())
    learner.step()
    trainer = learner._trainer
    assert trainer is not None
    with torch.no_grad():
        trainer._model.layers.biases.fill_(float("inf"))
    with pytest.raises(LearningError, match="finite"):
        learner.step()
    learner.fit()
    assert np.isfinite(learner.step().loss)


def test_a_patch_no_larger_than_a_dilation_is_refused(volume: Volume) -> None:
    with pytest.raises(SettingsError, match="wider than the largest dilation"):
        Learner(
            volume,
            NetworkSettings(depth=2, dilations=(1, 40)),
            LearningSettings(patch=40),
            device="cpu",
        )
    Learner(
        volume,
        NetworkSettings(depth=1, dilations=(1, 40)),  # that dilation is never used
        LearningSettings(patch=40),
        device="cpu",
    )
