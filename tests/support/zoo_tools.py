"""The tools of the BioImage Model Zoo, ready to use."""

from __future__ import annotations

import inspect
import re
import textwrap
import warnings
from functools import cache
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import FunctionType, ModuleType


@cache
def spec() -> ModuleType:
    """Return bioimageio.spec, able to load descriptions.

    Some of its serializers hand over one argument too many, which pydantic 2.14 refuses.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what its own dependencies deprecate
        tools: ModuleType = pytest.importorskip("bioimageio.spec")
        from bioimageio.spec._internal import io_packaging
        from bioimageio.spec._internal import validated_string_with_inner_node as inner
        from bioimageio.spec.model import v0_4
    _without_info(io_packaging.package_file_descr_serializer)
    _without_info(v0_4.package_weights)
    _without_info(inner.ValidatedStringWithInnerNode._serialize)
    return tools


def _without_info(serializer: FunctionType) -> None:
    """Let a function call its handler with the value alone; a newer one may do so already."""
    source = textwrap.dedent(inspect.getsource(serializer))
    source = re.sub(r"^@.*\n", "", source)
    corrected = re.sub(r"(handler\(\s*\w+,)\s*info,.*\n", r"\1\n", source)
    made: dict[str, FunctionType] = {}
    exec(f"from __future__ import annotations\n{corrected}", serializer.__globals__, made)
    serializer.__code__ = made[serializer.__name__].__code__
