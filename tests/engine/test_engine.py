"""The engine with a real learner on a small volume: what comes out for what goes in."""

from __future__ import annotations

import copy
import pickle
import threading
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch

from brushfire.annotations import open_annotations
from brushfire.engine import engine as engine_module
from brushfire.engine import messages as m
from brushfire.engine import regions, streaming
from brushfire.errors import ModelError, StorageError
from brushfire.geometry import Box
from brushfire.networks.settings import NetworkSettings
from brushfire.prediction.run import PredictedRegion
from brushfire.volumes import open_volume
from support.engines import (
    SHAPE,
    collect,
    first_model,
    has,
    paint_strokes,
    textured,
    truth,
    view,
)
from support.models import turn_round


def learned(make_engine, strokes, **settings):
    """Return an engine that shows a first model, and that model."""
    engine = make_engine(**settings)
    engine.send(m.SetAnnotations(strokes.snapshot()))
    engine.send(m.Train())
    events = collect(engine, has(m.ModelShown))
    return engine, events[-1].snapshot


@pytest.fixture(scope="module")
def stored():
    """Return the model of an engine that saw the strokes of these tests and is gone."""
    store = open_annotations(None, SHAPE)
    paint_strokes(store)
    return first_model(open_volume(textured(), name="halves"), store, seed=3)


def shown(events):
    found = [e.snapshot for e in events if isinstance(e, m.ModelShown)]
    return found[-1] if found else None


def tiles(events):
    return {e.tile.index for e in events if isinstance(e, m.TilePredicted)}


def endings(events, turn):
    return [e for e in events if isinstance(e, m.TurnEnded) and e.turn == turn]


def test_strokes_become_a_model_and_the_model_visible_tiles(make_engine, strokes):
    engine = make_engine()
    engine.send(view())
    engine.send(m.SetAnnotations(strokes.snapshot()))
    engine.send(m.Train())
    events = collect(engine, has(m.TilePredicted, 4))
    shown = next(e for e in events if isinstance(e, m.ModelShown))
    tiles = [e for e in events if isinstance(e, m.TilePredicted)]
    assert shown.annotations == strokes.revision
    assert {e.tile.revision for e in tiles} == {shown.snapshot.revision}
    predicted = np.zeros(SHAPE, np.uint8)
    for e in tiles:
        predicted[e.tile.box.slices] = e.tile.labels
    assert (predicted[0] == truth()[0]).mean() > 0.9


def test_events_and_commands_survive_pickling(make_engine, strokes):
    engine = make_engine()
    engine.send(view())
    engine.send(pickle.loads(pickle.dumps(m.SetAnnotations(strokes.snapshot()))))
    engine.send(m.Train())
    for event in collect(engine, has(m.TilePredicted)):
        assert type(pickle.loads(pickle.dumps(event))) is type(event)


def test_learning_waits_for_a_second_class_and_says_so(make_engine, strokes):
    strokes.replace(2, 0)
    engine = make_engine()
    engine.send(m.SetAnnotations(strokes.snapshot()))
    engine.send(m.Train())
    events = collect(
        engine, lambda es: any(isinstance(e, m.PhaseChanged) and e.message for e in es)
    )
    assert events[-1].phase == "waiting"
    assert "second class" in events[-1].message
    strokes[1, 10:14, 70:80] = 2
    engine.send(m.SetAnnotations(strokes.snapshot()))
    collect(engine, has(m.Stepped))


def shows_what_knows(strokes):
    """Until a model is shown that has seen the newest strokes."""
    return lambda events: any(
        isinstance(e, m.ModelShown) and e.annotations == strokes.revision for e in events
    )


def test_new_strokes_join_without_a_restart(make_engine, strokes):
    engine, _ = learned(make_engine, strokes)
    collect(engine, has(m.Stepped, 2))
    strokes[3, 50:54, 100:110] = 2
    engine.send(m.SetAnnotations(strokes.snapshot()))
    events = collect(engine, shows_what_knows(strokes))
    assert not endings(events, "learning")


