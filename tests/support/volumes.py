"""One small volume in every format, and the official test stores where they are at hand."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from brushfire.geometry import Box
from brushfire.volumes import create_multiscale

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SHAPE = (7, 33, 45)
DATA = np.random.default_rng(0).integers(0, 60000, SHAPE, dtype=np.uint16)


def quiet(done: int, total: int) -> None:
    """Take progress and show nothing."""


def never() -> bool:
    """Say that nobody cancelled."""
    return False


def write_zarr(folder: Path, data: NDArray[Any] = DATA, **options: Any) -> Path:
    path = folder / "volume.ome.zarr"
    options = {"voxel_size": (1.0, 0.5, 0.5), "name": "volume", "chunk": (4, 16, 16), **options}
    with create_multiscale(path, shape=data.shape[-3:], dtype=data.dtype, **options) as writer:
        writer.write(Box.of_shape(data.shape[-3:]), data)
        writer.build_levels(budget_bytes=1 << 20, progress=quiet, cancelled=never)
    return path


def write_tiff(folder: Path, data: NDArray[Any] = DATA, **options: Any) -> Path:
    path = folder / f"volume{options.pop('suffix', '.tif')}"
    tifffile.imwrite(path, data, **options)
    return path


def write_apart(folder: Path) -> Path:
    """Write pages one by one, so that headers lie between them."""
    path = folder / "volume.tif"
    with tifffile.TiffWriter(path) as tif:
        for plane in DATA:
            tif.write(plane, contiguous=False, metadata=None)
    return path


def write_series(folder: Path) -> Path:
    """Write each page as an image of its own."""
    path = folder / "volume.tif"
    with tifffile.TiffWriter(path) as tif:
        for plane in DATA:
            tif.write(plane, contiguous=False)
    return path


def write_slices(folder: Path, **options: Any) -> Path:
    target = folder / "slices"
    target.mkdir()
    for z, plane in enumerate(DATA, start=5):
        tifffile.imwrite(target / f"slice_{z}.tif", plane, **options)
    return target


def write_npy(folder: Path, data: NDArray[Any] = DATA) -> Path:
    np.save(folder / "volume.npy", data)
    return folder / "volume.npy"


def as_dask(folder: Path) -> Any:
    return pytest.importorskip("dask.array").from_array(DATA, chunks=(3, 16, 16))


def as_zarr(folder: Path) -> Any:
    import zarr

    array = zarr.create_array(folder / "a.zarr", shape=SHAPE, chunks=(4, 16, 16), dtype="uint16")
    array[:] = DATA
    return array


FORMATS: dict[str, Callable[[Path], Any]] = {
    "zarr 0.4": lambda p: write_zarr(p, version="0.4"),
    "zarr 0.5": lambda p: write_zarr(p, version="0.5"),
    "zarr 0.5 sharded": lambda p: write_zarr(p, version="0.5", shard=(8, 32, 48)),
    "zarr 0.5 channels": lambda p: write_zarr(p, DATA[None], channels=["grey"]),
    "tiff plain": write_tiff,
    "tiff big-endian": lambda p: write_tiff(p, byteorder=">"),
    "tiff zlib strips": lambda p: write_tiff(p, compression="zlib", predictor=True, rowsperstrip=8),
    "tiff lzw": lambda p: write_tiff(p, compression="lzw"),
    "tiff tiles": lambda p: write_tiff(p, tile=(16, 32)),
    "tiff zlib tiles": lambda p: write_tiff(p, tile=(16, 16), compression="zlib"),
    "tiff pages apart": write_apart,
    "tiff one series a page": write_series,
    "bigtiff": lambda p: write_tiff(p, bigtiff=True),
    "imagej": lambda p: write_tiff(p, imagej=True, metadata={"axes": "ZYX"}),
    "ome-tiff": lambda p: write_tiff(p, suffix=".ome.tif", metadata={"axes": "ZYX"}),
    "folder": write_slices,
    "folder zlib": lambda p: write_slices(p, compression="zlib", rowsperstrip=10),
    "npy": write_npy,
    "npy fortran": lambda p: write_npy(p, np.asfortranarray(DATA)),
    "npy big-endian": lambda p: write_npy(p, DATA.astype(">u2")),
    "numpy": lambda p: DATA,
    "memmap": lambda p: np.load(write_npy(p), mmap_mode="r"),
    "dask": as_dask,
    "zarr array": as_zarr,
    "five axes": lambda p: DATA[None, None],
}


def shared_data(name: str) -> Path:
    """Return a file of the shared data, or skip the test with a sentence."""
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    path = Path(os.environ.get("BRUSHFIRE_DATA", beside)) / name
    if not path.exists():
        pytest.skip(f"{name} is not at hand: set BRUSHFIRE_DATA to the folder that holds it.")
    return path


def unpack(parts: tuple[str, ...], target: Path) -> Path:
    """Unpack the official test stores whose path begins with one of ``parts``."""
    with tarfile.open(shared_data("formats.tar.gz")) as tar:
        wanted = [m for m in tar.getmembers() if m.name.removeprefix("./").startswith(parts)]
        tar.extractall(target, members=wanted, filter="data")
    return target / "formats"
