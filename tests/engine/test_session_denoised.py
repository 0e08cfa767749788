"""A session that segments what it denoises: both networks for a tile, to disk and open again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from brushfire.errors import ProjectError, VolumeError
from brushfire.geometry import Box
from brushfire.learning.restoring import RestorationSettings
from brushfire.learning.settings import LearningSettings
from brushfire.networks import SegmentationModel
from brushfire.networks.settings import NetworkSettings
from brushfire.project import open_project
from brushfire.volumes import open_volume
from support.engines import RESTORER, SHAPE, noisy, paint_strokes, stripes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brushfire.session import Session

PATIENCE = 60
SMALL = NetworkSettings(depth=4, dilations=(1, 2), features=False)
SLICE = Box((1, 0, 0), (2, *SHAPE[1:]))


@pytest.fixture
def session(make_session: Callable[..., Session], folder: Path) -> Session:
    """Return a session with strokes, and a model that denoises."""
    session = make_session()
    session.open_volume(folder / "noisy.tif")
    session.configure(network=SMALL, learning=LearningSettings(patch=64))
    paint_strokes(session.labels)
    session.set_view(SLICE)
    restore(session, "pairs", target=folder / "clean.tif")
    return session


def restore(session: Session, way: str, **what: object) -> None:
    """Show a first model that denoises, and stop there."""
    settings = RestorationSettings(way, patch=64, held_out=0.25)  # type: ignore[arg-type]
    what = {"network": RESTORER, "learning": settings, **what}
    session_job(session, session.restore_from(way, **what))  # type: ignore[arg-type]
    session.start()
    assert session.wait_for(lambda: session.model_revision is not None, PATIENCE)
    session.stop()
    assert session.wait_for(lambda: session.learning.phase == "idle", PATIENCE)


def session_job(session: Session, job: int | None) -> None:
    def state():
        return next(one for one in session.jobs if one.id == job)

    assert session.wait_for(lambda: state().state != "running", PATIENCE)
    assert state().state == "finished", state().message


def segment(session: Session, what: str) -> None:
    """Segment this, and learn until there is a prediction."""
    session.work_on("segment")
    job = session.segment_on(what)  # type: ignore[arg-type]
    if job is not None:
        session_job(session, job)
    session.start()
    assert session.wait_for(lambda: len(session.predictions.fresh()) > 0, PATIENCE)


def test_both_networks_answer_for_a_tile(session):
    told = []
    session.events.restored_tiles_changed.connect(told.append)
    segment(session, "denoised")
    restorer = session.denoised.revision
    shown = session.segmented.read(SLICE)[0, 0]
    left, given = (np.abs(values - stripes()[1]).mean() for values in (shown, noisy()[1]))
    assert left < 0.75 * given
    # What is segmented streams as well.
    other = SLICE.shift((2, 0, 0))
    session.restored.clear()
    session.set_view(other)
    assert session.wait_for(
        lambda: not np.isnan(session.restored.channel()[other.slices]).any(), PATIENCE
    )
    streamed = session.restored.channel()[other.slices]
    np.testing.assert_allclose(streamed, session.segmented.read(other)[0], rtol=1e-4)
    assert {update.revision for updates in told for update in updates} == {restorer}
    # Learned on the denoised intensities: the model is normalised by theirs.
    known, given = session.segmented.statistics(), session.volume.statistics()
    assert known.std[0] < given.std[0]
    session.close()
    model = SegmentationModel.from_snapshot(session.project.load_model(session.model_revision))
    learned = float(model.intensity_mean), float(model.intensity_std)
    assert learned == pytest.approx((known.mean[0], known.std[0]))


def test_another_volume_to_segment_is_learned_anew_and_older_tiles_are_not_taken_for_its(session):
    session.work_on("segment")
    session.start()
    assert session.wait_for(lambda: len(session.predictions) > 0, PATIENCE)
    before = session.model_revision
    changed = []
    session.events.segmented_changed.connect(lambda: changed.append(session.denoised is not None))
    session_job(session, session.segment_on("denoised"))
    assert changed == [True]
    # Learning goes on by itself, as there was a model.
    assert session.wait_for(lambda: session.model_revision is not None, PATIENCE)
    assert session.model_revision > before
    assert session.wait_for(lambda: len(session.predictions) > 0, PATIENCE)
    assert all(tile.revision > before for tile in session.predictions._tiles.values())
    assert session.segment_on("denoised") is None  # it is what is segmented already
    restored = session.denoised.revision
    session.segment_on("given")
    assert (session.denoised, changed[-1]) == (None, False)
    assert session.segmented is session.volume
    assert session.wait_for(lambda: session.model_revision is not None, PATIENCE)
    session.work_on("restore")
    assert session.model_revision == restored


def test_a_project_goes_on_segmenting_what_it_denoised(make_session, session, folder):
    segment(session, "denoised")
    session.stop()
    assert session.wait_for(lambda: session.learning.phase == "idle", PATIENCE)
    shown, place = session.model_revision, session.project.folder
    values, fingerprint = session.segmented.read(SLICE), session.segmented.fingerprint
    session.close()
    again = make_session()
    again.open_project(place)
    assert again.denoised.state == open_project(place).state.denoised
    assert again.segmented.fingerprint == fingerprint
    np.testing.assert_array_equal(again.segmented.read(SLICE), values)
    again.set_view(SLICE)
    assert again.wait_for(lambda: len(again.predictions.fresh()) > 0, PATIENCE)
    assert again.learning.shown_model == shown
    job = again.export(folder / "masks.tif", format="tiff")
    session_job(again, job)
    streamed = again.predictions.labels[1]
    exported = open_volume(folder / "masks.tif").read(SLICE)[0, 0]
    np.testing.assert_array_equal(exported, streamed)


def test_what_is_gone_is_said_and_nothing_that_was_learned_on_it_is_shown(make_session, folder):
    session = make_session()
    session.open_volume(folder / "noisy.tif")
    session.configure(network=SMALL, learning=LearningSettings(patch=64))
    paint_strokes(session.labels)
    session.set_view(SLICE)
    parts = [folder / f"part{part}.tif" for part in range(3)]
    restore(session, "splits", network=replace(RESTORER, splits="x:1"), splits=parts)
    segment(session, "denoised")
    place = session.project.folder
    session.close()
    parts[1].rename(folder / "away.tif")
    again, told = make_session(), []
    again.events.notified.connect(told.append)
    again.open_project(place)
    assert any("cannot be made again" in notice.text for notice in told)
    assert (again.denoised, again.model_revision) == (None, None)
    assert again.labels.counts()


def test_what_cannot_be_segmented_is_refused_with_the_next_move(make_session, folder):
    session = make_session(autosave=False)
    session.open_volume(noisy(), axes="zyx", voxel_size=(4.0, 4.0, 4.0))
    with pytest.raises(ProjectError, match="Choose Denoise"):
        session.segment_on("denoised")
    fine = np.repeat(np.repeat(np.repeat(stripes()[:2, :32, :32], 4, 0), 4, 1), 4, 2)
    zoomed = open_volume(fine, axes="zyx", voxel_size=(1.0, 1.0, 1.0))
    restore(session, "pairs", target=zoomed, offset=(0.0, 0.0, 0.0), refine=False)
    with pytest.raises(ProjectError, match="Export what is denoised"):
        session.segment_on("denoised")
    with pytest.raises(VolumeError, match="before a zoomed scan"):
        session.confirm_volume((3.0, 3.0, 3.0))
