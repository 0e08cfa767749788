"""A session that restores: from files to tiles, back to strokes, to disk and open again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from brushfire.errors import ExportError, ProjectError, SettingsError
from brushfire.export import Conversion
from brushfire.geometry import Box
from brushfire.learning.restoring import RestorationSettings, reshaped
from brushfire.learning.settings import LearningSettings
from brushfire.networks.settings import NetworkSettings
from brushfire.project import open_project
from brushfire.volumes import open_volume
from support.engines import NOISE, RESTORER, SHAPE, noisy, paint_strokes, stripes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brushfire.session import Session

PATIENCE = 60
SMALL = NetworkSettings(depth=4, dilations=(1, 2))
SLICE = Box((0, 0, 0), (1, *SHAPE[1:]))


@pytest.fixture
def session(make_session: Callable[..., Session], folder: Path) -> Session:
    session = make_session()
    session.open_volume(folder / "noisy.tif")
    session.configure(network=SMALL, learning=LearningSettings(patch=64))
    session.set_view(SLICE)
    return session


def settings(way: str = "pairs") -> RestorationSettings:
    return RestorationSettings(way, patch=64, held_out=0.25)  # type: ignore[arg-type]


def ended(session: Session, job: int):
    def state():
        return next(one for one in session.jobs if one.id == job)

    assert session.wait_for(lambda: state().state != "running", PATIENCE)
    return state()


def restore(session: Session, folder: Path) -> None:
    """Show a first model that restores, and some of its tiles."""
    job = session.restore_from(
        "pairs", target=folder / "clean.tif", network=RESTORER, learning=settings()
    )
    assert ended(session, job).state == "finished", ended(session, job).message
    session.start()
    assert session.wait_for(lambda: bool(len(session.restored)), PATIENCE)


def test_what_is_restored_streams_beside_what_is_segmented(session, folder):
    told, tasks = [], []
    session.events.restored_tiles_changed.connect(told.append)
    session.events.task_changed.connect(tasks.append)
    paint_strokes(session.labels)
    session.start()
    assert session.wait_for(lambda: len(session.predictions) > 0, PATIENCE)
    segments, labels = session.model_revision, len(session.predictions)
    restore(session, folder)
    assert tasks == ["restore"]
    assert session.task == "restore"
    assert session.learning.restoration.psnr is not None
    assert session.learning.evaluation is None
    assert "dB on held-out slices" in session.status
    assert len(session.predictions) >= labels
    (update, *_), *_ = told
    values = session.restored.channel()[update.box.slices]
    assert np.abs(values - stripes()[update.box.slices]).mean() < NOISE
    assert np.isnan(session.restored.channel()[SHAPE[0] - 1, 0, 0])

    session.work_on("segment")
    assert session.wait_for(lambda: session.learning.phase == "idle", PATIENCE)
    assert session.model_revision >= segments
    assert session.learning.evaluation is not None
    # The answer to a view that only just this task was told.
    session.set_view(SLICE.shift((2, 0, 0)))
    before = len(session.predictions)
    assert session.wait_for(lambda: len(session.predictions) > before, PATIENCE)
    session.work_on("restore")
    step = session.learning.step
    session.start()
    assert session.wait_for(lambda: session.learning.step > step, PATIENCE)
    assert session.learning.phase in ("fitting", "training")


def test_a_project_goes_on_restoring_where_it_was(make_session, session, folder):
    restore(session, folder)
    session.pause()
    assert session.wait_for(lambda: session.learning.phase == "paused", PATIENCE)
    shown, place = session.model_revision, session.project.folder
    session.close()
    state = open_project(place).state
    assert (state.task, state.restoration.shown_model) == ("restore", shown)
    assert state.restoration.target.source == str(folder / "clean.tif")
    again = make_session()
    again.open_project(place)
    assert again.task == "restore"
    assert again.model_revision == shown
    again.set_view(SLICE)
    assert again.wait_for(lambda: len(again.restored) > 0, PATIENCE)
    again.start()
    assert again.wait_for(lambda: again.learning.step > 0, PATIENCE)
    assert again.model_revision >= shown


def test_a_project_whose_clean_volume_is_gone_opens_all_the_same_and_keeps_its_place(
    make_session, session, folder
):
    restore(session, folder)
    place, shown = session.project.folder, session.model_revision
    session.close()
    shown = open_project(place).state.restoration.shown_model
    (folder / "clean.tif").rename(folder / "away.tif")
    again = make_session()
    told = []
    again.events.notified.connect(told.append)
    again.open_project(place)
    assert again.task == "segment"
    assert again.restoration is None
    assert any("cannot be restored as before" in notice.text for notice in told)
    again.confirm_volume()
    again.close()
    (folder / "away.tif").rename(folder / "clean.tif")
    state = open_project(place).state
    assert state.restoration.shown_model == shown
    back = make_session()
    back.open_project(place)
    assert back.restoration is not None
    back.work_on("restore")
    assert back.model_revision == shown


def test_a_series_is_learned_from_and_found_again(make_session, session, folder):
    for name, values in (("last", noisy(1) + 50), ("clean_last", stripes() + 50)):
        tifffile.imwrite(folder / f"{name}.tif", values, photometric="minisblack")
    job = session.restore_from(
        "pairs",
        target=folder / "clean.tif",
        others=[(folder / "last.tif", folder / "clean_last.tif")],
        network=RESTORER,
        learning=settings(),
    )
    assert ended(session, job).state == "finished", ended(session, job).message
    session.start()
    assert session.wait_for(lambda: bool(len(session.restored)), PATIENCE)
    with pytest.raises(ExportError, match="its own volume"):
        session.export(folder / "last.tif", format="tiff", overwrite=True)
    session.pause()
    assert session.wait_for(lambda: session.learning.phase == "paused", PATIENCE)
    shown, place = session.model_revision, session.project.folder
    session.close()

    again = make_session()
    again.open_project(place)
    assert again.model_revision == shown
    (other,) = again.restoration.others
    assert (other.volume.source, other.target.source) == (
        str(folder / "last.tif"), str(folder / "clean_last.tif"),
    )  # fmt: skip
    again.start()
    assert again.wait_for(lambda: again.learning.step > 0, PATIENCE)
    again.close()

    tifffile.imwrite(folder / "last.tif", noisy(2), photometric="minisblack")
    for said in ("last.tif with other voxels", "last.tif"):
        session = make_session()
        told = []
        session.events.notified.connect(told.append)
        session.open_project(place)
        assert session.restoration is None
        assert any("restored as before" in one.text and said in one.text for one in told)
        session.close()
        (folder / "last.tif").unlink(missing_ok=True)
    assert len(open_project(place).state.restoration.others) == 1


@pytest.mark.parametrize(("format", "name"), [("ome-zarr", "r.ome.zarr"), ("tiff", "r.tif")])
def test_what_is_restored_is_exported_as_asked(session, folder, format, name):
    restore(session, folder)
    session.stop()
    assert session.wait_for(lambda: session.learning.phase == "idle", PATIENCE)
    region = Box((1, 10, 20), (3, 60, 100))
    with pytest.raises(ExportError, match="Choose 'clip'"):
        Conversion("uint16")
    for conversion, dtype in ((None, np.float32), (Conversion("uint16", "clip"), np.uint16)):
        job = session.export(
            folder / name, format=format, region=region, conversion=conversion, overwrite=True
        )
        assert ended(session, job).state == "finished", ended(session, job).message
        volume = open_volume(folder / name)
        found = volume.read(Box.of_shape(volume.shape))[0]
        assert found.dtype == dtype
        assert np.abs(found - stripes()[region.slices]).mean() < NOISE
        volume.close()
    with pytest.raises(ExportError, match="its own volume"):
        session.export(folder / "clean.tif", format="tiff", overwrite=True)
    session.work_on("segment")
    with pytest.raises(ExportError, match="no model"):
        session.export(folder / "masks.ome.zarr")


def test_parts_of_a_scan_and_the_volume_alone_are_restored_too(session, folder):
    parts = [folder / f"part{part}.tif" for part in range(3)]
    job = session.restore_from(
        "splits",
        splits=parts,
        network=replace(RESTORER, splits="x:1"),
        learning=settings("splits"),
    )
    assert ended(session, job).state == "finished", ended(session, job).message
    assert len(session.restoration.source.channels) == 3
    session.start()
    assert session.wait_for(lambda: len(session.restored) > 0, PATIENCE)
    assert len(session.project.state.restoration.splits) == 3
    first = session.model_revision
    # Another way takes over while the first still learns: nothing of it is shown any more.
    job = session.restore_from("blind", network=RESTORER, learning=settings("blind"))
    assert ended(session, job).state == "finished"
    assert session.model_revision is None
    assert len(session.restored) == 0
    session.start()
    assert session.wait_for(lambda: len(session.restored) > 0, PATIENCE)
    assert session.model_revision > first
    assert session.learning.restoration.psnr is None


def test_a_zoomed_scan_is_restored_in_its_own_voxels(make_session, folder):
    coarse = stripes()[:, ::2, ::2]
    session = make_session(autosave=False)
    session.open_volume(coarse, voxel_size=(1.0, 2.0, 2.0))
    session.set_view(Box((1, 0, 0), (2, *coarse.shape[1:])))
    zoomed = open_volume(stripes()[1:3, 20:84, 30:94], voxel_size=(1.0, 1.0, 1.0))
    job = session.restore_from(
        "pairs",
        target=zoomed,
        offset=(1.0, 20.0, 30.0),
        refine=False,
        network=RESTORER,
        learning=settings(),
    )
    assert ended(session, job).state == "finished", ended(session, job).message
    assert session.restoration.target_origin == (1, 20, 30)
    assert session.restored.shape == SHAPE
    session.start()
    visible = Box((1, 0, 0), (2, *SHAPE[1:]))

    def whole() -> bool:
        return bool(np.isfinite(session.restored.channel()[visible.slices]).all())

    assert session.wait_for(whole, PATIENCE)
    session.stop()
    region = Box((1, 10, 20), (2, 90, 120))
    job = session.export(folder / "fine.ome.zarr", region=region)
    assert ended(session, job).state == "finished", ended(session, job).message
    volume = open_volume(folder / "fine.ome.zarr")
    assert volume.voxel_size == pytest.approx((1.0, 1.0, 1.0))
    assert volume.shape == region.shape
    volume.close()


@pytest.mark.parametrize("what", ["shape", "constant", "size", "shifted"])
def test_volumes_that_nothing_can_be_learned_from_are_refused(make_session, what):
    session = make_session(autosave=False)
    target, size = stripes(), (1.0, 1.0, 1.0)
    if what == "shape":
        target, said = target[:3], "one shape"
    elif what == "constant":
        target, said = np.ones(SHAPE, np.float32), "constant"
    elif what == "size":
        size, said = (1.0, 2.0, 2.0), "one voxel size"
    source = noisy()
    if what == "shifted":
        rng = np.random.default_rng(0)
        scene = rng.normal(0, 1, (4, 40, 440)).astype(np.float32)
        source, target, said = scene[:, :, :300], scene[:, :, 140:], "shifted"
    session.open_volume(source, voxel_size=(1.0, 1.0, 1.0))
    job = session.restore_from("pairs", target=open_volume(target, voxel_size=size))
    state = ended(session, job)
    assert state.state == "failed"
    assert said in state.message
    assert session.task == "segment"
    assert session.restoration is None


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("size", "have one voxel size"),
        ("channels", "as many channels"),
        ("twice", "learned from once"),
        ("first", "learned from once"),
        ("own", "not the noisy one"),
        ("shape", "one shape"),
        ("constant", "constant"),
    ],
)
def test_further_scans_that_nothing_can_be_learned_from_are_named(make_session, what, said):
    session = make_session(autosave=False)

    def volume(values, name, size=(1.0, 1.0, 1.0)):
        return open_volume(values, voxel_size=size, name=name)

    scan, clean = noisy(1), stripes() + 1
    if what == "channels":
        scan = np.stack([scan, scan])
    elif what == "constant":
        scan = np.ones(SHAPE, np.float32)
    elif what == "first":
        scan = noisy()
    elif what == "own":
        clean = scan
    elif what == "shape":
        clean = clean[:3]
    size = (1.0, 2.0, 2.0) if what == "size" else (1.0, 1.0, 1.0)
    pair = volume(scan, "late", size), volume(clean, "late_clean", size)
    session.open_volume(noisy(), voxel_size=(1.0, 1.0, 1.0))
    job = session.restore_from(
        "pairs",
        target=volume(stripes(), "clean"),
        others=[pair, pair] if what == "twice" else [pair],
    )
    state = ended(session, job)
    assert state.state == "failed"
    assert said in state.message
    assert "late" in state.message
    assert session.restoration is None


def test_what_is_doubtful_of_a_further_scan_is_told_with_its_name(make_session):
    session = make_session(autosave=False)
    told = []
    session.events.notified.connect(told.append)
    late = noisy(1)
    late[:, :9] = np.nan
    session.open_volume(noisy())
    job = session.restore_from(
        "blind",
        others=[open_volume(late, name="late")],
        network=RESTORER,
        learning=settings("blind"),
    )
    assert ended(session, job).state == "finished", ended(session, job).message
    (text,) = [notice.text for notice in told if "no number" in notice.text]
    assert text.startswith("late: ")


def test_what_does_not_belong_together_is_told_at_once(session, folder):
    with pytest.raises(ProjectError, match="'pairs'"):
        session.restore_from("pairs")
    with pytest.raises(ProjectError, match="'pairs'"):
        session.restore_from("blind", target=folder / "clean.tif")
    with pytest.raises(ProjectError, match="'splits'"):
        session.restore_from("blind", splits=[folder / "part0.tif"])
    with pytest.raises(ProjectError, match="zoomed"):
        session.restore_from("blind", offset=(0.0, 0.0, 0.0))
    with pytest.raises(ProjectError, match="zoomed scan one volume"):
        session.restore_from(
            "pairs",
            target=folder / "clean.tif",
            offset=(0.0, 0.0, 0.0),
            others=[folder / "part0.tif"],
        )
    with pytest.raises(ProjectError, match="no clean one for further scan 1"):
        session.restore_from("pairs", target=folder / "clean.tif", others=[folder / "part0.tif"])
    pair = folder / "part1.tif", folder / "clean.tif"
    with pytest.raises(ProjectError, match="a clean one for further scan 2"):
        session.restore_from("blind", others=[folder / "part0.tif", pair])
    with pytest.raises(SettingsError, match="four ways"):
        session.restore_from("magic")
    with pytest.raises(ProjectError, match="Choose what to restore from"):
        session.work_on("restore")
    with pytest.raises(ProjectError, match="Choose what to restore from"):
        session.configure_restoration(RESTORER)
    job = session.restore_from("splits", splits=[folder / "part0.tif"])
    assert "two reconstructions" in ended(session, job).message


def test_what_is_doubtful_is_told_and_does_not_stop(make_session):
    session = make_session(autosave=False)
    told = []
    session.events.notified.connect(told.append)
    values = noisy()
    values[1] = 5.0
    values[:, :9] = np.nan
    session.open_volume(values)
    job = session.restore_from("blind", network=RESTORER, learning=settings("blind"))
    assert ended(session, job).state == "finished"
    said = " ".join(notice.text for notice in told)
    assert "constant" in said
    assert "no number" in said


def test_other_settings_go_on_from_the_same_volumes(session, folder):
    restore(session, folder)
    wider = replace(RESTORER, width=2)
    first = session.model_revision
    session.configure_restoration(wider)
    assert session.wait_for(lambda: session.model_revision > first, PATIENCE)
    assert session.restoration.state.network == wider
    with pytest.raises(ProjectError, match="Another way"):
        session.configure_restoration(learning=settings("blind"))
    session.configure(network=replace(SMALL, depth=5))
    assert session.restoration.state.network == wider
    session.reset()
    assert session.wait_for(lambda: session.model_revision is None, PATIENCE)
    assert len(session.restored) == 0
    assert session.settings.network.depth == 5


def test_restoring_goes_on_after_an_engine_that_died(session, folder, monkeypatch):
    restore(session, folder)
    shown = session.model_revision

    def fail() -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(session._line._engine, "_able", fail)
    assert session.wait_for(lambda: not session._line.open, PATIENCE)
    monkeypatch.undo()
    session.start()
    step = session.learning.step
    assert session.wait_for(lambda: session.learning.step > step, PATIENCE)
    assert session.model_revision >= shown


def test_a_check_that_is_cancelled_takes_nothing_over(session, folder):
    job = session.restore_from("pairs", target=folder / "clean.tif", learning=settings())
    session.cancel(job)
    assert ended(session, job).state in ("cancelled", "finished")
    assert (session.restoration is None) == (ended(session, job).state == "cancelled")


def test_both_kinds_of_tiles_keep_to_one_budget(session, folder):
    restore(session, folder)
    session.stop()
    budget = 2**30 // 8
    assert session.predictions._budget + session.restored._budget <= budget


def test_the_loss_and_the_network_change_while_learning_goes_on(session, folder):
    restore(session, folder)
    state, shown = session.restoration.state, session.model_revision
    session.configure_restoration(learning=replace(state.learning, loss="l1"))
    assert session.wait_for(lambda: session.learning.step > 0, PATIENCE)
    assert session.model_revision >= shown
    with pytest.raises(SettingsError, match="random weights"):
        session.configure_restoration(network=reshaped(state.network, "encoder_unet"))
    found = []
    session.events.network_appraised.connect(found.append)
    wider = replace(state.network, depth=6)
    session.appraise_restoration(wider)
    assert session.wait_for(lambda: bool(found), PATIENCE)
    assert found[0].network == wider
    assert not found[0].problem
    shown = session.model_revision
    session.configure_restoration(network=wider)
    assert session.wait_for(lambda: session.model_revision > shown, PATIENCE)
    session.close()
    state = open_project(session.project.folder).state.restoration
    assert (state.network.depth, state.learning.loss) == (6, "l1")
    assert session.project.load_model(state.shown_model, restores=True).settings == wider
