"""Choosing the network that learns, in the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brushfire.networks import architectures

if TYPE_CHECKING:
    import pytest

    from .conftest import Window


def test_a_network_is_chosen_appraised_and_learns(
    painted: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn, session = painted.dock.learn, painted.session
    form, fold = learn.form, learn.network.button
    painted.dock.open_step("learn")
    assert not form.isVisible()
    there = architectures.find_spec
    monkeypatch.setattr(
        architectures, "find_spec", lambda name: None if name == "monai" else there(name)
    )
    fold.setChecked(True)
    assert 'pip install "napari-brushfire[networks]"' in form.architecture.refusal("dynunet")
    assert form.architecture.refusal("msd") == ""
    assert "no linear layers" in form.schedule.refusal("low-rank")
    painted.wait(lambda: "weights" in form.facts.whole)
    small = form.facts.whole

    monkeypatch.undo()
    fold.setChecked(False)
    fold.setChecked(True)
    assert form.architecture.refusal("dynunet") == ""
    form.architecture.choose("swin_unetr")
    assert form.window_.isVisible()
    assert form.schedule.refusal("low-rank") == ""
    form.schedule.choose("low-rank")
    form.architecture.choose("dynunet")
    assert (form.depth.value(), form.width_.value(), form.schedule.chosen) == (5, 16, "all")
    assert not form.dilations.isVisible()
    assert not form.window_.isVisible()
    form.width_.setValue(128)
    form.axes.choose(3)
    assert not form.features.isEnabled()
    assert "3D" in form.features.toolTip()
    assert [form.slices.itemData(at) for at in range(form.slices.count())] == [7, 15, 31]
    painted.wait(lambda: form.problem.isVisible())
    assert "The network may take 256 MiB" in form.problem.text()
    assert not form.apply.isEnabled()

    form.axes.choose(2)
    assert form.features.isChecked()
    form.features.setChecked(False)
    form.slices.choose(1)
    form.depth.setValue(3)
    form.width_.setValue(4)
    form.schedule.choose("graded")
    assert form.apply.isEnabled()
    form.apply.click()  # before anybody has said what it is
    painted.wait(lambda: session.settings.network.architecture == "dynunet")
    assert session.settings.learning.schedule == "graded"
    assert form.facts.whole not in ("", small)
    painted.learn()
    assert session._record.snapshot.settings == session.settings.network
    assert session.settings.network.depth == 3


def test_an_encoder_is_chosen_and_says_what_is_missing(
    painted: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = painted.dock.learn.form
    painted.dock.open_step("learn")
    there = architectures.find_spec
    found: dict[str, object] = {"timm": None, "monai": there}
    monkeypatch.setattr(architectures, "find_spec", lambda name: found.get(name, there))
    painted.dock.learn.network.button.setChecked(True)
    assert "comes from the package timm" in form.architecture.refusal("encoder_unet")
    assert 'pip install "napari-brushfire[encoders]"' in form.architecture.refusal("encoder_unet")
    assert not form.encoder.isVisible()

    found["timm"] = there
    form.open()
    assert form.architecture.refusal("encoder_unet") == ""
    form.architecture.choose("encoder_unet")
    assert form.encoder.isVisible()
    assert form.pretrained.isVisible()
    assert form.pretrained.isChecked()
    assert not form.depth.isEnabled()
    assert form.window_.isVisible()
    form.encoder.choose("efficientnet_b0")
    form.pretrained.setChecked(False)
    network, learning = form.chosen
    assert network.arguments == '{"encoder": "efficientnet_b0"}'
    assert not learning.pretrained
    # Where the package is there by name only, importing it says why not.
    painted.wait(lambda: form.problem.isVisible() or "weights" in form.facts.whole)
    form.architecture.choose("msd")
    assert not form.encoder.isVisible()
    assert form.chosen[1].pretrained
