"""The one place that opens chunked arrays: tensorstore with a bounded, shared cache."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import re
import secrets
from typing import TYPE_CHECKING, Any

import tensorstore

from brushfire.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np

# Decoded chunks kept for all open volumes together. A screen of 1600 x 1000 pixels over chunks of
# 256 x 256 x 16 voxels of 16 bits holds 60 MB.
CACHE_BYTES = 192 << 20
# Writers keep what they need to go on with a chunk that was written in part.
WRITER_CACHE_BYTES = 32 << 20
# What the allocator keeps for each thread that decodes or encodes counts against a budget too:
# measured, a block cost nine times its size on 16 threads and three times on two.
THREAD_BYTES = 16 << 20
DRIVERS = {2: "zarr", 3: "zarr3"}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)


@functools.cache
def shared_context(*, write: bool = False) -> Any:
    """Return this process's tensorstore context, for readers or writers: its cache is bounded."""
    threads = max(2, os.cpu_count() or 1)
    return _context(WRITER_CACHE_BYTES if write else CACHE_BYTES, threads, 4 * threads)


def bounded_context(cache_bytes: int) -> Any:
    """Return a new tensorstore context whose arrays keep at most ``cache_bytes`` together."""
    most = max(2, os.cpu_count() or 1)
    threads = max(2, min(most, cache_bytes // THREAD_BYTES))
    return _context(cache_bytes, threads, threads)


def _context(cache_bytes: int, copies: int, reads: int) -> Any:
    return tensorstore.Context(
        {
            "cache_pool": {"total_bytes_limit": cache_bytes},
            "data_copy_concurrency": {"limit": copies},
            "file_io_concurrency": {"limit": reads},
        }
    )


def open_array(path: Path, zarr_format: int, context: Any, *, write: bool = False) -> Any:
    """Open an existing zarr array.

    Parameters
    ----------
    path : Path
        Folder of the array.
    zarr_format : int
        2 or 3.
    context : tensorstore.Context
        Holds the pool for its chunks.
    write : bool
        Writers look for changes at each access. Readers trust what they decoded since opening.
    """
    spec = {"driver": DRIVERS[zarr_format], "kvstore": {"driver": "file", "path": f"{path}/"}}
    if not write:
        spec["recheck_cached_data"] = "open"
    return tensorstore.open(spec, open=True, read=True, write=write, context=context).result()


def create_array(
    path: Path,
    zarr_format: int,
    context: Any,
    *,
    shape: Sequence[int],
    dtype: np.dtype[Any],
    chunk: Sequence[int],
    shard: Sequence[int] | None,
    dimension_names: Sequence[str],
) -> Any:
    """Create a compressed zarr array filled with zero; chunks that stay zero take no space.

    Parameters
    ----------
    shard : sequence of int or None
        Voxels in one file, a multiple of ``chunk``; only for zarr format 3.
    """
    metadata = (
        _metadata_v2(shape, dtype, chunk)
        if zarr_format == 2
        else _metadata_v3(shape, dtype, chunk, shard, dimension_names)
    )
    spec = {
        "driver": DRIVERS[zarr_format],
        "kvstore": {"driver": "file", "path": f"{path}/"},
        "metadata": metadata,
    }
    with storage_errors(path):
        return tensorstore.open(spec, create=True, open=False, context=context).result()


def _metadata_v2(
    shape: Sequence[int], dtype: np.dtype[Any], chunk: Sequence[int]
) -> dict[str, Any]:
    return {
        "shape": list(shape),
        "dtype": dtype.newbyteorder("<").str,
        "chunks": list(chunk),
        "dimension_separator": "/",
        "compressor": {"id": "blosc", "cname": "zstd", "clevel": 3, "shuffle": 1},
        "filters": None,
        "order": "C",
        "fill_value": 0,
    }


def _metadata_v3(
    shape: Sequence[int],
    dtype: np.dtype[Any],
    chunk: Sequence[int],
    shard: Sequence[int] | None,
    dimension_names: Sequence[str],
) -> dict[str, Any]:
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    blosc = {"cname": "zstd", "clevel": 3, "shuffle": "shuffle"}
    codecs: list[dict[str, Any]] = [little, {"name": "blosc", "configuration": blosc}]
    if shard is not None:
        inner = {
            "chunk_shape": list(chunk),
            "codecs": codecs,
            "index_codecs": [little, {"name": "crc32c"}],
        }
        codecs = [{"name": "sharding_indexed", "configuration": inner}]
    return {
        "shape": list(shape),
        "data_type": dtype.name,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": list(shard or chunk)},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": codecs,
        "fill_value": 0,
        "dimension_names": list(dimension_names),
    }


def write_json(path: Path, value: object) -> None:
    """Write ``value`` so that a reader sees the old file or the new one, never a part."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def storage_errors(path: str | Path) -> Iterator[None]:
    """Turn what the operating system says while writing ``path`` into a `StorageError`."""
    try:
        yield
    except OSError as error:
        raise storage_error(path, error.errno, str(error)) from error
    except ValueError as error:
        # tensorstore raises ValueError for everything; the cause of a failed call is in its text.
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if code is None:
            raise
        raise storage_error(path, int(code.group(1)), str(error)) from error


def storage_error(path: str | Path, code: int | None, text: str) -> StorageError:
    """Return the sentence for an operating system error at ``path``."""
    if code in _FULL:
        return StorageError(
            "A disk has room for what is written to it.",
            got=f"no space left for {path}",
            do="Free some space or choose another folder; what was written so far is kept.",
        )
    if code in _CLOSED:
        return StorageError(
            "A folder that is written to is not read-only.",
            got=str(path),
            do="Choose a folder of your own, or change its permissions.",
        )
    reason = os.strerror(code) if code else text.splitlines()[0][:200]
    return StorageError(
        "A folder can be written to.",
        got=f"{path} ({reason})",
        do="Check that the disk is connected and that the path leads to a folder.",
    )
