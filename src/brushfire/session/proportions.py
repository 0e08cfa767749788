"""How common classes are: what is asked of the engine, and what cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brushfire.engine import messages as m
from brushfire.errors import BrushfireError, LearningError, ModelError
from brushfire.learning.calibrating import check_shares

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brushfire.learning.reports import Correction
    from brushfire.networks import ModelSnapshot
    from brushfire.session.session import Session


def prepare_calibrating(
    session: Session,
    model: ModelSnapshot | None,
    shares: Mapping[int, float] | None,
    how: Correction,
) -> m.Calibrate:
    """Return what the engine is asked for.

    Parameters
    ----------
    session : Session
        With an open volume.
    model : ModelSnapshot or None
        The one that it shows.
    shares : mapping or None
        What is known of how common classes are; None leaves it to the model.
    how : {"calibrated", "second stage", "as learned"}
        What to do.

    Raises
    ------
    ModelError
        There is no model, or it has features, for the second stage.
    LearningError
        A class has no strokes, for the second stage.
    SettingsError
        The shares cannot be, see `check_shares`.
    """
    if model is None:
        raise ModelError(
            "How common classes are is told by a model that has learned.",
            got="a project without a model",
            do="Start learning first.",
        )
    names = {one.value: one.name for one in session.classes}
    check_shares(shares or {}, model.classes, names)
    if how == "second stage":
        _check_second_stage(session, model, names)
    return m.Calibrate(dict(shares or {}), how)


def why_no_second_stage(session: Session, model: ModelSnapshot | None) -> str:
    """Return why the last layer of what is shown cannot be fitted anew, or ""."""
    try:
        prepare_calibrating(session, model, None, "second stage")
    except BrushfireError as error:
        return str(error)
    return ""


def _check_second_stage(session: Session, model: ModelSnapshot, names: Mapping[int, str]) -> None:
    if model.settings.features:
        raise ModelError(
            "The second stage is for a network whose last layer gives all classes.",
            got="one with multi-scale input, whose layers are the same for every class",
            do="Calibrate instead, or learn without multi-scale input.",
        )
    assert session.labels is not None
    painted = {value for value, one in session.labels.counts().items() if one.voxels}
    missing = [names.get(value, str(value)) for value in model.classes if value not in painted]
    if missing:
        raise LearningError(
            "The second stage needs strokes of every class of the model.",
            got=f"none of {', '.join(missing)}",
            do="Paint what is missing; a fair sample, since its last layer learns from it.",
        )