@pytest.mark.usefixtures("often")
def test_learning_rests_when_nothing_better_comes_and_goes_on_with_a_stroke(
    make_engine, strokes, monkeypatch
):
    monkeypatch.setattr("brushfire.learning.learner._PATIENCE", 3)
    engine, _ = learned(make_engine, strokes)
    collect(engine, lambda es: m.PhaseChanged("resting") in es)
    strokes[3, 50:54, 100:110] = 2
    engine.send(m.SetAnnotations(strokes.snapshot()))
    events = collect(engine, shows_what_knows(strokes))
    assert m.PhaseChanged("training") in events
    events = collect(engine, lambda es: m.PhaseChanged("resting") in es)
    engine.send(m.UndoModel())
    collect(engine, has(m.Stepped))
    engine.send(m.Pause())
    collect(engine, lambda es: m.PhaseChanged("paused") in es)
    engine.send(m.Train())
    collect(engine, has(m.Stepped))


def test_pause_keeps_the_step_count_and_stop_ends_the_turn_once(make_engine, strokes):
    engine, _ = learned(make_engine, strokes)
    collect(engine, has(m.Stepped, 3))
    engine.send(m.Pause())
    collect(engine, lambda es: m.PhaseChanged("paused") in es)
    engine.send(m.Train())
    events = collect(engine, has(m.Stepped))
    assert events[-1].step > 3
    engine.send(m.Stop())
    engine.send(m.Stop())
    events = collect(engine, has(m.TurnEnded))
    engine.close()
    events += engine.drain(10**6)
    assert [e.outcome for e in endings(events, "learning")] == ["finished"]
    assert [e.outcome for e in endings(events, "engine")] == ["finished"]


def test_closing_while_learning_ends_every_turn(make_engine, strokes):
    engine, _ = learned(make_engine, strokes)
    assert engine.close()
    assert engine.close()
    events = engine.drain(10**6)
    assert [e.outcome for e in endings(events, "learning")] == ["cancelled"]
    assert [e.outcome for e in endings(events, "engine")] == ["finished"]


def test_reset_forgets_the_model(make_engine, strokes):
    engine, _ = learned(make_engine, strokes)
    engine.send(m.Reset())
    events = collect(engine, has(m.ModelForgotten))
    assert [e.outcome for e in endings(events, "learning")] == ["cancelled"]
    engine.send(m.Train())
    collect(engine, has(m.ModelShown))


def test_a_failing_read_ends_learning_with_its_error_and_not_the_engine(make_engine, strokes):
    volume = open_volume(textured())
    volume.statistics()

    def fail(box, **_):
        raise OSError(5, "the disk is gone")

    volume.read_padded = fail
    engine = make_engine(volume)
    engine.send(m.SetAnnotations(strokes.snapshot()))
    engine.send(m.Train())
    events = collect(engine, has(m.TurnEnded))
    (ended,) = endings(events, "learning")
    assert ended.outcome == "failed"
    assert "the disk is gone" in str(ended.error)
    engine.send(m.Train())
    collect(engine, has(m.TurnEnded))


def test_out_of_memory_halves_the_work_and_goes_on(make_engine, strokes, monkeypatch):
    engine, _ = learned(make_engine, strokes)
    collect(engine, has(m.Stepped))
    learner = engine._coach._pupil.learner
    real, failed = learner.step, []

    def step_once_too_big():
        if not failed:
            failed.append(True)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real()

    monkeypatch.setattr(learner, "step", step_once_too_big)
    events = collect(engine, has(m.Told))
    assert "half the work" in events[-1].text
    events = collect(engine, has(m.Stepped, 2))
    assert not endings(events, "learning")


def test_undo_shows_the_earlier_model_again(make_engine, strokes):
    engine, first = learned(make_engine, strokes)
    strokes[3, 50:54, 100:110] = 2
    engine.send(m.SetAnnotations(strokes.snapshot()))
    second = collect(engine, has(m.ModelShown))[-1]
    assert second.can_undo
    engine.send(m.Pause())
    engine.send(m.UndoModel())
    back = collect(engine, has(m.ModelShown))[-1]
    assert back.snapshot == first
    assert "You went back" in back.verdict.reason
    assert back.verdict.shown == first.metrics["kind"]
    assert back.evaluation.mean == first.metrics["mean_dice"]
    engine.send(m.UndoModel())
    assert "no earlier model" in collect(engine, has(m.Told))[-1].text


