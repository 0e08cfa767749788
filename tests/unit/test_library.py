"""Model files and the library: what comes back as it was, and what is refused with a sentence."""

from __future__ import annotations

import json
import math
import os
import pickle
import stat
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from tests.support.memory import stripes, volume_of
from tests.support.modelfiles import (
    CLASSES,
    examples,
    fingerprint,
    patches,
    small_file,
    small_model,
)

from brushfire.annotations import LabelClass
from brushfire.errors import ModelError, StorageError
from brushfire.library import (
    Fingerprint,
    Library,
    Making,
    ModelCard,
    distance,
    fingerprint_of,
    library_folder,
    likeness,
    model_file,
    packing,
    rank,
    read_card,
    read_model_file,
    write_model_file,
)
from brushfire.library.fingerprints import PERCENTILES, ChannelStatistics
from brushfire.library.packing import BOUNDS, PATCHES
from brushfire.networks.snapshot import ModelSnapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from brushfire.library import ModelFile

PLACES = ("foam.bfmodel", "foam.bfmodel.zip")

# ------------------------------------------------------------------------------- fingerprints

numbers = st.floats(-1e6, 1e6, allow_nan=False)
above = st.floats(1e-3, 1e3)
channel = st.builds(
    ChannelStatistics,
    numbers,
    above,
    st.lists(numbers, min_size=len(PERCENTILES), max_size=len(PERCENTILES)).map(
        lambda values: tuple(sorted(values))
    ),
)
fingerprints = st.builds(
    Fingerprint,
    st.none() | st.tuples(above, above, above),
    st.tuples(*[st.integers(1, 10**6)] * 3),
    st.sampled_from(["uint8", "float32"]),
    st.lists(channel, min_size=1, max_size=3).map(tuple),
    st.text(max_size=20),
)


@given(fingerprints, fingerprints)
@settings(max_examples=30, deadline=None)
def test_a_distance_is_symmetric_and_nothing_to_itself(
    one: Fingerprint, other: Fingerprint
) -> None:
    assert distance(one, one) == 0
    assert distance(one, other) == distance(other, one) >= 0
    assert math.isfinite(distance(one, other))


def test_what_makes_a_distance() -> None:
    here = fingerprint()
    assert distance(here, fingerprint(pixel=1.0)) == pytest.approx(math.log(2))
    assert distance(here, fingerprint(pixel=None)) == 0
    assert distance(here, fingerprint(channels=3)) == 2
    assert 0 < distance(here, fingerprint(skew=0.5)) < distance(here, fingerprint(skew=1.0))
    assert [likeness(one) for one in (0.0, 0.5, 2.0, None)] == [
        "alike", "somewhat alike", "unlike", "unknown",
    ]  # fmt: skip


def test_intensities_of_another_scale_are_no_distance() -> None:
    truth = stripes((3, 96, 80))
    here = volume_of(truth)
    there = volume_of(40.0 * truth + 100, noise=20.0)
    near, one = fingerprint_of(there), fingerprint_of(here, "made up")
    assert one.voxel_size == (1, 1, 1)
    assert one.modality == "made up"
    assert distance(near, one) < 0.02
    assert distance(fingerprint_of(volume_of(truth**6)), one) > 0.1


def test_cards_are_ranked_by_their_data() -> None:
    cards = [
        small_file("none", data=None).card,
        small_file("far", data=fingerprint(pixel=2.0)).card,
        small_file("b", data=fingerprint()).card,
        small_file("A", data=fingerprint()).card,
    ]
    found = rank(cards, fingerprint())
    assert [card.name for card, _ in found] == ["A", "b", "far", "none"]
    assert found[0][1] == 0
    assert found[-1][1] is None


# ------------------------------------------------------------------------------------- cards

