"""The session as the window and scripts use it, on real files."""

from __future__ import annotations

import shutil
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from psygnal import EmitLoopError

from brushfire.errors import (
    AnnotationError,
    ExportError,
    ProjectError,
    SettingsError,
    StorageError,
    VolumeError,
)
from brushfire.geometry import Box
from brushfire.learning.settings import LearningSettings
from brushfire.networks.settings import NetworkSettings
from brushfire.prediction.run import RegionRun, can_be_continued
from brushfire.project import open_project
from brushfire.session import Session
from brushfire.session.board import JobBoard
from brushfire.session.exports import resolve_export
from brushfire.volumes import open_volume
from support.engines import SHAPE, paint_strokes, textured, truth
from support.models import of_version_one

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SMALL = NetworkSettings(depth=4, dilations=(1, 2))
PATIENCE = 60


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "halves.tif"
    tifffile.imwrite(target, textured(), photometric="minisblack")
    return target


@pytest.fixture
def make_session() -> Iterator[Callable[..., Session]]:
    made: list[Session] = []

    def make(**options: object) -> Session:
        session = Session(device="cpu", memory_budget_bytes=2**30, **options)
        made.append(session)
        return session

    yield make
    for session in made:
        session.close()


@pytest.fixture
def session(make_session: Callable[..., Session], path: Path) -> Session:
    session = make_session()
    session.open_volume(path)
    session.configure(network=SMALL, learning=LearningSettings(patch=64))
    return session


def learn(session: Session) -> None:
    assert session.labels is not None
    paint_strokes(session.labels)
    session.set_view(Box((0, 0, 0), (1, *SHAPE[1:])))
    session.start()
    assert session.wait_for(lambda: bool(len(session.predictions)), PATIENCE)


def resolve(session: Session, path: Path, region: Box | None):
    return resolve_export(
        7,
        path,
        format="tiff",
        region=region,
        overwrite=False,
        volume=session.volume,
        segmented=session.volume,
        model=session._record.snapshot,
        classes=session.classes,
        predictions_folder=session.project.folder / "predictions",
        running=(),
    )


def ended(session: Session, job: int) -> Callable[[], bool]:
    return lambda: next(j for j in session.jobs if j.id == job).state != "running"


def job_of(session: Session, job: int):
    assert session.wait_for(ended(session, job), PATIENCE)
    return next(j for j in session.jobs if j.id == job)


def test_a_new_session_says_what_to_do_first(make_session):
    session = make_session()
    assert session.status == "Open a volume to begin."
    for intention in (session.build_pyramid, session.start, session.add_class):
        with pytest.raises(VolumeError, match="Open a volume"):
            intention()


def test_opening_tells_everything_once(make_session, path):
    session = make_session()
    told = []
    session.events.volume_changed.connect(lambda: told.append("volume"))
    session.events.classes_changed.connect(lambda: told.append("classes"))
    session.open_volume(path)
    assert told.count("volume") == 1
    assert told.count("classes") == 1
    assert len(session.classes) == 2
    assert not session.confirmed
    session.confirm_volume(voxel_size=(2.0, 1.0, 1.0))
    assert session.confirmed
    assert session.volume.voxel_size == (2.0, 1.0, 1.0)


def test_strokes_become_tiles_and_the_status_says_so(session):
    seen = []
    session.events.tiles_changed.connect(seen.extend)
    learn(session)
    assert seen
    assert session.wait_for(lambda: session.learning.step > 1, PATIENCE)
    assert "Learning: step" in session.status
    assert "showing model" in session.status
    predicted = session.predictions.labels[0] % 128
    assert (predicted == truth()[0])[predicted > 0].mean() > 0.9


