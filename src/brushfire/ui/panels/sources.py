"""Fields for volumes beside the one that is open: a file, a folder, or a layer of the window."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QLineEdit, QMenu, QVBoxLayout, QWidget

from brushfire.ui.controller import layer_source
from brushfire.ui.layers import role_of
from brushfire.ui.widgets import button, column, label, row
from brushfire.volumes import open_volume

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Layer
    from qtpy.QtWidgets import QPushButton

    from brushfire.ui.controller import Controller

FILTER = "TIFF (*.tif *.tiff *.btf);;All files (*)"


class _Sources(QWidget):
    """A button with a menu of where a volume can come from.

    Parameters
    ----------
    controller : Controller
        The window's controller.
    title : str
        Of the dialogs.
    several : bool
        Whether several files are chosen at once.
    """

    def __init__(self, controller: Controller, title: str, *, several: bool = False) -> None:
        super().__init__()
        self.setProperty("role", "plain")
        self._controller = controller
        self._title = title
        self._several = several
        self.button: QPushButton

    def _take(self, source: Any, name: str) -> None:
        """Take a path, or a layer, that was chosen."""
        raise NotImplementedError

    def _layers(self) -> list[Layer]:
        own = self._controller.layers.image
        return [
            one
            for one in self._controller.viewer.layers
            if isinstance(one, Image) and one not in own and role_of(one) in (None, "image")
        ]

    def _ask(self) -> None:
        menu = QMenu(self)
        menu.addAction("TIFF files…" if self._several else "TIFF file…", self._ask_file)
        menu.addAction("OME-Zarr or folder of TIFFs…", self._ask_folder)
        layers = self._layers()
        if layers:
            menu.addSeparator()
        for layer in layers:
            menu.addAction(f"Layer “{layer.name[:32]}”", self._taker(layer))
        menu.popup(self.button.mapToGlobal(self.button.rect().bottomLeft()))

    def _taker(self, layer: Layer) -> Callable[[], None]:
        return lambda: self._take(layer, f"Layer “{layer.name}”")

    def _ask_file(self) -> None:
        if self._several:
            paths, _ = QFileDialog.getOpenFileNames(self, self._title, "", FILTER)
        else:
            path, _ = QFileDialog.getOpenFileName(self, self._title, "", FILTER)
            paths = [path]
        for path in filter(None, paths):
            self._take(path, path)

    def _ask_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, self._title)
        if path:
            self._take(path, path)


class SourceField(_Sources):
    """One volume, by its path or as a layer.

    Parameters
    ----------
    controller, title
        As of `_Sources`.
    """

    def __init__(self, controller: Controller, title: str) -> None:
        super().__init__(controller, title)
        self._layer: Layer | None = None
        self.path = QLineEdit()
        self.path.setMinimumWidth(1)
        self.path.setAccessibleName(title)
        self.path.setToolTip(title)
        self.path.setPlaceholderText("a file, a folder or a layer")
        self.path.textEdited.connect(self._typed)
        self.button = button("…", self._ask, tip=title)
        self.button.setFixedWidth(30)
        self.setLayout(row(self.path, self.button, stretch=0))

    def value(self) -> Any:
        """Return the path or the volume; None where there is neither.

        Raises
        ------
        BrushfireError
            The layer is no grey image.
        """
        if self._layer is not None:
            return _volume_of(self._layer)
        return self.path.text().strip() or None

    def _typed(self, text: str) -> None:
        self._layer = None

    def _take(self, source: Any, name: str) -> None:
        self._layer = source if isinstance(source, Image) else None
        self.path.setText(name)


class PartsField(_Sources):
    """Several volumes, listed by name.

    Parameters
    ----------
    controller, title
        As of `_Sources`.

    Attributes
    ----------
    changed : Signal
        After volumes were added, or the list was cleared.
    """

    changed = Signal()

    def __init__(self, controller: Controller, title: str) -> None:
        super().__init__(controller, title, several=True)
        self._parts: list[tuple[Any, str]] = []
        self._refused = False
        self.names = label("", role="value")
        self.button = button("Add…", self._ask, tip=title)
        self.clear = button("Clear", self._clear, role="link", tip="Begin the list anew")
        layout = column(self, spacing=2)
        layout.addWidget(self.names)
        layout.addLayout(row(self.button, self.clear, QVBoxLayout(), stretch=2))
        self._show()

    @property
    def empty(self) -> bool:
        """Whether nothing was chosen."""
        return not self._parts

    def value(self) -> list[Any]:
        """Return the paths and volumes, see `SourceField.value`."""
        return [_volume_of(one) if isinstance(one, Image) else one for one, _ in self._parts]

    def refuse(self, reason: str) -> None:
        """Let nothing be chosen, and say why; "" lets it again."""
        self._refused = bool(reason)
        self.button.setEnabled(not reason)
        self.button.setToolTip(reason or self._title)
        self._show()

    def add(self, path: str) -> None:
        """Add a file or folder."""
        self._take(path, path)

    def _take(self, source: Any, name: str) -> None:
        short = name if isinstance(source, Image) else Path(name).name
        self._parts.append((source, short))
        self._show()
        self.changed.emit()

    def _clear(self) -> None:
        self._parts.clear()
        self._show()
        self.changed.emit()

    def _show(self) -> None:
        self.names.setText(
            "\n".join(f"{at + 1}  {name}" for at, (_, name) in enumerate(self._parts))
        )
        for one in (self.names, self.clear):
            one.setVisible(bool(self._parts) and not self._refused)


def _volume_of(layer: Layer) -> Any:
    """Return a volume of what a layer shows."""
    if role_of(layer) == "image":
        source = layer.metadata["brushfire"].get("source")
        if source:
            return str(source)
    data, options = layer_source(layer)
    return open_volume(data, name=layer.name, **options)
