"""The engine with a real learner on a small volume: what comes out for what goes in."""

from __future__ import annotations

import pickle

import numpy as np
import torch

from brushfire.engine import messages as m
from brushfire.errors import ModelError
from brushfire.geometry import Box
from brushfire.networks.settings import NetworkSettings
from brushfire.prediction.run import RegionRun
from brushfire.volumes import open_volume
from support.engines import SHAPE, collect, has, textured, truth, view


def learned(make_engine, strokes, **settings):
    """Return an engine that shows a first model, and that model."""
    engine = make_engine(**settings)
    engine.send(m.SetAnnotations(strokes.snapshot()))
    engine.send(m.Train())
    events = collect(engine, has(m.ModelShown))
    return engine, events[-1].snapshot


def endings(events, turn):
    return [e for e in events if isinstance(e, m.TurnEnded) and e.turn == turn]


def test_strokes_become_a_model_and_the_model_visible_tiles(make_engine, strokes):
    engine = make_engine()
    engine.send(view(generation=5))
    engine.send(m.SetAnnotations(strokes.snapshot()))
    engine.send(m.Train())
    events = collect(engine, has(m.TilePredicted, 4))
    shown = next(e for e in events if isinstance(e, m.ModelShown))
    tiles = [e for e in events if isinstance(e, m.TilePredicted)]
    assert shown.annotations == strokes.revision
    assert {e.generation for e in tiles} == {5}
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


def test_new_strokes_join_without_a_restart(make_engine, strokes):
    engine, _ = learned(make_engine, strokes)
    collect(engine, has(m.Stepped, 2))
    strokes[3, 50:54, 100:110] = 2
    engine.send(m.SetAnnotations(strokes.snapshot()))
    events = collect(
        engine,
        lambda es: any(
            isinstance(e, m.ModelShown) and e.annotations == strokes.revision for e in es
        ),
    )
    assert not endings(events, "learning")


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

    def fail(box):
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
    learner = engine._coach._learner
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
    engine.send(m.UndoModel())
    assert "no earlier model" in collect(engine, has(m.Told))[-1].text


def test_a_stored_model_is_shown_without_learning(make_engine, strokes):
    _, snapshot = learned(make_engine, strokes)
    engine = make_engine()
    engine.send(view())
    engine.send(m.Restore(snapshot))
    events = collect(engine, has(m.TilePredicted))
    assert not any(isinstance(e, m.Stepped) for e in events)


def test_other_settings_start_another_network(make_engine, strokes):
    engine, first = learned(make_engine, strokes)
    network = NetworkSettings(depth=3, width=2, dilations=(1,), slices=3)
    engine.send(m.Configure(network, engine._settings[1]))
    events = collect(engine, has(m.ModelShown))
    assert events[-1].snapshot.settings == network
    assert first.settings != network


def region_command(tmp_path, job=1, key="volume model"):
    classes = ((1, "left", "#ff0000"), (2, "right", "#00ff00"))
    return m.PredictRegion(job, Box((1, 10, 20), (4, 90, 120)), tmp_path / "r", key, classes)


def read_run(command):
    with RegionRun(
        command.folder,
        command.region,
        key=command.key,
        voxel_size=(1.0, 1.0, 1.0),
        classes=command.classes,
    ) as run:
        return run.done, run.read(Box.of_shape(run.shape))


def test_a_region_is_predicted_to_disk_and_resumes(make_engine, strokes, tmp_path):
    engine, _ = learned(make_engine, strokes)
    engine.send(m.Pause())
    command = region_command(tmp_path)
    engine.send(command)
    events = collect(engine, lambda es: bool(endings(es, "region")))
    assert endings(events, "region")[0].outcome == "finished"
    done, labels = read_run(command)
    assert done == 3
    assert (labels == truth()[command.region.slices]).mean() > 0.9

    engine.send(command)
    events = collect(engine, lambda es: bool(endings(es, "region")))
    assert next(e.done for e in events if isinstance(e, m.RegionProgress)) == 3

    changed = region_command(tmp_path, key="volume other-model")
    done, labels = read_run(changed)
    assert done == 0
    assert not labels.any()


def test_a_cancelled_region_says_so(make_engine, strokes, tmp_path):
    engine, _ = learned(make_engine, strokes)
    engine.send(region_command(tmp_path, job=1))
    engine.send(m.CancelRegion(1))
    events = collect(engine, lambda es: bool(endings(es, "region")))
    assert [(e.outcome, e.job) for e in endings(events, "region")] == [("cancelled", 1)]


def test_a_region_needs_a_model(make_engine, tmp_path):
    engine = make_engine()
    engine.send(region_command(tmp_path))
    (ended,) = endings(collect(engine, has(m.TurnEnded)), "region")
    assert isinstance(ended.error, ModelError)


def test_a_view_asks_only_for_what_is_not_fresh(make_engine, strokes):
    engine, snapshot = learned(make_engine, strokes)
    engine.send(m.Pause())
    fresh = frozenset({(0, 0, 0), (0, 1, 1)})
    engine.send(m.SetView(view().view, fresh))
    events = collect(engine, has(m.TilePredicted, 2))
    asked = {e.tile.index for e in events if isinstance(e, m.TilePredicted)}
    assert asked == {(0, 0, 1), (0, 1, 0)}
    assert snapshot.classes == (1, 2)