words = st.text(st.characters(codec="utf-8"), max_size=30)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
counts = st.none() | st.integers(0, 10**9)
cards = st.builds(
    ModelCard,
    name=st.text("abc ÄöXY01._-", min_size=1, max_size=20)
    .map(lambda name: name.strip(" ."))
    .filter(bool),
    network=st.dictionaries(words, values, max_size=4),
    channels=st.integers(1, 9),
    classes=st.sampled_from([CLASSES, CLASSES[:1], (LabelClass(127, "ß 文", "#000000"),)]),
    halo=st.integers(0, 500),
    weights_sha256=st.just("0a" * 32),
    examples_sha256=st.sampled_from([None, "f" * 64]),
    patches_sha256=st.sampled_from([None, "1" * 64]),
    data=st.none() | fingerprints,
    metrics=st.dictionaries(words, values, max_size=4),
    made=st.builds(Making, words, counts, counts, counts, st.none() | above, words),
    licence=words,
    description=words,
)


@given(cards)
@settings(max_examples=40, deadline=None)
def test_a_card_comes_back_from_json_as_it_was(card: ModelCard) -> None:
    again = ModelCard.from_json(card.to_json())
    assert again == card
    assert again.to_json() == card.to_json()


def test_a_card_of_before_has_no_crops() -> None:
    assert ModelCard.from_json(changed(patches_sha256=...)).patches_sha256 is None
    for odd in (1.5, "G" * 64, ["f" * 64]):
        with pytest.raises(ModelError, match="Choose another"):
            ModelCard.from_json(changed(patches_sha256=odd))


def test_numbers_that_json_has_not_become_null_and_tuples_lists() -> None:
    card = small_file().card
    card = replace(card, metrics={"a": math.nan, "b": (1, np.float32(0.5)), 3: np.int64(4)})
    assert card.metrics == {"a": None, "b": [1, 0.5], "3": 4}
    assert ModelCard.from_json(card.to_json()) == card


def test_scores_are_told_as_far_as_they_are_scores() -> None:
    card = replace(small_file().card, metrics={"mean_dice": 0.9, "dice": {"2": 0.8, "1": None}})
    assert (card.mean_dice, card.dice) == (0.9, {"pore": 0.8})
    for odd in ({"mean_dice": "high", "dice": [1]}, {"mean_dice": True, "dice": {"1": 7}}, {}):
        assert replace(card, metrics=odd).mean_dice is None
        assert replace(card, metrics=odd).dice == {}


OTHERS = {"format", "version", "patches_sha256"}
KEYS = sorted(set(json.loads(small_file().card.to_json())) - OTHERS)


def changed(**values: Any) -> bytes:
    """Return a card with other values; those that are ``...`` are left out."""
    found = {**json.loads(small_file().card.to_json()), **values}
    return json.dumps({key: one for key, one in found.items() if one is not ...}).encode()


@pytest.mark.parametrize("key", KEYS)
def test_a_card_without_a_key_or_with_another_kind_of_value_is_refused(key: str) -> None:
    with pytest.raises(ModelError, match=key):
        ModelCard.from_json(changed(**{key: ...}))
    with pytest.raises(ModelError, match="Choose another"):
        ModelCard.from_json(changed(**{key: 1.5}))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"null", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b'{"format": "other"}',
        changed(version=True), changed(version=0), changed(version=10**400),
        changed(name="../up"), changed(name=""), changed(name="a/b"), changed(name="." * 3),
        changed(channels=0), changed(channels=True), changed(halo=-1),
        changed(classes=[]), changed(classes=[7]), changed(classes=[{"value": 1}]),
        changed(classes=[{"value": 1, "name": "a", "color": "red"}]),
        changed(classes=[{"value": v, "name": "a", "color": "#112233"} for v in (1, 2)]),
        changed(weights_sha256="f" * 63), changed(examples_sha256="G" * 64),
        changed(data={}), changed(data={**json.loads(small_file().card.to_json())["data"],
                                        "shape": [1, 2]}),
        changed(description="x" * 10_001),
        small_file().card.to_json().replace(b'"std": 20.0', b'"std": Infinity'),
        small_file().card.to_json().replace(b'"std": 20.0', b'"std": 0'),
    ],
)  # fmt: skip
def test_a_card_that_no_program_wrote_is_refused(data: bytes) -> None:
    with pytest.raises(ModelError):
        ModelCard.from_json(data)


