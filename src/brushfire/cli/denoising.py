"""Learn to restore a volume without a window, and write what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from brushfire.cli.headless import follow, learn, opened
from brushfire.cli.terminal import JobFailedError
from brushfire.errors import ProjectError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from brushfire.export import Conversion
    from brushfire.geometry import Scale
    from brushfire.learning.restoring import Way
    from brushfire.learning.restoring.reports import RestorationEvaluation
    from brushfire.session import Session

_LOAD_SECONDS = 120.0


@dataclass(frozen=True)
class Lessons:
    """What is learned from, as somebody said in a terminal.

    Parameters
    ----------
    clean : Path or None
        A clean volume, or with ``offset`` a zoomed scan.
    offset : tuple of float or None
        Micrometres z, y, x from the corner of the volume to that of the zoomed scan.
    refine : bool
        Whether the zoomed scan is looked for near there.
    parts : sequence of Path
        Reconstructions of parts of the scan.
    channels : bool
        Whether the volume's own channels are such reconstructions.
    one_to_many : bool
        Whether one part predicts the mean of the others, and not the other way round.
    blind, neighbours : bool
        Whether the volume, or its neighbouring slices, are all there is.
    also, also_clean : sequence of Path
        Further scans of a series to learn from, and the clean one of each.

    Raises
    ------
    SettingsError
        If they name more than one way to learn, or say more of one that is not named.
    """

    clean: Path | None = None
    offset: Scale | None = None
    refine: bool = True
    parts: Sequence[Path] = ()
    channels: bool = False
    one_to_many: bool = False
    blind: bool = False
    neighbours: bool = False
    also: Sequence[Path] = ()
    also_clean: Sequence[Path] = ()

    def __post_init__(self) -> None:
        given = {
            "--clean": self.clean is not None,
            "--part": bool(self.parts),
            "--channels": self.channels,
            "--blind": self.blind,
            "--neighbours": self.neighbours,
        }
        chosen = [option for option, there in given.items() if there]
        if len(chosen) > 1:
            raise SettingsError(
                "A volume is restored from one thing: a clean or zoomed one, parts of its scan,"
                " itself, or its neighbouring slices.",
                got=" and ".join(chosen),
                do="Give one of them.",
            )
        if self.one_to_many and self.way != "splits":
            raise SettingsError(
                "Which parts of a scan predict which is asked where there are parts.",
                got="--one-to-many without any",
                do="Give --part for each of them, or --channels.",
            )
        if (self.also or self.also_clean) and self.way is None:
            raise SettingsError(
                "Further scans are learned from in the way that the first is.",
                got="--also without a way",
                do="Give --clean, --channels, --blind or --neighbours too.",
            )
        wanted = len(self.also) if self.clean is not None else 0
        if self.offset is None and len(self.also_clean) != wanted:
            raise SettingsError(
                "With --clean, each --also has an --also-clean, in the same order; without, none.",
                got=f"{len(self.also)} of --also and {len(self.also_clean)} of --also-clean",
                do="Give as many of both, or learn without --clean.",
            )

    @property
    def others(self) -> list[Path | tuple[Path, Path]]:
        """Further scans, each with its clean one if there is one."""
        if self.also_clean:
            return list(zip(self.also, self.also_clean, strict=True))
        return list(self.also)

    @property
    def way(self) -> Way | None:
        """How is learned; None for as before."""
        if self.clean is not None:
            return "pairs"
        if self.parts or self.channels:
            return "splits"
        if self.blind:
            return "blind"
        return "neighbours" if self.neighbours else None


@dataclass(frozen=True)
class Shape:
    """How is learned, and by which network, as somebody said in a terminal; None for as it is.

    Parameters
    ----------
    loss, network : str or None
        A loss of `RestorationSettings`, and a name of an architecture.
    depth, slices : int or None
        Its size, and the slices that it sees.
    in_3d : bool
        Whether it convolves across slices.
    """

    loss: str | None = None
    network: str | None = None
    depth: int | None = None
    slices: int | None = None
    in_3d: bool = False

    def apply(self, session: Session) -> None:
        """Let a session restore so from now on.

        Raises
        ------
        SettingsError
            It cannot.
        """
        from brushfire.learning.restoring import reshaped

        restoration = session.restoration
        assert restoration is not None
        network, learning = restoration.state.network, restoration.state.learning
        made = reshaped(network, self.network, 3 if self.in_3d else None)
        if self.depth is not None:
            made = replace(made, depth=self.depth)
        if self.slices is not None:
            made = replace(made, slices=self.slices)
        learns = replace(learning, loss=self.loss or learning.loss)  # type: ignore[arg-type]
        if (made, learns) != (network, learning):
            session.configure_restoration(made, learns)


def conversion_of(
    dtype: str | None, *, clip: bool, rescale: tuple[float, float] | None
) -> Conversion:
    """Return how restored intensities become numbers of a file.

    Raises
    ------
    ExportError
        If it is not said how they become whole numbers, or they are none.
    """
    from brushfire.export import Conversion

    kind = dtype or "float32"
    if rescale is not None:
        return Conversion(kind, "rescale", *rescale)
    return Conversion(kind, "clip" if clip else "as is")


def denoise(
    place: Path,
    out: Path,
    lessons: Lessons,
    shape: Shape,
    *,
    seconds: float,
    conversion: Conversion,
    format: str,
    overwrite: bool,
    axes: str | None,
    time: int | None,
    device: str | None,
    budget: int | None,
) -> list[tuple[str, str]]:
    """Learn to restore a volume and export all of it; return what to tell of it.

    Parameters
    ----------
    place : Path
        The volume, which gets a project if it has none, or a project.
    out : Path
        Target of the export.
    lessons : Lessons
        What is learned from; without a way, what the project was restored from before.
    shape : Shape
        How, and by which network.
    seconds : float
        How long to learn; 0 for what was learned before.
    conversion, format, overwrite
        As for `Session.export`.
    axes, time, device, budget
        As for `Session`.

    Raises
    ------
    ExportError, StorageError
        The target cannot be.
    ProjectError
        Nothing was chosen to learn from.
    JobFailedError
        With the sentence that says why nothing can be learned from what was given.
    Cancelled
        Ctrl-C was pressed; what was learned, and what was written, is kept.
    """
    from brushfire.export import check_target

    check_target(out, format, overwrite=overwrite)
    with opened(place, axes=axes, time=time, device=device, budget=budget) as session:
        _choose(session, place, lessons)
        shape.apply(session)
        if seconds:
            learn(session, seconds)
        if not session.wait_for(lambda: session.learning.shown_model is not None, _LOAD_SECONDS):
            raise JobFailedError(session.learning.message or "There is no model yet: learn first.")
        job = session.export(out, format=format, overwrite=overwrite, conversion=conversion)
        written = follow(session, job).message
        return [*_told(session), ("Written", written)]


def _choose(session: Session, place: Path, lessons: Lessons) -> None:
    if lessons.way is None:
        if session.restoration is None:
            raise ProjectError(
                "A volume is restored from something.",
                got=f"{place}, for which nothing was chosen yet",
                do="Give --clean, --part, --channels, --blind or --neighbours.",
            )
        session.work_on("restore")
        return
    job = session.restore_from(
        lessons.way,
        target=lessons.clean,
        splits=lessons.parts,
        offset=lessons.offset,
        refine=lessons.refine,
        others=lessons.others,
    )
    follow(session, job)
    if lessons.one_to_many:
        assert session.restoration is not None
        network = replace(session.restoration.state.network, splits="1:x")
        session.configure_restoration(network=network)


def _told(session: Session) -> list[tuple[str, str]]:
    from brushfire.learning.restoring import FACTS

    restoration, state = session.restoration, session.learning
    assert restoration is not None
    facts = FACTS[restoration.state.learning.way]
    rows = [("Learned", facts.title), ("Assumes", facts.assumption)]
    if restoration.others:
        rows.append(("Scans", f"{len(restoration.scans)}, in equal parts"))
    if session.project is not None:
        rows.append(("Project", str(session.project.folder)))
    rows.append(("Model", f"{state.shown_model}, after {state.step} steps"))
    if state.restoration is not None:
        rows.append(("Score", _score(state.restoration)))
    return rows


def _score(found: RestorationEvaluation) -> str:
    where = "on held-out slices" if found.held_out else "where it learned"
    said = f"{found} {where}"
    if found.psnr is not None and found.noisy_psnr is not None:
        said += f", as given {found.noisy_psnr:.2f} dB"
    if found.ssim is not None and found.noisy_ssim is not None:
        said += f"; SSIM {found.ssim:.3f}, as given {found.noisy_ssim:.3f}"
    return said