def test_strokes_classes_and_model_are_there_after_a_restart(session, make_session, path):
    learn(session)
    session.rename_class(1, "left half")
    session.recolor_class(1, "#123456")
    session.add_class("third")
    painted = session.labels[0]
    shown = session.learning.shown_model
    session.close()

    again = make_session()
    again.open_volume(path)
    np.testing.assert_array_equal(again.labels[0], painted)
    assert again.classes[0].name == "left half"
    assert again.classes[0].color == "#123456"
    assert again.settings.network == SMALL
    assert again.wait_for(lambda: again.learning.shown_model is not None, PATIENCE)
    assert again.learning.shown_model >= shown
    again.set_view(Box((0, 0, 0), (1, *SHAPE[1:])))
    assert again.wait_for(lambda: len(again.predictions) > 0, PATIENCE)


def test_how_good_it_is_and_why_are_there_after_a_restart(session, make_session, path):
    learn(session)
    session.pause()
    assert session.wait_for(lambda: session.learning.phase == "paused", PATIENCE)
    state = session.learning
    assert state.evaluation.how == "held out"
    assert state.shown_dice == state.evaluation.mean
    assert state.verdict.shown in ("fitted", "trained")
    assert state.scores[0].step == 0
    assert state.scores[0].strokes == 96
    assert state.scores[0].seconds > 0
    assert state.scores[0].dice.keys() == {1, 2}
    session.close()

    again = make_session()
    again.open_volume(path)
    assert again.wait_for(lambda: again.learning.shown_model is not None, PATIENCE)
    assert again.learning.evaluation.mean == again.learning.shown_dice
    assert again.learning.evaluation.intervals
    assert again.learning.verdict.shown == again._record.snapshot.metrics["kind"]
    assert again.learning.verdict.reason == again._record.snapshot.metrics["reason"]
    assert again.learning.scores == ()
    again.start()
    assert again.wait_for(lambda: bool(again.learning.scores), PATIENCE)
    assert again.learning.scores[0].seconds > again._record.snapshot.metrics["seconds"]


def test_going_back_says_so_and_what_was_left_stays_left(session):
    learn(session)
    first = session.learning.shown_model
    session.labels[3, 50:54, 100:110] = 2
    assert session.wait_for(lambda: session.learning.can_undo, PATIENCE)
    session.pause()
    assert session.wait_for(lambda: session.learning.phase == "paused", PATIENCE)
    while session.learning.shown_model != first:
        newest = session.learning.shown_model
        session.undo_model()
        assert session.wait_for(lambda n=newest: session.learning.shown_model != n, PATIENCE)
    assert "You went back" in session.learning.verdict.reason
    assert session.learning.shown_dice == session.learning.evaluation.mean
    told = len(session.learning.scores)
    session.start()
    assert session.wait_for(lambda: len(session.learning.scores) != told, PATIENCE)
    assert session.learning.shown_model == first


def test_the_shown_model_is_kept_by_a_visit_without_learning(session, make_session, path):
    learn(session)
    shown = session.learning.shown_model
    session.close()
    visit = make_session()
    visit.open_volume(path)
    visit.close()  # before the engine can have restored the model
    again = make_session()
    again.open_volume(path)
    assert again.wait_for(lambda: again.learning.shown_model is not None, PATIENCE)
    assert again.learning.shown_model >= shown


def test_models_of_other_settings_count_on_and_overwrite_none(session, make_session, path):
    learn(session)
    first = session.learning.shown_model
    session.configure(network=NetworkSettings(depth=3, dilations=(1,)))
    assert session.wait_for(lambda: session.learning.shown_model > first, PATIENCE)
    session.close()
    again = make_session()
    again.open_volume(path)
    last = max(again.project.models())
    assert again.wait_for(lambda: again.learning.shown_model == last, PATIENCE)
    again.reset()
    again.start()
    assert again.wait_for(lambda: (again.learning.shown_model or 0) > last, PATIENCE)


