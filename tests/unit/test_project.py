"""The project folder: settings, models and log, there and back and damaged."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from tests.support.modelfiles import patches, small_file, small_model

from brushfire.annotations import LabelClass, next_class, open_annotations
from brushfire.errors import ModelError, ProjectError, SettingsError, StorageError
from brushfire.learning import LearningSettings
from brushfire.learning.restoring import RestorationSettings
from brushfire.networks import ModelSnapshot, NetworkSettings
from brushfire.networks.snapshot import describe
from brushfire.project import (
    ProjectState,
    RestorationState,
    ScanReference,
    Settings,
    VolumeReference,
    create_project,
    default_folder,
    open_project,
)
from brushfire.project import format as project_format


@pytest.fixture
def state(tmp_path):
    source = tmp_path / "foam.zarr"
    source.mkdir()
    first = next_class(())
    return ProjectState(
        volume=VolumeReference(
            str(source), "0123456789abcdef", "zyx", (0.5, 0.25, 0.25), (30, 512, 512), "uint16"
        ),
        classes=(first, next_class((first,), name="Öl & Luft")),
        settings=Settings(NetworkSettings(depth=12, dilations=(1, 3)), LearningSettings(), 1 << 31),
        shown_model=3,
    )


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "foam.brushfire"


def model(revision, **changes):
    values = {
        "revision": revision,
        "settings": NetworkSettings(depth=3, dilations=(1, 2)),
        "channels": 1,
        "classes": (1, 2),
        "halo": 9,
        "metrics": {"dice": 0.5, "per_class": {"1": None}},
        **changes,
    }
    weights = save({"head": np.arange(6, dtype=np.float32)}, metadata=describe(**values))
    return ModelSnapshot(weights=weights, **values)


networks = st.builds(
    NetworkSettings,
    depth=st.integers(1, 400),
    width=st.integers(1, 64),
    dilations=st.lists(st.integers(1, 64), min_size=1, max_size=5).map(tuple),
    slices=st.sampled_from([1, 3, 5, 7]),
    features=st.booleans(),
)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=9).filter(lambda s: s.strip())


@settings(max_examples=40, deadline=None)
@given(networks, names, st.floats(1e-6, 1e6), st.none() | st.integers(0, 9999))
def test_any_state_comes_back_as_it_was(network, name, size, shown):
    state = ProjectState(
        VolumeReference(None, name, "zyx", (size, size, size), (1, 2, 3), "<f4"),
        (LabelClass(5, name, "#a0b1c2"),),
        Settings(network, LearningSettings(learning_rate=1e-3), 12345, 64),
        shown,
    )
    data = project_format.to_json(state, Path("/nowhere"))
    assert project_format.from_json(json.loads(data), Path("/nowhere")) == state


def test_what_is_saved_is_opened(folder, state):
    project = create_project(folder, state)
    assert open_project(folder).state == state
    changed = replace(state, shown_model=None, classes=state.classes[:1])
    project.save(changed)
    assert project.state == changed
    assert open_project(folder).state == changed
    assert [path.name for path in folder.iterdir()] == ["project.json"]


def test_a_project_that_moved_with_its_volume_finds_it(tmp_path, folder, state):
    create_project(folder, state)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.move(folder, moved / folder.name)
    shutil.move(tmp_path / "foam.zarr", moved / "foam.zarr")
    found = open_project(moved / folder.name).state
    assert found.volume.source == str(moved / "foam.zarr")
    assert replace(found, volume=state.volume) == state


@pytest.mark.parametrize(
    "make",
    [
        lambda path: None,
        lambda path: path.mkdir(),
        lambda path: path.write_text("a file"),
        lambda path: (path.mkdir(), (path / "notes.txt").write_text("mine")),
    ],
    ids=["nothing", "empty folder", "file", "other folder"],
)
def test_what_is_no_project_is_told(tmp_path, make):
    make(tmp_path / "x")
    with pytest.raises(ProjectError, match=r"project\.json"):
        open_project(tmp_path / "x")


def test_a_new_project_has_a_folder_of_its_own(tmp_path, folder, state):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    with pytest.raises(ProjectError, match=r"thesis\.tex"):
        create_project(tmp_path / "full", state)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.tex"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ProjectError, match="folder"):
        create_project(tmp_path / "file", state)
    create_project(folder, state)
    with pytest.raises(ProjectError, match="Open this one"):
        create_project(folder, state)


@pytest.mark.parametrize("number", [999, project_format.VERSION + 1])
def test_a_newer_version_is_told(folder, state, number):
    create_project(folder, state)
    change(folder, version=number)
    with pytest.raises(ProjectError, match=f"format {number}, written by Brushfire"):
        open_project(folder)


def change(folder, **values):
    path = folder / "project.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


DAMAGE = {
    "empty": "",
    "torn": '{"format": "brushfire-project", "version": 1, "vol',
    "binary": b"\xff\xfe\0\1",
    "a list": "[]",
    "foreign": '{"name": "package.json of something else"}',
}


@pytest.mark.parametrize("data", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_told_with_what_can_be_saved(folder, state, data):
    project = create_project(folder, state)
    project.save_model(model(1))
    store = open_annotations(folder, (3, 20, 20))
    store[1] = 2
    store.close()
    path = folder / "project.json"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(ProjectError, match="all strokes and 1 model can still be saved"):
        open_project(folder)
    # The way that the sentence shows leads back to strokes and models.
    path.rename(folder / "project.json.damaged")
    rescued = create_project(folder, state)
    assert rescued.models() == (1,)
    store = open_annotations(folder, (3, 20, 20))
    assert (store[1] == 2).all()
    store.close()


@pytest.mark.parametrize(
    "values",
    [
        {"version": None},
        {"version": 0},
        {"volume": {}},
        {"classes": [{"value": 0, "name": "a", "color": "#000000"}]},
        {"classes": [{"value": 1, "name": "a", "color": "#000000"}] * 2},
        {"classes": 3},
        {"settings": {"network": {"depth": -1}}},
        {"shown_model": "new"},
        {"task": "dream"},
        {"restoration": {"network": {}}},
    ],
    ids=str,
)
def test_values_that_make_no_sense_are_damage(folder, state, values):
    create_project(folder, state)
    change(folder, **values)
    with pytest.raises(ProjectError, match="holds no strokes yet"):
        open_project(folder)


@pytest.mark.parametrize(("key", "value"), [("shape", [0, 1, 1]), ("voxel_size", [1, 1, -1])])
def test_a_volume_that_cannot_be_is_damage(folder, state, key, value):
    create_project(folder, state)
    noted = json.loads((folder / "project.json").read_text())["volume"]
    change(folder, volume={**noted, key: value})
    with pytest.raises(ProjectError, match="damaged"):
        open_project(folder)


def test_settings_that_were_not_there_yet_get_their_defaults(folder, state):
    create_project(folder, state)
    noted = json.loads((folder / "project.json").read_text())["settings"]
    del noted["network"]["features"]
    noted["learning"] = {"batch": 2, "from_the_future": 1}
    change(folder, settings=noted)
    found = open_project(folder).state.settings
    assert found == replace(state.settings, learning=LearningSettings(batch=2))


def test_a_project_of_before_restoration_segments(folder, state):
    create_project(folder, state)
    path = folder / "project.json"
    found = json.loads(path.read_text())
    del found["task"], found["restoration"]
    path.write_text(json.dumps({**found, "version": 1}))
    assert open_project(folder).state == state
    assert (state.task, state.restoration) == ("segment", None)


def test_what_is_restored_from_is_found_where_it_moved_with_the_project(tmp_path, folder, state):
    (tmp_path / "clean.zarr").mkdir()
    clean = replace(state.volume, source=str(tmp_path / "clean.zarr"))
    restoration = RestorationState(
        NetworkSettings(depth=12, features=False, restored=1),
        RestorationSettings("pairs", loss="l1"),
        target=clean,
        splits=(state.volume, clean),
        offset=(0.0, 1.5, 2.0),
        shown_model=4,
        others=(ScanReference(state.volume, clean), ScanReference(state.volume)),
    )
    state = replace(state, restoration=restoration, task="restore")
    create_project(folder, state)
    assert open_project(folder).state == state
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in (folder.name, "foam.zarr", "clean.zarr"):
        shutil.move(tmp_path / name, moved / name)
    found = open_project(moved / folder.name).state.restoration
    assert found.target.source == str(moved / "clean.zarr")
    assert [one.source for one in found.splits] == [
        str(moved / "foam.zarr"), str(moved / "clean.zarr"),
    ]  # fmt: skip
    assert [one.scan.source for one in found.others] == [str(moved / "foam.zarr")] * 2
    assert found.others[0].clean.source == str(moved / "clean.zarr")
    # A project of before series has none.
    path = moved / folder.name / "project.json"
    noted = json.loads(path.read_text())
    del noted["restoration"]["others"]
    path.write_text(json.dumps(noted))
    assert open_project(path.parent).state.restoration == replace(found, others=())


def test_models_that_restore_are_numbered_by_themselves(folder, state):
    project = create_project(folder, state)
    restores = NetworkSettings(depth=3, dilations=(1, 2), features=False, restored=1)
    project.save_model(model(2))
    project.save_model(model(2, settings=restores, classes=()))
    project.save_model(model(3, settings=restores, classes=()))
    assert (project.models(), project.models(restores=True)) == ((2,), (2, 3))
    assert project.load_model(2).classes == (1, 2)
    assert project.load_model(2, restores=True).settings == restores
    project.remove_model(2, restores=True)
    assert (project.models(), project.models(restores=True)) == ((2,), (3,))
    with pytest.raises(ProjectError, match="Choose one of: 3"):
        project.load_model(2, restores=True)


def test_migrations_run_one_after_another():
    found = project_format.migrate(
        {"version": 1, "a": 1},
        migrations={1: lambda old: {**old, "a": old["a"] + 1}, 2: lambda old: {"b": old["a"]}},
        version=3,
    )
    assert found == {"version": 3, "b": 2}
    with pytest.raises(ValueError, match="never used"):
        project_format.migrate({"version": 1}, migrations={}, version=2)


@pytest.mark.parametrize(("budget", "tile"), [(0, 256), (-5, 256), (1, 31), (1, 5000)])
def test_settings_have_a_range(budget, tile):
    with pytest.raises(SettingsError):
        Settings(memory_budget_bytes=budget, tile=tile)


def test_models_come_back(folder, state):
    project = create_project(folder, state)
    assert project.models() == ()
    for revision in (2, 1, 12345):
        project.save_model(model(revision))
    assert project.models() == (1, 2, 12345)
    assert project.load_model(2) == model(2)
    note = json.loads((folder / "models" / "0002.json").read_text())
    assert note["metrics"] == {"dice": 0.5, "per_class": {"1": None}}
    assert note["classes"] == [1, 2]
    assert note["volume"] == state.volume.fingerprint
    project.save_model(model(2, halo=11))
    assert project.load_model(2).halo == 11


def test_numbers_of_numpy_in_metrics_are_kept(folder, state):
    project = create_project(folder, state)
    made = replace(model(1), metrics={"dice": np.float32(0.25)})
    project.save_model(made)
    assert json.loads((folder / "models" / "0001.json").read_text())["metrics"] == {"dice": 0.25}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("settings", '{"network": 3, "learning": {}, "memory_budget_bytes": 1, "tile": 64}'),
        ("shown_model", "1e999"),
        ("classes", "[" * 100_000),
        ("volume", "[]"),
    ],
)
def test_whatever_is_damaged_in_the_settings_is_told(folder, state, name, value):
    path = create_project(folder, state).folder / "project.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, name: "HERE"}).replace('"HERE"', value))
    with pytest.raises(ProjectError, match="damaged"):
        open_project(folder)


def test_models_that_are_not_there_or_damaged_are_told(folder, state):
    project = create_project(folder, state)
    project.save_model(model(7))
    with pytest.raises(ProjectError, match="Choose one of: 7"):
        project.load_model(8)
    path = folder / "models" / "0007.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ProjectError, match="changed since"):
        project.load_model(7)
    (folder / "models" / "0007.json").unlink()
    assert project.load_model(7).halo == 9  # nothing to compare with
    path.write_bytes(b"short")
    with pytest.raises(ModelError, match="safetensors"):
        project.load_model(7)
    (folder / "models" / "0007.json").write_text("[")
    with pytest.raises(ProjectError, match="note"):
        project.load_model(7)
    path.write_bytes(model(6).weights)
    (folder / "models" / "0007.json").unlink()
    with pytest.raises(ProjectError, match="revision 6"):
        project.load_model(7)


def test_no_file_of_a_project_is_executed(folder, state):
    # A pickle in the place of a model is an error like any other.
    project = create_project(folder, state)
    (folder / "models").mkdir()
    marker = folder.parent / "executed"
    pickle = f"cos\nsystem\n(S'touch {marker}'\ntR.".encode()
    (folder / "models" / "0001.safetensors").write_bytes(pickle)
    with pytest.raises(ModelError):
        project.load_model(1)
    assert not marker.exists()


def test_the_log_has_a_line_for_each_event(folder, state):
    project = create_project(folder, state)
    project.log("opened", path=folder, seconds=0.5)
    project.log("closed")
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["opened", "closed"]
    assert lines[0]["path"] == str(folder)
    times = [datetime.fromisoformat(line["time"]) for line in lines]
    assert times == sorted(times)
    assert times[0].tzinfo is not None


FULL = """
import resource, sys
from pathlib import Path
from dataclasses import replace
from brushfire.errors import StorageError
from brushfire.project import open_project
project = open_project(Path(sys.argv[1]))
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
for act in (
    lambda: project.save(replace(project.state, shown_model=77)),
    lambda: project.log("x", text="y" * 500),
):
    try:
        act()
    except StorageError as error:
        print(error)