@pytest.mark.usefixtures("often")
def test_an_evaluation_says_how_good_the_shown_model_is_and_why_it_is_that_one(
    make_engine, strokes
):
    engine = make_engine()
    engine.send(m.SetAnnotations(strokes.snapshot()))
    engine.send(m.Train())
    events = collect(engine, lambda es: has(m.Evaluated, 2)(es) and has(m.Stepped)(es))
    first, second = (e for e in events if isinstance(e, m.Evaluated))
    shown = next(e for e in events if isinstance(e, m.ModelShown))
    assert first.verdict.accepted
    assert (first.verdict, first.evaluation) == (shown.verdict, shown.evaluation)
    assert first.verdict.shown == shown.snapshot.metrics["kind"] == "fitted"
    assert first.evaluation.how == "held out"
    assert first.evaluation.mean == shown.mean > 0.9
    assert set(first.evaluation.intervals) == {1, 2}
    low, high = first.evaluation.mean_interval
    assert low <= first.evaluation.mean <= high
    assert first.strokes == 2 * 6 * 8
    assert (second.step > first.step, second.seconds > first.seconds) == (True, True)
    stepped = [e.seconds for e in events if isinstance(e, m.Stepped)]
    assert stepped == sorted(stepped)
    assert first.seconds < stepped[0]


@pytest.mark.usefixtures("often")
def test_a_kept_model_is_told_with_its_own_score(make_engine, strokes, monkeypatch):
    engine, first = learned(make_engine, strokes)
    engine.send(m.Pause())
    collect(engine, lambda es: m.PhaseChanged("paused") in es)
    learner = engine._coach._pupil.learner
    model = copy.deepcopy(learner._trainer.average)
    turn_round(model)
    monkeypatch.setattr(learner._trainer, "candidates", lambda: [("trained", model)])
    engine.drain(10**6)
    engine.send(m.Train())
    told = collect(engine, has(m.Evaluated))[-1]
    assert not told.verdict.accepted
    assert "worse on the held-out strokes" in told.verdict.reason
    assert told.evaluation.mean >= first.metrics["mean_dice"]


def test_a_stored_model_says_why_it_was_shown(make_engine, stored):
    older = replace(stored, metrics={"mean_dice": 0.5, "dice": {"1": 0.5}})
    for model, reason in ((stored, stored.metrics["reason"]), (older, "saved with")):
        engine = make_engine()
        engine.send(m.Restore(model))
        told = collect(engine, has(m.ModelShown))[-1]
        assert reason in told.verdict.reason
        assert told.evaluation.mean == model.metrics["mean_dice"]


def test_a_stored_model_is_shown_without_learning(make_engine, stored):
    engine = make_engine()
    engine.send(view())
    engine.send(m.Restore(stored))
    events = collect(engine, has(m.TilePredicted))
    assert not any(isinstance(e, m.Stepped) for e in events)


def test_other_settings_start_another_network(make_engine, strokes):
    engine, first = learned(make_engine, strokes)
    network = NetworkSettings(depth=3, width=2, dilations=(1,), slices=3)
    engine.send(m.Configure(network, engine._settings[1]))
    events = collect(engine, has(m.ModelShown))
    assert events[-1].snapshot.settings == network
    assert first.settings != network


def region_command(tmp_path, model, job=1, key="volume model"):
    classes = ((1, "left", "#ff0000"), (2, "right", "#00ff00"))
    region = Box((1, 10, 20), (4, 90, 120))
    return m.PredictRegion(job, model, region, tmp_path / "r", key, classes)


def read_run(command):
    region = PredictedRegion(command.folder, command.region, key=command.key, cache_bytes=2**20)
    with closing(region):
        return region.read(Box.of_shape(region.shape))


def test_a_region_is_predicted_to_disk_and_resumes(make_engine, strokes, tmp_path):
    engine, model = learned(make_engine, strokes)
    engine.send(m.Pause())
    command = region_command(tmp_path, model)
    engine.send(command)
    events = collect(engine, lambda es: bool(endings(es, "region")))
    assert endings(events, "region")[0].outcome == "finished"
    labels = read_run(command)
    assert (labels == truth()[command.region.slices]).mean() > 0.9

    engine.send(command)
    events = collect(engine, lambda es: bool(endings(es, "region")))
    assert next(e.done for e in events if isinstance(e, m.RegionProgress)) == 3

    with pytest.raises(StorageError, match="0 of 3 tiles"):
        read_run(region_command(tmp_path, model, key="volume other-model"))
    assert (read_run(command) == labels).all(), "looking never removes anything"