def test_a_model_of_an_earlier_network_is_shown_until_there_is_a_new_one(
    session, make_session, path
):
    learn(session)
    session.stop()
    assert session.wait_for(lambda: session.learning.phase == "idle", PATIENCE)
    shown = session.learning.shown_model
    session.configure(network=NetworkSettings(depth=3, dilations=(1,)))
    session.close()
    again = make_session()
    told = []
    again.events.notified.connect(told.append)
    again.open_volume(path)
    assert again.wait_for(lambda: again.learning.shown_model == shown, PATIENCE)
    assert not told
    again.start()
    assert again.wait_for(lambda: (again.learning.shown_model or 0) > shown, PATIENCE)


@pytest.mark.parametrize("damage", [lambda f: f.unlink(), lambda f: f.write_bytes(b"x")])
def test_a_project_opens_without_its_model_and_says_so(session, make_session, path, damage):
    learn(session)
    session.close()
    for file in (session.project.folder / "models").glob("*.safetensors"):
        damage(file)
    again = make_session()
    told = []
    again.events.notified.connect(told.append)
    again.open_volume(path)
    assert [n.level for n in told] == ["warning"]
    assert "start learning" in told[0].text
    assert again.labels.counts()
    again.start()
    assert again.wait_for(lambda: again.learning.shown_model is not None, PATIENCE)


def test_a_project_with_a_model_of_the_first_version_opens_and_learns_again(
    session, make_session, path
):
    learn(session)
    session.close()
    painted, last = session.labels.counts(), max(session.project.models())
    for file in (session.project.folder / "models").glob("*.safetensors"):
        file.write_bytes(of_version_one(file.read_bytes()))
        file.with_suffix(".json").unlink()
    again = make_session()
    told = []
    again.events.notified.connect(told.append)
    again.open_volume(path)
    (notice,) = told
    assert notice.level == "warning"
    assert "Learn again: the strokes are kept" in notice.text
    assert again.labels.counts() == painted
    again.start()
    assert again.wait_for(lambda: (again.learning.shown_model or 0) > last, PATIENCE)


def test_the_project_names_the_last_model_that_was_shown(session):
    learn(session)
    session.close()
    state = open_project(session.project.folder).state
    assert state.shown_model == max(session.project.models()) == session.learning.shown_model
    assert session.learning.phase == "idle"


def test_settings_never_name_a_model_that_could_not_be_written(session):
    learn(session)
    folder = session.project.folder
    first = open_project(folder).state.shown_model
    real = session.project.save_model

    def refuse(snapshot):
        raise StorageError("Models are kept.", got="a full disk", do="Free some space.")

    told = []
    session.events.notified.connect(told.append)
    session.project.save_model = refuse
    newest = session.learning.shown_model
    session.labels[3, 50:60, 100:110] = 2
    assert session.wait_for(lambda: session.learning.shown_model > newest, PATIENCE)
    assert session.wait_for(lambda: bool(told), PATIENCE)
    assert (open_project(folder).state.shown_model or 0) <= max(first or 0, newest)
    session.project.save_model = real
    session.rename_class(1, "saved again")
    session.close()
    assert open_project(folder).state.shown_model == session.learning.shown_model


def test_a_listener_that_raises_costs_no_event_but_its_own(session):
    seen = []

    def stumble(revision):
        raise KeyError("a listener's own mistake")

    session.events.model_changed.connect(stumble)
    session.events.tiles_changed.connect(seen.extend)
    paint_strokes(session.labels)
    session.set_view(Box((0, 0, 0), (1, *SHAPE[1:])))
    session.start()
    raised = 0
    while not seen:
        try:
            assert session.wait_for(lambda: bool(seen), PATIENCE)
        except EmitLoopError:
            raised += 1
    assert raised
    assert session.learning.shown_model is not None
    session.events.model_changed.disconnect(stumble)