def test_a_text_that_could_not_be_read_again_is_not_written() -> None:
    with pytest.raises(ModelError, match="10000 letters"):
        small_file(description="x" * 10_001)


def test_a_card_of_a_newer_version_says_what_to_do() -> None:
    with pytest.raises(ModelError, match=r"written by Brushfire 9\.0") as found:
        ModelCard.from_json(changed(version=2, brushfire="9.0", name=...))
    assert found.value.do == "Update Brushfire."


# ------------------------------------------------------------------------------------- files


def same(one: ModelFile, other: ModelFile) -> None:
    assert one.card == other.card
    assert one.model == other.model
    assert (one.examples is None) == (other.examples is None)
    if one.examples is not None and other.examples is not None:
        np.testing.assert_array_equal(one.examples.features, other.examples.features)
        np.testing.assert_array_equal(one.examples.classes, other.examples.classes)
    assert (one.patches is None) == (other.patches is None)
    if one.patches is not None and other.patches is not None:
        assert one.patches.to_bytes() == other.patches.to_bytes()


@pytest.mark.parametrize("with_examples", [True, False])
@pytest.mark.parametrize("place", PLACES)
def test_a_model_comes_back_as_it_was(place: str, with_examples: bool, tmp_path: Path) -> None:
    file = small_file(with_examples=with_examples)
    write_model_file(tmp_path / place, file)
    same(read_model_file(tmp_path / place), file)
    assert read_card(tmp_path / place) == file.card
    assert os.listdir(tmp_path) == [place]


@pytest.mark.parametrize("place", PLACES)
def test_crops_come_back_and_are_exported_on_request_only(place: str, tmp_path: Path) -> None:
    file = small_file(patches=patches())
    library = Library(tmp_path / "library")
    library.add(file)
    same(library.get("foam"), file)
    library.export("foam", tmp_path / place)
    bare = read_model_file(tmp_path / place)
    same(bare, file.without_patches())
    assert bare.card.patches_sha256 is None
    library.export("foam", tmp_path / place, overwrite=True, crops=True)
    same(read_model_file(tmp_path / place), file)


def test_a_crop_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    write_model_file(tmp_path / "foam.bfmodel", small_file(patches=patches()))
    with (tmp_path / "foam.bfmodel" / PATCHES).open("r+b") as sent:
        sent.truncate(BOUNDS[PATCHES] + 1)
    with pytest.raises(ModelError, match=f"bytes of {PATCHES}"):
        read_model_file(tmp_path / "foam.bfmodel")


@pytest.mark.parametrize("place", PLACES)
def test_what_is_there_is_replaced_on_request_only(place: str, tmp_path: Path) -> None:
    write_model_file(tmp_path / place, small_file())
    other = small_file(with_examples=False, description="newer")
    with pytest.raises(ModelError, match="which exists"):
        write_model_file(tmp_path / place, other)
    same(read_model_file(tmp_path / place), small_file())
    write_model_file(tmp_path / place, other, overwrite=True)
    same(read_model_file(tmp_path / place), other)
    assert os.listdir(tmp_path) == [place]


def test_nothing_but_a_model_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "mine.bfmodel"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(ModelError, match="Only a model"):
        write_model_file(folder, small_file(), overwrite=True)
    assert os.listdir(folder) == ["thesis.txt"]
    for place in (tmp_path / "model.torch", tmp_path / "no" / "foam.bfmodel"):
        with pytest.raises((ModelError, StorageError)):
            write_model_file(place, small_file())


