"""Make a model for the library of what a session shows and was taught."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brushfire.errors import ModelError
from brushfire.library import Library, Making, check_name, fingerprint_of, model_file
from brushfire.session.labels import collect_labels
from brushfire.session.starting import part_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from brushfire.annotations import AnnotationSnapshot
    from brushfire.jobs import Work
    from brushfire.learning.examples import Examples
    from brushfire.learning.patches import Patches
    from brushfire.library import Entry
    from brushfire.networks import ModelSnapshot
    from brushfire.session.session import Session

# What a score is, and how it was come by; strokes and their places stay in the project.
_METRICS = (
    "kind", "step", "seconds", "mean_dice", "mean_interval", "dice", "intervals", "measured",
    "held_out_voxels", "compared_strokes", "started_from", "before",
)  # fmt: skip


def prepare_saving(
    session: Session,
    snapshot: ModelSnapshot | None,
    before: Examples | None,
    crops_before: Patches | None,
    name: str,
    *,
    replace: bool,
    crops: bool,
    modality: str,
    **about: str,
) -> Work:
    """Return the work of saving the model that a session shows, which gives an `Entry`.

    Parameters
    ----------
    session : Session
        With an open volume.
    snapshot : ModelSnapshot or None
        The model that it shows.
    before, crops_before
        What it started from itself.
    name : str
        What to call the model.
    replace : bool
        Whether it takes the place of one that has the name.
    crops : bool
        Whether crops come along, which are parts of the images.
    modality : str
        How the images were made.
    **about : str
        ``licence`` and ``description``.

    Raises
    ------
    ModelError
        There is no model, or the name cannot be one.
    """
    check_name(name)
    if snapshot is None:
        raise ModelError(
            "What is kept in the library has learned.",
            got="a project without a model",
            do="Start learning first.",
        )
    volume, labels, classes = session.segmented, session.labels, session.classes
    assert volume is not None
    assert labels is not None
    strokes, project = labels.snapshot(), session.project
    side, denoised = session.settings.learning.patch, session.denoised is not None
    whence = volume.name if project is None else project.folder.stem

    def work(progress: Callable[[int, int], None], cancelled: Callable[[], bool]) -> Entry:
        from brushfire.networks import SegmentationModel

        library = Library()
        library.check_free(name, replace=replace)
        whole = SegmentationModel.from_snapshot(snapshot)
        model = part_of(whole, classes, whence)
        examples, patches = collect_labels(
            model, volume, strokes, before, crops_before, metrics=snapshot.metrics,
            side=side if crops else None, progress=progress, cancelled=cancelled,
        )  # fmt: skip
        examples = None if examples is None else examples.of(model.classes).thinned()
        metrics = {key: snapshot.metrics[key] for key in _METRICS if key in snapshot.metrics}
        if denoised:
            metrics["denoised"] = True
        started = snapshot.metrics.get("started_from", "")
        if not started and before is not None and project is not None:
            started = project.last_logged("started").get("source", "")
        file = model_file(
            name,
            model.snapshot(snapshot.revision, metrics),
            classes,
            examples=examples,
            patches=patches,
            data=fingerprint_of(volume, modality),
            made=_making(whence, strokes, snapshot, str(started)),
            metrics=metrics,
            **about,
        )
        return library.add(file, replace=replace)

    return work


def _making(
    project: str, strokes: AnnotationSnapshot, snapshot: ModelSnapshot, started: str
) -> Making:
    from brushfire.learning.regions import StrokeRegions

    regions = StrokeRegions(0.0)
    regions.update(strokes)
    metrics: dict[str, Any] = snapshot.metrics
    return Making(
        project=project,
        strokes=sum(regions.strokes(held=False).values()),
        voxels=sum(one.voxels for one in strokes.counts().values()),
        steps=metrics.get("step"),
        seconds=metrics.get("seconds"),
        started_from=started,
    )