def test_after_an_unforeseen_end_of_the_engine_start_goes_on(session):
    learn(session)
    told = []
    session.events.notified.connect(told.append)
    session._line._engine._work = lambda: 1 / 0
    assert session.wait_for(lambda: bool(told), PATIENCE)
    assert "Start learning" in told[0].text
    assert "ZeroDivisionError" in told[0].detail
    assert session.learning.phase == "idle"
    shown, step = session.learning.shown_model, session.learning.step
    session.labels[1, 40:44, 20:30] = 1
    stroke = session.labels.revision
    session.start()
    assert session.wait_for(lambda: session.learning.seen_annotations >= stroke, PATIENCE)
    assert session.wait_for(lambda: session.learning.step > step, PATIENCE)
    assert session.learning.shown_model >= shown


def test_an_export_that_meets_an_ended_engine_ends_too(session, tmp_path):
    learn(session)
    told = []
    session.events.notified.connect(told.append)
    engine = session._line._engine
    engine._work = lambda: 1 / 0
    engine._thread.join(PATIENCE)
    # The session has not heard of it yet.
    job = job_of(session, session.export(tmp_path / "m.ome.zarr"))
    assert job.state == "finished", job.message
    assert any("Start learning" in notice.text for notice in told)


def test_an_export_that_is_predicted_when_the_engine_ends_has_failed(session, tmp_path):
    learn(session)
    session.stop()
    assert session.wait_for(lambda: session.learning.phase == "idle", PATIENCE)
    session._line._engine._regions.work = lambda _: threading.Event().wait(0.05)
    job = session.export(tmp_path / "m.ome.zarr")
    session._line._engine._work = lambda: 1 / 0
    state = job_of(session, job)
    assert state.state == "failed"
    assert "Cancelled" not in state.message


def test_what_is_visible_is_predicted_by_the_engine_that_follows(session):
    learn(session)
    session._line._engine._work = lambda: 1 / 0
    assert session.wait_for(lambda: not session._line.open, PATIENCE)
    seen = []
    session.start()
    session.events.tiles_changed.connect(seen.extend)
    assert session.wait_for(lambda: bool(seen), PATIENCE)


def test_an_error_of_the_log_is_told_once(session):
    told = []
    session.events.notified.connect(told.append)
    (session.project.folder / "log.jsonl").unlink(missing_ok=True)
    (session.project.folder / "log.jsonl").mkdir()
    session._keeper.note("anything")
    assert session.wait_for(lambda: bool(told), PATIENCE)
    session._keeper.note("anything")
    session.rename_class(1, "another")
    session.close()
    assert len(told) == 1


def test_a_listener_that_raises_keeps_nobody_else_from_hearing(session, tmp_path):
    learn(session)
    session.pause()
    heard = []

    def stumble(job):
        raise KeyError("a listener's own mistake")

    session.events.job_changed.connect(stumble)
    session.events.learning_changed.connect(lambda state: heard.append(state.phase))
    for name in ("a.ome.zarr", "b.ome.zarr"):
        with pytest.raises(EmitLoopError):
            session.export(tmp_path / name)
    while any(job.state == "running" for job in session.jobs):
        with suppress(EmitLoopError):
            assert session.wait_for(ended(session, session.jobs[-1].id), PATIENCE)
    assert [job.state for job in session.jobs] == ["finished"] * 2
    session.events.job_changed.disconnect(stumble)
    assert session.learning.phase == heard[-1] == "paused"


def test_strokes_without_settings_get_classes_and_the_newest_model(session, make_session, path):
    session.add_class("third")
    learn(session)
    session.labels[1, 40:44, 40:60] = 3
    session.close()
    (session.project.folder / "project.json").unlink()
    again = make_session()
    again.open_volume(path)
    assert [c.value for c in again.classes] == [1, 2, 3]
    assert again.wait_for(lambda: again.learning.shown_model is not None, PATIENCE)


def test_a_closed_session_says_so(session):
    session.close()
    with pytest.raises(VolumeError, match="closed"):
        session.start()