print(project.state.shown_model)
"""


@pytest.mark.skipif(os.name != "posix", reason="uses a limit of POSIX")
def test_a_full_disk_is_told_and_leaves_the_old_state(folder, state):
    create_project(folder, state)
    ended = subprocess.run(
        [sys.executable, "-c", FULL, folder], check=True, capture_output=True, text=True
    )
    *sentences, shown = ended.stdout.splitlines()
    assert [sentence.count("is full") for sentence in sentences] == [1, 1]
    assert shown == "3"
    assert open_project(folder).state == state
    assert not [path for path in folder.iterdir() if path.name.endswith(".tmp")]


def test_a_folder_that_is_gone_is_told(folder, state):
    project = create_project(folder, state)
    shutil.rmtree(folder)
    for act in (
        lambda: project.save(state),
        lambda: project.save_model(model(1)),
        lambda: project.log("x"),
    ):
        with pytest.raises(StorageError, match="gone"):
            act()
    assert project.models() == ()


@dataclass(frozen=True)
class Opened:
    """What `default_folder` asks of a volume."""

    name: str
    source: str | None
    fingerprint: str
    axes: str = "zyx"
    time: int | None = None


def test_a_project_goes_beside_its_volume(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    source = tmp_path / "foam.tif"
    source.write_text("")
    assert default_folder(Opened("foam", str(source), "ab" * 16)) == tmp_path / "foam.brushfire"
    odd = default_folder(Opened("a/b: c?", str(source), "ab" * 16))
    assert odd == tmp_path / "a_b_ c_.brushfire"


@pytest.mark.skipif(sys.platform != "linux", reason="the place differs")
@pytest.mark.parametrize("source", [None, "/no/such/place/foam.tif", "https://example.org/foam"])
def test_a_project_without_a_place_beside_goes_to_the_users_data(tmp_path, monkeypatch, source):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    found = default_folder(Opened("foam", source, "abcdef0123456789"))
    assert found == tmp_path / "data" / "brushfire" / "projects" / "foam-abcdef012345.brushfire"


def test_two_volumes_of_one_name_have_two_projects(tmp_path, state):
    for name in ("foam.tif", "foam.npy"):
        (tmp_path / name).write_text("")
    one = Opened("foam", str(tmp_path / "foam.tif"), "1" * 32)
    other = Opened("foam", str(tmp_path / "foam.npy"), "2" * 32)
    noted = replace(state.volume, source=one.source, fingerprint=one.fingerprint)
    create_project(default_folder(one), replace(state, volume=noted))
    assert default_folder(one) == tmp_path / "foam.brushfire"
    assert default_folder(other) == tmp_path / "foam-222222222222.brushfire"
    # The same file with other contents keeps its project: opening it tells what happened.
    assert default_folder(replace(one, fingerprint="3" * 32)) == tmp_path / "foam.brushfire"


def test_crops_belong_to_the_start_that_they_came_with(folder, state):
    project = create_project(folder, state)
    assert project.load_patches() is None
    start, other = small_file().model, small_model().snapshot(2, {})
    project.save_start(None, patches(), start)
    assert open_project(folder).load_patches().to_bytes() == patches().to_bytes()
    # A version that knows nothing of crops starts anew, or resets.
    (folder / "start.safetensors").write_bytes(other.weights)
    assert project.load_patches() is None
    (folder / "start.safetensors").unlink()
    assert project.load_patches() is None
    project.save_start(None, patches(), start)
    (folder / "patches.safetensors").write_bytes(b"no crops")
    with pytest.raises(ModelError, match="Crops"):
        project.load_patches()
    project.save_start(None, None, None)
    assert not (folder / "patches.safetensors").exists()
