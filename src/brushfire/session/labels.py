"""Take along what strokes taught: labelled voxels as features, and labelled crops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from brushfire.annotations import AnnotationSnapshot
    from brushfire.learning.examples import Examples
    from brushfire.learning.patches import Patches
    from brushfire.networks import SegmentationModel
    from brushfire.volumes import Volume


def collect_labels(
    model: SegmentationModel,
    volume: Volume,
    strokes: AnnotationSnapshot,
    examples: Examples | None,
    patches: Patches | None,
    *,
    metrics: Mapping[str, Any],
    side: int | None,
    progress: Callable[[int, int], None],
    cancelled: Callable[[], bool],
) -> tuple[Examples | None, Patches | None]:
    """Return labels of the strokes of a volume, and of what its project started from.

    Parameters
    ----------
    model : SegmentationModel
        Which learned them.
    volume : Volume
        What was painted.
    strokes : AnnotationSnapshot
        Its strokes.
    examples, patches
        Those that the project started from.
    metrics : mapping
        Of the model.
    side : int or None
        Of crops, pixels; None takes none.
    progress, cancelled : callable
        As in `brushfire.jobs.Jobs.start`.

    Raises
    ------
    Cancelled
        Soon after ``cancelled()`` is True.
    """
    from brushfire.learning.rehearsal import collect_examples
    from brushfire.learning.replay import collect_patches, divided

    if not any(one.voxels for one in strokes.counts().values()):
        return examples, patches if side else None
    regions = None
    if side is not None:
        regions = divided(metrics, strokes)
        crops = collect_patches(model, volume, strokes, regions, side=side, cancelled=cancelled)
        patches = crops.joined(patches) if crops is not None else patches
    if model.settings.features:
        found = collect_examples(
            model, volume, strokes, regions, progress=progress, cancelled=cancelled
        )
        examples = found if examples is None else found.joined(examples).thinned()
    if patches is not None:
        patches = patches.of(model.classes) if side else None
    return examples, patches