def test_an_export_follows_a_corrected_voxel_size(make_session, tmp_path):
    path = tmp_path / "wide.tif"
    image = np.tile(textured(), (1, 6, 5))
    tifffile.imwrite(path, image, photometric="minisblack")
    session = make_session()
    session.open_volume(path)
    session.configure(network=SMALL, learning=LearningSettings(patch=64))
    paint_strokes(session.labels)
    session.start()
    assert session.wait_for(lambda: session.learning.shown_model is not None, PATIENCE)
    session.stop()
    session.confirm_volume(voxel_size=(8.0, 1.0, 1.0))
    job = job_of(session, session.export(tmp_path / "m.ome.zarr"))
    assert job.state == "finished", job.message
    assert open_volume(tmp_path / "m.ome.zarr").voxel_size == (8.0, 1.0, 1.0)


def test_a_target_is_never_written_from_a_region_that_is_gone(session, tmp_path):
    learn(session)
    session.pause()
    export = resolve(session, tmp_path / "m.tif", None)
    with pytest.raises(StorageError, match="predicted as a whole"):
        export.write(session.volume, 2**26, lambda *_: None, lambda: False)
    assert not (tmp_path / "m.tif").exists()


def test_another_budget_does_not_disturb_learning(session):
    learn(session)
    learner = session._line._engine._coach._pupil.learner
    session.configure(memory_budget_bytes=2**30 + 2**28)
    step = session.learning.step
    assert session.wait_for(lambda: session.learning.step > step, PATIENCE)
    assert session._line._engine._coach._pupil.learner is learner


def test_a_budget_that_is_given_goes_before_the_project_s(session, path):
    session.close()
    generous = Session(device="cpu", memory_budget_bytes=2**31)
    generous.open_volume(path)
    assert generous.settings.memory_budget_bytes == 2**31
    generous.close()
    later = Session(device="cpu")
    later.open_volume(path)
    assert later.settings.memory_budget_bytes == 2**31
    later.close()


def test_a_project_opens_with_its_volume(session, make_session):
    folder = session.project.folder
    session.labels[1, 2:4, 2:4] = 1
    session.close()
    again = make_session()
    again.open_project(folder)
    assert again.labels[1, 2, 2] == 1
    assert not again.confirmed


def test_a_confirmed_voxel_size_is_not_asked_for_again(session, make_session, path):
    session.confirm_volume(voxel_size=(2.0, 0.5, 0.5))
    session.close()
    again = make_session()
    again.open_volume(path)
    assert again.confirmed
    assert again.volume.voxel_size == (2.0, 0.5, 0.5)


def test_a_corrected_voxel_size_corrects_the_suggested_network(make_session, path):
    session = make_session()
    session.open_volume(path, voxel_size=(1.0, 1.0, 1.0))
    assert session.settings.network.slices == 3
    session.confirm_volume(voxel_size=(50.0, 4.0, 4.0))
    assert session.settings.network.slices == 1
    session.configure(network=SMALL)
    session.confirm_volume(voxel_size=(1.0, 1.0, 1.0))
    assert session.settings.network == SMALL, "what somebody chose stays"


def test_an_unknown_voxel_size_stays_unknown_when_it_is_confirmed(make_session, path):
    session = make_session()
    session.open_volume(path)
    session.confirm_volume(voxel_size=session.volume.voxel_size)
    session.close()
    again = make_session()
    again.open_volume(path)
    assert again.confirmed
    assert not again.volume.voxel_size_known


def test_a_time_point_is_remembered(make_session, tmp_path):
    series = tmp_path / "series.tif"
    frames = np.stack([textured(seed=n) for n in range(3)])
    tifffile.imwrite(series, frames, imagej=True, metadata={"axes": "TZYX"})
    session = make_session()
    session.open_volume(series, time=2)
    folder = session.project.folder
    session.close()
    again = make_session()
    again.open_project(folder)
    whole = Box.of_shape(SHAPE)
    np.testing.assert_array_equal(again.volume.read(whole)[0], frames[2])


