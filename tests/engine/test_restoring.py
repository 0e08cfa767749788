"""The engine with a learner that restores: streaming, regions, failures, and back to strokes."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch

from brushfire.engine import messages as m
from brushfire.errors import LearningError
from brushfire.geometry import Box
from brushfire.learning.restoring import RestorationSettings
from brushfire.prediction import RestoredTile
from brushfire.prediction.run import PredictedRegion
from brushfire.volumes import open_volume
from brushfire.volumes.stacking import stack_channels
from support.engines import NETWORK, NOISE, RESTORER, SHAPE, collect, has, noisy, stripes, view


def pairs(**changes):
    """Return the command that asks for what is clean; held out is one slice."""
    settings = RestorationSettings("pairs", patch=64, held_out=0.25)
    source, target = open_volume(noisy(), name="noisy"), open_volume(stripes(), name="clean")
    command = m.LearnToRestore(source, RESTORER, settings, target)
    return replace(command, **changes)


def alone(way):
    source, network, settings = open_volume(noisy()), RESTORER, RestorationSettings(way, patch=64)
    if way == "splits":
        network = replace(network, splits="x:1")
        source = stack_channels([open_volume(noisy(seed), name=str(seed)) for seed in range(3)])
    return m.LearnToRestore(source, network, settings)


def restored(make_engine, command):
    """Return an engine that shows a model which restores, and that model."""
    engine = make_engine()
    engine.send(command)
    engine.send(m.Train())
    return engine, collect(engine, has(m.ModelShown))[-1].snapshot


def endings(events, turn):
    return [e for e in events if isinstance(e, m.TurnEnded) and e.turn == turn]


@pytest.mark.parametrize("way", ["pairs", "splits", "blind", "neighbours"])
def test_what_is_learned_streams_as_restored_tiles(make_engine, way):
    engine = make_engine()
    engine.send(pairs() if way == "pairs" else alone(way))
    engine.send(view())
    engine.send(m.Train())
    events = collect(engine, has(m.TilePredicted, 4))
    assert m.TaskChanged("restore") in events
    shown = next(e for e in events if isinstance(e, m.ModelShown))
    assert shown.evaluation is not None
    assert (shown.mean, shown.annotations) == (None, 0)
    found = np.zeros(SHAPE, np.float32)
    for event in events:
        if isinstance(event, m.TilePredicted):
            assert isinstance(event.tile, RestoredTile)
            assert event.tile.revision == shown.snapshot.revision
            found[event.tile.box.slices] = event.tile.values[0]
    assert np.corrcoef(found[0].ravel(), stripes()[0].ravel())[0, 1] > 0.8
    collect(engine, has(m.Stepped))


def test_strokes_neither_wait_nor_matter_and_no_places_are_looked_for(make_engine, strokes):
    engine = make_engine(scout=True)
    engine.send(m.SetAnnotations(strokes.snapshot()))
    engine.send(pairs())
    engine.send(m.Train())
    events = collect(engine, has(m.Stepped, 2))
    engine.send(m.SetAnnotations(strokes.snapshot()))
    events += collect(engine, has(m.Stepped, 3))
    assert not [e for e in events if isinstance(e, m.PhaseChanged) and e.message]
    assert engine._scout.due_in() is None
    assert engine._coach._pupil.seen is None


def test_another_task_ends_learning_and_the_way_back_goes_on_with_what_was_learned(
    make_engine, strokes
):
    engine = make_engine()
    engine.send(view())
    engine.send(m.SetAnnotations(strokes.snapshot()))
    engine.send(m.Train())
    events = collect(engine, lambda es: has(m.ModelShown)(es) and has(m.Stepped, 3)(es))
    segments = next(e.snapshot for e in events if isinstance(e, m.ModelShown))
    engine.send(pairs(revision=41))
    engine.send(view())
    engine.send(m.Train())
    events = collect(engine, lambda es: has(m.TilePredicted)(es) and es[-1].tile.revision == 42)
    assert [e.outcome for e in endings(events, "learning")] == ["cancelled"]
    engine.send(m.LearnToSegment(NETWORK, engine._settings[1], 7))
    engine.send(view())
    engine.send(m.Restore(segments))
    events = collect(engine, lambda es: m.TaskChanged("segment") in es)
    assert [e.outcome for e in endings(events, "learning")] == ["cancelled"]
    events = collect(engine, has(m.TilePredicted, 4))
    assert {e.tile.revision for e in events if isinstance(e, m.TilePredicted)} == {
        segments.revision
    }
    engine.send(m.Train())
    strokes[3, 50:54, 100:110] = 2
    engine.send(m.SetAnnotations(strokes.snapshot()))
    shown = collect(engine, has(m.ModelShown))[-1]
    assert shown.snapshot.revision == 8
    assert shown.snapshot.classes == (1, 2)


def test_other_settings_and_undo_work_as_for_strokes(make_engine):
    engine, first = restored(make_engine, pairs())
    wider = replace(RESTORER, width=2)
    engine.send(m.Configure(wider, RestorationSettings("pairs", patch=64)))
    second = collect(
        engine, lambda es: has(m.ModelShown)(es) and es[-1].snapshot.settings == wider
    )[-1].snapshot
    assert second.revision > first.revision
    engine.send(m.Restore(first))
    back = collect(engine, has(m.ModelShown))[-1]
    assert back.snapshot == first
    assert back.evaluation.psnr is not None
    engine.send(m.Reset())
    collect(engine, has(m.ModelForgotten))


def test_out_of_memory_halves_the_work_and_goes_on(make_engine, monkeypatch):
    engine, _ = restored(make_engine, pairs(learning=RestorationSettings("pairs", patch=128)))
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
    assert not endings(collect(engine, has(m.Stepped, 2)), "learning")


def test_the_processor_takes_over_from_a_device_without_memory(make_engine, monkeypatch):
    engine, _ = restored(make_engine, pairs())
    collect(engine, has(m.Stepped))
    learner = engine._coach._pupil.learner

    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(learner, "shrink", lambda: False)
    engine.device = "cuda"  # from where there is a way back
    monkeypatch.setattr(learner, "step", fail)
    events = collect(engine, has(m.DeviceChosen))
    events += collect(engine, has(m.Stepped, 2))
    assert not endings(events, "learning")
    assert engine.device == "cpu"


def test_numbers_that_are_not_finite_end_learning_and_the_good_model_stays(
    make_engine, monkeypatch
):
    engine, model = restored(make_engine, pairs())
    learner = engine._coach._pupil.learner
    monkeypatch.setattr(learner._trainer, "step", lambda lesson: (float("nan"), 1e-3))
    (ended,) = endings(collect(engine, has(m.TurnEnded)), "learning")
    assert ended.outcome == "failed"
    assert isinstance(ended.error, LearningError)
    engine.send(m.SetView(view().box, model.revision))
    tile = collect(engine, has(m.TilePredicted))[-1].tile
    assert np.isfinite(tile.values).all()
    engine.send(m.Train())
    collect(engine, has(m.Stepped, 2))


def test_volumes_that_do_not_fit_fail_the_turn_in_a_sentence(make_engine):
    engine = make_engine()
    engine.send(pairs(target=None))
    engine.send(m.Train())
    (ended,) = endings(collect(engine, has(m.TurnEnded)), "learning")
    assert ended.outcome == "failed"
    assert "clean" in str(ended.error)


def test_a_region_of_what_is_restored_is_written_whatever_the_task_is_by_then(
    make_engine, tmp_path
):
    # Twice as deep as the volume that is segmented: its voxels are its own.
    deep = open_volume(np.concatenate([noisy(), noisy(1)]))
    command = pairs(source=deep, target_origin=(4, 0, 0))
    engine, model = restored(make_engine, command)
    engine.send(m.LearnToSegment(NETWORK, engine._settings[1]))
    region = Box((5, 10, 20), (7, 90, 120))
    run = m.PredictRegion(1, model, region, tmp_path / "r", "key", source=deep)
    engine.send(run)
    (ended,) = endings(collect(engine, lambda es: bool(endings(es, "region"))), "region")
    assert ended.outcome == "finished", ended.error
    source = PredictedRegion(run.folder, region, key="key", cache_bytes=0, restored=1)
    with closing(source):
        found = source.read(Box.of_shape(source.shape))
    assert found.dtype == np.float32
    assert found.shape == (1, *region.shape)
    assert np.abs(found[0] - stripes()[1:3, 10:90, 20:120]).mean() < NOISE


def test_closing_while_restoring_ends_every_turn(make_engine, tmp_path):
    engine, model = restored(make_engine, pairs())
    engine.send(m.PredictRegion(1, model, Box.of_shape(SHAPE), tmp_path / "r", "key"))
    assert engine.close()
    events = engine.drain(10**6)
    assert [e.outcome for e in endings(events, "learning")] == ["cancelled"]
    assert [e.outcome for e in endings(events, "engine")] == ["finished"]