@pytest.mark.parametrize("place", PLACES)
def test_a_disk_that_gets_full_keeps_what_was_there(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model_file(tmp_path / place, small_file())

    def full(path: Path, data: bytes) -> None:
        if len(data) > 10_000:
            raise OSError(28, "No space left on device")
        Path(path).write_bytes(data)

    monkeypatch.setattr(packing, "write_atomically", full)
    with pytest.raises(StorageError, match="is full"):
        write_model_file(tmp_path / place, small_file(description="newer"), overwrite=True)
    assert os.listdir(tmp_path) == [place]
    same(read_model_file(tmp_path / place), small_file())


def test_a_zip_of_the_folder_as_other_programs_make_it_is_read(tmp_path: Path) -> None:
    write_model_file(tmp_path / "foam.bfmodel", small_file())
    with zipfile.ZipFile(tmp_path / "sent.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("foam.bfmodel")
        for path in (tmp_path / "foam.bfmodel").iterdir():
            archive.write(path, f"foam.bfmodel/{path.name}")
        archive.writestr("__MACOSX/foam.bfmodel/._card.json", b"")
        archive.writestr("foam.bfmodel/README.md", "thanks")
    same(read_model_file(tmp_path / "sent.zip"), small_file())


def test_a_bare_file_of_weights_gets_a_card_from_what_it_says(tmp_path: Path) -> None:
    snapshot = small_model(2, (3, 1)).snapshot(4, {"step": 7})
    (tmp_path / "net.safetensors").write_bytes(snapshot.weights)
    file = read_model_file(tmp_path / "net.safetensors")
    assert file.model == snapshot
    assert file.card.name == "net"
    assert [(c.value, c.name) for c in file.card.classes] == [(3, "Class 3"), (1, "Class 1")]
    assert (file.card.channels, file.card.made.steps, file.card.data) == (2, 7, None)
    assert file.card.licence == "unknown"


# ------------------------------------------------------------------------------------ refused


class Harm:
    """Writes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (self.path, "w"))


@pytest.mark.parametrize("name", ["net.pt", "net.pkl", "net.bfmodel.zip", "net.safetensors"])
@pytest.mark.parametrize("how", ["pickle", "protocol 0", "torch", "torch of before"])
def test_a_pickle_is_never_loaded(name: str, how: str, tmp_path: Path) -> None:
    harm, path = Harm(str(tmp_path / "harmed")), tmp_path / name
    if how.startswith("torch"):
        torch.save(harm, path, _use_new_zipfile_serialization=how == "torch")
    else:
        path.write_bytes(pickle.dumps(harm, protocol=0 if how == "protocol 0" else None))
    for read in (read_model_file, read_card):
        with pytest.raises(ModelError, match=r"safetensors|whole zip"):
            read(path)
    assert not (tmp_path / "harmed").exists()
    pickle.loads(pickle.dumps(harm)).close()  # it would have
    assert (tmp_path / "harmed").exists()


def zipped(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> None:
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(path, "w") as archive:
        for name, data in entries:
            archive.writestr(name, data)  # which warns of what is there twice


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


CARD = small_file().card.to_json()


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([("../card.json", CARD)], "inside"),
        ([("card.json", CARD), ("a/../../b", b"")], "inside"),
        ([("/card.json", CARD)], "inside"),
        ([("card.json", CARD), ("C:/b", b"")], "inside"),
        ([("card.json", CARD), ("..\\b", b"")], "inside"),
        ([("card.json", CARD), (link("weights.safetensors"), b"/etc/passwd")], "a link"),
        ([("card.json", CARD), ("card.json", CARD)], "twice"),
        ([("card.json", b" " * (2 << 20))], "at most"),
        ([("card.json", CARD), *((f"{n}", b"") for n in range(1000))], "at most 1000"),
        ([("card.json", CARD)], "weights.safetensors"),
        ([("weights.safetensors", b"")], "card.json"),
        ([], "card.json"),
    ],
)
def test_a_zip_with_what_no_model_holds_is_refused(
    entries: list[tuple[Any, bytes]], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "bad.bfmodel.zip"
    zipped(path, *entries)
    with pytest.raises(ModelError, match=words):
        read_model_file(path)
    assert os.listdir(tmp_path) == [path.name]


def bent(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Write a model's zip and change its bytes."""
    write_model_file(path, small_file())
    path.write_bytes(change(path.read_bytes()))


def encrypted(data: bytes) -> bytes:
    at = data.index(b"PK\x01\x02")
    return data[: at + 8] + b"\x01\x00" + data[at + 10 :]


def longer(data: bytes) -> bytes:
    """Say of the card in the list of contents that it is a little longer than it is."""
    at = data.index(b"PK\x01\x02")
    size = int.from_bytes(data[at + 24 : at + 28], "little") + 9
    return data[: at + 24] + size.to_bytes(4, "little") + data[at + 28 :]


def huge(data: bytes) -> bytes:
    at = data.index(b"PK\x01\x02")
    return data[: at + 24] + b"\xf0\xff\xff\xff" + data[at + 28 :]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (encrypted, "encrypted"),
        (longer, "as long as"),
        (huge, "at most"),
        (lambda data: data[:-30], "zip"),
        (lambda data: data[:200], "zip"),
        (lambda data: data.replace(b'"halo"', b'"hulo"', 1), "zip"),
    ],
)
def test_a_zip_that_is_damaged_is_refused(
    change: Callable[[bytes], bytes], words: str, tmp_path: Path
) -> None:
    bent(tmp_path / "bad.bfmodel.zip", change)
    with pytest.raises(ModelError, match=words):
        read_model_file(tmp_path / "bad.bfmodel.zip")


