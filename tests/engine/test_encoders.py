"""Networks with ImageNet encoders in the engine: where timm is missing, and where weights are."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, load_file, save

from brushfire.engine import messages as m
from brushfire.errors import ModelError, SettingsError
from brushfire.networks import ModelSnapshot, SegmentationModel, architectures
from brushfire.networks.architectures import ENCODERS
from brushfire.networks.settings import NetworkSettings
from brushfire.networks.snapshot import describe
from support.encoders import fill_cache, skip_without_timm
from support.engines import LEARNING, collect, has, view

NETWORK = NetworkSettings(6, 8, features=False, architecture="encoder_unet")
RANDOM = replace(LEARNING, pretrained=False)
FETCHING = m.PhaseChanged("fitting", "Fetching ResNet-18, which is done once.")


@pytest.fixture
def without_timm(monkeypatch):
    there = architectures.find_spec
    monkeypatch.setattr(
        architectures, "find_spec", lambda name: None if name == "timm" else there(name)
    )


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Return the cache of a hub that cannot be reached: an empty folder."""
    skip_without_timm()
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def learned(make_engine, strokes, **settings):
    """Return an engine that shows a first model, and that model."""
    engine = make_engine(**settings)
    engine.send(m.SetAnnotations(strokes.snapshot()))
    engine.send(m.Train())
    return engine, collect(engine, has(m.ModelShown))[-1].snapshot


def named_so(snapshot: ModelSnapshot) -> ModelSnapshot:
    """Return a model file that says it is a network with an encoder."""
    about = describe(revision=9, settings=NETWORK, channels=1, classes=(1, 2), halo=64, metrics={})
    return ModelSnapshot.from_bytes(save(load(snapshot.weights), metadata=about))


def failure(events):
    ended = events[-1]
    assert (ended.turn, ended.outcome) == ("learning", "failed")
    return ended.error


def test_a_model_file_whose_package_is_missing_changes_nothing(make_engine, strokes, without_timm):
    engine, model = learned(make_engine, strokes)
    engine.send(m.Restore(named_so(model)))
    error = failure(collect(engine, has(m.TurnEnded)))
    assert isinstance(error, SettingsError)
    assert 'pip install "napari-brushfire[encoders]"' in str(error)
    engine.send(view())
    tile = collect(engine, has(m.TilePredicted))[-1].tile
    assert tile.revision >= model.revision
    engine.send(m.Train())
    collect(engine, has(m.Stepped))


def test_a_network_whose_package_is_missing_ends_learning_and_nothing_else(
    make_engine, strokes, without_timm
):
    engine, model = learned(make_engine, strokes)
    engine.send(m.Configure(NETWORK, LEARNING))
    assert "comes from the package timm" in str(failure(collect(engine, has(m.TurnEnded))))
    engine.send(view())
    assert collect(engine, has(m.TilePredicted))[-1].tile.revision >= model.revision


def test_a_hub_that_cannot_be_reached_is_told_and_random_weights_learn(make_engine, strokes, hub):
    engine, model = learned(make_engine, strokes)
    engine.send(m.Configure(NETWORK, LEARNING))
    error = failure(collect(engine, has(m.TurnEnded)))
    assert isinstance(error, ModelError)
    for said in ("huggingface.co/timm/resnet18.a1_in1k", str(hub), "random weights"):
        assert said in str(error)
    engine.send(view())
    assert collect(engine, has(m.TilePredicted))[-1].tile.revision >= model.revision
    engine.send(m.Configure(NETWORK, RANDOM))
    engine.send(m.Train())
    assert collect(engine, has(m.ModelShown))[-1].snapshot.settings == NETWORK


def test_what_is_in_the_cache_begins_learning_and_a_saved_model_needs_it_no_more(
    make_engine, strokes, hub
):
    network = replace(NETWORK, arguments=json.dumps({"encoder": "mobilenetv2_100"}))
    path = fill_cache(hub, ENCODERS["mobilenetv2_100"])
    _, model = learned(make_engine, strokes, network=network)
    found, given = load(model.weights), load_file(path)
    name = "blocks.0.0.conv_dw.weight"
    assert found[f"layers.net.encoder.{name}"].equal(given[name])
    one_channel = given["conv_stem.weight"].sum(1, keepdim=True)
    assert found["layers.net.encoder.conv_stem.weight"].allclose(one_channel)
    path.unlink()
    assert SegmentationModel.from_snapshot(model).settings == network
    again = make_engine(network=network)
    again.send(m.SetAnnotations(strokes.snapshot()))
    again.send(m.Restore(model))
    again.send(m.Train())
    collect(again, has(m.Stepped))


@pytest.mark.parametrize("wrong", ["pickle", "another", "cut"])
def test_a_file_that_is_not_the_encoder_s_is_told(make_engine, strokes, hub, wrong):
    path = fill_cache(hub, ENCODERS["resnet18"])
    if wrong == "pickle":
        path.unlink()
        torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, path)
    elif wrong == "another":
        path.write_bytes(save({"conv1.weight": torch.zeros(2, 3, 7, 7)}))
    else:
        path.write_bytes(path.read_bytes()[:-1000])
    engine = make_engine(network=NETWORK)
    engine.send(m.SetAnnotations(strokes.snapshot()))
    engine.send(m.Train())
    error = failure(collect(engine, has(m.TurnEnded)))
    assert isinstance(error, ModelError)
    assert str(path) in str(error)


def test_tiles_come_while_weights_are_fetched(make_engine, strokes, hub, monkeypatch):
    import huggingface_hub

    engine, _ = learned(make_engine, strokes)
    arrived = threading.Event()

    def slow(*_: str) -> str:
        assert arrived.wait(60)
        return str(fill_cache(hub, ENCODERS["resnet18"]))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", slow)
    engine.send(m.Configure(NETWORK, LEARNING))
    collect(engine, lambda events: FETCHING in events)
    engine.send(view(1))
    collect(engine, has(m.TilePredicted))
    engine.send(m.Pause())
    collect(engine, lambda events: m.PhaseChanged("paused") in events)
    engine.send(m.Train())
    collect(engine, lambda events: FETCHING in events)
    arrived.set()
    assert collect(engine, has(m.ModelShown))[-1].snapshot.settings == NETWORK


def test_an_engine_ends_while_weights_are_fetched(make_engine, strokes, hub, monkeypatch):
    import huggingface_hub

    arrived = threading.Event()
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_: arrived.wait(60))
    engine = make_engine(network=NETWORK)
    engine.send(m.SetAnnotations(strokes.snapshot()))
    engine.send(m.Train())
    collect(engine, lambda events: FETCHING in events)
    assert engine.close(timeout=10)
    arrived.set()