def test_a_cancelled_region_says_so(make_engine, strokes, tmp_path):
    engine, model = learned(make_engine, strokes)
    engine.send(region_command(tmp_path, model, job=1))
    engine.send(m.CancelRegion(1))
    events = collect(engine, lambda es: bool(endings(es, "region")))
    assert [(e.outcome, e.job) for e in endings(events, "region")] == [("cancelled", 1)]


def test_a_view_asks_only_for_what_is_not_fresh(make_engine, strokes):
    engine, snapshot = learned(make_engine, strokes)
    engine.send(m.Stop())
    collect(engine, has(m.TurnEnded))
    newest = shown(engine.drain(10**6)) or snapshot
    fresh = frozenset({(0, 0, 0), (0, 1, 1)})
    engine.send(m.SetView(view().box, newest.revision, fresh, room=4))
    assert tiles(collect(engine, has(m.TilePredicted, 2))) == {(0, 0, 1), (0, 1, 0)}


def test_what_is_fresh_of_another_model_is_predicted_anew(make_engine, strokes):
    engine, snapshot = learned(make_engine, strokes)
    engine.send(m.Stop())
    collect(engine, has(m.TurnEnded))
    fresh = frozenset({(0, 0, 0), (0, 1, 1)})
    engine.send(m.SetView(view().box, snapshot.revision + 5, fresh, room=4))
    everything = {(0, y, x) for y in range(2) for x in range(2)}
    assert tiles(collect(engine, lambda es: tiles(es) == everything))


def test_too_little_memory_for_a_tile_is_told_and_more_is_taken_up(make_engine, strokes):
    engine, _ = learned(make_engine, strokes)
    engine.send(m.Stop())
    engine.send(m.LimitMemory(2**20))
    engine.send(view())
    (told,) = endings(collect(engine, lambda es: bool(endings(es, "streaming"))), "streaming")
    assert told.outcome == "failed"
    assert "Give the session more memory" in str(told.error)
    engine.send(m.LimitMemory(2**28))
    engine.send(view())
    assert len(tiles(collect(engine, has(m.TilePredicted, 4)))) == 4
    assert engine._coach._pupil.learner._step_bytes == 2**28, "steps follow, too"


def test_a_loss_that_is_not_finite_ends_learning_and_keeps_the_model(make_engine, strokes):
    engine, model = learned(make_engine, strokes)
    collect(engine, has(m.Stepped))
    learner = engine._coach._pupil.learner
    with torch.no_grad():
        learner._trainer._model.head_bias.fill_(float("nan"))
    (told,) = endings(collect(engine, lambda es: bool(endings(es, "learning"))), "learning")
    assert told.outcome == "failed"
    assert "lower learning rate" in str(told.error)
    assert learner.shown.revision >= model.revision
    engine.send(view())
    collect(engine, has(m.TilePredicted))
    engine.send(m.Train())
    events = collect(engine, has(m.Stepped, 2))
    assert all(np.isfinite(e.loss) for e in events if isinstance(e, m.Stepped))


def test_learning_goes_on_while_the_view_moves_all_the_time(make_engine, strokes, monkeypatch):
    engine, _ = learned(make_engine, strokes)
    engine.send(m.Pause())
    collect(engine, lambda es: m.PhaseChanged("paused") in es)
    real = streaming.predict_tile

    def costly(*args, **limits):
        # However fast the machine, a new view comes before the tiles of the last are done.
        engine.send(view(z=args[2][0] + 1 if args[2][0] + 1 < SHAPE[0] else 0))
        return real(*args, **limits)

    monkeypatch.setattr(streaming, "predict_tile", costly)
    monkeypatch.setattr(engine_module, "VISIBLE_AHEAD", 0.1)
    engine.send(view())
    engine.send(m.Train())
    events = collect(engine, has(m.Stepped, 3))
    assert has(m.TilePredicted, 3)(events)
    monkeypatch.undo()


def test_streaming_goes_on_with_the_next_model_after_an_error(make_engine, strokes):
    volume = open_volume(textured())
    engine, first = learned(make_engine, strokes, source=volume)
    engine.send(m.Pause())
    collect(engine, lambda es: m.PhaseChanged("paused") in es)
    real, broken = volume.read_padded, [True]

    def read(box, **how):
        if broken:
            raise OSError(5, "the disk is gone")
        return real(box, **how)

    volume.read_padded = read
    engine.send(view())
    (ended,) = endings(collect(engine, has(m.TurnEnded)), "streaming")
    assert ended.outcome == "failed"
    broken.clear()
    engine.send(m.Restore(first))
    collect(engine, has(m.TilePredicted, 4))