def test_a_project_of_another_volume_is_refused_and_nothing_changes(session, tmp_path):
    other = tmp_path / "other.tif"
    tifffile.imwrite(other, textured(seed=1)[:2], photometric="minisblack")
    session.labels[1, 2:4, 2:4] = 1
    folder = session.project.folder
    stubborn = Session(project_folder=folder, device="cpu")
    with pytest.raises(ProjectError, match="belongs to one volume"):
        stubborn.open_volume(other)
    stubborn.close()
    with pytest.raises(VolumeError):
        session.open_volume(tmp_path / "missing.tif")
    assert session.volume.name.startswith("halves")
    assert session.labels[1, 2, 2] == 1


def test_removing_a_class_removes_its_strokes(session):
    paint_strokes(session.labels)
    session.set_active_class(2)
    session.remove_class(2)
    assert [c.value for c in session.classes] == [1]
    assert session.active_class == 1
    assert set(session.labels.counts()) == {1}
    with pytest.raises(AnnotationError, match="value of a class"):
        session.set_active_class(2)


def test_a_name_that_is_taken_is_refused_and_everything_goes_on(session, make_session, path):
    taken = session.classes[0].name
    with pytest.raises(AnnotationError, match="own name"):
        session.rename_class(2, taken)
    with pytest.raises(AnnotationError, match="own name"):
        session.add_class(taken.upper())
    assert [c.value for c in session.classes] == [1, 2]
    session.labels[1, 2:4, 2:4] = 1
    session.close()
    again = make_session()
    again.open_volume(path)
    assert again.labels[1, 2, 2] == 1


def test_a_volume_that_is_open_can_be_opened_again(session, path):
    session.labels[1, 2:4, 2:4] = 2
    session.open_volume(path, voxel_size=(3.0, 1.0, 1.0))
    assert session.volume.voxel_size == (3.0, 1.0, 1.0)
    assert session.labels[1, 2, 2] == 2
    session.labels[1, 5, 5] = 1
    assert session.labels.flush()
    assert session.labels.journal_error is None


def test_another_time_point_has_strokes_of_its_own(make_session, tmp_path):
    series = tmp_path / "series.tif"
    frames = np.stack([textured(seed=n) for n in range(2)])
    tifffile.imwrite(series, frames, imagej=True, metadata={"axes": "TZYX"})
    session = make_session()
    session.open_volume(series, time=0)
    session.labels[1, 2, 2] = 1
    session.open_volume(series, time=1)
    assert session.labels[1, 2, 2] == 0
    session.labels[1, 2, 2] = 2
    session.open_volume(series, time=0)
    assert session.labels[1, 2, 2] == 1


def test_painting_from_a_script_checks_box_and_classes(session):
    block = np.full((1, 2, 3), 2, np.uint8)
    session.paint(Box((0, 4, 5), (1, 6, 8)), block)
    assert session.labels.counts()[2].voxels == 6
    session.paint(Box((0, 4, 5), (1, 6, 8)), np.zeros((1, 2, 3), np.uint8))
    assert session.labels.counts()[2].voxels == 6
    with pytest.raises(AnnotationError, match="value of a class"):
        session.paint(Box((0, 4, 5), (1, 6, 8)), block + 7)
    with pytest.raises(AnnotationError, match="inside the volume"):
        session.paint(Box((0, 95, 5), (1, 97, 8)), block)


def test_annotated_slices_are_found_in_both_directions(session):
    paint_strokes(session.labels)
    assert session.next_annotated_slice(0) == 2
    assert session.next_annotated_slice(2) is None
    assert session.next_annotated_slice(2, direction=-1) == 0


@pytest.mark.parametrize(("format", "name"), [("ome-zarr", "m.ome.zarr"), ("tiff", "m.tif")])
def test_an_export_is_the_prediction_of_the_region(session, tmp_path, format, name):
    learn(session)
    session.pause()
    region = Box((1, 10, 20), (4, 90, 120))
    job = job_of(session, session.export(tmp_path / name, format=format, region=region))
    assert job.state == "finished", job.message
    exported = open_volume(tmp_path / name).read(Box.of_shape(region.shape))[0]
    assert (exported == truth()[region.slices]).mean() > 0.9