def with_weights(weights: bytes, **card: Any) -> ModelFile:
    """Return a file with other weights, whose card has their digest and these values."""
    file = small_file()
    fitting = model_file("foam", replace(file.model, weights=weights), CLASSES).card
    sums = {"weights_sha256": fitting.weights_sha256, "examples_sha256": None, **card}
    return replace(
        file,
        card=replace(file.card, **sums),
        model=replace(file.model, weights=weights),
        examples=None,
    )


def with_nan() -> ModelFile:
    snapshot = small_file().model
    state = load(snapshot.weights)
    state["head_weight"][0, 0] = math.nan
    length = int.from_bytes(snapshot.weights[:8], "little")
    about = json.loads(snapshot.weights[8 : 8 + length])["__metadata__"]
    return with_weights(save(state, metadata=about))


def of_other_shape() -> ModelFile:
    """Weights of a network whose description is of another."""
    snapshot = small_file().model
    length = int.from_bytes(snapshot.weights[:8], "little")
    about = json.loads(snapshot.weights[8 : 8 + length])["__metadata__"]
    return with_weights(save({"head_weight": torch.zeros(3, 3)}, metadata=about))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (with_nan, "finite"),
        (of_other_shape, "fits its settings"),
        (lambda: with_weights(small_file().model.weights[:-5]), "fits its settings"),
        (lambda: with_weights(b"\x08"), "safetensors"),
        (lambda: with_weights(small_model().snapshot(9, {}).weights, channels=2), "channels 2"),
        (lambda: with_weights(small_file().model.weights, classes=CLASSES[:1]), "classes"),
        (lambda: with_weights(small_file().model.weights, halo=7), "halo 7"),
        (lambda: with_weights(small_file().model.weights, network={"depth": 2}), "settings"),
        (lambda: with_weights(small_file().model.weights, network={"kind": "x"}), "Update"),
        (lambda: with_weights(small_file().model.weights, network={"depth": -1}), "Update"),
        (lambda: with_weights(small_file().model.weights, weights_sha256="0" * 64), "another"),
        (lambda: with_weights(small_file().model.weights, examples_sha256="0" * 64), "one of"),
        (lambda: replace(small_file(), examples=examples(3)), "another examples"),
        (lambda: model_file("a", small_file().model, CLASSES, examples=examples(3)), "3 for"),
        (lambda: replace(small_file(), patches=patches()), "one of"),
        (lambda: replace(small_file(patches=patches()), patches=patches(2)), "another patches"),
        (lambda: small_file(patches=patches(3)), "others than 1 and 1"),
    ],
)
@pytest.mark.parametrize("place", PLACES)
def test_parts_that_do_not_agree_are_refused(
    place: str, make: Callable[[], ModelFile], words: str, tmp_path: Path
) -> None:
    write_model_file(tmp_path / place, make())
    with pytest.raises(ModelError, match=words):
        read_model_file(tmp_path / place)