def test_a_tile_of_a_region_that_met_a_full_memory_is_tried_again(
    make_engine, strokes, tmp_path, monkeypatch
):
    engine, model = learned(make_engine, strokes)
    engine.send(m.Stop())
    collect(engine, has(m.TurnEnded))
    real, failed = regions.predict_box, []

    def predict(*args, **limits):
        if len(failed) < 2:
            failed.append(True)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*args, **limits)

    monkeypatch.setattr(regions, "predict_box", predict)
    engine.device = "cuda"  # from where there is a way back
    command = region_command(tmp_path, model)
    engine.send(command)
    (ended,) = endings(collect(engine, has(m.TurnEnded)), "region")
    assert ended.outcome == "failed", "on the processor there is no way back"
    assert "memory" in str(ended.error)
    assert "Choose" in str(ended.error) or "choose" in str(ended.error)
    engine.send(command)
    (ended,) = endings(collect(engine, has(m.TurnEnded)), "region")
    assert ended.outcome == "finished"
    assert read_run(command).all()


def test_an_error_of_any_command_leaves_the_engine_running(make_engine, strokes, monkeypatch):
    engine, _ = learned(make_engine, strokes)

    def fail(*args):
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(engine._coach, "undo", fail)
    monkeypatch.setattr(engine._regions, "cancel", fail)
    engine.send(m.UndoModel())
    engine.send(m.CancelRegion(3))
    (ended,) = endings(collect(engine, lambda es: bool(endings(es, "learning"))), "learning")
    assert "unforeseen" in str(ended.error)
    engine.send(m.Train())
    collect(engine, has(m.Stepped))
    monkeypatch.undo()


def test_an_engine_that_dies_ends_every_turn(make_engine, strokes, tmp_path, monkeypatch):
    engine, model = learned(make_engine, strokes)
    engine.send(region_command(tmp_path, model))
    monkeypatch.setattr(engine, "_work", lambda: 1 / 0)
    events = collect(engine, lambda es: bool(endings(es, "engine")))
    assert [e.outcome for e in endings(events, "learning")] == ["cancelled"]
    assert [e.outcome for e in endings(events, "region")] == ["failed"]
    (ended,) = endings(events, "engine")
    assert isinstance(ended.error, ZeroDivisionError)


def test_other_learning_settings_go_on_from_the_shown_models(make_engine, strokes):
    engine, _ = learned(make_engine, strokes)
    strokes[3, 50:54, 100:110] = 2
    engine.send(m.SetAnnotations(strokes.snapshot()))
    second = collect(engine, lambda es: any(isinstance(e, m.ModelShown) and e.can_undo for e in es))
    before = second[-1].snapshot
    network, learning = engine._settings
    engine.send(m.Configure(network, replace(learning, learning_rate=1e-3)))
    events = collect(engine, has(m.HistoryChanged))
    assert events[-1].can_undo
    collect(engine, lambda es: m.PhaseChanged("training") in es)
    steps = [e.step for e in collect(engine, has(m.Stepped, 2)) if isinstance(e, m.Stepped)]
    assert min(steps) > before.metrics["step"]
    assert engine._coach._pupil.learner.history[0].revision == 1


def test_a_stored_model_of_other_settings_is_shown_all_the_same(make_engine, strokes, stored):
    other = make_engine(network=NetworkSettings(depth=3, dilations=(1,)))
    other.send(view())
    other.send(m.SetAnnotations(strokes.snapshot()))
    other.send(m.Restore(stored))
    events = collect(other, has(m.TilePredicted))
    assert not endings(events, "learning")
    other.send(m.Train())
    new = collect(other, has(m.ModelShown))[-1].snapshot
    assert new.settings.depth == 3
    assert new.revision > stored.revision


def test_a_restored_model_s_held_out_strokes_never_teach(make_engine, strokes, stored):
    other = make_engine(seed=4)
    other.send(m.SetAnnotations(strokes.snapshot()))
    other.send(m.Restore(stored))
    other.send(m.Train())
    collect(other, has(m.Stepped))
    held = {tuple(seed) for seed in stored.metrics["held_out_regions"]}
    assert set(other._coach._pupil.learner._regions.seeds) == held