def test_the_predicted_region_of_the_newest_export_is_kept_and_no_other(session, tmp_path):
    learn(session)
    session.pause()
    for number, stop in enumerate((2, 3)):
        region = Box((1, 0, 0), (stop, 40, 50))
        job = session.export(tmp_path / f"{number}.tif", format="tiff", region=region)
        assert job_of(session, job).state == "finished"
        folder = session.project.folder / "predictions"
        # What was set aside is removed in the background.
        assert session.wait_for(lambda at=folder: len(list(at.iterdir())) == 1, PATIENCE)
    with pytest.raises(ExportError):
        session.export(tmp_path / "1.tif", format="tiff", region=region)
    again = session.export(tmp_path / "1.tif", format="tiff", region=region, overwrite=True)
    assert job_of(session, again).state == "finished"


def test_what_a_cancelled_export_predicted_is_kept_while_its_model_can_go_on(session, tmp_path):
    learn(session)
    session.stop()
    assert session.wait_for(lambda: session.learning.phase == "idle", PATIENCE)
    whole = resolve(session, tmp_path / "whole.tif", None)
    with RegionRun(whole.folder, whole.region, key=whole.key, classes=()) as run:
        index, box = next(run.pending())
        run.write(index, np.ones(box.shape, np.uint8))
    slice_ = Box((1, 0, 0), (2, 40, 50))
    job = session.export(tmp_path / "slice.tif", format="tiff", region=slice_)
    assert job_of(session, job).state == "finished"
    assert whole.folder.exists()
    assert can_be_continued(whole.folder, whole.key)
    assert not can_be_continued(whole.folder, "another model")


@pytest.mark.parametrize(("format", "name"), [("ome-zarr", "m.ome.zarr"), ("tiff", "m.tif")])
def test_a_voxel_size_that_is_not_known_is_not_exported_as_if_it_were(
    session, tmp_path, format, name
):
    learn(session)
    session.pause()
    job = session.export(tmp_path / name, format=format, region=Box((1, 0, 0), (3, 40, 50)))
    assert job_of(session, job).state == "finished", job_of(session, job).message
    assert not open_volume(tmp_path / name).voxel_size_known


def test_an_export_never_replaces_its_own_volume(session, path):
    learn(session)
    with pytest.raises(ExportError, match="its own volume"):
        session.export(path, format="tiff", overwrite=True)


def test_two_exports_at_once_need_two_targets(session, tmp_path):
    learn(session)
    session.pause()
    first = session.export(tmp_path / "m.ome.zarr")
    with pytest.raises(ExportError, match="being written"):
        session.export(tmp_path / "m.ome.zarr")
    second = session.export(tmp_path / "other.ome.zarr")
    for job in (first, second):
        assert job_of(session, job).state == "finished", job_of(session, job).message


def test_a_cancel_between_predicting_and_writing_is_heard(session, tmp_path):
    learn(session)
    session.pause()
    board = JobBoard(lambda state: None, lambda error: None)
    export = resolve(session, tmp_path / "m.tif", None)
    board.add_export(export)
    board.cancel(export.job)
    board.region_predicted(export.job, session.volume, 2**26)
    assert [state.state for state in board.states] == ["cancelled"]
    assert not (tmp_path / "m.tif").exists()


def test_a_removed_class_is_not_exported_and_its_value_not_used_again(session, tmp_path):
    learn(session)
    session.stop()
    assert session.wait_for(lambda: session.learning.phase == "idle", PATIENCE)
    session.remove_class(2)
    with pytest.raises(ExportError, match="class 2 that was removed"):
        session.export(tmp_path / "m.ome.zarr")
    assert session.add_class().value == 3


