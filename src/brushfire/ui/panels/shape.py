"""Fields of a network's shape: what segments and what restores are chosen by the same ones."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QLineEdit, QSpinBox, QVBoxLayout, QWidget

from brushfire.errors import SettingsError
from brushfire.networks.architectures import ARCHITECTURES, ENCODERS, MSD, check_installed
from brushfire.networks.settings import MAX_WINDOW, NetworkSettings
from brushfire.ui.widgets import (
    Choice,
    ElidedLabel,
    button,
    column,
    count,
    field_name,
    form_in,
    label,
    row,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from brushfire.networks.architectures import Architecture
    from brushfire.networks.facts import NetworkFacts
    from brushfire.session import Appraisal
    from brushfire.ui.connections import Connections
    from brushfire.ui.controller import Controller

ASK_MS = 200
"""Somebody who turns a number on and on is answered at the end."""
LOOKING = "Looking what it would be…"
SEES = {2: "slice by slice", 3: "slabs, in 3D"}


class ShapeForm(QWidget):
    """Fields of a network, what it would be, and a button that applies them.

    Each kind of form adds fields of its own, and says what the session is asked.

    Parameters
    ----------
    controller : Controller
        The window's controller.
    connections : Connections
        Where connections are remembered until the dock goes.
    """

    SLICES: ClassVar[Mapping[int, tuple[int, ...]]]
    """What is offered for each number of dimensions."""
    SLICES_TIP: ClassVar[str]
    NOTE: ClassVar[str]
    """What another network means."""

    def __init__(self, controller: Controller, connections: Connections) -> None:
        super().__init__()
        self.setProperty("role", "plain")
        self._controller = controller
        self._wanted = self._filling = False
        self._appraisal: Appraisal | None = None
        self._ask_soon = QTimer(self)
        self._ask_soon.setSingleShot(True)
        self._ask_soon.setInterval(ASK_MS)
        self._ask_soon.timeout.connect(self._ask)
        self._make_fields()
        self.facts = ElidedLabel()
        self.problem = label("", role="warning")
        self.apply = button("Apply", self._apply, tip="Learn with this network from now on")
        self._compose()
        self.architecture.currentIndexChanged.connect(self._on_architecture)
        self.axes.currentIndexChanged.connect(self._on_axes)
        for choice in (self.slices, self.encoder):
            choice.currentIndexChanged.connect(self._on_change)
        for spin in (self.depth, self.width_, self.window_):
            spin.valueChanged.connect(self._on_change)
        self.dilations.textChanged.connect(self._on_change)
        connections.connect(controller.session.events.network_appraised, self._on_appraised)

    # ------------------------------------------------------------------ what each kind says
    @property
    def _now(self) -> NetworkSettings:
        """The network that learns now."""
        raise NotImplementedError

    def _another(self, architecture: str) -> NetworkSettings:
        """Return another network of its usual size."""
        raise NotImplementedError

    def _usual_slices(self, axes: int) -> int:
        """Return how many slices are seen in so many dimensions, where nobody says."""
        raise NotImplementedError

    @property
    def chosen(self) -> tuple[NetworkSettings, Any]:
        """What the fields say of a network and of how it learns.

        Raises
        ------
        SettingsError
            If there is no such network.
        """
        raise NotImplementedError

    def _appraise(self, network: NetworkSettings, learning: Any) -> None:
        """Ask the session what that would be."""
        raise NotImplementedError

    def _configure(self, network: NetworkSettings, learning: Any) -> None:
        """Let the session learn so."""
        raise NotImplementedError

    # ------------------------------------------------------------------ building
    def _make_fields(self) -> None:
        self.architecture = Choice("Which network learns")
        for name, kind in ARCHITECTURES.items():
            self.architecture.add(kind.title, name, kind.text)
        self.encoder = Choice("What the decoder builds on")
        for name, encoder in ENCODERS.items():
            self.encoder.add(encoder.title, name, encoder.text)
        self.depth, self.width_ = QSpinBox(), QSpinBox()
        self.dilations = QLineEdit()
        self.dilations.setToolTip("Such as 1-10, or 1, 2, 4, 8: layers take them in turn")
        self.axes = Choice("Whether it computes in planes or in space")
        self.axes.add(SEES[2], 2, "Two dimensions: quick; neighbouring slices are further inputs.")
        self.axes.add(SEES[3], 3, "Three dimensions: slower, and takes several times the memory.")
        self.slices = Choice(self.SLICES_TIP)
        self.window_ = QSpinBox()
        self.window_.setRange(32, MAX_WINDOW)
        self.window_.setSingleStep(32)
        self.window_.setToolTip(
            "Side in pixels of the fixed windows in which it computes; less takes less memory"
        )
        for field in (self.depth, self.width_, self.dilations, self.window_):
            field.setMinimumWidth(1)

    def _rows(self) -> list[tuple[str, QWidget]]:
        """Return all fields with their names, from top to bottom."""
        return [
            ("Network", self.architecture), ("Encoder", self.encoder), ("Depth", self.depth),
            ("Width", self.width_), ("Dilations", self.dilations), ("Sees", self.axes),
            ("Slices", self.slices), ("Window", self.window_),
        ]  # fmt: skip

    def _compose(self) -> None:
        fields = QWidget()
        fields.setProperty("role", "plain")
        form = form_in(fields)
        self._names: dict[QWidget, Any] = {}
        for name, field in self._rows():
            self._names[field] = field_name(name)
            form.addRow(self._names[field], field)
        layout = column(self, margins=(4, 0, 0, 0))
        layout.addWidget(fields)
        layout.addWidget(self.facts)
        layout.addWidget(self.problem)
        layout.addWidget(label(self.NOTE))
        layout.addLayout(row(self.apply, QVBoxLayout(), stretch=1))
        self.problem.hide()
        self._look_for_packages()

    # ------------------------------------------------------------------ showing
    def open(self) -> None:
        """Say what the network would be: the fold was opened."""
        self._look_for_packages()
        self._on_change()

    def _look_for_packages(self) -> None:
        for name, kind in ARCHITECTURES.items():
            self.architecture.refuse(name, why_not(check_installed, kind))

    def update_settings(self) -> None:
        """Show the settings of the session."""
        self._filling = True
        self._fill()
        self._grey()
        self._filling = False
        self._forget()
        if self.isVisible():
            self._ask_soon.start()

    def _fill(self) -> None:
        network = self._now
        self.architecture.choose(network.architecture)
        if network.encoder is not None:
            self.encoder.choose(network.encoder.name)
        self._fit_fields()
        self.depth.setValue(network.depth)
        self.width_.setValue(network.width)
        self.dilations.setText(format_dilations(network.dilations))
        self.axes.choose(network.axes)
        self._fill_slices(network.slices)
        self.window_.setValue(network.window)

    @property
    def _kind(self) -> Architecture:
        return ARCHITECTURES[self.architecture.chosen]

    @property
    def _encodes(self) -> bool:
        return "encoder" in self._kind.arguments

    def _fit_fields(self) -> None:
        """Show the fields that the chosen network has, within its bounds."""
        kind, usual = self._kind, self._another(self.architecture.chosen)
        msd = kind.name == MSD
        words = ("Depth", "Width") if msd else ("Resolutions", "Channels")
        tips = ("Layers of the network", "Maps that each layer adds")
        if not msd:
            tips = ("Resolutions at which it computes", "Channels at the finest resolution")
        for spin, span, value, name, tip in zip(
            (self.depth, self.width_), (kind.depth, kind.width), (usual.depth, usual.width),
            words, tips, strict=True,
        ):  # fmt: skip
            spin.setRange(span.lowest, span.highest)
            spin.setSingleStep(span.step)
            spin.setValue(value)
            spin.setEnabled(span.lowest < span.highest)
            spin.setToolTip(tip if spin.isEnabled() else f"{tip}: {kind.title} has no other number")
            self._names[spin].setText(name)
        if len(kind.axes) == 1:
            self.axes.choose(kind.axes[0])

    def _fill_slices(self, wanted: int) -> None:
        """Offer numbers of slices; one of another origin joins them."""
        usual = self.SLICES[self.axes.chosen]
        self.slices.clear()
        for number in sorted({*usual, wanted}):
            self.slices.add(str(number), number, self.SLICES_TIP)
        self.slices.choose(wanted)

    def _grey(self) -> None:
        """Grey out what cannot be, and hide what this network does not have."""
        kind, now = self._kind, self._now
        shape = now if now.architecture == kind.name else self._another(kind.name)
        windows = kind.in_windows or shape.norm != "batch"
        self._show_rows(
            {
                self.encoder: self._encodes,
                self.dilations: kind.name == MSD,
                self.axes: len(kind.axes) > 1,
                self.window_: windows,
            }
        )

    def _show_rows(self, shown: Mapping[QWidget, bool]) -> None:
        for field, there in shown.items():
            field.setVisible(there)
            self._names[field].setVisible(there)

    def _on_architecture(self, *_: object) -> None:
        if not self._filling:
            self._filling = True
            self._fit_fields()
            self._follow_axes()
            self._filling = False
            self._on_change()

    def _on_axes(self, *_: object) -> None:
        if not self._filling:
            self._filling = True
            self._follow_axes()
            self._filling = False
            self._on_change()

    def _follow_axes(self) -> None:
        """Take what is usual in so many dimensions, where that is not what was asked before."""
        now, axes = self._now, self.axes.chosen
        if self.slices.chosen not in self.SLICES[axes]:
            self._fill_slices(now.slices if now.axes == axes else self._usual_slices(axes))
        else:
            self._fill_slices(self.slices.chosen)

    def _on_change(self, *_: object) -> None:
        if not self._filling:
            self._filling = True
            self._grey()
            self._filling = False
            self._forget()
            self._ask_soon.start()

    def _forget(self) -> None:
        self._appraisal, self._wanted = None, False
        self.facts.set_text(LOOKING)
        self._show_problem("")

    def _show_problem(self, text: str) -> None:
        self.problem.setText(text)
        self.problem.setVisible(bool(text))
        self.apply.setEnabled(not text)

    # ------------------------------------------------------------------ asking and acting
    @property
    def _network(self) -> NetworkSettings:
        """The network that the fields say, with what they do not ask for as it is.

        Raises
        ------
        SettingsError
            If there is no such network.
        """
        now, name = self._now, self.architecture.chosen
        return replace(
            now if name == now.architecture else self._another(name),
            depth=self.depth.value(),
            width=self.width_.value(),
            dilations=parse_dilations(self.dilations.text()) if name == MSD else now.dilations,
            axes=self.axes.chosen,
            slices=self.slices.chosen,
            window=self.window_.value(),
            arguments=self._arguments,
            **self._more,
        )

    @property
    def _more(self) -> dict[str, Any]:
        """What further fields say of the network."""
        return {}

    @property
    def _arguments(self) -> str:
        """Further arguments of the network."""
        if self._encodes:
            return json.dumps({"encoder": self.encoder.chosen})
        now = self._now
        shape = (self._kind.name, self.depth.value(), self.width_.value(), self.axes.chosen)
        # They may name the width of each resolution, so that they fit one shape only.
        same = shape == (now.architecture, now.depth, now.width, now.axes)
        return now.arguments if same else "{}"

    def _ask(self) -> None:
        try:
            network, learning = self.chosen
        except SettingsError as error:
            self.facts.set_text("")
            self.problem.setText(str(error))
            self.problem.show()
            return  # and Apply says the same
        self._appraise(network, learning)

    def _on_appraised(self, found: Appraisal) -> None:
        try:
            asked = self.chosen
        except SettingsError:
            return
        if (found.network, found.learning) != asked:
            return  # an older question, or another form's
        self._appraisal = found
        self.facts.set_text("" if found.facts is None else words_of(found.facts))
        self.facts.setToolTip("" if found.facts is None else details_of(found.facts))
        self._show_problem(found.problem)
        if self._wanted and not found.problem:
            self._configure(*asked)
        self._wanted = False

    def _apply(self) -> None:
        """Apply what fits: at once where that is known, otherwise as soon as it is."""
        try:
            asked = self.chosen
        except SettingsError:
            self._controller.attempt(lambda: self.chosen)  # which tells it
            return
        if self._appraisal is not None:
            self._configure(*asked)
            return
        self._wanted = True
        self._ask_soon.stop()
        self._ask()


def why_not(check: Callable[..., object], *what: Any, **more: Any) -> str:
    """Return why something cannot be, as what checks or makes it says, or ""."""
    try:
        check(*what, **more)
    except SettingsError as error:
        return str(error)
    return ""


def words_of(facts: NetworkFacts) -> str:
    """Return how large a network is, in a line."""
    weights = facts.parameters
    number = count(weights) if weights < 100_000 else f"{weights / 1e6:.1f} M"
    return f"{number} weights · about {facts.least_bytes / 2**20:.0f} MiB at work"


def details_of(facts: NetworkFacts) -> str:
    """Return what else there is to know of a network, line by line."""
    sees = f"Sees up to {facts.reach} pixels around each"
    if facts.window is not None:
        sees = f"Computes in windows of {facts.window} pixels"
    return "\n".join(
        [
            f"A small part of a slice takes {facts.tile_bytes / 2**20:.0f} MiB",
            f"A step on a small patch takes {facts.step_bytes / 2**20:.0f} MiB",
            sees,
        ]
    )


def parse_dilations(text: str) -> tuple[int, ...]:
    """Return the dilations in ``text``, such as "1-10" or "1, 2, 4, 8".

    Raises
    ------
    SettingsError
        If a part is neither a whole number nor a range.
    """
    found: list[int] = []
    for part in text.replace(";", ",").split(","):
        first, dash, last = part.strip().partition("-")
        if not first.strip().isdigit() or (dash and not last.strip().isdigit()):
            raise SettingsError(
                "Dilations are whole numbers or ranges, with commas between them.",
                got=text or "nothing",
                do="Write for example 1-10, or 1, 2, 4, 8.",
            )
        found.extend(range(int(first), int(last or first) + 1))
    return tuple(found)


def format_dilations(values: tuple[int, ...]) -> str:
    """Return ``values`` as the text that `parse_dilations` reads."""
    if len(values) > 2 and values == tuple(range(values[0], values[-1] + 1)):
        return f"{values[0]}-{values[-1]}"
    return ", ".join(str(value) for value in values)