def test_what_is_no_model_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "note.txt").write_text("no model at all")
    (tmp_path / "folder").mkdir()
    for name in ("empty", "note.txt", "folder", "none.bfmodel"):
        with pytest.raises(ModelError):
            read_model_file(tmp_path / name)


def test_a_folder_with_links_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "foam.bfmodel"
    write_model_file(folder, small_file())
    (folder / "weights.safetensors").rename(tmp_path / "outside")
    try:
        (folder / "weights.safetensors").symlink_to(tmp_path / "outside")
    except OSError:
        pytest.skip("links are not allowed here")
    with pytest.raises(ModelError, match="a link"):
        read_model_file(folder)


# ------------------------------------------------------------------------------------ library


def test_a_library_keeps_gives_exports_and_removes(tmp_path: Path) -> None:
    library = Library(tmp_path / "deep" / "library")
    assert library.entries() == ()
    library.add(small_file("foam"))
    library.add(small_file("Bone", with_examples=False))
    assert [one.name for one in library.entries()] == ["Bone", "foam"]
    assert library.entries()[1].card == small_file("foam").card
    same(library.get("FOAM"), small_file("foam"))
    library.export("foam", tmp_path / "sent.bfmodel.zip")
    with pytest.raises(ModelError, match="which exists"):
        library.export("foam", tmp_path / "sent.bfmodel.zip")
    library.remove("foam")
    assert [one.name for one in library.entries()] == ["Bone"]
    library.add(read_model_file(tmp_path / "sent.bfmodel.zip").named("foam, again"))
    assert library.card("foam, again").made == small_file().card.made
    for act in (library.get, library.card, library.remove):
        with pytest.raises(ModelError, match="holds Bone, foam, again"):
            act("foam")


def test_a_name_is_taken_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    library = Library(tmp_path)
    write_model_file(tmp_path / "Foam.bfmodel.zip", small_file("Foam"))
    with pytest.raises(ModelError, match="is taken"):
        library.add(small_file("foam"))
    library.add(small_file("foam", description="newer"), replace=True)
    assert [one.name for one in library.entries()] == ["foam"]
    assert library.card("foam").description == "newer"


@pytest.mark.parametrize("name", ["", " ", "a/b", "..", ".hidden", "a\\b", "a:b", "x" * 101, "a\n"])
def test_a_name_that_is_no_file_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="file's name"):
        Library(tmp_path).add(small_file().named(name))
    assert not os.listdir(tmp_path)


def test_a_damaged_entry_has_a_sentence_and_hides_nothing(tmp_path: Path) -> None:
    library = Library(tmp_path)
    library.add(small_file("good"))
    (tmp_path / "bad.bfmodel").mkdir()
    (tmp_path / "bad.bfmodel" / "card.json").write_bytes(changed(version=2))
    (tmp_path / "cut.bfmodel.zip").write_bytes(b"PK\x03\x04")
    write_model_file(tmp_path / "good.bfmodel.zip", small_file("good"))
    (tmp_path / "notes.txt").touch()
    found = {one.path.name: one for one in library.entries()}
    assert set(found) == {"bad.bfmodel", "cut.bfmodel.zip", "good.bfmodel", "good.bfmodel.zip"}
    assert [name for name, one in found.items() if one.card is not None] == ["good.bfmodel"]
    assert "Update Brushfire" in found["bad.bfmodel"].problem
    assert "zip" in found["cut.bfmodel.zip"].problem
    assert "another" in found["good.bfmodel.zip"].problem
    library.remove("bad")
    library.remove("cut")
    assert len(library.entries()) == 2


def test_the_folder_is_as_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRUSHFIRE_LIBRARY", str(tmp_path / "mine"))
    assert Library().folder == library_folder() == tmp_path / "mine"
    monkeypatch.delenv("BRUSHFIRE_LIBRARY")
    assert library_folder().parts[-2:] == ("brushfire", "library")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="The library is a folder"):
        Library(tmp_path / "file").add(small_file())


def test_a_snapshot_of_a_file_describes_itself() -> None:
    snapshot = small_file().model
    assert ModelSnapshot.from_bytes(snapshot.weights) == snapshot