def test_an_export_needs_a_model_a_region_and_a_place(session, tmp_path):
    with pytest.raises(ExportError, match="no model"):
        session.export(tmp_path / "m.tif", format="tiff")
    learn(session)
    with pytest.raises(ExportError, match="'ome-zarr' or 'tiff'"):
        session.export(tmp_path / "m.png", format="png")
    with pytest.raises(ExportError, match="inside the volume"):
        session.export(tmp_path / "m.tif", region=Box((0, 0, 0), (99, 1, 1)))
    with pytest.raises(ExportError, match="inside the volume"):
        session.export(tmp_path / "m.tif", region=Box((1, 0, 0), (1, 1, 1)))
    with pytest.raises(ExportError, match="nowhere"):
        session.export(tmp_path / "nowhere" / "m.tif", format="tiff")


def test_a_cancelled_export_says_so_and_can_be_taken_up(session, tmp_path):
    learn(session)
    session.pause()
    job = session.export(tmp_path / "m.ome.zarr")
    session.cancel(job)
    assert job_of(session, job).state == "cancelled"
    again = job_of(session, session.export(tmp_path / "m.ome.zarr"))
    assert again.state == "finished", again.message


def test_a_pyramid_is_built_and_found_again(make_session, tmp_path):
    path = tmp_path / "wide.tif"
    rng = np.random.default_rng(0)
    tifffile.imwrite(path, rng.integers(0, 255, (2, 1100, 1300), np.uint8))
    session = make_session()
    session.open_volume(path)
    labels, predictions = session.labels, session.predictions
    started = session.build_pyramid()
    assert session.build_pyramid() == started, "one at a time"
    session.confirm_volume(voxel_size=(1.0, 2.0, 2.0))
    job = job_of(session, started)
    assert job.state == "finished", job.message
    assert session.volume.voxel_size == (1.0, 2.0, 2.0)
    assert len(session.volume.levels) > 1
    assert session.labels is labels
    assert session.predictions is predictions
    session.close()
    again = make_session()
    again.open_volume(path)
    assert len(again.volume.levels) > 1


def test_without_autosave_nothing_is_written(make_session, path):
    session = make_session(autosave=False)
    session.open_volume(path)
    learn(session)
    session.close()
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_failures_in_the_background_become_notices(session):
    told = []
    session.events.notified.connect(told.append)
    session.volume.read_padded = lambda box, **_: 1 / 0
    paint_strokes(session.labels)
    session.start()
    assert session.wait_for(lambda: bool(told), PATIENCE)
    assert told[0].level == "error"
    assert "ZeroDivisionError" in told[0].detail
    assert session.learning.phase == "idle"


def test_strokes_that_could_not_be_read_back_are_told(session, make_session, path, tmp_path):
    for column in range(5):
        session.labels[1, 2:9, column] = 1
    assert session.labels.flush()
    damaged = tmp_path / "damaged.brushfire"
    shutil.copytree(session.project.folder, damaged, ignore=shutil.ignore_patterns("lock"))
    (segment,) = [f for f in (damaged / "journal").iterdir() if f.is_file()]
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 0xFF
    segment.write_bytes(content)
    again = make_session(project_folder=damaged)
    told = []
    again.events.notified.connect(told.append)
    again.open_volume(path)
    assert [n.level for n in told] == ["warning"]
    assert again.labels.counts()[1].voxels >= 7


def test_a_budget_has_a_lower_bound():
    with pytest.raises(SettingsError, match=r"0\.5 GiB"):
        Session(memory_budget_bytes=1000)


def test_an_unknown_device_is_refused_with_the_known_ones():
    with pytest.raises(SettingsError, match="cpu"):
        Session(device="abacus")


def test_closing_the_volume_leaves_an_empty_session(session):
    learn(session)
    session.close_volume()
    assert session.volume is None
    assert session.classes == ()
    assert session.status == "Open a volume to begin."
