"""How real numbers become whole ones, and that nobody chooses silently."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from brushfire.errors import ExportError
from brushfire.export import Conversion
from brushfire.export.intensities import WHOLE

FLOATS = hnp.arrays(np.float32, (2, 3, 4), elements=st.floats(width=32))


@given(values=FLOATS, dtype=st.sampled_from(WHOLE))
def test_clipping_rounds_and_never_wraps(values: np.ndarray, dtype: str) -> None:
    found = Conversion(dtype, "clip").apply(values)
    ends = np.iinfo(dtype)
    for value, stored in zip(values.ravel().tolist(), found.ravel().tolist(), strict=True):
        if np.isnan(value):
            assert stored == ends.min
        elif value <= ends.min or value >= ends.max:
            assert stored == (ends.min if value <= ends.min else ends.max)
        else:
            assert abs(stored - value) <= 0.5


@given(dtype=st.sampled_from(WHOLE), low=st.floats(-1e4, 1e4), span=st.floats(1.0, 1e4))
def test_rescaling_uses_the_whole_range_and_is_undone_by_what_it_says(
    dtype: str, low: float, span: float
) -> None:
    conversion = Conversion(dtype, "rescale", low, low + span)
    given_ = np.float32([low, low + span / 3, low + span, low - span, low + 3 * span])
    found = conversion.apply(given_.reshape(1, 1, 5))[0, 0]
    ends = conversion.ends
    about = conversion.about()
    assert about["stored_as"] == [*ends]
    steps = ends[1] - ends[0]
    back = low + (found.astype(float) - ends[0]) / steps * span
    wanted = np.clip(given_.astype(float), low, low + span)
    assert np.abs(back - wanted).max() <= 0.51 * span / steps
    assert found[3] == ends[0]
    assert found[4] == ends[1]


def test_floats_stay_as_they_are() -> None:
    values = np.float32([[[np.nan, -np.inf, 1e38]]])
    assert Conversion().apply(values) is values
    assert Conversion().about() == {"type": "float32", "how": "as is"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("uint16",), "not known before all are predicted"),
        (("uint16", "as is"), "Choose 'clip'"),
        (("float64",), "float32 or as one of"),
        (("uint8", "wrap"), "clipped or rescaled"),
        (("float32", "clip"), "as they are"),
        (("uint8", "rescale"), "None to None"),
        (("uint8", "rescale", 5.0, 5.0), "lower one first"),
        (("uint8", "rescale", 0.0, float("inf")), "lower one first"),
        (("uint8", "clip", 0.0, 1.0), "Choose 'rescale'"),
    ],
)
def test_what_does_not_fit_together_is_refused(values: tuple, said: str) -> None:
    with pytest.raises(ExportError, match=said):
        Conversion(*values)
