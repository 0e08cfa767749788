"""Files of other programs to models and back, as bytes.

A file is what torch saves (a state dict, or a dict with one under ``state_dict``), or safetensors
with the same names. What Brushfire writes also says, under ``brushfire``, what the layout cannot
hold: dilations, border, class values and slices.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from safetensors.torch import save as save_tensors

from brushfire.errors import ModelError
from brushfire.networks.exchange.dlsia import dlsia_dilations, from_dlsia, to_dlsia
from brushfire.networks.exchange.msd_pytorch import from_msd_pytorch, to_msd_pytorch
from brushfire.networks.exchange.saved import NOTE, read_saved
from brushfire.networks.model import SegmentationModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brushfire.networks.settings import Border
    from brushfire.networks.snapshot import ModelSnapshot

Layout = Literal["msd_pytorch", "dlsia"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)


def import_weights(
    data: bytes,
    layout: Layout,
    *,
    dilations: Sequence[int] | None = None,
    border: Border | None = None,
    classes: Sequence[int] | None = None,
    slices: int | None = None,
) -> ModelSnapshot:
    """Return the model that a file of another program holds.

    Nothing but tensors and plain values is read: a file with other objects is refused.

    Parameters
    ----------
    data : bytes
        A file that torch saved, or a safetensors file.
    layout : str
        Whose names its tensors have: "msd_pytorch" or "dlsia".
    dilations, border, classes, slices : optional
        As for `from_msd_pytorch` and `from_dlsia`; what the file says, or their defaults, without.

    Returns
    -------
    ModelSnapshot
        Revision 1, with the safe halo.

    Raises
    ------
    ModelError
        If the file is damaged, holds more than weights, or another network.
    """
    state, note = read_saved(data)
    chosen = _read_note(note)
    given = {"dilations": dilations, "border": border, "classes": classes, "slices": slices}
    chosen.update({name: value for name, value in given.items() if value is not None})
    if layout == "dlsia":
        model = from_dlsia(state, **chosen)
    else:
        other = chosen.pop("border", "symmetric")
        if other != "symmetric":
            raise ModelError(
                "msd_pytorch mirrors a slice at its edges, which is border symmetric.",
                got=f"border {other}",
                do="Leave the border out.",
            )
        model = from_msd_pytorch(state, **chosen)
    return model.snapshot(1, {"imported_from": layout})


def export_weights(snapshot: ModelSnapshot, layout: Layout, *, safetensors: bool = False) -> bytes:
    """Return a model as a file of another program.

    Parameters
    ----------
    snapshot : ModelSnapshot
        The model.
    layout : str
        "msd_pytorch" or "dlsia".
    safetensors : bool
        Whether to return a safetensors file rather than one for `torch.load`.

    Returns
    -------
    bytes
        `torch.load` gives a dict with the state dict under ``state_dict``; that for msd_pytorch
        has all that `MSDSegmentationModel.load` asks for.

    Raises
    ------
    ModelError
        If the weights are damaged, or the program has no network that computes the same.
    """
    model = SegmentationModel.from_snapshot(snapshot)
    if layout == "dlsia":
        state = to_dlsia(model)
        dilations = [
            value for column in zip(*dlsia_dilations(model), strict=True) for value in column
        ]
    else:
        state = to_msd_pytorch(model)
        dilations = list(model.settings.dilations)
    note = json.dumps(
        {
            "dilations": dilations,
            "border": model.settings.border,
            "classes": model.classes,
            "slices": model.settings.slices,
        }
    )
    if safetensors:
        contiguous = {name: value.contiguous() for name, value in state.items()}
        return bytes(save_tensors(contiguous, metadata={NOTE: note}))
    saved: dict[str, Any] = {"state_dict": state, NOTE: note}
    if layout == "msd_pytorch":
        saved.update(epoch=0, optimizer=_fresh_optimizer(model))
    file = io.BytesIO()
    torch.save(saved, file)
    return file.getvalue()


def _fresh_optimizer(model: SegmentationModel) -> dict[str, Any]:
    """Return the state of the optimizer that msd_pytorch begins with."""
    return torch.optim.Adam(model.parameters()).state_dict()


def _read_note(text: object) -> dict[str, Any]:
    """Return what Brushfire noted in a file; nothing for a file of somebody else."""
    if text is None:
        return {}
    try:
        note = json.loads(str(text))
        return {
            "dilations": tuple(int(value) for value in note["dilations"]),
            "border": str(note["border"]),
            "classes": tuple(int(value) for value in note["classes"]),
            "slices": int(note["slices"]),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            "What Brushfire notes in a file of weights are dilations, border, classes and slices.",
            got=f"{type(error).__name__}: {error}",
            do="Write the file again with 'brushfire convert'.",
        ) from error