def test_a_damaged_stored_model_is_forgotten_and_told(make_engine, stored):
    engine = make_engine()
    engine.send(m.Restore(replace(stored, weights=stored.weights[:500])))
    events = collect(engine, has(m.TurnEnded))
    assert has(m.ModelForgotten)(events)
    assert isinstance(events[-1].error, ModelError)


@pytest.mark.parametrize("again", ["reset", "network"])
def test_a_new_network_is_fitted_before_its_first_step(make_engine, strokes, again):
    engine, _ = learned(make_engine, strokes)
    collect(engine, has(m.Stepped, 2))
    if again == "reset":
        engine.send(m.Reset())
        collect(engine, has(m.ModelForgotten))
        engine.send(m.Train())
    else:
        network = NetworkSettings(depth=3, dilations=(1,))
        engine.send(m.Configure(network, engine._settings[1]))
        collect(engine, has(m.HistoryChanged))
    events = collect(engine, has(m.ModelShown))
    assert not has(m.Stepped)(events)
    assert events[-1].snapshot.metrics["step"] == 0


def test_a_network_that_is_changed_back_goes_on_from_its_models(make_engine, strokes):
    engine, first = learned(make_engine, strokes)
    engine.send(m.Pause())
    collect(engine, lambda es: m.PhaseChanged("paused") in es)
    network, learning = engine._settings
    for settings in (NetworkSettings(depth=3, dilations=(1,)), network):
        engine.send(m.Configure(settings, learning))
        collect(engine, has(m.HistoryChanged))
    engine.send(m.Train())
    collect(engine, has(m.Stepped))
    assert engine._coach._pupil.learner.history[0] == first


def test_a_passing_error_while_a_stored_model_is_read_in_costs_nothing(
    make_engine, strokes, stored
):
    volume = open_volume(textured())
    volume.statistics()
    real, broken = volume.read_padded, [True]

    def read(box, **how):
        if broken:
            raise OSError(5, "the disk is gone")
        return real(box, **how)

    volume.read_padded = read
    engine = make_engine(volume)
    engine.send(m.SetAnnotations(strokes.snapshot()))
    engine.send(m.Restore(stored))
    engine.send(m.Train())
    events = collect(engine, has(m.TurnEnded))
    assert shown(events) == stored
    assert not has(m.ModelForgotten)(events)
    broken.clear()
    engine.send(m.Train())
    collect(engine, has(m.Stepped))
    assert engine._coach._pupil.learner.history[0] == stored


def test_a_model_that_does_not_fit_into_memory_is_shown_on_the_processor(
    make_engine, strokes, monkeypatch
):
    engine, _ = learned(make_engine, strokes)
    real, failed = streaming.model_of, []

    def make(snapshot, device="cpu"):
        if not failed:
            failed.append(True)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(snapshot, device)

    engine.device = "cuda"  # from where there is a way back
    monkeypatch.setattr(streaming, "model_of", make)
    strokes[3, 50:54, 100:110] = 2
    engine.send(m.SetAnnotations(strokes.snapshot()))
    engine.send(view())
    moved = collect(engine, has(m.DeviceChosen))
    newest = shown(moved)
    assert moved[-1].device == "cpu"
    tile = next(e.tile for e in collect(engine, has(m.TilePredicted)) if type(e) is m.TilePredicted)
    assert newest is not None
    assert tile.revision >= newest.revision


def test_strokes_that_take_long_to_take_up_hold_up_no_tile(make_engine, strokes, monkeypatch):
    engine, _ = learned(make_engine, strokes)
    learner = engine._coach._pupil.learner
    real, taken = learner.set_annotations, []

    def slow(snapshot):
        threading.Event().wait(0.2)
        taken.append(snapshot.revision)
        return real(snapshot)

    monkeypatch.setattr(learner, "set_annotations", slow)
    events = []
    for number in range(30):
        strokes[3, 50, 60 + number] = 2
        engine.send(m.SetAnnotations(strokes.snapshot()))
        engine.send(view(z=number % SHAPE[0]))
        events += engine.drain(100, wait=0.05)
    assert len(tiles(events + collect(engine, has(m.TilePredicted)))) > 2 * len(taken)
