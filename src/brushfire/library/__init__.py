"""Models to start from: their files, their cards, and which of them suits which data."""

from __future__ import annotations

from brushfire.library.card import Making, ModelCard, check_name
from brushfire.library.files import (
    BARE_SUFFIX,
    SUFFIX,
    ZIP_SUFFIX,
    ModelFile,
    bare_name,
    is_model_file,
    model_file,
    read_card,
    read_model_file,
    write_model_file,
)
from brushfire.library.fingerprints import (
    Fingerprint,
    distance,
    fingerprint_of,
    likeness,
    rank,
)
from brushfire.library.library import Entry, Library, library_folder

__all__ = [
    "BARE_SUFFIX",
    "SUFFIX",
    "ZIP_SUFFIX",
    "Entry",
    "Fingerprint",
    "Library",
    "Making",
    "ModelCard",
    "ModelFile",
    "bare_name",
    "check_name",
    "distance",
    "fingerprint_of",
    "is_model_file",
    "library_folder",
    "likeness",
    "model_file",
    "rank",
    "read_card",
    "read_model_file",
    "write_model_file",
]
