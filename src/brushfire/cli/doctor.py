"""What a report of a problem should say about this machine."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from brushfire.errors import SettingsError

if TYPE_CHECKING:
    import torch

    from brushfire.networks.kernels import Kernel

_PACKAGES = (
    "torch", "numpy", "scipy", "scikit-image", "tensorstore", "zarr", "yaozarrs", "tifffile",
    "imagecodecs", "safetensors", "numba", "triton", "monai", "timm", "torchvision",
    "psygnal", "napari", "vispy", "qtpy", "superqt", "pyqtgraph",
)  # fmt: skip
_BINDINGS = {
    "pyside6": ("PySide6", "PySide6-Essentials"),
    "pyqt6": ("PyQt6",),
    "pyqt5": ("PyQt5",),
    "pyside2": ("PySide2",),
}


def facts() -> list[tuple[str, str]]:
    """Return rows of what and value; imports torch, and neither napari nor Qt."""
    return [*_machine(), *_compute(), *_window(), *_versions()]


def _machine() -> list[tuple[str, str]]:
    from brushfire import __version__
    from brushfire.engine.device import cores
    from brushfire.session.memory import GIB, default_budget

    return [
        ("Brushfire", __version__),
        ("Python", f"{platform.python_version()} at {sys.executable}"),
        ("System", platform.platform()),
        ("Cores", str(cores())),
        ("Memory budget", f"{default_budget() / GIB:.1f} GiB unless a project says otherwise"),
    ]


def _compute() -> list[tuple[str, str]]:
    import torch

    from brushfire.engine.device import choose_device, cores

    device = choose_device(None)
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor()
    return [
        ("Device", f"{device} {name}".strip()),
        ("Engine", f"a thread of its own, {max(1, cores() - 1)} torch threads"),
        *_on_the_processor(),
        *_on_the_card(),
        ("OMP_WAIT_POLICY", os.environ["OMP_WAIT_POLICY"]),
    ]


def _on_the_processor() -> list[tuple[str, str]]:
    """Return the kernel for the processor, and whether it is right."""
    import torch

    kernel, told = _kernel("cpu", torch.float32)
    rows = [("Network kernel", told)]
    if kernel is not None:
        error = _difference(kernel)
        rows.append(("Network check", f"differs from plain convolutions by {error:.0e}"))
    return rows


def _on_the_card() -> list[tuple[str, str]]:
    """Return the kernel for each type of values on a CUDA device, if there is one."""
    import torch

    if not torch.cuda.is_available():
        return []
    return [
        (f"Kernel on the card, {str(dtype).removeprefix('torch.')}", _kernel("cuda", dtype)[1])
        for dtype in (torch.float32, torch.bfloat16)
    ]


def _kernel(device: str, dtype: torch.dtype) -> tuple[Kernel | None, str]:
    """Return the kernel for some values and why it was chosen, or None and why there is none."""
    from brushfire.networks.kernels import choice

    try:
        kernel, reason = choice.explain(device, dtype)
    except SettingsError as error:
        return None, str(error)
    return kernel, f"{kernel.name}: {reason}"


def _difference(kernel: Kernel) -> float:
    """Return the largest difference of a kernel from the plain form of a network, float64."""
    import torch

    from brushfire.networks.msd import MixedScaleDense

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 1, 32, 32, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        network = MixedScaleDense(1, 12, 1, range(1, 11), 2).double()
        network.kernel = kernel
        return float((network(x) - network.plain(x)).abs().max())


def _window() -> list[tuple[str, str]]:
    installed = {api: _first_version(names) for api, names in _BINDINGS.items()}
    there = [f"{api} {found}" for api, found in installed.items() if found]
    wanted = os.environ.get("QT_API")
    binding = ", ".join(there) or 'none: pip install "napari-brushfire[all]"'
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    needs_screen = platform.system() not in ("Darwin", "Windows")
    return [
        ("Qt binding", binding + (f" (QT_API={wanted})" if wanted else "")),
        ("Screen", screen or ("none" if needs_screen else "the desktop's")),
    ]


def _versions() -> list[tuple[str, str]]:
    return [(name, _first_version((name,)) or "not installed") for name in _PACKAGES]


def _first_version(names: tuple[str, ...]) -> str | None:
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None
